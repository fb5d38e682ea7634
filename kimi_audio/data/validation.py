"""Checking files of conversations before anything is learned from them: what is wrong where, and how much is good."""

from array import array
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from kimi_audio.audio.io import AudioSource, inspect_audio, measure_audio, resampled_samples
from kimi_audio.chat import ChatTemplate, LossChoice, Message
from kimi_audio.core.config import LMConfig
from kimi_audio.core.lines import BadSampleError, Problem
from kimi_audio.core.sequence import AudioTokens, Sequence
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN, tokens_in_audio
from kimi_audio.data.conversations import Conversation, ConversationFile
from kimi_audio.data.reports import LineReport, Progress
from kimi_audio.tokenizer.text import TextTokenizer

_TOTALS = ("heard_s", "spoken_s", "text_tokens", "audio_tokens", "learned_text_tokens", "learned_audio_tokens")


@dataclass(frozen=True)
class FileReport(LineReport):
    """What a file of conversations holds."""

    positions: np.ndarray  # [K] int64, the lengths of their sequences
    tasks: tuple[str, ...]  # K, their task types
    heard_s: float = 0.0
    spoken_s: float = 0.0  # by the assistant
    text_tokens: int = 0  # without blanks
    audio_tokens: int = 0
    learned_text_tokens: int = 0
    learned_audio_tokens: int = 0

    @property
    def audio_hours(self) -> float:
        """Hours of all recordings."""
        return (self.heard_s + self.spoken_s) / 3600

    def limited(self, max_positions: int) -> Self:
        """Return the report without the samples that are longer; what is counted in tokens and seconds stays."""
        fits = self.positions <= max_positions
        long = zip(self.lines[~fits].tolist(), self.positions[~fits].tolist(), strict=True)
        problems = [Problem(line, _too_long(size, max_positions)) for line, size in long]
        return replace(
            self,
            problems=tuple(sorted((*self.problems, *problems), key=lambda problem: problem.line)),
            lines=self.lines[fits],
            positions=self.positions[fits],
            tasks=tuple(np.array(self.tasks, object)[fits].tolist()),
        )

    def summary(self) -> dict[str, Any]:
        """Return all numbers and problems as plain values, for JSON."""
        totals = {name: getattr(self, name) for name in _TOTALS}
        return super().summary() | {"audio_hours": self.audio_hours, "positions": int(self.positions.sum())} | totals


def validate_file(
    path: str | Path,
    config: LMConfig,
    tokenizer: TextTokenizer,
    *,
    max_positions: int | None = None,
    loss: LossChoice = "all",
    decode: bool = True,
    progress: Progress | None = None,
) -> FileReport:
    """Check every line of a file as training would read it.

    Args:
        path: a JSONL file.
        config: of the model that is to learn.
        tokenizer: its text tokenizer.
        max_positions: longest sequence; by default the model's context.
        loss: what is learned of samples that leave it open.
        decode: decode every recording; False trusts the headers, which is fast but finds no broken samples.
        progress: told after every line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty.
    """
    file = ConversationFile(path)
    template = ChatTemplate.of(config, tokenizer, _unreachable)
    measure = _Measure(template, max_positions or config.max_positions, loss, decode)
    problems: list[Problem] = []
    lines, positions, tasks = array("q"), array("q"), []
    for index in range(len(file)):
        try:
            sample = file[index]
            size = measure(sample)
        except BadSampleError as error:
            problems += [Problem(index + 1, reason) for reason in error.reasons]
        else:
            lines.append(index + 1)
            positions.append(size)
            tasks.append(sample.task)
        if progress is not None:
            progress(index + 1, len(file))
    return FileReport(
        file.path,
        len(file),
        tuple(problems),
        np.array(lines, np.int64),
        np.array(positions, np.int64),
        tuple(tasks),
        **measure.totals,
    )


def _unreachable(_content: Any) -> AudioTokens:
    raise AssertionError("measuring encodes no audio")


@dataclass
class _Measure:
    """Builds each sample with zeros for codes and nothing for features, so that all but the encoders is checked."""

    template: ChatTemplate
    max_positions: int
    loss: LossChoice
    decode: bool
    totals: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(_TOTALS, 0))

    def __call__(self, conversation: Conversation) -> int:
        """Return the positions of a sample and add to the totals."""
        seconds = {"heard_s": 0.0, "spoken_s": 0.0}
        messages, reasons = [], []
        for number, message in enumerate(conversation.messages):
            try:
                message, duration_s = self._measured(message)
                seconds["spoken_s" if message.role == "assistant" else "heard_s"] += duration_s
                messages.append(message)
            except (ValueError, OSError) as error:
                reasons.append(f"message {number}: {error}")
        if reasons:
            raise BadSampleError(reasons)
        try:
            sequence = self.template.training(messages, conversation.output_type, loss=conversation.loss or self.loss)
        except ValueError as error:
            raise BadSampleError([str(error)]) from None
        counts = self._count(sequence)
        check_length(sequence, self.max_positions)
        if not counts["learned_text_tokens"] + counts["learned_audio_tokens"]:
            raise BadSampleError(["nothing of it is learned: every message of the assistant has loss false"])
        for name, value in {**seconds, **counts}.items():
            self.totals[name] += value
        return len(sequence)

    def _measured(self, message: Message) -> tuple[Message, float]:
        """Return the message with tokens of the right number in place of its audio, and the seconds of it."""
        if message.message_type == "text":
            return message, 0.0
        if message.audio is None:
            assert message.num_codes is not None
            return message, message.num_codes * SAMPLES_PER_TOKEN / INPUT_RATE_HZ
        length, rate_hz = self._length(message.audio)
        samples = resampled_samples(length, rate_hz, INPUT_RATE_HZ)
        duration_s, tokens = length / rate_hz, tokens_in_audio(samples)
        if not samples:
            raise ValueError("the audio is too short: no sample is left at 16 kHz")
        if tokens > self.max_positions:
            raise ValueError(
                f"the audio is too long: {duration_s:.1f} s are {tokens} tokens, and at most {self.max_positions} "
                "positions fit"
            )
        audio = AudioTokens(torch.zeros(tokens, dtype=torch.long), torch.zeros(tokens, 0))
        content = audio if message.message_type == "audio" else (audio, message.content[1])
        return replace(message, content=content), duration_s

    def _length(self, source: AudioSource) -> tuple[int, int]:
        if isinstance(source, Path) and not self.decode:
            return inspect_audio(source)
        return measure_audio(source)

    def _count(self, sequence: Sequence) -> dict[str, int]:
        assert sequence.text_loss is not None
        assert sequence.audio_loss is not None
        blank = self.template.tokenizer.special.blank
        counted = [sequence.text_ids != blank, sequence.audio_ids != blank, sequence.text_loss, sequence.audio_loss]
        names = ("text_tokens", "audio_tokens", "learned_text_tokens", "learned_audio_tokens")
        return dict(zip(names, torch.stack(counted).sum(1).tolist(), strict=True))


def check_length(sequence: Sequence, max_positions: int) -> None:
    """Refuse a sequence that is too long.

    Raises:
        BadSampleError: it is.
    """
    if len(sequence) > max_positions:
        raise BadSampleError([_too_long(len(sequence), max_positions)])


def _too_long(positions: int, max_positions: int) -> str:
    # Cutting it would cut what is to be learned, or what it depends on.
    return f"the sample is too long: {positions} positions, and at most {max_positions} fit"
