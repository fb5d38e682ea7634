"""The rules of one reply: which ids are forced, which count, and when it ends. They know no tensors.

At every step the text row gets its next id and the audio row gets its own, a few steps behind the text.
"""

from copy import copy
from dataclasses import dataclass, field, replace
from typing import Literal

from kimi_audio.core.config import MAX_BEAMS, LMConfig
from kimi_audio.core.numbers import whole_number
from kimi_audio.core.tokens import SpecialIds
from kimi_audio.lm.hotwords import Hotwords
from kimi_audio.lm.lexicon import Lexicon
from kimi_audio.lm.sampling import BROKEN, SamplingOptions

FinishReason = Literal["stop", "length", "loop", "cancelled"]

DEFAULT_NEW_TOKENS = {"text": 4096, "both": 1500}  # 1500 steps are 120 s of speech


@dataclass(frozen=True)
class LoopGuard:
    """Ends a reply that repeats itself: a row's latest ids have a period of at most ``max_period``.

    Silence and held sounds repeat codes, so speech is given more time (20 s) than text.
    """

    text_tokens: int = 96
    audio_tokens: int = 250
    max_period: int = 24


@dataclass(frozen=True)
class GenerationOptions:
    """How a reply is made.

    ``max_new_tokens`` limits the steps of the reply alone; the context limits them further. In text mode the
    audio branch is not computed and draws nothing.
    """

    output_type: Literal["text", "both"] = "text"
    text: SamplingOptions = field(default_factory=lambda: SamplingOptions(repetition_window=16))
    audio: SamplingOptions = field(default_factory=lambda: SamplingOptions(repetition_window=64))
    max_new_tokens: int | None = None  # None: 4096 for text, 1500 (120 s) with speech
    loop_guard: LoopGuard | None = LoopGuard()
    hotwords: Hotwords | None = None  # favoured in the text
    is_kept: bool = True  # what was computed for it is kept, for a prompt that begins alike: the next turn
    # So many beginnings of the text are gone on with side by side, and the likeliest whole text is taken. It is told at
    # its end, or, in a spoken reply, while it is spoken.
    beams: int = 1
    lexicon: Lexicon | None = None  # which words there are, where texts are looked at side by side

    def __post_init__(self) -> None:
        if self.output_type not in DEFAULT_NEW_TOKENS:
            raise ValueError(f"unknown output_type {self.output_type!r}; use 'text' or 'both'")
        whole_number("beams", self.beams, 1, MAX_BEAMS)
        if self.max_new_tokens is not None:
            whole_number("max_new_tokens", self.max_new_tokens, 1)
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) and (value is not None or name in ("text", "audio")):
                raise ValueError(f"{name} must be {kind.__name__}, not {type(value).__name__}")
        if self.lexicon is not None and self.beams == 1:
            raise ValueError("a lexicon chooses among beams; ask for at least two")
        if self.beams > 1 and not self.text.is_likeliest:
            raise ValueError(
                "beams look for the likeliest text; they go with a temperature of 0 and without a repetition penalty"
            )

    def with_text(self, text: SamplingOptions) -> "GenerationOptions":
        """Return options whose text is drawn like this; where it is not the likeliest, beams do not look for it."""
        return replace(self, text=text) if text.is_likeliest else replace(self.without_beams(), text=text)

    def without_beams(self) -> "GenerationOptions":
        """Return options that take one id of the text after the other."""
        return replace(self, beams=1, lexicon=None)


_KINDS = {
    "text": SamplingOptions,
    "audio": SamplingOptions,
    "loop_guard": LoopGuard,
    "hotwords": Hotwords,
    "lexicon": Lexicon,
}


@dataclass(frozen=True)
class Event:
    """What one step added to one reply."""

    row: int  # number of the request
    text_id: int | None = None  # None: nothing to read in this step
    code: int | None = None  # None: nothing to hear in this step
    finish_reason: FinishReason | None = None  # set in the last event of the row
    error: Exception | None = None  # why the row failed; then this is its last event

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.finish_reason is not None or self.error is not None


@dataclass(frozen=True)
class Reply:
    """A finished reply."""

    text_ids: list[int]
    codes: list[int]
    finish_reason: FinishReason
    sampled_text_ids: list[int]  # before illegal ids were dropped
    sampled_audio_ids: list[int]


class _RepetitionCounter:
    """Counts, for every period, how long a row has repeated itself with it."""

    def __init__(self, length: int, max_period: int) -> None:
        self.length = length
        self.repeated = [0] * (max_period + 1)

    def fork(self) -> "_RepetitionCounter":
        """Return a counter that goes on from here by itself."""
        other = copy(self)
        other.repeated = [*self.repeated]
        return other

    def loops(self, history: list[int]) -> bool:
        """Take note of the newest id; return whether ``length`` ids have been periodic."""
        found = False
        for period in range(1, min(len(self.repeated), len(history))):
            again = history[-1] == history[-1 - period]
            self.repeated[period] = self.repeated[period] + 1 if again else 0
            found = found or self.repeated[period] + period >= self.length
        return found


