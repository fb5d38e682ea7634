"""Instances that fail or stall: who meets with one is told once, others go on, and a new one takes its place."""

import asyncio
import base64
import itertools
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from openai import InternalServerError, OpenAI
from serve_fakes import Address, FakeAssistant, running
from websockets.sync.client import connect

from kimi_audio.answers import StreamChunk
from kimi_audio.chat import Message
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.serve.backend import ModelBackend, Threads
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.instance import HearEndJob, HearJob, Job, LostError, SpeakJob, ThinkJob, VoiceJob
from kimi_audio.serve.local_instance import LocalInstance
from kimi_audio.serve.metrics import Metrics
from kimi_audio.serve.reply_speech import ReplySpeech
from kimi_audio.serve.scheduler import Patience, Route, Scheduler
from kimi_audio.serve.settings import ServeLimits, ServeSettings

STALL_S = 0.3
HELLO = ThinkJob([Message("user", "text", "hello")], GenerationOptions("text"))
STORY = [{"role": "user", "content": "a story"}]


class FakeInstance:
    """Says its number and waits for ``gate`` before the second chunk."""

    def __init__(self, number: int, failure: Exception | None = None) -> None:
        self.number, self.failure = number, failure
        self.gate = asyncio.Event()
        self.cancelled: list[str] = []
        self.load = self.kept_bytes = 0
        self.is_healthy, self.is_closed = True, False

    async def submit(self, job_id: str, job: Job, deadline_s: float) -> AsyncIterator[Any]:
        assert deadline_s > time.monotonic()
        self.load += 1
        try:
            yield self.number
            if self.failure is not None:
                self.is_healthy = isinstance(self.failure, ValueError)
                raise self.failure
            if job_id != "probe":
                await self.gate.wait()
            yield "end"
        finally:
            self.load -= 1

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def close(self) -> None:
        self.is_closed = True


class Workshop:
    """Makes instances, numbered in their order, and keeps them."""

    def __init__(self, *failures: Exception | None) -> None:
        self.made: list[FakeInstance] = []
        self._failures = itertools.chain(failures, itertools.repeat(None))

    def make(self, place: int) -> FakeInstance:
        self.made.append(FakeInstance(len(self.made), next(self._failures)))
        return self.made[-1]

    def scheduler(self, count: int, stall_s: float = STALL_S, job_s: float = 60.0) -> Scheduler:
        return Scheduler("thinking", self.make, count, 8, [HELLO], Patience(stall_s, job_s), Metrics())


async def first(scheduler: Scheduler, route: Route | None = None) -> tuple[Any, Any]:
    """Begin a job; return its first chunk, and the rest."""
    chunks: Any = scheduler.stream(HELLO, route)
    return await anext(chunks), chunks


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_jobs_go_where_least_is_to_do_and_conversations_stay():
    async def story() -> None:
        scheduler = Workshop().scheduler(3)
        routes = [Route() for _ in range(4)]
        begun = [await first(scheduler, route) for route in routes[:3]]
        assert sorted(number for number, _ in begun) == [0, 1, 2]
        homes = [number for number, _ in begun]
        for _, chunks in begun:
            await chunks.aclose()
        routes[1].move(None)  # this conversation has ended: there is the most room
        number, chunks = await first(scheduler, routes[3])
        assert number == homes[1]
        again = [await first(scheduler, routes[0]) for _ in range(3)]
        assert [number for number, _ in again] == 3 * [homes[0]]  # however much it has to do
        number, other = await first(scheduler)
        assert number == homes[2]
        for _, rest in [*again, (0, chunks), (0, other)]:
            await rest.aclose()
        assert not scheduler.load

    asyncio.run(story())


def test_a_job_that_nobody_reads_is_cancelled():
    async def story() -> None:
        workshop = Workshop()
        scheduler = workshop.scheduler(1)
        chunks: Any = scheduler.stream(HELLO, None, "mine")
        assert await anext(chunks) == 0
        await chunks.aclose()
        assert workshop.made[0].cancelled == ["mine"]
        assert not scheduler.load

    asyncio.run(story())


