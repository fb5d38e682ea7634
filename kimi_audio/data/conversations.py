"""Conversations to learn from: JSONL files in the official schema and its extensions, checked and read lazily.

Every line is one sample::

    {"task_type": "understanding", "conversation": [
        {"role": "user", "message_type": "text", "content": "Please transcribe this audio."},
        {"role": "user", "message_type": "audio", "content": "audio/1.flac"},
        {"role": "assistant", "message_type": "text", "content": "Good morning."}]}

Messages are those of ``kimi_audio.chat``: any number of turns, several recordings or none, ``audio-text`` for what the
assistant says (``[audio, transcript]``). Paths are relative to the folder of the file. Beyond the official schema

- a message may have ``codes`` (ready ones, from 0; officially ``audio_tokens``, the same as ids), ``loss`` (true or
  false: learn this message), ``transcript`` (what is said in an audio of the user, see ``losses.heard_loss``), and
  ``sample_rate``, with which ``content`` may be an array of samples in [-1, 1]; for a path, the file has to have it;
- a sample may have ``output_type`` ("text" or "both"), ``loss`` ("all" or "last"; goes before the choice for the whole
  file), ``id``, and ``metadata``, which are not read.

A sample that cannot be learned is never cut or repaired; it is reported with its line and left out.
"""

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from kimi_audio.audio.io import Samples, inspect_audio
from kimi_audio.chat import LossChoice, Message, OutputType
from kimi_audio.core.lines import BadSampleError, JsonLines, parse_object
from kimi_audio.data.foreign import refuse_foreign
from kimi_audio.data.places import find_recording

_TEXT_TASK = "understanding"  # the official task_type that asks for text
_FIELDS = ("conversation", "task_type", "output_type", "loss", "id", "metadata")


@dataclass(frozen=True)
class Conversation:
    """One sample; ``loss`` and ``output_type`` are None where it leaves them open."""

    messages: tuple[Message, ...]
    output_type: OutputType | None = None
    loss: LossChoice | None = None
    task: str = "other"  # its task_type

    @classmethod
    def parse(cls, line: str, folder: Path) -> Self:
        """Read a line of JSON; paths are relative to ``folder``.

        Raises:
            BadSampleError: with everything that is wrong and can be known without decoding audio.
        """
        return cls.from_dict(parse_object(line), folder)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: Path) -> Self:
        """Build from the dictionary of one line; errors as for ``parse``."""
        if not isinstance(values.get("conversation"), list):
            raise BadSampleError(["a sample lacks the field conversation, a list of messages"])
        reasons = [f"a sample has the unknown field {name}" for name in values if name not in _FIELDS]
        for name, allowed in (("output_type", (None, "text", "both")), ("loss", (None, "all", "last"))):
            if values.get(name) not in allowed:
                reasons.append(f"unknown {name} {values[name]!r}; use {allowed[1]!r} or {allowed[2]!r}")
        messages = []
        for number, message in enumerate(values["conversation"]):
            try:
                messages.append(_message(message, folder))
                _check_target(messages[-1])
            except (ValueError, OSError) as error:
                reasons.append(f"message {number}: {error}")
        if not reasons and not any(message.role == "assistant" for message in messages):
            reasons.append("there is no assistant turn to learn")
        if reasons:
            raise BadSampleError(reasons)
        # Officially any other task asks for speech; here it asks for speech where the assistant speaks.
        output_type = values.get("output_type") or ("text" if values.get("task_type") == _TEXT_TASK else None)
        return cls(tuple(messages), output_type, values.get("loss"), str(values.get("task_type") or "other"))


def _message(values: Any, folder: Path) -> Message:
    if not isinstance(values, Mapping):
        return Message.from_dict(values)
    values = dict(values)
    rate_hz, content = values.pop("sample_rate", None), values.get("content")
    if values.get("message_type") == "audio":
        values["content"] = _audio(content, rate_hz, folder)
    elif values.get("message_type") == "audio-text" and isinstance(content, list) and len(content) == 2:
        values["content"] = (_audio(content[0], rate_hz, folder), content[1])
    elif rate_hz is not None:
        raise ValueError("a text message has no sample_rate")
    return Message.from_dict(values)


def _audio(content: Any, rate_hz: Any, folder: Path) -> Path | Samples | None:
    if rate_hz is not None and (type(rate_hz) is not int or rate_hz <= 0):
        raise ValueError(f"sample_rate must be a positive whole number of Hz, not {rate_hz!r}")
    if isinstance(content, str):
        path = find_recording(content, folder)
        if rate_hz is not None and inspect_audio(path)[1] != rate_hz:
            raise ValueError(f"{path} has {inspect_audio(path)[1]} Hz, but its sample_rate is given as {rate_hz}")
        return path
    if isinstance(content, list):
        if rate_hz is None:
            raise ValueError("an array of samples needs its sample_rate")
        return Samples(_samples(content), rate_hz)
    if content is not None:
        raise ValueError(f"an audio must be a path or an array of samples, not {type(content).__name__}")
    return None


def _samples(values: list[Any]) -> np.ndarray:
    try:
        samples = np.asarray(values)
    except ValueError:
        samples = np.asarray("")
    if samples.dtype.kind not in "if":
        raise ValueError("an array of samples must hold numbers, in rows of one length")
    if samples.dtype.kind == "i" and samples.size and np.abs(samples).max() > 1:
        raise ValueError("an array of samples must hold numbers in [-1, 1]; divide 16-bit samples by 32768")
    return samples.astype(np.float32)


def _check_target(message: Message) -> None:
    """Refuse what would teach nothing, or what cannot be heard as it is heard later."""
    if message.role != "assistant":
        if message.message_type == "audio" and message.audio is None:
            raise ValueError("what is heard needs its recording beside its codes: acoustic features are made of it")
        return
    if message.loss is False:
        return
    if message.message_type == "text" and not message.content.strip():
        raise ValueError("the target is empty")
    if message.message_type == "audio-text" and not message.content[1].strip():
        raise ValueError("the transcript of the assistant's speech is missing")


class ConversationFile(JsonLines, SequenceOf[Conversation]):
    """The samples of a JSONL file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no line, or is in the format of another trainer.
    """

    def __init__(self, path: str | Path):
        super().__init__(path)
        refuse_foreign(self)

    def __getitem__(self, index: int) -> Conversation:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read one sample.

        Raises:
            BadSampleError: it is not one that can be learned.
            ValueError: the file has changed since it was opened.
        """
        return Conversation.parse(self.line(index), self.path.parent)
