"""Conversations over WebRTC: an unmodified aiortc client, begun and ended by OpenAI's client, on this machine."""

import asyncio
import http.client
import json
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from openai import OpenAI
from serve_fakes import FakeAssistant, running
from session_watcher import OPENAI_EVENTS
from test_realtime import speech

from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.serve.settings import ServeLimits, ServeSettings

pytest.importorskip("aiortc", reason="aiortc is not installed (pip install 'kimi-audio[webrtc]')")
from aioice.ice import get_host_addresses
from webrtc_client import Caller

pytestmark = pytest.mark.skipif(
    not get_host_addresses(use_ipv4=True, use_ipv6=True), reason="WebRTC needs a network interface beside loopback"
)

PATH = "/v1/realtime/calls"
MANUAL: Any = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
LONG = "word " * 600  # 48 s, so that it is still being made when it has been played for seconds


class Singer(FakeAssistant):
    """Its sound is a tone: Opus lets no constant through."""

    def begin_speech(self, *given: Any) -> Any:
        tone = 0.3 * torch.sin(torch.arange(OUTPUT_SAMPLES_PER_TOKEN) * (2 * torch.pi * 400 / 24_000))
        return SimpleNamespace(render=lambda codes, _: tone.repeat(len(codes)))


def offered(address: str, key: str = "x", **session: Any) -> Callable[[str], tuple[str, str]]:
    """Return what begins a call by OpenAI's client."""
    client = OpenAI(base_url=f"http://{address}/v1", api_key=key, max_retries=0)

    def begin(offer: str) -> tuple[str, str]:
        response = client.realtime.calls.create(sdp=offer, session={"type": "realtime"} | session)  # pyright: ignore
        assert response.response.status_code == 201
        return response.text, response.response.headers["Location"].removeprefix(f"{PATH}/")

    return begin