def test_an_instance_that_stalls_is_replaced_and_conversations_move():
    async def story() -> None:
        workshop, route, other_route = Workshop(), Route(), Route()
        scheduler = workshop.scheduler(2)
        number, chunks = await first(scheduler, route)
        other, other_chunks = await first(scheduler, other_route)
        workshop.made[other].gate.set()
        assert await anext(other_chunks) == "end"  # others go on
        with pytest.raises(ApiError, match=r"nothing came for 0\.3 s") as caught:
            await anext(chunks)
        assert (caught.value.code, caught.value.status) == ("model_stalled", 503)
        await until(lambda: len(workshop.made) == 3 and scheduler._places[number].instance is workshop.made[2])
        next_number, chunks = await first(scheduler, route)
        assert next_number != number
        await chunks.aclose()
        assert b'instance_restarts_total{reason="stalled",stage="thinking"} 1.0' in scheduler.metrics.text()
        assert b'instances_ready{stage="thinking"} 2.0' in scheduler.metrics.text()
        scheduler.close()
        assert not workshop.made[number].is_closed  # it was let go
        assert workshop.made[2].is_closed

    asyncio.run(story())


@pytest.mark.parametrize(("failure", "is_replaced"), [(RuntimeError("broken"), True), (ValueError("yours"), False)])
def test_an_instance_that_fails_is_replaced_but_not_for_what_is_asked_for(failure, is_replaced):
    async def story() -> None:
        workshop = Workshop(failure)
        scheduler = workshop.scheduler(1)
        _, chunks = await first(scheduler)
        with pytest.raises(type(failure), match=str(failure)):
            await anext(chunks)
        number, chunks = await first(scheduler)  # waits for the new one
        assert number == (1 if is_replaced else 0)
        await chunks.aclose()

    asyncio.run(story())


def test_without_an_instance_one_is_told_so_and_attempts_go_on():
    async def story() -> None:
        workshop = Workshop(RuntimeError("broken"), RuntimeError("broken too"))
        scheduler = workshop.scheduler(1)
        _, chunks = await first(scheduler)
        with pytest.raises(RuntimeError):
            await anext(chunks)
        assert not scheduler.is_ready
        with pytest.raises(ApiError, match="being started anew") as caught:
            await first(scheduler)
        assert caught.value.retry_after_s
        await until(lambda: scheduler.is_ready)
        assert len(workshop.made) == 3

    asyncio.run(story())


def test_what_was_begun_at_an_instance_that_failed_is_lost():
    async def story() -> None:
        made = []

        def make(_: int) -> LocalInstance:
            made.append(LocalInstance(FakeAssistant()))
            return made[-1]

        scheduler = Scheduler("speaking", make, 1, 8, [VoiceJob()], Patience(5.0, 60.0), Metrics())
        route = Route()
        assert [item async for item in scheduler.stream(VoiceJob(), route, "mine")] == []
        scheduler._replace(scheduler._places[0], made[0], "failed")  # under the speech of another client
        with pytest.raises(ApiError, match="started anew") as caught:
            await anext(scheduler.stream(SpeakJob("mine", [1], False), route))
        assert (caught.value.status, caught.value.code) == (503, "model_restarts")
        assert caught.value.retry_after_s
        assert len(made) == 2
        assert made[1].is_healthy

    asyncio.run(story())


class Remembering(FakeAssistant):
    """Its sound tells all that it has said, and the draw that its voice began with."""

    def begin_speech(self, voice: Any = None, seed: int | None = None) -> Any:
        said: list[int] = []

        def render(codes: list[int], is_final: bool) -> torch.Tensor:
            said.extend(codes)
            return torch.tensor([float(seed or 0), *said, -1.0 * is_final])

        return SimpleNamespace(render=render)