@dataclass
class ReplyState:
    """One reply while it is made.

    Where beams look for the text, this is one of them, in text alone; ``spoken`` is the reply that says what was found.
    """

    config: LMConfig
    special: SpecialIds
    options: GenerationOptions
    budget_tokens: int
    row: int = 0
    found_text: tuple[int, ...] = ()  # of all steps in which the text has not ended, where it is known before
    text_history: list[int] = field(default_factory=list)  # ids fed to the model, forced ones included
    audio_history: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    _num_text: int = 0
    _num_audio: int = 0
    _text_ended: bool = False

    def __post_init__(self) -> None:
        guard = self.options.loop_guard
        self._text_loop = _RepetitionCounter(guard.text_tokens, guard.max_period) if guard else None
        self._audio_loop = _RepetitionCounter(guard.audio_tokens, guard.max_period) if guard else None

    @property
    def needs_text(self) -> bool:
        """Whether a text id has to be drawn: until the text has ended, if it was not found before."""
        return not (self._text_ended or self.found_text)

    @property
    def is_spoken(self) -> bool:
        """Whether the audio branch takes part: in a spoken reply, once its text was found."""
        return self.options.output_type == "both" and self.options.beams == 1

    @property
    def needs_audio(self) -> bool:
        """Whether an audio id has to be drawn: in a spoken reply, once the delay is over."""
        return self.is_spoken and len(self.audio_history) >= self.config.delay_tokens

    def advance(self, text_id: int | None, audio_id: int | None) -> Event:
        """Take the drawn ids of one step, None where none is needed.

        The ids to feed next are then the last ones of the histories.

        Raises:
            ValueError: the scores that they were drawn from are not finite.
        """
        if BROKEN in (text_id, audio_id):
            raise ValueError(
                "the model's scores are not finite: its weights, an adapter or the features of the audio are broken, "
                "or their numbers too large for its dtype"
            )
        text_looped = self._take_text(text_id)
        audio_ended, audio_looped = self._take_audio(audio_id)
        if audio_ended if self.is_spoken else self._text_ended:
            self.finish_reason = "stop"
        elif text_looped or audio_looped:
            self.finish_reason = "loop"
        elif len(self.text_history) >= self.budget_tokens:
            self.finish_reason = "length"
        text_id, audio_id = self.text_history[-1], self.audio_history[-1]
        return Event(
            self.row,
            text_id if self._is_text(text_id) else None,
            audio_id - self.config.audio_offset if self._is_code(audio_id) else None,
            self.finish_reason,
        )

    def fork(self) -> "ReplyState":
        """Return a state that goes on from here by itself."""
        other = copy(self)
        other.text_history, other.audio_history = [*self.text_history], [*self.audio_history]
        other._text_loop, other._audio_loop = (loop and loop.fork() for loop in (self._text_loop, self._audio_loop))
        return other

    def spoken(self) -> "ReplyState":
        """Return the beginning of the reply that says the text of this one, which is whole."""
        options = self.options.without_beams()
        return ReplyState(self.config, self.special, options, self.budget_tokens, self.row, (*self.text_history,))

    def cancel(self) -> Event:
        """End the reply here."""
        self.finish_reason = "cancelled"
        return Event(self.row, finish_reason=self.finish_reason)

    def reply(self) -> Reply:
        """Return the finished reply."""
        assert self.finish_reason is not None
        delay = self.config.delay_tokens
        text = self.text_history[: self._num_text]
        audio = self.audio_history[delay : delay + self._num_audio]
        codes = [id_ - self.config.audio_offset for id_ in audio if self._is_code(id_)]
        return Reply([id_ for id_ in text if self._is_text(id_)], codes, self.finish_reason, text, audio)

    def _take_text(self, text_id: int | None) -> bool:
        if self._text_ended:
            self.text_history.append(self.special.blank)
            return False
        if self.found_text:
            text_id = self.found_text[len(self.text_history)]
        assert text_id is not None
        self.text_history.append(text_id)
        if text_id == self.special.text_end:
            self._text_ended = True
            return False
        self._num_text += 1
        return self._text_loop is not None and self._text_loop.loops(self.text_history)

    def _take_audio(self, audio_id: int | None) -> tuple[bool, bool]:
        if not self.needs_audio:
            self.audio_history.append(self.special.blank)
            return False, False
        assert audio_id is not None
        self.audio_history.append(audio_id)
        self._num_audio += 1
        ended = audio_id in (self.special.message_end, self.special.media_end)
        return ended, self._audio_loop is not None and self._audio_loop.loops(self.audio_history)

    def _is_text(self, id_: int) -> bool:
        return id_ < self.config.audio_offset and id_ not in (self.special.blank, self.special.text_end)

    def _is_code(self, id_: int) -> bool:
        return id_ >= self.config.audio_offset
