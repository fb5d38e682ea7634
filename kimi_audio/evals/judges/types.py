"""What a judge is: somebody who reads a question and an answer, and gives a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kimi_audio.evals.contract.types import Clip
from kimi_audio.evals.judges.prompts import JudgePrompt


class JudgeError(Exception):
    """A judge gave no verdict: out of reach, or not understood. The sample is then counted as unscored."""


@dataclass(frozen=True)
class Verdict:
    """A judge's number for one answer, and the words it comes from."""

    value: float
    replies: tuple[str, ...]  # one per vote
    unread: int = 0  # votes that could not be understood


class Judge(Protocol):
    """Rates answers. Several threads may ask at once."""

    name: str  # the model

    @property
    def prompts(self) -> Mapping[str, JudgePrompt]:
        """What it can be told, by name."""
        ...

    @property
    def concurrency(self) -> int:
        """Return how many answers are rated at once."""
        ...

    def version(self, prompt: JudgePrompt) -> str:
        """Return what a verdict depends on: model, prompt, votes, decoding."""
        ...

    def rate(self, prompt: JudgePrompt, fields: Mapping[str, str], clips: Sequence[Clip] = ()) -> Verdict:
        """Rate one answer.

        Args:
            prompt: what the judge is told.
            fields: what stands for the names in braces: question, reference, answer, ...
            clips: sound that the judge hears, for prompts that say so.

        Raises:
            JudgeError: there is no verdict; the message says why.
        """
        ...