def test_speech_goes_on_where_another_instance_takes_its_place():
    async def story(failures: set[int]) -> list[list[float]]:
        made = []

        def make(_: int) -> LocalInstance:
            made.append(LocalInstance(Remembering()))
            return made[-1]

        scheduler = Scheduler("speaking", make, 1, 8, [VoiceJob()], Patience(5.0, 60.0), Metrics())
        speech = ReplySpeech(scheduler, FakeAssistant().code_chunks(), VoiceJob(seed=7))
        await speech.begin()
        heard = []
        for code in range(4):
            if code in failures:  # under the speech of another client
                scheduler._replace(scheduler._places[0], made[-1], "failed")
                await until(lambda: scheduler.is_ready)
            chunk = StreamChunk("", torch.zeros(0), code == 3, "stop" if code == 3 else None, (code,))
            heard += [sound.tolist() for sound in await speech.sounds(chunk)]
        speech.end()
        assert len(made) == 1 + len(failures)
        assert not made[-1]._speeches
        return heard

    undisturbed = asyncio.run(story(set()))
    assert undisturbed == [[7, *range(code + 1), -1.0 * (code == 3)] for code in range(4)]
    assert asyncio.run(story({2})) == asyncio.run(story({1, 3})) == undisturbed


def test_a_job_ends_at_its_deadline_and_the_instance_stays():
    async def story() -> None:
        workshop = Workshop()
        scheduler = workshop.scheduler(1, stall_s=30.0, job_s=0.2)
        _, chunks = await first(scheduler)
        with pytest.raises(ApiError, match="too long"):
            await anext(chunks)
        assert scheduler.is_ready
        assert len(workshop.made) == 1

    asyncio.run(story())


# ---------------------------------------------------------------------------------------------------------------------
# An instance in this process


def test_recordings_are_kept_until_they_are_cancelled():
    async def story() -> None:
        instance, deadline_s = LocalInstance(FakeAssistant()), time.monotonic() + 60
        for hearing_id in ("a", "b"):
            async for _ in instance.submit(hearing_id, HearJob(16_000), deadline_s):
                raise AssertionError("nothing comes of it")
        assert sorted(instance._hearings) == ["a", "b"]
        instance.cancel("a")
        with pytest.raises(LostError, match="not know the beginning"):
            await anext(instance.submit("c", HearEndJob("a"), deadline_s))
        assert sorted(instance._hearings) == ["b"]
        assert instance.is_healthy
        assert instance.load == 0

    asyncio.run(story())


def test_a_job_stops_when_its_deadline_is_over_though_nobody_says_so():
    async def story() -> None:
        assistant = FakeAssistant(says="word " * 1000, pause_s=0.01)
        instance = LocalInstance(assistant)
        chunks = instance.submit("a", HELLO, time.monotonic() + 0.1)
        async with aclosing(chunks) as open_chunks:  # pyright: ignore
            async for _ in open_chunks:
                pass
        assert assistant.stopped.wait(5)

    asyncio.run(story())


def test_only_what_is_sound_still_is_heard(monkeypatch):
    backend, asked = ModelBackend(FakeAssistant(), Any, Threads(1)), []  # pyright: ignore

    async def encode(sound: Any, most_tokens: int) -> AudioTokens:
        asked.append((sound, most_tokens))
        return tokens

    monkeypatch.setattr(backend, "encode", encode)
    tokens = AudioTokens(torch.arange(5))
    said = Message("assistant", "audio-text", (None, "hi"), codes=[1, 2])
    given = [Message("user", "text", "hello"), said, Message("user", "audio", tokens)]
    sounds = [Message("user", "audio", b"one"), Message("assistant", "audio-text", (b"two", "hm"))]
    found = asyncio.run(backend._heard([*given, *sounds]))
    assert found[:3] == given
    assert [message.audio for message in found[3:]] == [tokens, tokens]
    assert found[4].content[1] == "hm"
    assert asked == [(b"one", 1000), (b"two", 995)]  # no longer than there is room for


# ---------------------------------------------------------------------------------------------------------------------
# Killed and stalled, seen by clients


