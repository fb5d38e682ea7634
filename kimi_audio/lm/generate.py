"""The step engine: from prompts to replies, with any callable of the LLM's signature.

At every step the text row gets its next id and the audio row gets its own, a few steps behind the text.
Prompts of unequal length run side by side; each gives the ids that it gives alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from kimi_audio.config import LMConfig
from kimi_audio.core.numbers import whole_number
from kimi_audio.lm.model import LMOutput
from kimi_audio.lm.sampling import BROKEN, Sampler, SamplingOptions
from kimi_audio.nn.attention import KVCache
from kimi_audio.sequence import Sequence, collate
from kimi_audio.tokens import SpecialIds

FinishReason = Literal["stop", "length", "loop", "cancelled"]

DEFAULT_NEW_TOKENS = {"text": 4096, "both": 1500}  # 1500 steps are 120 s of speech


class LanguageModel(Protocol):
    """What the engine needs of a model; see ``AudioLM`` for the meaning of the arguments."""

    config: LMConfig

    def __call__(
        self,
        audio_ids: Tensor,
        text_ids: Tensor,
        *,
        is_continuous: Tensor | None = None,
        features: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        num_slots: int | None = None,
        text_only: bool = False,
        logits_at: Tensor | None = None,
    ) -> LMOutput:
        """Score the next ids."""
        ...

    def new_cache(self, batch_size: int, num_slots: int, text_only: bool = False) -> KVCache:
        """Reserve a cache."""
        ...


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

    def __post_init__(self) -> None:
        if self.output_type not in DEFAULT_NEW_TOKENS:
            raise ValueError(f"unknown output_type {self.output_type!r}; use 'text' or 'both'")
        if self.max_new_tokens is not None:
            whole_number("max_new_tokens", self.max_new_tokens, 1)


@dataclass(frozen=True)
class Event:
    """What one step added to one reply."""

    row: int
    text_id: int | None  # None: nothing to read in this step
    code: int | None  # None: nothing to hear in this step
    finish_reason: FinishReason | None  # set in the last event of the row


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
    """The rules of one reply: which ids are forced, which count, and when it ends. It knows no tensors."""

    config: LMConfig
    special: SpecialIds
    options: GenerationOptions
    budget_tokens: int
    row: int = 0
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

    def advance(self, text_id: int, audio_id: int) -> Event:
        """Take the drawn ids of one step; the ids to feed next are then the last ones of the histories.

        Raises:
            ValueError: the scores that they were drawn from are not finite.
        """
        if BROKEN in (text_id, audio_id):
            raise ValueError(
                "the model's scores are not finite: its weights, an adapter or the features of the audio are broken, "
                "or their numbers too large for its dtype"
            )
        text_id, looped = self._take_text(text_id)
        audio_id, audio_ended, audio_looped = self._take_audio(audio_id)
        if audio_ended if self.options.output_type == "both" else self._text_ended:
            self.finish_reason = "stop"
        elif looped or audio_looped:
            self.finish_reason = "loop"
        elif len(self.text_history) >= self.budget_tokens:
            self.finish_reason = "length"
        return Event(
            self.row,
            text_id if self._is_text(text_id) else None,
            audio_id - self.config.audio_offset if self._is_code(audio_id) else None,
            self.finish_reason,
        )

    def cancel(self) -> Event:
        """End the reply here."""
        self.finish_reason = "cancelled"
        return Event(self.row, None, None, self.finish_reason)

    def reply(self) -> Reply:
        """Return the finished reply."""
        assert self.finish_reason is not None
        delay = self.config.delay_tokens
        text = self.text_history[: self._num_text]
        audio = self.audio_history[delay : delay + self._num_audio]
        codes = [id_ - self.config.audio_offset for id_ in audio if self._is_code(id_)]
        return Reply([id_ for id_ in text if self._is_text(id_)], codes, self.finish_reason, text, audio)

    def _take_text(self, text_id: int) -> tuple[int, bool]:
        if self._text_ended:
            self.text_history.append(self.special.blank)
            return self.special.blank, False
        self.text_history.append(text_id)
        if text_id == self.special.text_end:
            self._text_ended = True
            return text_id, False
        self._num_text += 1
        return text_id, self._text_loop is not None and self._text_loop.loops(self.text_history)

    def _take_audio(self, audio_id: int) -> tuple[int, bool, bool]:
        if self.options.output_type == "text" or len(self.audio_history) < self.config.delay_tokens:
            self.audio_history.append(self.special.blank)
            return self.special.blank, False, False
        self.audio_history.append(audio_id)
        self._num_audio += 1
        ended = audio_id in (self.special.message_end, self.special.media_end)
        return audio_id, ended, self._audio_loop is not None and self._audio_loop.loops(self.audio_history)

    def _is_text(self, id_: int) -> bool:
        return id_ < self.config.audio_offset and id_ not in (self.special.blank, self.special.text_end)

    def _is_code(self, id_: int) -> bool:
        return id_ >= self.config.audio_offset


def generate(
    model: LanguageModel,
    prompts: list[Sequence],
    special: SpecialIds,
    options: GenerationOptions | None = None,
    *,
    generators: list[torch.Generator] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Reply]:
    """Return the reply to every prompt; arguments as for ``stream``."""
    states = _new_states(model.config, prompts, special, options or GenerationOptions())
    for _ in _steps(model, prompts, states, generators, cancelled):
        pass
    return [state.reply() for state in states]


def stream(
    model: LanguageModel,
    prompts: list[Sequence],
    special: SpecialIds,
    options: GenerationOptions | None = None,
    *,
    generators: list[torch.Generator] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Yield one event per step and unfinished reply, as soon as it is known.

    Args:
        model: the LLM; prompts are moved to its device.
        prompts: what to continue, of any lengths.
        special: ids of the special tokens.
        options: of all replies.
        generators: one per prompt, on the model's device, for sampling at a temperature.
        cancelled: asked before every step; True ends all replies.

    Raises:
        ValueError: a prompt leaves no room for a reply in the model's context.
    """
    states = _new_states(model.config, prompts, special, options or GenerationOptions())
    yield from _steps(model, prompts, states, generators, cancelled)


