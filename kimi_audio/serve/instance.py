"""The contract between the server and an instance of the model, whether it runs in this process or elsewhere.

An instance is given jobs and yields what comes of them. Both are plain data: numbers, texts, paths, arrays, and tensors
on the CPU. The same job gives the same result in every instance, but for what is drawn at random.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kimi_audio.audio.sources import AudioSource, Samples
from kimi_audio.chat import Message, OutputType
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.transcript.timed_text import Timestamps


@dataclass(frozen=True)
class ReplyJob:
    """Reply to a conversation: ``StreamChunk`` for ``StreamChunk``."""

    messages: list[Message]
    options: GenerationOptions
    voice: AudioSource | None = None
    seed: int | None = None


@dataclass(frozen=True)
class SpeechJob:
    """Read a text aloud: ``StreamChunk`` for ``StreamChunk``."""

    text: str
    voice: AudioSource | None = None
    instructions: str = ""
    seed: int | None = None


@dataclass(frozen=True)
class TranscriptJob:
    """Write down what is said in a recording: ``Segment`` for ``Segment``."""

    sound: AudioSource
    timestamps: Timestamps = "segment"
    hotwords: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodeJob:
    """Hear a recording: one ``AudioTokens``."""

    sound: Samples


@dataclass(frozen=True)
class HearJob:
    """Begin to hear a recording while it is spoken: nothing. It is kept under the job's id until that is cancelled."""

    history: list[Message]
    output_type: OutputType
    rate_hz: int


@dataclass(frozen=True)
class HearMoreJob:
    """Hear the next samples [L] of such a recording: nothing."""

    hearing_id: str
    samples: np.ndarray


@dataclass(frozen=True)
class HearEndJob:
    """End such a recording: one ``AudioTokens``."""

    hearing_id: str


@dataclass(frozen=True)
class FitJob:
    """Leave the oldest messages out for which there is no room: one list of messages, beginning with the opening."""

    opening: list[Message]
    messages: list[Message]
    output_type: OutputType
    room_tokens: int


Job = ReplyJob | SpeechJob | TranscriptJob | EncodeJob | HearJob | HearMoreJob | HearEndJob | FitJob


class Instance(Protocol):
    """Does jobs, several at once."""

    def submit(self, job_id: str, job: Job, deadline_s: float) -> AsyncIterator[Any]:
        """Yield what comes of a job.

        Args:
            job_id: which no other job has.
            job: what to do.
            deadline_s: when nobody waits any more, on the clock of ``time.monotonic``.

        Raises:
            ValueError: the job cannot be done by anybody. All other errors are the instance's own.
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

    def close(self) -> None:
        """Stop all jobs."""
        ...