class Fragile(FakeAssistant):
    """Tells a story without end, in whose middle the instance is hit if ``hit`` is set; every engine is hit once."""

    def with_own_engine(self) -> "Fragile":
        self.spare.hit = threading.Event()  # the new one is whole
        return self.spare

    spare: Any = None
    hit: Any = None
    how: str = "fails"

    def think(self, messages: Any, options: Any, **rest: Any) -> Iterator[StreamChunk]:
        for number, chunk in enumerate(super().think(messages, options, **rest)):
            if number > 1 and self.hit is not None and self.hit.is_set():
                if self.how == "stalls":
                    threading.Event().wait()
                raise RuntimeError("the device is gone")
            yield chunk


def fragile(how: str) -> Fragile:
    whole = FakeAssistant(says="one two three four five.", pause_s=0.01)
    broken = Fragile(says="once " * 2000, pause_s=0.01)
    broken.spare, broken.hit, broken.how = whole, threading.Event(), how
    return broken


def settings(instances: int) -> ServeSettings:
    return ServeSettings(instances=instances, limits=ServeLimits(stall_s=STALL_S))


def events_until(raw: Any, type: str) -> list[dict]:
    events = []
    while not events or events[-1]["type"] != type:
        events.append(json.loads(raw.recv(timeout=20)))
    return events


def read(address: Address, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}") as answer:
        return answer.read().decode()


@pytest.mark.parametrize(("how", "code"), [("fails", "internal_error"), ("stalls", "model_stalled")])
def test_a_conversation_ends_one_response_and_goes_on(how, code):
    """The instance under a reply is hit: exactly one end of it, another conversation goes on, the next turn works."""
    assistant = fragile(how)
    with running(assistant, settings(instances=2)) as address:
        url = f"ws://{address}/v1/realtime"
        with connect(url) as hit, connect(url) as other:
            hit.send(json.dumps({"type": "response.create"}))
            events_until(hit, "response.output_audio.delta")
            other.send(json.dumps({"type": "response.create"}))  # has the other instance, as the less busy one
            assistant.hit.set()
            done = events_until(hit, "response.done")[-1]["response"]
            assert (done["status"], done["status_details"]["error"]["code"]) == ("failed", code)
            assert events_until(other, "response.done")[-1]["response"]["status"] == "completed"
            hit.send(json.dumps({"type": "response.create"}))
            events = events_until(hit, "response.done")
            assert [event["type"] for event in events].count("response.done") == 1
            assert events[-1]["response"]["status"] == "completed"
            assert "error" not in [event["type"] for event in events]
        labels = {"fails": 'reason="failed",stage="thinking"', "stalls": 'reason="stalled",stage="thinking"'}[how]
        assert f"kimi_audio_instance_restarts_total{{{labels}}} 1.0" in read(address, "/metrics")


class FragileOnce(FakeAssistant):
    """Where one stage is hit once, when ``hit`` is set."""

    stage: str = ""
    how: str = ""
    hit: Any = None

    def _strike(self, stage: str) -> None:
        if stage == self.stage and self.hit.is_set():
            self.hit.clear()
            if self.how == "stalls":
                threading.Event().wait()
            raise RuntimeError("the device is gone")

    def encode_audio(self, *given: Any) -> Any:
        self._strike("hearing")
        return super().encode_audio(*given)

    def begin_speech(self, *given: Any) -> Any:
        whole = super().begin_speech(*given)
        return SimpleNamespace(render=lambda *chunk: self._strike("speaking") or whole.render(*chunk))


