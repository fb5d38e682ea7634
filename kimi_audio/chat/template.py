"""The prompt template: from messages to the two rows of ids.

A run is a row of consecutive messages of one role. The template writes, per run, the role's start, the
messages, and the end of the message; a prompt ends with the start of the assistant. Heard audio stands
between media marks, with its acoustic features; if it ends a run, one more token asks for a reply in text, or
in text and speech.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from kimi_audio.chat.messages import LossChoice, Message, OutputType, parse_messages
from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import AudioTokens, Sequence, SequenceBuilder
from kimi_audio.core.tokens import SpecialIds


class _TextTokenizer(Protocol):
    special: SpecialIds

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class ChatTemplate:
    """Writes conversations as sequences.

    Args:
        tokenizer: encodes text and knows the special ids.
        encode: turns the content of an audio message into codes and acoustic features; not called for content
            that is ``AudioTokens`` already.
        audio_offset: id of audio code 0.
        delay_tokens: blanks before the speech of a reply.
        num_codes: audio codes from here on are refused; None lets all pass.
        encode_speech: the same as ``encode`` for what the assistant says, where codes are enough; by default
            ``encode``.
        blank_loss: in training, also learn the blanks of spoken replies: those before the speech and those behind
            the text. The official training learns none, and generation forces them, so the default is no; an experiment
            found no difference (docs/LOG.md).
    """

    tokenizer: _TextTokenizer
    encode: Callable[[Any], AudioTokens]
    audio_offset: int
    delay_tokens: int
    num_codes: int | None = None
    encode_speech: Callable[[Any], AudioTokens] | None = None
    blank_loss: bool = False

    @classmethod
    def of(
        cls,
        config: LMConfig,
        tokenizer: _TextTokenizer,
        encode: Callable[[Any], AudioTokens],
        encode_speech: Callable[[Any], AudioTokens] | None = None,
        *,
        blank_loss: bool = False,
    ) -> Self:
        """Take offset, delay and number of codes from the model's config."""
        return cls(
            tokenizer, encode, config.audio_offset, config.delay_tokens, config.num_codes, encode_speech, blank_loss
        )

    def prompt(self, messages: Iterable[Message | Mapping[str, Any]], output_type: OutputType = "text") -> Sequence:
        """Return what the model continues with the assistant's reply."""
        messages = parse_messages(messages)
        writer = self._write(messages, output_type, [False] * len(messages))
        return writer.rows.add([self.tokenizer.special.assistant_start]).build()

    def training(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        output_type: OutputType | None = None,
        *,
        loss: LossChoice = "all",
    ) -> Sequence:
        """Return a whole conversation with losses on what the assistant says.

        Losses cover the ids of the assistant's text and its end, and the codes of the assistant's speech and
        its end token. Speech of the assistant (``audio-text``) is laid out as it is generated. In earlier
        turns that is also the layout of the history in a prompt; only the last turn has the end of the text
        in it. (To learn the end of every turn, give the conversation once per turn, each time up to this turn.)

        Args:
            messages: the conversation; it should end with the assistant.
            output_type: what the task tokens ask for; by default ``both`` if the assistant speaks anywhere.
            loss: learn all turns of the assistant or only its last one; a message's own ``loss`` goes first.

        Raises:
            ValueError: speech that is to be learned has no transcript, or is not what ``output_type`` asks for.
        """
        messages = parse_messages(messages)
        learned = learned_messages(messages, loss)
        if output_type is None:
            speaks = any(m.role == "assistant" and m.message_type != "text" for m in messages)
            output_type = "both" if speaks else "text"
        for number, message in enumerate(messages):
            if learned[number] and message.message_type == "audio":
                # Generation never writes the layout of heard audio, so it must not be learned for speech.
                raise ValueError(
                    f"message {number}: the speech of the assistant lacks its transcript; give it as message_type "
                    "'audio-text' with [audio, transcript]"
                )
            if learned[number] and message.message_type == "audio-text" and output_type == "text":
                raise ValueError(f"message {number}: the assistant speaks, but the output_type asks for text")
        return self._write(messages, output_type, learned).rows.build()

    def _write(self, messages: list[Message], output_type: OutputType, learned: list[bool]) -> "_Writer":
        if output_type not in ("text", "both"):
            raise ValueError(f"unknown output_type {output_type!r}; use 'text' or 'both'")
        writer = _Writer(self, output_type)
        runs = groupby(zip(messages, learned, strict=True), key=lambda item: _template_role(item[0]))
        turns = [(role, list(run)) for role, run in runs]
        for number, (role, turn) in enumerate(turns, 1):
            writer.run(role, turn, is_last=number == len(turns))
        return writer


def _template_role(message: Message) -> str:
    return "user" if message.role == "system" else message.role


