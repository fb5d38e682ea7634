"""Alignments of transcripts as sclite writes them, and which words were taken for which."""

from collections import Counter
from collections.abc import Sequence

from kimi_audio.evals.metrics.error_rate import AlignedToken, Alignment
from kimi_audio.evals.metrics.sclite import sclite_text
from kimi_audio.evals.run.store import Outcome

MAX_CONFUSIONS = 12  # that are shown


def alignments_of(outcomes: Sequence[Outcome]) -> dict[str, Alignment]:
    """Return the alignments by id of sample; none where the scorer gave none."""
    return {
        outcome.sample.id: Alignment(tuple(AlignedToken(*step) for step in steps))
        for outcome in outcomes
        if (steps := outcome.details.get("alignment"))
    }


def to_sclite(outcomes: Sequence[Outcome]) -> str:
    """Return all alignments as a text, a block each; an empty one where there is none."""
    return "\n".join(sclite_text(row, id_) for id_, row in alignments_of(outcomes).items())


def confusions(outcomes: Sequence[Outcome]) -> list[tuple[AlignedToken, int]]:
    """Return the most frequent errors with their counts."""
    steps = (step for row in alignments_of(outcomes).values() for step in row.tokens if step.operation != "equal")
    return Counter(steps).most_common(MAX_CONFUSIONS)
