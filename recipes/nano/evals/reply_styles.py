"""Replies that are asked for in a style, measured against the ordinary reply to the same question."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kimi_audio.audio.io import load_audio
from kimi_audio.audio.prosody import Measures, measure
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Metric, Prediction, Recipe, SampleScore, Scorer
from recipes.nano.closed.examples import NEUTRAL
from recipes.nano.closed.judging import is_right
from recipes.nano.closed.styles import REPLY_STYLES, follows_request
from recipes.nano.evals.data import by_voices, own_dataset, read
from recipes.nano.evals.judged import Asked


@dataclass(frozen=True)
class StyledReplies(Scorer):
    """Share of the replies whose speech changes as asked, together and by style, and of those that are right.

    A reply without speech does not follow, nor does any whose ordinary one has none. Words tell replies of different
    length apart: what counts is the time per word.
    """

    ordinary: Mapping[str, Prediction] = field(default_factory=dict)  # by id of the sample
    metrics = (Metric("followed"), *map(Metric, REPLY_STYLES), Metric("right"))
    rules = "1"

    def among(self, pairs: Sequence[tuple[EvalSample, Prediction]]) -> "StyledReplies":
        """Return the scorer that knows the ordinary replies."""
        return replace(self, ordinary={sample.id: reply for sample, reply in pairs if not sample.needs})

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Compare one reply."""
        style, right = sample.meta["kind"], is_right(Asked.of(sample), prediction.text)
        values: dict[str, Any] = {"right": (float(right), 1)}
        if not sample.needs:
            return SampleScore(sample.id, values, {"style": style})
        (ordinary,) = sample.needs
        if ordinary not in self.ordinary:
            raise ValueError(f"there is no ordinary reply to the same question: {ordinary} was not answered")
        followed = (float(_follows(style, prediction, self.ordinary[ordinary])), 1)
        return SampleScore(sample.id, {**values, "followed": followed, style: followed}, {"style": style})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return a wrong reply that does not follow."""
        style = sample.meta["kind"]
        return {"right": (0, 1)} | ({"followed": (0, 1), style: (0, 1)} if sample.needs else {})


def _follows(style: str, reply: Prediction, ordinary: Prediction) -> bool:
    measured, usual = _measured(reply), _measured(ordinary)
    if measured is None or usual is None:
        return False
    return follows_request(style, measured, usual, _words(reply), _words(ordinary))


def _measured(reply: Prediction) -> Measures | None:
    """Return the measures of a reply's speech, None if there is none to be heard."""
    if reply.speech is None:
        return None
    try:
        return measure(load_audio(reply.speech, OUTPUT_RATE_HZ).numpy(), OUTPUT_RATE_HZ)
    except ValueError:
        return None


def _words(reply: Prediction) -> int:
    return max(1, len(normalise(reply.text).split()))


def read_with_ordinary(folder: Path) -> Iterator[EvalSample]:
    """Yield the questions; one with a request needs the same question without."""
    samples = list(read(folder, by_voices("replies")))
    ordinary = {(sample.subset, sample.meta["key"]): sample.id for sample in samples if sample.meta["kind"] == NEUTRAL}
    for sample in samples:
        is_ordinary = sample.meta["kind"] == NEUTRAL
        yield replace(sample, needs=() if is_ordinary else (ordinary[sample.subset, sample.meta["key"]],))


TASKS = (
    EvalTask(
        "nano-reply-styles",
        "1",
        own_dataset(read_with_ordinary),
        StyledReplies(),
        {DEFAULT: Recipe(output="both")},
        "spoken replies that are to be faster, slower, higher or whispered",
    ),
)