def post(address: str, body: str | bytes, path: str = PATH, **headers: str) -> tuple[int, dict[str, Any], Any]:
    """Return status, body and headers of a plain request."""
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", path, body, {"Content-Type": "application/sdp"} | headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, json.loads(text) if text.startswith("{") else {"text": text}, response.headers


async def an_offer() -> str:
    caller = Caller(lambda _: ("", ""))
    caller.peer.addTrack(caller.microphone)
    caller.peer.createDataChannel("oai-events")
    await caller.peer.setLocalDescription(await caller.peer.createOffer())
    offer = caller.peer.localDescription.sdp
    await caller.peer.close()
    return offer


@pytest.fixture(scope="module")
def offer() -> str:
    return asyncio.run(an_offer())


async def no_sessions(address: Any) -> None:
    async with asyncio.timeout(10):
        while address.services.sessions or address.services.calls:
            await asyncio.sleep(0.01)


def story(run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(run(), 60))


# ---------------------------------------------------------------------------------------------------------------------
# Conversations


def test_a_spoken_turn_is_heard_and_answered():
    assistant = Singer()

    async def run() -> None:
        async with Caller(offered(address, instructions="be brief")) as caller:
            created = await caller.until("session.created")
            assert created["session"]["instructions"] == "be brief"
            caller.microphone.say(speech(1.5, 48_000))
            await caller.until("input_audio_buffer.speech_started")
            await caller.until("input_audio_buffer.committed")
            started = await caller.until("output_audio_buffer.started")
            done = next(event for event in caller.events if event["type"] == "response.created")
            assert started["response_id"] == done["response"]["id"]
            stopped = await caller.until("output_audio_buffer.stopped")
            assert stopped["response_id"] == started["response_id"]
            await asyncio.sleep(0.5)  # the last frames are on their way
            types = caller.types()
            assert "response.output_audio.delta" not in types  # its sound comes by the track
            assert types.index("response.done") < types.index("output_audio_buffer.stopped")
            for event in caller.events:
                assert OPENAI_EVENTS.validate_python(event).type == event["type"]
            level = np.abs(caller.heard[: len(caller.heard) // 240 * 240].reshape(-1, 240) / 32768).max(
                axis=1
            )  # of 10 ms
            assert np.sum(level > 0.15) == pytest.approx(3 * OUTPUT_SAMPLES_PER_TOKEN / 240, rel=0.2)
            assert np.max(level) < 0.5

    with running(assistant) as address:
        story(run)
    (_, message) = assistant.asked[-1]
    assert (message.role, message.message_type) == ("user", "audio")
    assert 0.08 * len(message.content.codes) == pytest.approx(2.0, abs=0.8)  # with the silence around it


def test_push_to_talk_and_sound_by_event(address, assistant):
    async def run() -> None:
        async with Caller(offered(address, **MANUAL)) as caller:
            await caller.until("session.created")
            caller.send("input_audio_buffer.append", audio="AAAA")
            assert "audio track" in (await caller.until("error"))["error"]["message"]
            caller.send("session.update", session={"audio": {"output": {"format": {"type": "audio/pcmu"}}}})
            assert "format" in (await caller.until("error"))["error"]["message"]
            caller.microphone.say(speech(1.0, 48_000))
            await asyncio.sleep(1.2)
            caller.send("input_audio_buffer.commit")
            caller.send("response.create")
            assert (await caller.until("response.done"))["response"]["status"] == "completed"

    story(run)
    assert 0.08 * len(assistant.asked[-1][-1].content.codes) > 0.7


def test_barge_in_clears_and_truncates_at_what_was_played():
    assistant = FakeAssistant(says=LONG)
    with running(assistant) as address:

        async def run() -> None:
            async with Caller(offered(address)) as caller:
                await caller.until("session.created")
                caller.send("response.create")
                await caller.until("output_audio_buffer.started")
                await asyncio.sleep(1.0)
                caller.microphone.say(speech(1.5, 48_000))
                await caller.until("input_audio_buffer.speech_started")
                done = await caller.until("response.done")
                assert done["response"]["status_details"]["reason"] == "turn_detected"
                await caller.until("output_audio_buffer.cleared")
                truncated = await caller.until("conversation.item.truncated")
                assert 500 < truncated["audio_end_ms"] < 10_000  # of the 15 s that were made ahead
                assert truncated["item_id"] == done["response"]["output"][0]["id"]
                caller.send("conversation.item.retrieve", item_id=truncated["item_id"])
                item = (await caller.until("conversation.item.retrieved"))["item"]
                assert 0 < len(item["content"][0]["transcript"].split()) < 150

        story(run)


def test_the_client_clears_what_is_played():
    with running(FakeAssistant(says="one two three four five six seven eight nine ten " * 3)) as address:

        async def run() -> None:
            async with Caller(offered(address, **MANUAL)) as caller:
                await caller.until("session.created")
                caller.send("response.create")
                await caller.until("output_audio_buffer.started")  # it is made at once, and played for 2.4 s
                caller.send("output_audio_buffer.clear")
                await caller.until("output_audio_buffer.cleared")
                assert (await caller.until("conversation.item.truncated"))["audio_end_ms"] < 2000
                caller.send("output_audio_buffer.clear")
                assert (await caller.until("error"))["error"]["code"] == "response_cancel_not_active"
                assert "output_audio_buffer.stopped" not in caller.types()

        story(run)


# ---------------------------------------------------------------------------------------------------------------------
# Its end


def test_hanging_up(address):
    client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)

    async def run() -> None:
        async with Caller(offered(address)) as caller:
            await caller.until("session.created")
            assert caller.id in address.services.calls
            await asyncio.to_thread(client.realtime.calls.hangup, caller.id)
            await no_sessions(address)
            await asyncio.wait_for(caller.is_over.wait(), 10)
            status, body, _ = await asyncio.to_thread(post, address, "", f"{PATH}/{caller.id}/hangup")
            assert (status, body["error"]["code"]) == (404, "call_not_found")

    story(run)


def test_a_client_that_leaves(address):
    async def run() -> None:
        async with Caller(offered(address)) as caller:
            await caller.until("session.created")
        await no_sessions(address)

    story(run)


def test_a_client_that_never_connects(offer):
    with running(FakeAssistant(), ServeSettings(limits=ServeLimits(connect_s=0.3))) as address:
        assert post(address, offer)[0] == 201
        assert address.services.sessions
        asyncio.run(no_sessions(address))


def test_a_server_that_stops_plays_to_the_end():
    with running(FakeAssistant(says="one two three four five six seven eight nine ten")) as address:

        async def run() -> None:
            async with Caller(offered(address)) as caller:
                await caller.until("session.created")
                caller.send("response.create")
                await caller.until("output_audio_buffer.started")
                address.server.should_exit = True
                await caller.until("session.expiring")
                await caller.until("output_audio_buffer.stopped")
                await asyncio.wait_for(caller.is_over.wait(), 10)

        story(run)


# ---------------------------------------------------------------------------------------------------------------------
# Beginnings that are refused


def test_an_offer_alone_is_answered(address, offer):
    status, body, headers = post(address, offer)
    assert status == 201
    assert headers["Content-Type"].startswith("application/sdp")
    assert "m=application" in body["text"]
    call_id = headers["Location"].removeprefix(f"{PATH}/")
    assert post(address, "", f"{PATH}/{call_id}/hangup")[0] == 200
    asyncio.run(no_sessions(address))


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        (lambda offer: "what is this", 400, "one audio track"),
        (lambda offer: "v=0\r\nm=audio", 400, "no SDP"),
        (lambda offer: b"\xff", 400, "UTF-8"),
        (lambda offer: offer[: offer.index("m=application")], 400, "data channel"),
        (lambda offer: offer.replace("a=sendrecv", "a=sendonly"), 400, "receives"),
        (lambda offer: offer.replace("a=ice-ufrag", "a=nothing"), 400, "does not know"),
        (lambda offer: offer + 100 * "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", 400, "candidates"),
        (lambda offer: offer + 70_000 * "x", 413, "64 KiB"),
    ],
)
def test_bad_offers(address, offer, change, status, says):
    answered, body, _ = post(address, change(offer))
    assert (answered, says in body["error"]["message"]) == (status, True), body
    assert not address.services.sessions
    assert not address.services.calls


