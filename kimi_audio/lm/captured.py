"""Decoding steps of fixed shapes, captured once: a CUDA graph that the GPU repeats by itself, or compiled code.

A step of the released LLM is some thousand kernels, and a host that starts them one by one is slower than the GPU
that reads the weights. What is replayed uses the same memory every time, so requests keep their positions in slots.

Shapes: N slots, S positions of each, B slots of a step, K key-value heads, H query heads, C channels per head.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Inputs
from kimi_audio.lm.cache import BLOCK_TOKENS, KVCache, Stretch, Stretches, token_bytes
from kimi_audio.lm.engine import LanguageModel
from kimi_audio.lm.model import AudioLM, LMOutput
from kimi_audio.nn.attention import attend_to_past
from kimi_audio.nn.memory import free_bytes

Steps = Literal["plain", "graphs", "compiled"]
STEPS: tuple[Steps, ...] = "plain", "graphs", "compiled"
Step = Callable[[], LMOutput]
MOST_SLOTS = 64
MOST_TOKENS = 4096  # of a slot
MOST_SHAPES = 256


class SlotPool:
    """Memory of fixed places for the keys and values of so many requests at once.

    Behind the last position of every slot lies one more, which is written where a slot takes no part in a step.
    """

    def __init__(self, config: LMConfig, num_slots: int, num_tokens: int, device: torch.device, dtype: torch.dtype):
        self.num_slots, self.num_tokens = num_slots, num_tokens
        self._num_layers = config.num_layers + config.num_audio_layers
        self._shape = 2, num_slots, config.num_kv_heads, num_tokens + 1, config.head_size
        self._device, self._dtype = device, dtype
        self._free = list(range(num_slots))

    @cached_property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [N, K, S + 1, C] of every layer; the memory is taken when it is first needed."""
        # What is not seen has no weight, but nothing times NaN is NaN, so no place may hold one.
        pairs = [torch.zeros(self._shape, device=self._device, dtype=self._dtype) for _ in range(self._num_layers)]
        return [(keys, values) for keys, values in pairs]

    @property
    def num_free(self) -> int:
        """Slots that no request has."""
        return len(self._free)

    def take(self) -> KVCache:
        """Return a cache in the first free slot; an ordinary one if there is none."""
        if not self._free:
            return KVCache()
        number = heapq.heappop(self._free)
        for memories in self.layers:
            for memory in memories:
                memory[number].zero_()
        return Slot(self, number)

    def give_back(self, number: int) -> None:
        """Let another request have a slot."""
        heapq.heappush(self._free, number)


class Slot(KVCache):
    """A cache whose memory is a slot, as long as it fits."""

    def __init__(self, slots: SlotPool, number: int) -> None:
        super().__init__()
        self._slots, self.number = slots, number
        # A replayed step writes there without asking.
        self._layers = {layer: (k[number, :, :-1], v[number, :, :-1]) for layer, (k, v) in enumerate(slots.layers)}

    def close(self) -> None:
        """Give the slot back."""
        super().close()
        self._slots.give_back(self.number)


