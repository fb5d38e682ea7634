"""What callers get of a reply: its chunks while it is made, and the whole."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from kimi_audio.chat import Message
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.lm.rules import FinishReason


@dataclass(frozen=True)
class Usage:
    """What a reply took: ids of text and codes of sound in its prompt and in itself."""

    prompt_text_tokens: int
    prompt_audio_tokens: int
    cached_tokens: int  # positions of the prompt that were remembered
    text_tokens: int
    audio_tokens: int


@dataclass(frozen=True)
class StreamChunk:
    """What became known since the last chunk of a streamed reply."""

    text: str
    audio: Tensor  # [L] float32 at 24 kHz, on the CPU; may be empty
    is_final: bool
    finish_reason: FinishReason | None = None
    codes: tuple[int, ...] = ()  # speech codes, some of them not heard yet
    usage: Usage | None = None  # of the whole reply, in its last chunk


@dataclass(frozen=True)
class Answer:
    """A whole reply."""

    text: str
    audio: Tensor | None  # [L] float32 at 24 kHz, on the CPU; None where nothing is said
    finish_reason: FinishReason
    codes: tuple[int, ...] = ()  # what the audio was made from

    @classmethod
    def of(cls, chunks: Iterable[StreamChunk]) -> Self:
        """Join the chunks of a streamed reply."""
        chunks = list(chunks)
        if not chunks or chunks[-1].finish_reason is None:
            raise ValueError("the reply was not streamed to its end; join all of its chunks")
        codes = tuple(code for chunk in chunks for code in chunk.codes)
        audio = torch.cat([chunk.audio for chunk in chunks])
        text = "".join(chunk.text for chunk in chunks)
        return cls(text, audio if len(audio) else None, chunks[-1].finish_reason, codes)

    def message(self) -> Message:
        """Return the reply as a message, for the history of the next turn."""
        if not self.codes:
            return Message("assistant", "text", self.text)
        return Message("assistant", "audio-text", (AudioTokens(torch.tensor(self.codes)), self.text))
