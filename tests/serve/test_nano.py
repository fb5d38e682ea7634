"""The whole way with the bundled model."""

import base64
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from openai import OpenAI
from serve_fakes import running

from kimi_audio import KimiAudio
from kimi_audio.audio.io import load_audio
from kimi_audio.audio.marking import marked
from kimi_audio.serve.encodings import to_pcm16


@pytest.fixture(scope="module")
def nano() -> KimiAudio:
    return KimiAudio.from_pretrained("nano", device="cpu")


@pytest.fixture(scope="module")
def client(nano: KimiAudio) -> Iterator[OpenAI]:
    with running(nano, model_name="nano") as address:
        yield OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0, timeout=300)


def until_done(connection: Any) -> list[Any]:
    events = []
    for event in connection:
        events.append(event)
        if event.type == "response.done":
            return events
    raise AssertionError("the connection ended before the response did")


def test_a_question_is_written_down(client, nano):
    question = files("kimi_audio") / "nano" / "questions" / "02-a-capital.wav"
    heard = client.audio.transcriptions.create(file=("q.wav", question.read_bytes()), model="nano")
    assert heard.text == nano.transcribe(question.read_bytes())
    assert re.search("[a-z]{3}", heard.text)


def test_streamed_speech_is_that_of_the_library(client, nano):
    asked = {"input": "yes", "voice": "Ben", "model": "nano", "response_format": "pcm", "extra_body": {"seed": 3}}
    spoken = client.audio.speech.create(**asked).content
    assert spoken == to_pcm16(marked(nano.speak("yes", voice="Ben", seed=3)))


def test_a_spoken_question_is_answered_in_a_conversation(client):
    """Sound is sent as from a microphone; the turn is found, and the answer comes as text and sound, and is known."""
    question = load_audio(str(files("kimi_audio") / "nano" / "questions" / "02-a-capital.wav"), 24_000).numpy()
    turn = np.concatenate([np.zeros(12_000), question, np.zeros(24_000)])
    sound = (turn * 32767).astype("<i2").tobytes()
    vad: Any = {"type": "server_vad", "silence_duration_ms": 300}
    with client.realtime.connect(model="nano") as connection:
        connection.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": vad}}})
        for start in range(0, len(sound), 1920):
            connection.input_audio_buffer.append(audio=base64.b64encode(sound[start : start + 1920]).decode())
        events = until_done(connection)
        item_id = events[-1].response.output[0].id
        connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=80)
        connection.response.create(response={"output_modalities": ["text"]})
        again = until_done(connection)[-1].response
    response = events[-1].response
    assert response.status == "completed"
    assert re.search("[a-z]{3}", response.output[0].content[0].transcript)
    spoken = sum(len(base64.b64decode(e.delta)) for e in events if e.type == "response.output_audio.delta") / 48_000
    assert 0.3 < spoken < 20
    assert response.usage.input_token_details.audio_tokens >= 18
    assert response.usage.output_token_details.audio_tokens == round(spoken / 0.08)
    assert again.status == "completed"
    assert again.usage.input_token_details.cached_tokens > 10  # the first turn was remembered


def test_the_time_is_asked_for_and_told_by_voice(client):
    """Speech, call, result, spoken answer, with the question read aloud by the model itself."""
    question = client.audio.speech.create(
        input="What time is it?", voice="Ava", model="nano", response_format="pcm", extra_body={"seed": 0}
    ).content
    sound = bytes(24_000) + question + bytes(48_000)
    vad: Any = {"type": "server_vad", "silence_duration_ms": 300}
    tools: Any = [{"type": "function", "name": name, "parameters": {}} for name in ("time", "lamp")]
    with client.realtime.connect(model="nano") as connection:
        session = {"type": "realtime", "audio": {"input": {"turn_detection": vad}}, "tools": tools}
        connection.session.update(session=session)
        for start in range(0, len(sound), 1920):
            connection.input_audio_buffer.append(audio=base64.b64encode(sound[start : start + 1920]).decode())
        (call,) = until_done(connection)[-1].response.output
        assert (call.type, call.name, call.arguments) == ("function_call", "time", "{}")
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "half past three"}
        connection.conversation.item.create(item=result)
        connection.response.create()
        events = until_done(connection)
    assert "half past three" in events[-1].response.output[0].content[0].transcript.lower()
    spoken = sum(len(base64.b64decode(e.delta)) for e in events if e.type == "response.output_audio.delta") / 48_000
    assert spoken > 0.5
