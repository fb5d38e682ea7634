"""Steps that are captured and replayed: the ids of ordinary ones, and slots that come back clean."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kimi_audio.core.sequence import Inputs
from kimi_audio.lm.cache import BLOCK_TOKENS, KVCache, Stretch, Stretches
from kimi_audio.lm.captured import CapturedLM, Slot, with_steps
from kimi_audio.lm.engine import Engine
from kimi_audio.lm.model import LMOutput
from tests.lm.test_engine import ANYTHING, SPECIAL, Asked, options, prompt, replies


class Tape(TorchDispatchMode):
    """What a CUDA graph does: it repeats the operations, on the tensors on which they were made first."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            for old, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Taped:
    """Captures steps on a tape, and counts."""

    def __init__(self) -> None:
        self.num_captured = self.num_replayed = 0

    def __call__(self, step):
        self.num_captured += 1
        with Tape() as tape:
            output = step()

        def replay() -> LMOutput:
            self.num_replayed += 1
            tape.replay()
            return output

        return replay


def captured(lm, num_slots: int = 4, num_tokens: int = 2 * BLOCK_TOKENS) -> tuple[CapturedLM, Taped]:
    taped = Taped()
    return CapturedLM(lm, num_slots, num_tokens, taped), taped


def engine_of(model: CapturedLM, **more) -> Engine:
    return Engine(model, SPECIAL, new_cache=model.slots.take, **more)


@settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    asked=ANYTHING,
    num_slots=st.sampled_from([1, 3, 8]),
    num_tokens=st.sampled_from([8, 40, BLOCK_TOKENS]),
    chunk_tokens=st.sampled_from([1, 16]),
)
def test_every_request_gives_what_it_gives_alone(tiny_lm, asked, num_slots, num_tokens, chunk_tokens):
    model, _ = captured(tiny_lm, num_slots, num_tokens)
    engine = engine_of(model, prefix_bytes=2**20, chunk_tokens=chunk_tokens)
    for one, reply in zip(asked, replies(engine, asked), strict=True):
        assert reply == one.alone(tiny_lm)
    assert model.slots.num_free == num_slots


def test_replies_are_replayed_and_shapes_are_captured_once(tiny_lm):
    model, taped = captured(tiny_lm)
    asked = [Asked(prompt(9, seed), options("both", limit=30), seed) for seed in range(3)]
    engine = engine_of(model)
    first = replies(engine, asked)
    steps, shapes = taped.num_replayed, taped.num_captured
    assert steps >= 25
    assert shapes <= 4
    assert replies(engine, asked) == first
    assert taped.num_replayed == 2 * steps
    assert taped.num_captured == shapes


def test_a_request_that_outgrows_its_slot_goes_on(tiny_lm):
    asked = Asked(prompt(245), options("both", limit=40), 0)
    model, taped = captured(tiny_lm, num_tokens=BLOCK_TOKENS + 10)
    assert replies(engine_of(model), [asked]) == [asked.alone(tiny_lm)]
    assert 5 < taped.num_replayed < 20
    assert model.slots.num_free == 4


def test_a_new_slot_holds_nothing_of_the_one_before(tiny_lm):
    model, _ = captured(tiny_lm, num_slots=1)
    engine = engine_of(model)
    broken = replace(prompt(30), features=(torch.full((30, 8), float("nan")),))
    engine.admit(engine.prepare(broken, options("both")))
    (event,) = engine.step()
    assert event.error is not None
    asked = Asked(prompt(5), options("both"), 1)
    assert replies(engine, [asked]) == [asked.alone(tiny_lm)]


def test_slots_come_back_however_a_request_ends(tiny_lm):
    model, _ = captured(tiny_lm, num_slots=3)
    engine = engine_of(model)
    requests = [engine.prepare(prompt(6, seed), options("both")) for seed in range(4)]
    for request in requests:
        engine.admit(request)
    engine.step()
    assert model.slots.num_free == 0  # and the fourth runs in memory of its own
    engine.cancel(requests[1])
    engine.cancel(requests[1])
    assert model.slots.num_free == 1
    engine.clear()
    assert model.slots.num_free == 3


def test_a_failure_of_one_leaves_the_others_their_slots(tiny_lm, monkeypatch):
    model, _ = captured(tiny_lm)
    engine, asked = engine_of(model), [Asked(prompt(6, seed), options("both"), seed) for seed in range(3)]
    requests = [engine.prepare(one.prompt, one.options, one.generator()) for one in asked]
    for request in requests:
        engine.admit(request)
    engine.step()
    plain = CapturedLM.__call__

    def fails_for_the_second(self, inputs, stretches):
        if any(row.cache is requests[1].cache for row in stretches.stretches):
            raise RuntimeError("broken")
        return plain(self, inputs, stretches)

    monkeypatch.setattr(CapturedLM, "__call__", fails_for_the_second)
    while not engine.is_idle:
        engine.step()
    assert [requests[place].reply() for place in (0, 2)] == [asked[place].alone(tiny_lm) for place in (0, 2)]
    assert model.slots.num_free == 4


