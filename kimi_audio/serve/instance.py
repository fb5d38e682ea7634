"""The contract between the server and an instance of a stage, whether it runs in this process or elsewhere.

A reply passes three stages: hearing (the tokenizers), thinking (the LLM) and speaking (the detokenizer). An instance of
a stage is given jobs and yields what comes of them. Both are plain data: numbers, texts, paths, arrays, and tensors on
the CPU. The same job gives the same result in every instance, but for what is drawn at random.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kimi_audio.audio.sources import AudioSource
from kimi_audio.chat import Message, OutputType
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.transcript.listening import Passage
from kimi_audio.transcript.timed_text import Timestamps
from kimi_audio.voice import Voice


class LostError(Exception):
    """What a job goes on with is not here: it was begun at another instance, which failed."""


@dataclass(frozen=True)
class EncodeJob:
    """Hear a recording of fewer than ``most_tokens``, if that is given: one ``AudioTokens``."""

    sound: AudioSource
    most_tokens: int | None = None


@dataclass(frozen=True)
class HearJob:
    """Begin to hear a recording while it is spoken: nothing. It is kept under the job's id until that is cancelled."""

    rate_hz: int


@dataclass(frozen=True)
class HearMoreJob:
    """Hear the next samples [L] of such a recording: the ``AudioTokens`` that are final, where there are more now."""

    hearing_id: str
    samples: np.ndarray


@dataclass(frozen=True)
class HearEndJob:
    """End such a recording: one ``AudioTokens``."""

    hearing_id: str


@dataclass(frozen=True)
class ThinkJob:
    """Reply to a conversation in text and codes: ``StreamChunk`` for ``StreamChunk``, without sound."""

    messages: list[Message]
    options: GenerationOptions
    seed: int | None = None


@dataclass(frozen=True)
class PrefillJob:
    """Compute what a reply to a conversation that begins with these messages starts from: nothing."""

    messages: list[Message]
    output_type: OutputType


@dataclass(frozen=True)
class FitJob:
    """Leave the oldest messages out for which there is no room: one list of messages, beginning with the opening."""

    opening: list[Message]
    messages: list[Message]
    output_type: OutputType
    room_tokens: int


@dataclass(frozen=True)
class ListenJob:
    """Hear a recording of any length: ``Passage`` for ``Passage``."""

    sound: AudioSource


@dataclass(frozen=True)
class WriteJob:
    """Write down what is said in a passage of a recording: ``Segment`` for ``Segment``."""

    passage: Passage
    timestamps: Timestamps = "segment"
    hotwords: tuple[str, ...] = ()


@dataclass(frozen=True)
class VoiceJob:
    """Begin to speak: nothing. What was said so far is kept under the job's id until that is cancelled."""

    voice: Voice | AudioSource | None = None
    seed: int | None = None


@dataclass(frozen=True)
class SpeakJob:
    """Make sound of the next codes: one tensor [L] at 24 kHz."""

    speech_id: str
    codes: list[int]
    is_final: bool


HearingJob = EncodeJob | ListenJob | HearJob | HearMoreJob | HearEndJob
ThinkingJob = ThinkJob | PrefillJob | FitJob | WriteJob
SpeakingJob = VoiceJob | SpeakJob
Job = HearingJob | ThinkingJob | SpeakingJob
KEPT = (HearJob, VoiceJob)  # what they begin is for jobs to come


class Instance(Protocol):
    """Does jobs of one stage, several at once."""

    def submit(self, job_id: str, job: Job, deadline_s: float) -> AsyncIterator[Any]:
        """Yield what comes of a job.

        Args:
            job_id: which no other job has.
            job: what to do.
            deadline_s: when nobody waits any more, on the clock of ``time.monotonic``.

        Raises:
            ValueError: the job cannot be done by anybody.
            LostError: it cannot be done here, which is no fault of this instance. All other errors are.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """Stop a job soon, and forget what is kept under its id; without effect on one that is not known."""
        ...

    @property
    def is_healthy(self) -> bool:
        """Whether it should be given more jobs."""
        ...

    @property
    def load(self) -> int:
        """How many jobs are under way."""
        ...

    @property
    def kept_bytes(self) -> int:
        """Memory of earlier jobs from which later ones go on."""
        ...

    def close(self) -> None:
        """Stop all jobs."""
        ...