@dataclass(frozen=True)
class SlotMemory:
    """The first slots in one step, of which each sees its own positions. A ``Memory`` of attention."""

    slots: SlotPool
    positions: Tensor  # [B, 1] new ones
    num_seen: int  # positions of every slot that are read; those behind its new one are masked

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See ``Memory``; T is 1."""
        places = self.positions[:, None, :, None].expand_as(k)
        kept = []
        for memory, new in zip(self.slots.layers[layer], (k, v), strict=True):
            rows = memory[: len(k)]
            kept.append(rows.scatter_(2, places, new)[:, :, : self.num_seen])
        numbers = torch.arange(self.num_seen, device=q.device)
        return attend_to_past(q, *kept, mask=(numbers <= self.positions)[:, None, None])


@dataclass(frozen=True)
class StepShape:
    """What has to be equal for a step to be replayed."""

    num_slots: int
    num_seen: int
    text: bool
    audio: bool


class CapturedLM:
    """An LLM for the engine that replays decoding steps, and computes all else as ever.

    Args:
        lm: the LLM.
        num_slots: requests that can be decoded together; where there are more, all steps are ordinary ones.
        num_tokens: positions of a slot; a request that outgrows it makes the steps it takes part in ordinary ones.
        capture: makes of a step, which reads and writes the same memory every time, a faster one.
    """

    def __init__(self, lm: AudioLM, num_slots: int, num_tokens: int, capture: Callable[[Step], Step]) -> None:
        self.config, self.device, self.dtype = lm.config, lm.device, lm.dtype
        self.slots = SlotPool(lm.config, num_slots, num_tokens, lm.device, lm.dtype)
        self._lm, self._capture = lm, capture
        self._steps: dict[StepShape, _CapturedStep] = {}

    @property
    def shapes(self) -> list[StepShape]:
        """What was captured so far."""
        return list(self._steps)

    def __call__(self, inputs: Inputs, stretches: Stretches) -> LMOutput:
        """Score the next ids of the stretches; see ``AudioLM``."""
        rows = stretches.stretches
        numbers = [row.cache.number for row in rows if isinstance(row.cache, Slot) and self._is_step(row)]
        if inputs.features is not None or len(numbers) < len(rows):
            return self._lm(inputs, stretches)
        shape = StepShape(
            _power_of_two(max(numbers) + 1, 1, self.slots.num_slots),
            _power_of_two(max(row.start for row in rows) + 1, BLOCK_TOKENS, self.slots.num_tokens),
            any(row.text for row in rows),
            any(row.audio for row in rows),
        )
        if shape not in self._steps:
            self._steps[shape] = _CapturedStep(self._lm, self.slots, shape, self._capture)
        # All places are copied to the device before the step is begun: a copy behind it would wait for its end.
        scored = [row.text_scores for row in rows], [row.audio_scores for row in rows]
        taking_part, text, audio = (self._places(numbers, wanted) for wanted in ([True] * len(rows), *scored))
        output = self._steps[shape].scores(inputs, taking_part)
        return LMOutput(_rows(output.text_logits, text), _rows(output.audio_logits, audio))

    def _places(self, numbers: list[int], wanted: list[bool]) -> Tensor:
        chosen = [number for number, is_wanted in zip(numbers, wanted, strict=True) if is_wanted]
        return torch.tensor(chosen, dtype=torch.int64, device=self.device)

    def _is_step(self, row: Stretch) -> bool:
        return row.length == 1 and row.start < self.slots.num_tokens


class _CapturedStep:
    """One shape of a step, and the memory in which it reads its ids."""

    def __init__(self, lm: AudioLM, slots: SlotPool, shape: StepShape, capture: Callable[[Step], Step]):
        idle = torch.tensor([0, 0, slots.num_tokens], device=lm.device)  # writes behind the last position
        self._idle = idle[:, None, None].repeat(1, shape.num_slots, 1)  # [3, B, 1]
        self._ids = self._idle.clone()
        audio_ids, text_ids, positions = self._ids
        nothing_heard = torch.zeros_like(audio_ids, dtype=torch.bool)
        inputs = Inputs(audio_ids, text_ids, nothing_heard, None, positions)
        memory = SlotMemory(slots, positions, shape.num_seen)
        self._replay = capture(lambda: lm.step(inputs, memory, text=shape.text, audio=shape.audio))

    def scores(self, inputs: Inputs, places: Tensor) -> LMOutput:
        """Return the scores [B, V] of all slots, of which those at these places have a new position."""
        self._ids.copy_(self._idle)
        self._ids[:, places] = torch.stack((inputs.audio_ids, inputs.text_ids, inputs.positions))[:, 0, :, None]
        return self._replay()


def _rows(logits: Tensor | None, places: Tensor) -> Tensor | None:
    return logits[places] if logits is not None and len(places) else None


def _power_of_two(least: int, start: int, most: int) -> int:
    """Return the first of start, twice that and so on that is large enough, but no more than there is."""
    while start < least:
        start *= 2
    return min(start, most)


def slot_bytes(config: LMConfig, dtype: torch.dtype) -> int:
    """Return how much memory one slot takes, with the position behind its last one that idle steps write."""
    layers = config.num_layers + config.num_audio_layers
    return (min(MOST_TOKENS, config.max_positions) + 1) * token_bytes(config, layers, dtype)


def slots_within(available_bytes: int, bytes_of_slot: int) -> int:
    """Return how many slots take at most a quarter of so much memory, but one at least."""
    return max(1, min(MOST_SLOTS, available_bytes // 4 // bytes_of_slot))


def with_steps(lm: AudioLM, steps: Steps) -> tuple[LanguageModel, Callable[[], KVCache]]:
    """Return an LLM for the engine that makes its steps in this way, and what makes the caches of its requests.

    Slots take at most a quarter of the memory that is free now.

    Args:
        lm: on its device.
        steps: "plain"; as CUDA graphs; or compiled, on a GPU as graphs of compiled code.

    Raises:
        ValueError: there is no such way, or not on this device.
    """
    if steps not in STEPS:
        raise ValueError(f"steps must be one of {', '.join(STEPS)}, not {steps!r:.60}")
    if steps == "plain":
        return lm, KVCache
    if steps == "graphs" and lm.device.type != "cuda":
        raise ValueError(f"CUDA graphs need a CUDA device, and the LLM is on {lm.device}; leave the steps plain")
    available = free_bytes(lm.device)
    num_slots = MOST_SLOTS if available is None else slots_within(available, slot_bytes(lm.config, lm.dtype))
    num_tokens = min(MOST_TOKENS, lm.config.max_positions)
    model = CapturedLM(lm, num_slots, num_tokens, _capture(lm.device, compiles=steps == "compiled"))
    return model, model.slots.take


def _capture(device: torch.device, *, compiles: bool) -> Callable[[Step], Step]:
    is_cuda = device.type == "cuda"
    pool = torch.cuda.graph_pool_handle() if is_cuda else None  # graphs share the memory that they compute with

    def capture(step: Step) -> Step:
        made = _compiled(step) if compiles else step
        return _graph(made, device, pool) if is_cuda else made

    return capture


def _compiled(step: Step) -> Step:
    made = torch.compile(step, dynamic=False)
    # All shapes are one function to the compiler, which gives up after eight of them.
    with torch._dynamo.config.patch(cache_size_limit=MOST_SHAPES):
        made()
    return made


def _graph(step: Step, device: torch.device, pool: Any) -> Step:
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what is made at the first call, such as workspaces, cannot be captured
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as the detokenizer's, may use the GPU meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            output = step()

    def replay() -> LMOutput:
        with torch.cuda.device(device):
            graph.replay()
        return output

    return replay