@pytest.mark.parametrize(
    ("session", "says"),
    [
        ({"audio": {"output": {"speed": 9}}}, "speed"),
        ({"audio": {"output": {"voice": "nobody"}}}, "voice"),
        ({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, "pcm"),
    ],
)
def test_bad_configurations(address, offer, session, says):
    with pytest.raises(Exception, match=says):
        offered(address, **session)(offer)
    assert not address.services.sessions


def test_other_bodies(address):
    assert post(address, "{}", **{"Content-Type": "application/json"})[0] == 415


def test_keys_are_asked_for(offer):
    with running(FakeAssistant(), ServeSettings(api_keys=("the-real-key",))) as address:
        assert post(address, offer)[0] == 401
        assert post(address, "", f"{PATH}/rtc_1/hangup")[0] == 401
        client = OpenAI(base_url=f"http://{address}/v1", api_key="the-real-key", max_retries=0)
        secret = client.realtime.client_secrets.create(session=MANUAL | {"instructions": "be brief"})

        async def run() -> None:
            async with Caller(offered(address, key=secret.value)) as caller:
                session = (await caller.until("session.created"))["session"]
                assert session["instructions"] == "be brief"
                assert session["audio"]["input"]["turn_detection"] is None

        story(run)


def test_places_are_shared_with_websockets(offer):
    with running(FakeAssistant(), ServeSettings(limits=ServeLimits(sessions=1))) as address:

        async def run() -> None:
            async with Caller(offered(address)) as caller:
                await caller.until("session.created")
                status, body, headers = await asyncio.to_thread(post, address, offer)
                assert (status, body["error"]["code"]) == (503, "session_limit_reached")
                assert int(headers["Retry-After"]) > 0
            await no_sessions(address)
            async with Caller(offered(address)) as caller:
                await caller.until("session.created")

        story(run)


def test_a_server_without_aiortc_says_what_is_missing(address, offer, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kimi_audio.serve.webrtc_call", None)
    status, body, _ = post(address, offer)
    assert (status, body["error"]["code"]) == (501, "webrtc_not_installed")
    assert "pip install 'kimi-audio[webrtc]'" in body["error"]["message"]
