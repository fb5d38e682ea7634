"""Conversations over a real WebSocket, by OpenAI's client, with an assistant that answers at once."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from openai import OpenAI
from serve_fakes import FakeAssistant, running
from session_watcher import OPENAI_EVENTS
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.serve.app import new_services
from kimi_audio.serve.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw
from kimi_audio.serve.realtime_admission import Admitted
from kimi_audio.serve.realtime_session import RealtimeSession
from kimi_audio.serve.session_config import Audio, AudioInput, SessionConfig
from kimi_audio.serve.settings import ServeLimits, ServeSettings
from kimi_audio.transcript.timed_text import Segment

QUESTION = files("kimi_audio") / "nano" / "questions" / "02-a-capital.wav"
MANUAL: Any = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
VAD: Any = {"type": "server_vad", "silence_duration_ms": 300}
TRANSCRIBED: Any = {"turn_detection": VAD, "transcription": {"model": "whisper-1"}}
LISTENING: Any = {"type": "realtime", "audio": {"input": TRANSCRIBED}}
TIMER: Any = {
    "type": "function",
    "name": "set_timer",
    "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}},
}


def speech(seconds: float, rate_hz: int = 24_000) -> np.ndarray:
    """Return the beginning of a spoken question, again and again."""
    question = load_audio(str(QUESTION), rate_hz).numpy()
    return np.resize(question, int(seconds * rate_hz))


def b64(samples: np.ndarray) -> str:
    return base64.b64encode((samples * 32767).astype("<i2").tobytes()).decode()


def until(connection: Any, type: str) -> list[Any]:
    """Return all events up to one of a name; if it does not come, the connection is closed."""
    events = []
    watchdog = threading.Timer(30, connection.close)
    watchdog.start()
    try:
        for event in connection:
            events.append(event)
            if event.type == type:
                return events
    finally:
        watchdog.cancel()
    raise AssertionError(f"the connection ended before {type}: {[event.type for event in events]}")


def heard(events: list[Any]) -> bytes:
    return b"".join(base64.b64decode(event.delta) for event in events if event.type == "response.output_audio.delta")


def test_a_manual_turn(client, assistant):
    with client.realtime.connect(model="gpt-realtime") as connection:
        assert until(connection, "session.created")[0].session.model == "fake"
        connection.session.update(session=MANUAL)
        until(connection, "session.updated")
        connection.input_audio_buffer.append(audio=b64(speech(1.0)))
        connection.input_audio_buffer.commit()
        connection.response.create()
        events = until(connection, "response.done")
    response = events[-1].response
    assert response.status == "completed"
    assert response.output[0].content[0].transcript == "it is three."
    assert response.usage.input_token_details.cached_tokens == 2
    assert len(heard(events)) == 2 * 3 * OUTPUT_SAMPLES_PER_TOKEN
    assert int(response.metadata["end_of_speech_to_first_sound_ms"]) >= 0
    (message,) = assistant.asked[-1]
    assert (message.role, message.message_type, len(message.content.codes)) == ("user", "audio", 13)


def test_the_conversation_is_remembered_as_tokens(client, assistant):
    with client.realtime.connect(model="fake") as connection:
        connection.session.update(session=MANUAL | {"instructions": "be brief"})
        for _ in range(2):
            connection.input_audio_buffer.append(audio=b64(speech(0.8)))
            connection.input_audio_buffer.commit()
            connection.response.create()
            events = until(connection, "response.done")
        item_id = events[-1].response.output[0].id
        connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=170)
        until(connection, "conversation.item.truncated")
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and now?"}]}
        )
        connection.response.create(response={"output_modalities": ["text"]})
        assert until(connection, "response.done")[-1].response.output[0].content[0].text == "it is three."
    messages = assistant.asked[-1]
    kinds = [(message.role, message.message_type) for message in messages]
    turn = [("user", "audio"), ("assistant", "audio-text")]
    assert kinds == [("system", "text"), *turn, *turn, ("user", "text")]
    assert messages[2].content[0].codes.tolist() == [0, 1, 2]
    assert messages[4].content[0].codes.tolist() == [0, 1]  # 170 ms are two tokens
    assert messages[4].content[1] == "it is"


def test_turns_are_found_and_interrupted():
    assistant = FakeAssistant(says="once upon a time " * 50, pause_s=0.02)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            connection.session.update(session=LISTENING)
            turn = np.concatenate([np.zeros(12_000), speech(1.0), np.zeros(24_000)])
            connection.input_audio_buffer.append(audio=b64(turn))
            events = until(connection, "response.output_audio.delta")
            types = [event.type for event in events if not event.type.startswith(("conversation", "session"))]
            assert types[:4] == [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "response.created",
            ]
            times = {event.type: event for event in events}
            assert abs(times["input_audio_buffer.speech_started"].audio_start_ms - 200) <= 200
            assert abs(times["input_audio_buffer.speech_stopped"].audio_end_ms - 1800) <= 300
            connection.input_audio_buffer.append(audio=b64(speech(0.5)))
            events += until(connection, "response.done")
            done = events[-1].response
            assert (done.status, done.status_details.reason) == ("cancelled", "turn_detected")
            assert assistant.stopped.wait(5)
            transcripts = [event for event in events if event.type.endswith("transcription.completed")]
            if not transcripts:
                transcripts = until(connection, "conversation.item.input_audio_transcription.completed")
            assert transcripts[-1].transcript.endswith("seconds of sound.")


def test_the_reply_is_heard_before_the_turn_is_written_down():
    with running(FakeAssistant(pause_s=0.2)) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            connection.session.update(session=LISTENING)
            connection.input_audio_buffer.append(
                audio=b64(np.concatenate([np.zeros(12_000), speech(1.0), np.zeros(24_000)]))
            )
            events = until(connection, "conversation.item.input_audio_transcription.completed")
    assert "response.output_audio.delta" in [event.type for event in events]


def test_what_is_said_can_be_read_while_it_is_said():
    class Writer(FakeAssistant):
        """Hears one word a second."""

        def write_down(self, passage: Any, *_: Any, **__: Any) -> Iterator[Any]:
            text = " ".join(f"word{number}" for number in range(round(passage.seconds)))
            yield Segment(text, 0.0, passage.seconds, ())

    with running(Writer()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            transcription: Any = {"model": "whisper-1"}
            audio: Any = {"input": {"transcription": transcription}}
            connection.session.update(session={"type": "realtime", "audio": audio})
            connection.input_audio_buffer.append(audio=b64(np.concatenate([np.zeros(12_000), speech(1.0)])))
            kind = "conversation.item.input_audio_transcription"
            until(connection, "input_audio_buffer.speech_started")
            was_read = threading.Event()

            def go_on() -> None:
                while not was_read.wait(0.2):
                    connection.input_audio_buffer.append(audio=b64(speech(0.5)))

            speaker = threading.Thread(target=go_on)
            speaker.start()
            try:
                events = until(connection, f"{kind}.delta")
            finally:
                was_read.set()
                speaker.join()
            assert "input_audio_buffer.speech_stopped" not in [event.type for event in events]
            assert events[-1].delta.startswith("word0")
            connection.input_audio_buffer.append(audio=b64(np.zeros(48_000)))
            events += until(connection, f"{kind}.completed")
            told = "".join(event.delta for event in events if event.type == f"{kind}.delta")
            assert told == events[-1].transcript


def test_cancel():
    assistant = FakeAssistant(says="word " * 200, pause_s=0.02)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            connection.response.create()
            until(connection, "response.output_audio.delta")
            connection.response.cancel()
            assert until(connection, "response.done")[-1].response.status_details.reason == "client_cancelled"
            assert assistant.stopped.wait(5)


def test_a_function_is_called_by_voice():
    def says(messages: list[Any]) -> str:
        last = messages[-1].content
        return f"the timer {last[8:-9]}." if str(last).startswith("<result>") else "<call>set_timer minutes=5</call>"

    assistant = FakeAssistant(says=says)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            connection.session.update(session=MANUAL | {"tools": [TIMER]})
            connection.input_audio_buffer.append(audio=b64(speech(1.0)))
            connection.input_audio_buffer.commit()
            connection.response.create()
            events = until(connection, "response.done")
            assert heard(events) == b""
            (call,) = events[-1].response.output
            assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "set_timer", {"minutes": 5})
            result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "is <set>"}
            connection.conversation.item.create(item=result)
            connection.response.create()
            events = until(connection, "response.done")
            assert events[-1].response.output[0].content[0].transcript == "the timer is set."
            assert heard(events)
    assert [message.content for message in assistant.asked[-1] if message.message_type == "text"] == [
        "<tools>set_timer minutes</tools>",
        "<call>set_timer minutes=5</call>",
        "<result>is set</result>",
    ]


@pytest.mark.parametrize(
    ("type", "encode", "decode"),
    [("audio/pcmu", encode_ulaw, decode_ulaw), ("audio/pcma", encode_alaw, decode_alaw)],
)
def test_telephony(client, assistant, type, encode, decode):
    format = {"format": {"type": type}}
    audio = {"input": format | {"turn_detection": None}, "output": format}
    with client.realtime.connect(model="fake") as connection:
        connection.session.update(session={"type": "realtime", "audio": audio})
        connection.input_audio_buffer.append(audio=base64.b64encode(encode(speech(1.0, 8000))).decode())
        connection.input_audio_buffer.commit()
        connection.response.create()
        events = until(connection, "response.done")
    samples = decode(heard(events))
    assert len(samples) == 3 * OUTPUT_SAMPLES_PER_TOKEN // 3
    assert abs(samples[200:-200] - 0.25).max() < 0.01
    assert len(assistant.asked[-1][-1].content.codes) == 13  # a second, from 8 kHz


def test_speed_and_text(client):
    with client.realtime.connect(model="fake") as connection:
        connection.session.update(session=MANUAL | {"audio": {"output": {"speed": 0.5}}})
        connection.response.create()
        sound = heard(until(connection, "response.done"))
        assert len(sound) / 2 == pytest.approx(2 * 3 * OUTPUT_SAMPLES_PER_TOKEN, rel=0.1)


def test_a_transcription_session(client):
    with client.realtime.connect(extra_query={"intent": "transcription"}, model="fake") as connection:
        assert until(connection, "session.created")[0].session.type == "transcription"
        audio: Any = {"input": {"turn_detection": None, "transcription": {"model": "x"}}}
        connection.session.update(session={"type": "transcription", "audio": audio})
        connection.input_audio_buffer.append(audio=b64(speech(1.0)))
        connection.input_audio_buffer.commit()
        done = until(connection, "conversation.item.input_audio_transcription.completed")[-1]
    assert done.transcript == "1.0 seconds of sound."
    assert done.usage.seconds == 1.0


def test_long_conversations_forget_their_beginning():
    assistant = FakeAssistant(context_tokens=100)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            connection.session.update(session=MANUAL | {"instructions": "be brief"})
            for _ in range(5):
                connection.input_audio_buffer.append(audio=b64(speech(1.0)))
                connection.input_audio_buffer.commit()
                connection.response.create()
                assert until(connection, "response.done")[-1].response.status == "completed"
    assert assistant.asked[-1][0].content == "be brief"
    assert len(assistant.asked[-1]) < 6


# ---------------------------------------------------------------------------------------------------------------------
# By hand


def test_every_event_is_one_of_openais(address):
    with connect(
        f"ws://{address}/v1/realtime?model=fake", subprotocols=["realtime", "openai-insecure-api-key.x"]
    ) as raw:
        assert raw.subprotocol == "realtime"  # and never the one with the key
        raw.send(json.dumps({"type": "session.update", "session": MANUAL}))
        raw.send(json.dumps({"type": "input_audio_buffer.append", "audio": b64(speech(1.0))}))
        raw.send(json.dumps({"type": "input_audio_buffer.commit"}))
        raw.send(json.dumps({"type": "response.create"}))
        types = []
        while not types or types[-1] != "response.done":
            event = json.loads(raw.recv(timeout=10))
            types.append(event["type"])
            assert OPENAI_EVENTS.validate_python(event).type == event["type"]
    assert len(types) > 15


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        '{"type": "what.is.this"}',
        '{"type": "input_audio_buffer.append", "audio": "?"}',
        '{"type": "input_audio_buffer.append", "audio": "QQ=="}',
        '{"type": "input_audio_buffer.commit", "event_id": "\\ud800"}',  # half a character
        '{"type": "session.update", "session": {"truncation": {"share": NaN}}}',
        '{"type": "session.update", "session": {"truncation": {"share": 1e999}}}',
        "[" * 100_000,
    ],
)
def test_bad_messages_do_not_end_a_session(address, message):
    with connect(f"ws://{address}/v1/realtime") as raw:
        raw.recv(timeout=10)
        raw.send(message)
        assert json.loads(raw.recv(timeout=10))["error"]["code"] == "invalid_event"
        raw.send(json.dumps({"type": "session.update", "session": MANUAL}))
        assert json.loads(raw.recv(timeout=10))["type"] == "session.updated"


def test_large_messages_end_a_session():
    with running(FakeAssistant(), ServeSettings(limits=ServeLimits(frame_bytes=10_000))) as address:
        with connect(f"ws://{address}/v1/realtime") as raw:
            raw.recv(timeout=10)
            raw.send(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 20_000}))
            with pytest.raises(ConnectionClosed) as caught:
                raw.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
        assert not _soon(lambda: address.services.sessions)


def test_places_are_limited_and_given_back():
    with running(FakeAssistant(), ServeSettings(limits=ServeLimits(sessions=1))) as address:
        url = f"ws://{address}/v1/realtime"
        with connect(url) as first:
            first.recv(timeout=10)
            with connect(url) as second:
                assert json.loads(second.recv(timeout=10))["error"]["code"] == "session_limit_reached"
                with pytest.raises(ConnectionClosed) as caught:
                    second.recv(timeout=10)
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1013
        assert not _soon(lambda: address.services.sessions)
        with connect(url) as third:
            assert json.loads(third.recv(timeout=10))["type"] == "session.created"


def test_nothing_of_a_session_stays_behind():
    assistant = FakeAssistant(says="word " * 500, pause_s=0.02)
    with running(assistant) as address:
        with connect(f"ws://{address}/v1/realtime") as raw:
            raw.send(json.dumps({"type": "response.create"}))
            while json.loads(raw.recv(timeout=10))["type"] != "response.output_audio.delta":
                pass
        assert assistant.stopped.wait(5)
        assert not _soon(lambda: address.services.sessions)


class LeavingSocket:
    """A client that leaves some turns of the loop before the first message has been sent to it."""

    def __init__(self, turns: int) -> None:
        self.turns, self.gone = turns, asyncio.Event()

    async def receive_text(self) -> str:
        await self.gone.wait()
        raise WebSocketDisconnect

    async def send_text(self, message: str) -> None:
        self.gone.set()
        for _ in range(self.turns):
            await asyncio.sleep(0)

    async def close(self, code: int, reason: str) -> None:
        pass


def test_a_session_ends_whenever_its_client_leaves():
    services = new_services(FakeAssistant(), "fake", ServeSettings())
    config = SessionConfig(audio=Audio(input=AudioInput(turn_detection=None)))

    async def story(turns: int) -> bool:
        socket: Any = LeavingSocket(turns)
        session = asyncio.create_task(RealtimeSession(socket, services, Admitted("sess_1", config)).run())
        _, pending = await asyncio.wait([session], timeout=10)
        return not pending

    try:
        assert [asyncio.run(story(turns)) for turns in range(20)] == 20 * [True]
    finally:
        services.backend.close()


def test_a_server_that_stops_says_so_and_lets_the_reply_end():
    assistant = FakeAssistant(says="one two three four five", pause_s=0.1)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            connection.response.create()
            until(connection, "response.output_audio.delta")
            address.server.should_exit = True
            events = until(connection, "response.done")
            assert "session.expiring" in [event.type for event in events]
            assert events[-1].response.status == "completed"
            with pytest.raises(ConnectionClosed) as caught:
                connection.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001


def test_keys_and_secrets():
    with running(FakeAssistant(), ServeSettings(api_keys=("the-real-key",))) as address:
        url = f"ws://{address}/v1/realtime"
        with pytest.raises(InvalidStatus) as caught:
            connect(url)
        assert caught.value.response.status_code == 401
        client = OpenAI(base_url=f"http://{address}/v1", api_key="the-real-key", max_retries=0)
        secret = client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60}, session=MANUAL | {"instructions": "be brief"}
        )
        assert secret.value.startswith("ek_")
        assert 0 < secret.expires_at - time.time() <= 60
        with connect(url, subprotocols=["realtime", f"openai-insecure-api-key.{secret.value}"]) as raw:
            session = json.loads(raw.recv(timeout=10))["session"]
        assert session["instructions"] == "be brief"
        assert session["audio"]["input"]["turn_detection"] is None
        with pytest.raises(InvalidStatus), connect(url, origin="https://evil.example"):  # pyright: ignore
            pass


def test_two_users_do_not_meet():
    """Many conversations at once, each about its own length of sound, hear of nobody else's."""
    assistant = FakeAssistant(
        says=lambda messages: f"{len(getattr(messages[-1].content, 'codes', []))} tokens", pause_s=0.01
    )
    with running(assistant) as address:
        failures: list[Any] = []

        def talk(tenths: int) -> None:
            client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
            with client.realtime.connect(model="fake") as connection:
                connection.session.update(session=MANUAL)
                for _ in range(3):
                    connection.input_audio_buffer.append(audio=b64(speech(0.08 * tenths)))
                    connection.input_audio_buffer.commit()
                    connection.response.create()
                    said = until(connection, "response.done")[-1].response.output[0].content[0].transcript
                    if said != f"{tenths} tokens":
                        failures.append((tenths, said))

        threads = [threading.Thread(target=talk, args=(10 + number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []


def _soon(still: Any) -> bool:
    """Wait until something is no more; tell whether it still is."""
    end_s = time.monotonic() + 10
    while still() and time.monotonic() < end_s:
        time.sleep(0.01)
    return bool(still())
