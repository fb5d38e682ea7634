"""Messages of a conversation and the prompt template: from messages to the two rows of ids.

A run is a row of consecutive messages of one role. The template writes, per run, the role's start, the
messages, and the end of the message; a prompt ends with the start of the assistant. Heard audio stands
between media marks, with its acoustic features; if it ends a run, one more token asks for a reply in text, or
in text and speech.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, Protocol, Self

from torch import Tensor

from kimi_audio.config import LMConfig
from kimi_audio.sequence import AudioTokens, Sequence, SequenceBuilder
from kimi_audio.tokens import SpecialIds

OutputType = Literal["text", "both"]

ROLES = ("user", "assistant", "system")
MESSAGE_TYPES = ("text", "audio", "audio-text")
_FIELDS = ("role", "message_type", "content")
_IGNORED_FIELDS = ("audio_tokens",)  # official fine-tuning files cache codes here; they are computed anew


class _TextTokenizer(Protocol):
    special: SpecialIds

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    ``content`` is a string (``text``), an audio in any form that the encoder takes, such as a path
    (``audio``), or the pair of an audio and its transcript (``audio-text``: what the assistant said). A
    ``system`` message is text that the model reads as a text turn of the user, because it was trained without
    a system role.

    Raises:
        ValueError: role, type and content do not fit together.
    """

    role: str
    message_type: str
    content: Any

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"unknown role {self.role!r}; use one of {', '.join(ROLES)}")
        if self.message_type not in MESSAGE_TYPES:
            raise ValueError(f"unknown message_type {self.message_type!r}; use one of {', '.join(MESSAGE_TYPES)}")
        if self.role == "system" and self.message_type != "text":
            raise ValueError("a system message must have message_type 'text'")
        if self.message_type == "audio-text" and self.role != "assistant":
            raise ValueError("only an assistant message may have message_type 'audio-text'")
        if self.message_type == "text" and not isinstance(self.content, str):
            raise ValueError(f"the content of a text message must be a string, not {type(self.content).__name__}")
        if self.message_type == "audio":
            _check_audio(self.content)
        if self.message_type == "audio-text":
            if not isinstance(self.content, (list, tuple)) or len(self.content) != 2:
                raise ValueError("the content of an audio-text message must be [audio, transcript]")
            _check_audio(self.content[0])
            if not isinstance(self.content[1], str):
                raise ValueError("the transcript of an audio-text message must be a string")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the official dictionary with ``role``, ``message_type`` and ``content``.

        Raises:
            ValueError: fields are missing or unknown, or their values do not fit together.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"a message must be a dictionary, not {type(values).__name__}")
        missing = [name for name in _FIELDS if name not in values]
        unknown = [str(name) for name in values if name not in (*_FIELDS, *_IGNORED_FIELDS)]
        if missing or unknown:
            problem = f"lacks {', '.join(missing)}" if missing else f"has unknown fields {', '.join(unknown)}"
            raise ValueError(f"a message {problem}; its fields are {', '.join(_FIELDS)}")
        return cls(values["role"], values["message_type"], values["content"])


def _check_audio(content: Any) -> None:
    if content is None or isinstance(content, (bool, int, float)):
        raise ValueError(f"{content!r} is not an audio; give a path, an array with its sample rate, or bytes")


def parse_messages(messages: Iterable[Message | Mapping[str, Any]]) -> list[Message]:
    """Validate a conversation.

    Raises:
        ValueError: with the number of the message at fault.
    """
    if isinstance(messages, (str, bytes, Mapping)):
        raise ValueError("messages must be a list of messages")
    parsed = []
    for number, message in enumerate(messages):
        try:
            parsed.append(message if isinstance(message, Message) else Message.from_dict(message))
        except ValueError as error:
            raise ValueError(f"message {number}: {error}") from None
    return parsed