def learned_messages(messages: list[Message], loss: LossChoice) -> list[bool]:
    """Tell which messages are learned.

    Raises:
        ValueError: there is no such choice.
    """
    if loss not in ("all", "last"):
        raise ValueError(f"unknown loss {loss!r}; use 'all' or 'last'")
    first = 0
    if loss == "last":
        turns = groupby(range(len(messages)), key=lambda index: messages[index].role == "assistant")
        first = max((next(turn) for is_assistant, turn in turns if is_assistant), default=0)
    return [
        message.role == "assistant" and (index >= first if message.loss is None else message.loss)
        for index, message in enumerate(messages)
    ]


@dataclass
class _Writer:
    template: ChatTemplate
    output_type: OutputType
    rows: SequenceBuilder = field(init=False)

    def __post_init__(self) -> None:
        self.special = self.template.tokenizer.special
        self.rows = SequenceBuilder(self.special.blank)

    def run(self, role: str, messages: list[tuple[Message, bool]], is_last: bool) -> None:
        """Write all messages of one run of a role, each with whether it is learned."""
        assistant = role == "assistant"
        self.rows.add([self.special.assistant_start if assistant else self.special.user_start])
        for number, (message, learned) in enumerate(messages, 1):
            ends_run = number == len(messages)
            if message.message_type == "text":
                self._text(message.content, assistant, learned)
            elif message.message_type == "audio":
                self._audio(message, ends_run)
            else:
                self._speech(message, ends_text=learned and ends_run and is_last, learned=learned)
        # The end of the message is also the end token of generated speech.
        last, learned = messages[-1]
        ends_speech = learned and last.message_type == "audio-text"
        self.rows.add(
            [self.special.message_end],
            self._blanks(1 if ends_speech and is_last else 0),
            audio_loss=ends_speech,
            text_loss=ends_speech,
        )

    def _text(self, text: str, assistant: bool, learned: bool) -> None:
        ids = self.template.tokenizer.encode(text)
        end = [self.special.text_end] if assistant else []
        self.rows.add(text=ids + end, text_loss=learned)

    def _audio(self, message: Message, ends_run: bool) -> None:
        tokens = self._heard(message)
        self.rows.add([self.special.media_begin])
        transcript = None if message.transcript is None else self.template.tokenizer.encode(message.transcript)
        self.rows.add(self._ids(tokens.codes), features=tokens.features, transcript=transcript)
        self.rows.add([self.special.media_end])
        if ends_run:
            both = self.output_type == "both"
            self.rows.add([self.special.reply_both if both else self.special.reply_text])

    def _speech(self, message: Message, ends_text: bool, learned: bool) -> None:
        """Write the assistant's speech beside its text, delayed, without marks and without features."""
        text = self.template.tokenizer.encode(message.content[1])
        if ends_text:
            text.append(self.special.text_end)
        codes = self._ids(self._spoken(message))
        delay = self.template.delay_tokens
        # A text longer than the speech is waited for with blanks, which are learned: the end token must come
        # after it.
        codes += [self.special.blank] * (len(text) - delay - len(codes))
        if ends_text:  # else the first blank stands where the end of the text is generated
            text += self._blanks(delay + len(codes) - len(text))
        delay_loss = learned and self.template.blank_loss
        self.rows.add([self.special.blank] * delay, text[:delay], audio_loss=delay_loss, text_loss=learned)
        self.rows.add(codes, text[delay:], audio_loss=learned, text_loss=learned)

    def _blanks(self, count: int) -> list[int]:
        """Return blanks to be learned: none, if blanks are only to fill up."""
        return [self.special.blank] * count if self.template.blank_loss else []

    def _heard(self, message: Message) -> AudioTokens:
        codes = self._ready_codes(message)
        if codes is None:
            return self._encode(self.template.encode, message.audio)
        if message.audio is None:
            return AudioTokens(codes)
        return AudioTokens(codes, self._encode(self.template.encode, message.audio).features)

    def _spoken(self, message: Message) -> Tensor:
        codes = self._ready_codes(message)
        if codes is not None:
            return codes
        return self._encode(self.template.encode_speech or self.template.encode, message.audio).codes

    def _encode(self, encode: Callable[[Any], AudioTokens], content: Any) -> AudioTokens:
        return content if isinstance(content, AudioTokens) else encode(content)

    def _ready_codes(self, message: Message) -> Tensor | None:
        """Return the codes [N] that a message brings along."""
        if message.codes is not None:
            return torch.tensor(message.codes)
        if message.audio_tokens is None:
            return None
        offset = self.template.audio_offset
        if min(message.audio_tokens) < offset:
            raise ValueError(f"audio_tokens are ids, which begin at {offset} in this model; give codes from 0 as codes")
        return torch.tensor(message.audio_tokens) - offset

    def _ids(self, codes: Tensor) -> list[int]:
        limit = self.template.num_codes
        if limit is not None and len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < limit:
            raise ValueError(
                f"audio codes from {int(codes.min())} to {int(codes.max())} are out of range: this model has {limit}"
            )
        return (codes + self.template.audio_offset).tolist()