def _new_states(
    config: LMConfig,
    prompts: list[Sequence],
    special: SpecialIds,
    options: GenerationOptions,
) -> list[ReplyState]:
    limit = options.max_new_tokens or DEFAULT_NEW_TOKENS[options.output_type]
    states = []
    for row, prompt in enumerate(prompts):
        room = config.max_positions - len(prompt)
        if room < 1:
            raise ValueError(
                f"prompt {row} has {len(prompt)} tokens, which leaves no room for a reply in the context of "
                f"{config.max_positions}; shorten the conversation or the audio"
            )
        states.append(ReplyState(config, special, options, min(limit, room), row))
    return states


@torch.inference_mode()
def _steps(
    model: LanguageModel,
    prompts: list[Sequence],
    states: list[ReplyState],
    generators: list[torch.Generator] | None,
    cancelled: Callable[[], bool] | None,
) -> Iterator[Event]:
    if not states:
        return
    options = states[0].options
    text_only = options.output_type == "text"
    sample_text, sample_audio = Sampler(options.text), Sampler(options.audio)
    slots = max(len(prompt) + state.budget_tokens for prompt, state in zip(prompts, states, strict=True))
    cache = model.new_cache(len(states), slots, text_only)
    batch = collate(prompts, model.config.pad_id).to(cache.keys.device, cache.keys.dtype)
    output = model(
        batch.audio_ids,
        batch.text_ids,
        is_continuous=batch.is_continuous,
        features=batch.features,
        positions=batch.positions,
        cache=cache,
        num_slots=batch.positions.shape[1],
        text_only=text_only,
        logits_at=batch.lengths - 1,
    )
    lengths = [len(prompt) for prompt in prompts]
    while True:
        if cancelled is not None and cancelled():
            yield from [state.cancel() for state in states if state.finish_reason is None]
            return
        text = sample_text(output.text_logits[:, -1], [state.text_history for state in states], generators)
        audio = text
        if output.audio_logits is not None:
            histories = [state.audio_history for state in states]
            audio = sample_audio(output.audio_logits[:, -1], histories, generators)
        # The only wait for the device in a step.
        drawn = torch.stack((text, audio), dim=-1).tolist()
        for state, (text_id, audio_id) in zip(states, drawn, strict=True):
            if state.finish_reason is None:
                yield state.advance(text_id, audio_id)
        if all(state.finish_reason for state in states):
            return
        # A finished row stays where it is and repeats its last step, unseen by the others.
        fed = [
            (state.audio_history[-1], state.text_history[-1], length + len(state.text_history) - 1)
            for state, length in zip(states, lengths, strict=True)
        ]
        audio_ids, text_ids, positions = torch.tensor(fed, device=cache.keys.device).T[:, :, None]
        visible = min(-(-(max(position for *_, position in fed) + 1) // 64) * 64, slots)
        output = model(audio_ids, text_ids, positions=positions, cache=cache, num_slots=visible, text_only=text_only)
