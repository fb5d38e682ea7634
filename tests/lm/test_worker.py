"""Many threads and one engine: everyone gets the own reply, and nothing stays behind."""

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_engine import SPECIAL, Asked, options, prompt

from kimi_audio.lm.engine import Engine
from kimi_audio.lm.worker import EngineThread

ASKED = [Asked(prompt(size), options(kind, 1.0), size) for size in range(3, 9) for kind in ("text", "both")]
ENDLESS = options("text", limit=200)


class Gated:
    """A model that waits before every step until it may go on."""

    def __init__(self, model):
        self.model, self.config, self.device, self.dtype = model, model.config, model.device, model.dtype
        self.gate = threading.Semaphore(0)

    def __call__(self, inputs, segments):
        assert self.gate.acquire(timeout=60)
        return self.model(inputs, segments)


@pytest.fixture
def threads():
    """What is left of the engine's threads at the end: none."""

    def running() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "kimi-audio engine"]

    yield running
    deadline = time.monotonic() + 60
    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running() == []


def test_two_threads_use_one_model(tiny_lm, threads):
    engine = Engine(tiny_lm, SPECIAL)
    worker = EngineThread(engine)

    def ask(one):
        return worker.start(one.prompt, one.options, one.generator()).reply()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, ASKED)) == [one.alone(tiny_lm) for one in ASKED]
    assert len(threads()) <= 1
    assert engine.num_cache_bytes == 0


def test_event_loops(tiny_lm, threads):
    worker = EngineThread(Engine(tiny_lm, SPECIAL))

    async def ask(one):
        events = [event async for event in worker.stream(one.prompt, one.options, one.generator())]
        return [event.code for event in events if event.code is not None], events[-1].finish_reason

    async def ask_all():
        return await asyncio.gather(*map(ask, ASKED))

    alone = [one.alone(tiny_lm) for one in ASKED]
    assert asyncio.run(ask_all()) == [(reply.codes, reply.finish_reason) for reply in alone]


def test_cancelled_replies_end_at_once(tiny_lm, threads):
    model = Gated(tiny_lm)
    worker = EngineThread(Engine(model, SPECIAL))
    with worker.start(prompt(3), ENDLESS) as events:
        model.gate.release(3)
        assert [next(events).finish_reason for _ in range(2)] == [None, None]
        events.cancel()
        model.gate.release()  # of the step that may be under way
        assert [event.finish_reason for event in events] == ["cancelled"]
        assert list(events) == []


def test_abandoned_replies_end(tiny_lm, threads):
    """Forgotten iterators, left contexts, broken loops over an event loop: the engine comes to rest."""
    engine = Engine(tiny_lm, SPECIAL)
    worker = EngineThread(engine)
    next(worker.start(prompt(3), ENDLESS))
    gc.collect()
    with worker.start(prompt(4), ENDLESS) as events:
        next(events)

    async def look_once():
        async for _ in worker.stream(prompt(5), ENDLESS):
            break

    asyncio.run(look_once())
    assert worker.start(prompt(6), options()).reply() == Asked(prompt(6), options(), 0).alone(tiny_lm)


def test_errors_reach_their_caller_only(tiny_lm, threads):
    worker = EngineThread(Engine(tiny_lm, SPECIAL))
    bad = prompt(4)
    bad.features[0].fill_(torch.nan)
    with pytest.raises(ValueError, match="no room"):
        worker.start(prompt(300))
    good, failing = worker.start(prompt(3), options()), worker.start(bad, options())
    for _ in range(2):
        with pytest.raises(ValueError, match="not finite"):
            failing.reply()
    assert good.reply() == Asked(prompt(3), options(), 0).alone(tiny_lm)

    async def ask():
        return [event async for event in worker.stream(bad)]

    with pytest.raises(ValueError, match="not finite"):
        asyncio.run(ask())


def test_nobody_waits_for_ever(tiny_lm, threads, monkeypatch):
    """An error beyond a single request, here in the engine itself, ends all; the next request is answered again."""
    engine = Engine(tiny_lm, SPECIAL)
    worker = EngineThread(engine)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_schedule", lambda: 1 / 0)
        for one in [worker.start(prompt(size), options()) for size in (3, 4)]:
            with pytest.raises(ZeroDivisionError):
                one.reply()
    assert worker.start(prompt(6), options()).reply() == Asked(prompt(6), options(), 0).alone(tiny_lm)