def step(model: CapturedLM, *slots: Slot, start: int, text: bool = True, audio: bool = True) -> None:
    ids = torch.arange(1, 1 + len(slots))[None]
    inputs = Inputs(ids, ids, ids < 0, None, torch.full_like(ids, start))
    model(inputs, Stretches(tuple(Stretch(slot, start, 1, text, audio, text, audio) for slot in slots)))


@torch.inference_mode()
def test_a_step_leaves_alone_who_takes_no_part(tiny_lm):
    model, _ = captured(tiny_lm)
    one, other = model.slots.take(), model.slots.take()
    step(model, one, other, start=3)
    known = torch.ones(2, 9, 8)
    one.update(0, 0, known, known)
    step(model, other, start=4)
    assert torch.equal(one.update(0, 9, known[:, :0], known[:, :0])[0], known)


@pytest.mark.parametrize(("text", "audio"), [(True, False), (False, True), (True, True)])
@torch.inference_mode()
def test_a_branch_that_nobody_needs_is_not_computed(tiny_lm, text, audio):
    model, _ = captured(tiny_lm)
    step(model, model.slots.take(), start=0, text=text, audio=audio)
    assert [(shape.text, shape.audio) for shape in model.shapes] == [(text, audio)]


def test_slots_are_taken_from_the_first(tiny_lm):
    model, _ = captured(tiny_lm, num_slots=4)
    caches = [model.slots.take() for _ in range(4)]
    for number in (2, 0):
        caches[number].close()
    assert [model.slots.take().number for _ in range(2)] == [0, 2]
    assert all(one.number + 1 == two.number for one, two in pairwise(caches))


def test_plain_steps_need_nothing(tiny_lm):
    assert with_steps(tiny_lm, "plain") == (tiny_lm, KVCache)


@pytest.mark.parametrize(("free_bytes", "num_slots"), [(None, 64), (10**9, 64), (0, 1), (3 * 4 * 4097 * 5 * 128, 3)])
def test_slots_take_a_quarter_of_the_memory(tiny_lm, monkeypatch, free_bytes, num_slots):
    monkeypatch.setattr("kimi_audio.lm.captured.free_bytes", lambda device: free_bytes)
    lm = copy.copy(tiny_lm)
    lm.config = replace(tiny_lm.config, max_positions=10_000)
    model, _ = with_steps(lm, "compiled")
    assert (model.slots.num_slots, model.slots.num_tokens) == (num_slots, 4096)


@pytest.mark.parametrize(("steps", "named"), [("graphs", "CUDA device"), ("quick", "plain, graphs, compiled")])
def test_steps_that_cannot_be_made_are_refused(tiny_lm, steps, named):
    with pytest.raises(ValueError, match=named):
        with_steps(tiny_lm, steps)


@pytest.mark.slow
@torch.inference_mode()
def test_every_shape_is_compiled(tiny_lm):
    model, new_cache = with_steps(tiny_lm, "compiled")
    slots = [new_cache() for _ in range(9)]
    counters = torch._dynamo.utils.counters["stats"]
    for count in (1, 2, 4, 9):
        for text, audio in ((True, True), (True, False), (False, True)):
            before = counters["unique_graphs"]
            step(model, *slots[:count], start=0, text=text, audio=audio)
            assert counters["unique_graphs"] == before + 1


@pytest.mark.slow
def test_compiled_steps_give_the_ids_of_ordinary_ones(tiny_lm):
    model, new_cache = with_steps(tiny_lm, "compiled")
    asked = [Asked(prompt(9, seed), options("both", limit=20), seed) for seed in range(2)]
    expected = replies(Engine(tiny_lm, SPECIAL), asked)
    assert replies(Engine(model, SPECIAL, new_cache=new_cache), asked) == expected
    assert model.shapes


@pytest.mark.gpu
@pytest.mark.parametrize("steps", ["graphs", "compiled"])
def test_graphs_give_the_ids_of_ordinary_steps(tiny_lm, steps):
    lm = copy.deepcopy(tiny_lm).cuda()
    model, new_cache = with_steps(lm, steps)
    asked = [Asked(prompt(9, seed), options("both", limit=30), seed) for seed in range(5)]
    plain = replies(Engine(lm, SPECIAL), asked)
    engine = Engine(model, SPECIAL, new_cache=new_cache)
    assert replies(engine, asked) == plain
    assert replies(engine, asked) == plain
    assert model.shapes
