"""One reply that is being made: the ids that are known, what was computed of them, and the rules that it follows."""

from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor

from kimi_audio.lm.cache import KVCache, Stretch
from kimi_audio.lm.rules import Event, Reply, ReplyState


@dataclass(eq=False)
class Request:
    """One reply that is to be made, from ``Engine.prepare``."""

    state: ReplyState
    generator: torch.Generator
    audio_ids: list[int]  # of the prompt, and those fed since
    text_ids: list[int]
    is_continuous: list[bool]  # of the prompt
    features: Tensor | None  # [M, D] of the prompt, in the model's dtype on its device
    fingerprints: Tensor | None  # [T, 4] of the prompt; None where nothing is remembered
    cache: KVCache = field(default_factory=KVCache)
    num_computed: int = 0  # positions in the cache
    num_computed_text: int = 0  # those of them that the text layers have seen; they stop at the end of the text
    num_recalled: int = 0  # those of them that an earlier request had computed
    num_needed: int = 0  # positions that it had before it began again
    is_twin: bool = False  # another beam of a reply; the request that was asked for is its first

    def __post_init__(self) -> None:
        self._num_heard = [0, *accumulate(self.is_continuous)]

    @property
    def number(self) -> int:
        """The ``row`` of the events."""
        return self.state.row

    @property
    def num_known(self) -> int:
        """Positions whose ids are known."""
        return len(self.audio_ids)

    @property
    def num_pending(self) -> int:
        """Positions to be computed before the next id can be drawn."""
        return self.num_known - self.num_computed

    @property
    def is_to_be_spoken(self) -> bool:
        """Whether the audio branch takes part, now or when beams have found the text."""
        return self.state.options.output_type == "both"

    def reply(self) -> Reply:
        """Return the finished reply."""
        return self.state.reply()

    def stretch(self, length: int) -> Stretch:
        """Return the next positions to compute."""
        state, is_whole = self.state, length == self.num_pending
        is_prompt = self.num_computed < len(self.is_continuous)
        return Stretch(
            self.cache,
            self.num_computed,
            length,
            text=state.needs_text,
            audio=state.is_spoken or (self.is_to_be_spoken and is_prompt),
            text_scores=state.needs_text and is_whole,
            audio_scores=state.needs_audio and is_whole,
        )

    def heard(self, start: int, stop: int) -> tuple[list[bool], Tensor | None]:
        """Return which of these positions are continuous, and their features."""
        is_continuous = self.is_continuous[start:stop]
        is_continuous += [False] * (stop - start - len(is_continuous))
        if self.features is None or not any(is_continuous):
            return is_continuous, None
        first = self._num_heard[start]
        return is_continuous, self.features[first : first + sum(is_continuous)]

    def feed(self) -> None:
        """Take the latest ids of the reply as the next to compute."""
        self.audio_ids.append(self.state.audio_history[-1])
        self.text_ids.append(self.state.text_history[-1])

    def computed(self, stretch: Stretch) -> None:
        """Take note that a stretch is in the cache."""
        self.num_computed += stretch.length
        if stretch.text:
            self.num_computed_text = self.num_computed

    def twin(self, cache: KVCache) -> "Request":
        """Return another beam of the same reply, with a cache of its own."""
        ids = {"audio_ids": [*self.audio_ids], "text_ids": [*self.text_ids]}
        return replace(self, **ids, cache=cache, is_twin=True)

    def say(self) -> list[Event]:
        """Begin to say the text that beams have found; return the steps before the first code, which are known."""
        length = len(self.is_continuous)
        del self.audio_ids[length:], self.text_ids[length:]
        self.num_computed = self.num_computed_text = length
        self.state = self.state.spoken()
        events: list[Event] = []
        while not self.state.needs_audio and self.state.finish_reason is None:
            events.append(self.state.advance(None, None))
            self.feed()
        self.num_computed = min(length, self.num_known - 1)  # without such steps, the first code needs scores again
        return events

    def forget(self) -> None:
        """Give the cache back; everything has to be computed again."""
        self.close()
        self.num_computed = self.num_computed_text = 0

    def close(self) -> None:
        """Give the cache back."""
        self.cache.close()
        self.cache = KVCache()
