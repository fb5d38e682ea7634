"""Messages of a conversation, validated."""

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

OutputType = Literal["text", "both"]
LossChoice = Literal["all", "last"]

ROLES = ("user", "assistant", "system")
MESSAGE_TYPES = ("text", "audio", "audio-text")
_FIELDS = ("role", "message_type", "content")
_OPTIONAL_FIELDS = ("loss", "codes", "audio_tokens", "transcript")


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    ``content`` is a string (``text``), an audio in any form that the encoder takes, such as a path
    (``audio``), or the pair of an audio and its transcript (``audio-text``: what the assistant said). A
    ``system`` message is text that the model reads as a text turn of the user, because it was trained without
    a system role.

    ``codes`` are the codes of the audio, from 0, where they are known already; ``audio_tokens`` of the official
    fine-tuning files are the same as ids. What the assistant says then needs no audio (None stands for it); what is
    heard needs one for its acoustic features. ``loss`` decides, for training, whether this message of the assistant
    is learned; None leaves it to ``ChatTemplate.training``. ``transcript`` is what is said in an audio of the user,
    where it is known: the model does not read it, but can learn to hear by it (``heard_weight`` of fine-tuning).

    Raises:
        ValueError: role, type and content do not fit together.
    """

    role: str
    message_type: str
    content: Any
    loss: bool | None = None
    codes: SequenceOf[int] | None = None
    audio_tokens: SequenceOf[int] | None = None
    transcript: str | None = None

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
        if self.message_type == "audio-text":
            if not isinstance(self.content, (list, tuple)) or len(self.content) != 2:
                raise ValueError("the content of an audio-text message must be [audio, transcript]")
            if not isinstance(self.content[1], str):
                raise ValueError("the transcript of an audio-text message must be a string")
        self._check_audio()
        if self.transcript is not None and (
            not isinstance(self.transcript, str) or self.message_type != "audio" or self.role != "user"
        ):
            raise ValueError("a transcript is a string, and belongs to an audio message of the user")
        if self.loss is not None and not isinstance(self.loss, bool):
            raise ValueError(f"loss must be true or false, not {self.loss!r}")
        if self.loss and self.role != "assistant":
            raise ValueError("only a message of the assistant can be learned; drop its loss")

    def _check_audio(self) -> None:
        for name in ("codes", "audio_tokens"):
            values = getattr(self, name)
            if values is None:
                continue
            if self.message_type == "text":
                raise ValueError(f"a text message has no {name}")
            if not isinstance(values, SequenceOf) or not all(map(_is_whole, values)):
                raise ValueError(f"{name} must be a list of whole numbers from 0")
            if not values:
                raise ValueError(f"{name} are empty")
        if self.codes is not None and self.audio_tokens is not None:
            raise ValueError("a message has codes (from 0) or audio_tokens (the same as ids), not both")
        if self.message_type == "text" or (self.audio is None and self.num_codes is not None):
            return
        if self.audio is None or isinstance(self.audio, (bool, int, float)):
            raise ValueError(f"{self.audio!r} is not an audio; give a path, an array with its sample rate, or bytes")

    @property
    def audio(self) -> Any:
        """The audio of an ``audio`` or ``audio-text`` message.

        Raises:
            ValueError: it is a text message.
        """
        if self.message_type == "text":
            raise ValueError("a text message has no audio; look at its message_type first")
        return self.content[0] if self.message_type == "audio-text" else self.content

    def with_audio(self, audio: Any) -> Self:
        """Return the message with another form of its audio, such as its tokens."""
        return replace(self, content=(audio, self.content[1]) if self.message_type == "audio-text" else audio)

    @property
    def num_codes(self) -> int | None:
        """How many codes the message brings along, as codes or as ids; None if its audio has to be encoded."""
        ready = self.codes if self.codes is not None else self.audio_tokens
        return None if ready is None else len(ready)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from the official dictionary: ``role``, ``message_type``, ``content``, and optionally the other fields.

        Raises:
            ValueError: fields are missing or unknown, or their values do not fit together.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"a message must be a dictionary, not {type(values).__name__}")
        missing = [name for name in _FIELDS if name not in values]
        unknown = [str(name) for name in values if name not in (*_FIELDS, *_OPTIONAL_FIELDS)]
        if missing or unknown:
            problem = f"lacks {', '.join(missing)}" if missing else f"has unknown fields {', '.join(unknown)}"
            raise ValueError(f"a message {problem}; its fields are {', '.join(_FIELDS)}")
        return cls(**values)


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


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