@dataclass(frozen=True)
class ChatTemplate:
    """Writes conversations as sequences.

    Args:
        tokenizer: encodes text and knows the special ids.
        encode: turns the content of an audio message into codes and acoustic features; not called for content
            that is ``AudioTokens`` already.
        audio_offset: id of audio code 0.
        delay_tokens: blanks before the speech of a reply.
    """

    tokenizer: _TextTokenizer
    encode: Callable[[Any], AudioTokens]
    audio_offset: int
    delay_tokens: int

    @classmethod
    def of(cls, config: LMConfig, tokenizer: _TextTokenizer, encode: Callable[[Any], AudioTokens]) -> Self:
        """Take offset and delay from the model's config."""
        return cls(tokenizer, encode, config.audio_offset, config.delay_tokens)

    def prompt(self, messages: Iterable[Message | Mapping[str, Any]], output_type: OutputType = "text") -> Sequence:
        """Return what the model continues with the assistant's reply."""
        writer = self._write(messages, output_type)
        return writer.rows.add([self.tokenizer.special.assistant_start]).build()

    def training(
        self, messages: Iterable[Message | Mapping[str, Any]], output_type: OutputType | None = None
    ) -> Sequence:
        """Return a whole conversation with losses on what the assistant says.

        Losses cover the ids of the assistant's text and its end, and the codes of the assistant's speech and
        its end token. Speech of the assistant (``audio-text``) is laid out as it is generated. In earlier
        turns that is also the layout of the history in a prompt; only the last turn has the end of the text
        in it.

        Args:
            messages: the conversation; it should end with the assistant.
            output_type: what the task tokens ask for; by default ``both`` if the assistant speaks anywhere.
        """
        messages = parse_messages(messages)
        if output_type is None:
            speaks = any(m.role == "assistant" and m.message_type != "text" for m in messages)
            output_type = "both" if speaks else "text"
        return self._write(messages, output_type, with_loss=True).rows.build()

    def _write(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        output_type: OutputType,
        with_loss: bool = False,
    ) -> "_Writer":
        if output_type not in ("text", "both"):
            raise ValueError(f"unknown output_type {output_type!r}; use 'text' or 'both'")
        messages = parse_messages(messages)
        writer = _Writer(self, output_type, with_loss)
        runs = [(role, list(run)) for role, run in groupby(messages, key=_template_role)]
        for number, (role, run) in enumerate(runs, 1):
            writer.run(role, run, is_last=number == len(runs))
        return writer


def _template_role(message: Message) -> str:
    return "user" if message.role == "system" else message.role


@dataclass
class _Writer:
    template: ChatTemplate
    output_type: OutputType
    with_loss: bool
    rows: SequenceBuilder = field(init=False)

    def __post_init__(self) -> None:
        self.special = self.template.tokenizer.special
        self.rows = SequenceBuilder(self.special.blank)

    def run(self, role: str, messages: list[Message], is_last: bool) -> None:
        """Write all messages of one run of a role."""
        assistant = role == "assistant"
        self.rows.add([self.special.assistant_start if assistant else self.special.user_start])
        for number, message in enumerate(messages, 1):
            ends_run = number == len(messages)
            if message.message_type == "text":
                self._text(message.content, assistant)
            elif message.message_type == "audio":
                self._audio(message.content, assistant, ends_run)
            else:
                self._speech(message.content, ends_text=ends_run and is_last)
        # The end of the message is also the end token of generated speech.
        speech_ends = messages[-1].message_type == "audio-text"
        self.rows.add([self.special.message_end], audio_loss=self.with_loss and speech_ends)

    def _text(self, text: str, assistant: bool) -> None:
        ids = self.template.tokenizer.encode(text)
        end = [self.special.text_end] if assistant else []
        self.rows.add(text=ids + end, text_loss=self.with_loss and assistant)

    def _audio(self, content: Any, assistant: bool, ends_run: bool) -> None:
        tokens = self._encode(content)
        learned = self.with_loss and assistant
        self.rows.add([self.special.media_begin])
        # Features see the future of their audio, so codes that are to be predicted come without them.
        self.rows.add(self._ids(tokens.codes), features=None if learned else tokens.features, audio_loss=learned)
        self.rows.add([self.special.media_end], audio_loss=learned)
        if ends_run:
            both = self.output_type == "both"
            self.rows.add([self.special.reply_both if both else self.special.reply_text])

    def _speech(self, content: Any, ends_text: bool) -> None:
        """Write the assistant's speech beside its text, delayed, without marks and without features."""
        audio, transcript = content
        text = self.template.tokenizer.encode(transcript)
        if ends_text and self.with_loss:
            text.append(self.special.text_end)
        codes = self._ids(self._encode(audio).codes)
        delay = self.template.delay_tokens
        # A text longer than the speech is waited for with blanks, which are learned: the end token must come
        # after it.
        codes += [self.special.blank] * (len(text) - delay - len(codes))
        learned = self.with_loss
        self.rows.add([self.special.blank] * delay, text[:delay], text_loss=learned)
        self.rows.add(codes, text[delay:], audio_loss=learned, text_loss=learned)

    def _encode(self, content: Any) -> AudioTokens:
        return content if isinstance(content, AudioTokens) else self.template.encode(content)

    def _ids(self, codes: Tensor) -> list[int]:
        return (codes + self.template.audio_offset).tolist()
