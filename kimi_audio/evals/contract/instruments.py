"""What answers are measured with, where rules are not enough: chosen by option, and printed beside each score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from kimi_audio.evals.contract.keys import Clip, key_of

ReplyForm: TypeAlias = Literal["label", "number", "json"]


@dataclass(frozen=True)
class JudgePrompt:
    """What a judge is told, and how its reply is read; see ``judges/verdicts.py``.

    In the text, ``{question}``, ``{reference}``, ``{answer}`` and further names of the task stand for their values.
    """

    name: str
    version: int  # is raised when the wording changes
    text: str
    reply: ReplyForm  # a label in the last line, a number in the last line or in [[ ]], or a key of a JSON object
    system: str = ""
    labels: Mapping[str, float] = field(default_factory=dict)  # what each label is worth
    key: str = ""  # of the JSON object, its field that counts
    low: float = 0.0  # the scale
    high: float = 1.0
    votes: int = 1  # of labels the most frequent counts, of numbers the mean
    decoding: Mapping[str, Any] = field(default_factory=dict)  # temperature, top_p, ...
    hears: bool = False  # the reply is attached as sound

    def __post_init__(self) -> None:
        if self.reply not in get_args(ReplyForm):
            raise ValueError(f"the judge prompt {self.name} wants the reply {self.reply!r}; use label, number or json")
        if self.reply == "label" and not self.labels:
            raise ValueError(f"the judge prompt {self.name} has no labels")
        if self.reply == "json" and not self.key:
            raise ValueError(f"the judge prompt {self.name} does not name the key of the JSON object")
        if not self.low < self.high or self.votes < 1:
            raise ValueError(f"the judge prompt {self.name} needs low < high and at least one vote")

    @property
    def fingerprint(self) -> str:
        """Name, version, and 12 hexadecimal digits that change with any field."""
        return f"{self.name}/{self.version} {key_of(**vars(self))[:12]}"

    @property
    def lowest(self) -> float:
        """The value of the worst answer."""
        return min(self.labels.values(), default=self.low)


class JudgeError(Exception):
    """A judge gave no verdict: out of reach, or not understood. The sample is then counted as unscored."""


@dataclass(frozen=True)
class Verdict:
    """A judge's number for one answer, and the words it comes from."""

    value: float
    replies: tuple[str, ...]  # one per vote
    unread: int = 0  # votes that could not be understood


class Judge(Protocol):
    """Reads a question and an answer, and gives a number. Several threads may ask at once."""

    name: str  # the model
    concurrency: int  # answers that are rated at once

    @property
    def prompts(self) -> Mapping[str, JudgePrompt]:
        """What it can be told, by name."""
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


class Recogniser(Protocol):
    """Writes speech down."""

    @property
    def name(self) -> str:
        """What it is called, with its revision."""
        ...

    def transcribe(self, clip: Clip, language: str) -> str:
        """Return the words; raises whatever goes wrong."""
        ...


class SpeakerEncoder(Protocol):
    """Describes a voice."""

    name: str

    def embed(self, clip: Clip) -> np.ndarray:
        """Return a vector [D] whose cosine with that of the same voice is high."""
        ...


class Mos(Protocol):
    """Predicts what listeners would say of the quality, from 1 to 5."""

    name: str

    def rate(self, clip: Clip) -> float:
        """Return the predicted mean opinion score."""
        ...


@dataclass(frozen=True)
class Instruments:
    """The chosen ones; None where nothing was chosen."""

    judge: Judge | None = None
    ratings: tuple[Path, ...] = ()  # filled forms of human raters
    recogniser: Recogniser | None = None
    speaker: SpeakerEncoder | None = None
    mos: Mos | None = None