@pytest.mark.parametrize("stage", ["hearing", "speaking"])
@pytest.mark.parametrize(("how", "code"), [("fails", "internal_error"), ("stalls", "model_stalled")])
def test_other_stages_are_hit_alone(stage, how, code):
    assistant = FragileOnce(says="once " * 60, pause_s=0.02)
    assistant.stage, assistant.how, assistant.hit = stage, how, threading.Event()
    silent = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    with running(assistant, settings(instances=1)) as address:
        url = f"ws://{address}/v1/realtime"
        with connect(url) as hit, connect(url) as other:
            other.send(json.dumps({"type": "response.create", "response": {"output_modalities": ["text"]}}))
            events_until(other, "response.output_text.delta")
            hit.send(json.dumps({"type": "session.update", "session": silent}))
            assistant.hit.set()
            for status in ("failed" if stage == "speaking" else "completed", "completed"):  # a turn is heard again
                sound = base64.b64encode(bytes(48_000)).decode()
                hit.send(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
                hit.send(json.dumps({"type": "input_audio_buffer.commit"}))
                hit.send(json.dumps({"type": "response.create"}))
                response = events_until(hit, "response.done")[-1]["response"]
                assert response["status"] == status
                if status == "failed":
                    assert response["status_details"]["error"]["code"] == code
            assert events_until(other, "response.done")[-1]["response"]["status"] == "completed"
        labels = f'reason="{"failed" if how == "fails" else "stalled"}",stage="{stage}"'
        assert f"kimi_audio_instance_restarts_total{{{labels}}} 1.0" in read(address, "/metrics")


def test_requests_are_told_and_the_service_is_back():
    assistant = fragile("stalls")
    with running(assistant, settings(instances=1)) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        assistant.hit.set()
        with pytest.raises(InternalServerError) as caught:
            client.chat.completions.create(model="fake", messages=STORY)  # pyright: ignore
        assert (caught.value.status_code, caught.value.code) == (503, "model_stalled")
        assert caught.value.response.headers["retry-after"]
        answer = client.chat.completions.create(model="fake", messages=STORY)  # pyright: ignore
        assert answer.choices[0].message.content == "one two three four five."
        assert read(address, "/readyz") == "ready\n"


def test_without_an_instance_the_server_is_not_ready():
    class Hopeless(Fragile):
        def with_own_engine(self) -> Any:
            raise RuntimeError("there is no device any more")

    assistant = Hopeless(says="once " * 2000, pause_s=0.01)
    assistant.hit = threading.Event()
    with running(assistant, settings(instances=1)) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        assistant.hit.set()
        for code in ("internal_error", "model_restarts"):
            with pytest.raises(InternalServerError) as caught:
                client.chat.completions.create(model="fake", messages=STORY)  # pyright: ignore
            assert caught.value.code == code
        with pytest.raises(urllib.error.HTTPError, match="503"):
            read(address, "/readyz")
        assert 'kimi_audio_instances_ready{stage="thinking"} 0.0' in read(address, "/metrics")


def test_jobs_and_what_comes_of_them_are_on_no_device(reference):
    """An instance elsewhere is given the same."""
    from kimi_audio import KimiAudio

    model = KimiAudio(reference / "checkpoint", device="cpu").with_own_engine()
    tokens = model.encode_audio((torch.zeros(16_000), 16_000))
    job = ThinkJob([Message("user", "audio", tokens)], GenerationOptions("both", max_new_tokens=24), seed=0)
    instance, deadline_s = LocalInstance(model), time.monotonic() + 60

    async def done(job_id: str, job: Job) -> list[Any]:
        return [item async for item in instance.submit(job_id, job, deadline_s)]

    async def story() -> tuple[list[StreamChunk], torch.Tensor]:
        chunks = await done("a", job)
        codes = [code for chunk in chunks for code in chunk.codes]
        assert await done("b", VoiceJob(seed=0)) == []
        (sound,) = await done("c", SpeakJob("b", codes, is_final=True))
        return chunks, sound

    chunks, sound = asyncio.run(story())
    for tensor in (sound, *(chunk.audio for chunk in chunks)):
        assert tensor.device == torch.device("cpu")
        assert not tensor.requires_grad
    assert all(type(chunk.codes) is tuple for chunk in chunks)
    assert len(sound) == sum(len(chunk.codes) for chunk in chunks) * OUTPUT_SAMPLES_PER_TOKEN > 0
