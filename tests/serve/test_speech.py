"""Speech, by OpenAI's client, and heard by other programs."""

import base64
import http.client
import io
import json
import shutil
import struct
import subprocess
import urllib.request

import numpy as np
import openai
import pytest
import soundfile
from openai import OpenAI
from serve_fakes import FakeAssistant, running

from kimi_audio.core.units import OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_TOKEN

TEXT = "one two three four five six seven eight nine ten"
SAMPLES = 10 * OUTPUT_SAMPLES_PER_TOKEN


def test_pcm(client):
    sound = client.audio.speech.create(input=TEXT, voice="alloy", model="tts-1", response_format="pcm").content
    samples = np.frombuffer(sound, "<i2")
    assert len(samples) == SAMPLES
    assert np.abs(samples / 32767 - 0.25).max() < 1e-4


def test_wav_has_an_open_length_and_can_be_read(client):
    sound = client.audio.speech.create(input=TEXT, voice="ava", model="tts-1", response_format="wav").content
    head, _, data = sound.partition(b"data")
    assert struct.unpack("<I", head[4:8])[0] == struct.unpack("<I", data[:4])[0] == 0xFFFFFFFF
    assert np.array_equal(np.frombuffer(data[4:], "<i2"), np.full(SAMPLES, round(0.25 * 32767)))
    assert len(soundfile.read(io.BytesIO(sound))[0]) == SAMPLES


@pytest.mark.parametrize("format", ["mp3", "flac", "opus", "aac", "wav"])
def test_every_format_is_played_by_ffmpeg(client, format):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    sound = client.audio.speech.create(input=TEXT, voice="ava", model="tts-1", response_format=format).content
    command = ["ffmpeg", "-v", "error", "-i", "-", "-f", "s16le", "-ar", "24000", "-ac", "1", "-"]
    done = subprocess.run(command, input=sound, capture_output=True, check=True)
    assert done.stderr == b""
    samples = np.frombuffer(done.stdout, "<i2") / 32767
    assert SAMPLES <= len(samples) + 64 < SAMPLES + 5000  # codecs begin and end in whole frames
    middle = samples[SAMPLES // 4 : SAMPLES // 2]
    if format in ("flac", "wav"):  # a constant is no sound, and codecs of speech leave it out
        assert np.abs(middle - 0.25).max() < 1e-3


def test_it_arrives_while_it_is_made():
    assistant = FakeAssistant(pause_s=0.05)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        asked = {"input": TEXT, "voice": "ava", "model": "tts-1", "response_format": "pcm"}
        with client.audio.speech.with_streaming_response.create(**asked) as response:
            assert len([part for part in response.iter_bytes(2 * OUTPUT_SAMPLES_PER_TOKEN) if part]) >= 10


def test_sound_that_would_stand_still_is_kept_until_it_would_not(monkeypatch):
    assistant = FakeAssistant()
    asked = []

    def code_chunks():
        cutting = FakeAssistant.code_chunks(assistant)
        cutting.may_begin = lambda in_hand_s, elapsed_s: asked.append((in_hand_s, elapsed_s)) or len(asked) == 3
        return cutting

    monkeypatch.setattr(assistant, "code_chunks", code_chunks)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        spoken = client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "speak"}],
            modalities=["text", "audio"],
            audio={"voice": "ava", "format": "pcm16"},
            stream=True,
        )
        deltas = [getattr(chunk.choices[0].delta, "audio", None) for chunk in spoken if chunk.choices]
    sizes = [len(base64.b64decode(data)) // 2 for delta in deltas if (data := getattr(delta, "data", None))]
    assert sizes[0] > 2 * OUTPUT_SAMPLES_PER_TOKEN  # "it is three.": the first two words were kept
    assert sum(sizes) == 3 * OUTPUT_SAMPLES_PER_TOKEN
    assert [round(in_hand_s, 2) for in_hand_s, _ in asked] == [0.08, 0.16, 0.24]
    times = [elapsed_s for _, elapsed_s in asked]
    assert times == sorted(times)


def test_who_goes_away_stops_the_model():
    assistant = FakeAssistant(pause_s=0.05)
    with running(assistant) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        asked = {"input": TEXT * 50, "voice": "ava", "model": "tts-1", "response_format": "pcm"}
        with client.audio.speech.with_streaming_response.create(**asked) as response:
            next(iter(response.iter_bytes()))
        assert assistant.stopped.wait(5)


def test_speed(client):
    asked = {"input": TEXT, "voice": "ava", "model": "tts-1", "response_format": "pcm"}
    for speed in (0.25, 0.5, 2.0, 4.0):
        sound = client.audio.speech.create(**asked, speed=speed).content
        assert abs(len(sound) / 2 * speed / SAMPLES - 1) < 0.1
    with pytest.raises(openai.BadRequestError):
        client.audio.speech.create(**asked, speed=5.0)


def test_events(client):
    asked = {"input": TEXT, "voice": "ava", "model": "tts-1", "response_format": "pcm", "stream_format": "sse"}
    with client.audio.speech.with_streaming_response.create(**asked) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert len(lines) == 11
    assert '"speech.audio.done"' in lines[-1]
    assert '"output_tokens": 10' in lines[-1]


LONG = "One two three four five. Six seven eight nine ten, eleven twelve. " * 8


def test_a_text_longer_than_the_context_is_read_to_its_end(client, assistant):
    asked = {"input": LONG, "voice": "ava", "model": "tts-1", "response_format": "pcm"}
    assistant.asked.clear()
    sound = client.audio.speech.create(**asked).content
    pieces = [text for text, *_ in assistant.asked]
    assert len(pieces) > 3
    assert " ".join(pieces) == LONG.strip()
    assert all(piece.endswith(".") for piece in pieces)
    assert len(sound) == 2 * len(LONG.split()) * OUTPUT_SAMPLES_PER_TOKEN
    last = client.audio.speech.create(**asked, stream_format="sse").content.decode().splitlines()[-2]
    assert f'"output_tokens": {len(LONG.split())}' in last
    assert f'"input_tokens": {8 * len(pieces)}' in last


class Hoarse(FakeAssistant):
    """Says three words of a text."""

    def _chunks(self, text, kind, cancelled, most):
        return super()._chunks(text, kind, cancelled, 3)


def test_speech_that_is_cut_off_is_no_answer():
    with running(Hoarse()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        asked = {"input": TEXT, "voice": "ava", "model": "tts-1", "response_format": "pcm"}
        body, headers = json.dumps(asked).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{address}/v1/audio/speech", body, headers)
        with urllib.request.urlopen(request) as response, pytest.raises(http.client.IncompleteRead):
            response.read()
        events = client.audio.speech.create(**asked, stream_format="sse").content.decode()
        assert '"speech_incomplete"' in events.splitlines()[-2]
        assert "speech.audio.done" not in events


def test_voices_and_instructions_reach_the_model(client, assistant):
    asked = {"input": "hello", "model": "tts-1", "response_format": "pcm", "instructions": "whisper"}
    client.audio.speech.create(**asked, voice="BEN")
    assert assistant.asked[-1] == ("hello", "Ben", "whisper")
    client.audio.speech.create(**asked, voice="default")
    assert assistant.asked[-1] == ("hello", None, "whisper")
    with pytest.raises(openai.BadRequestError, match="Ava") as caught:
        client.audio.speech.create(**asked, voice="../../etc/passwd")
    assert caught.value.param == "voice"


def test_null_is_the_default_and_a_seed_is_any_number(client, assistant):
    asked = {"input": "hello", "model": "tts-1", "voice": "ava"}
    nulls = dict.fromkeys(("instructions", "speed", "stream_format"))
    client.audio.speech.create(**asked, response_format="pcm", extra_body=nulls | {"seed": -1})
    assert assistant.asked[-1] == ("hello", "Ava", "")
    plain = client.audio.speech.create(**asked, extra_body={"response_format": None})
    assert plain.response.headers["content-type"] == "audio/mpeg"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "  "}, "input"),
        ({"input": "a" * 4097}, "input"),
        ({"response_format": "midi"}, "response_format"),
    ],
)
def test_what_cannot_be_is_refused(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(**({"input": "a", "voice": "ava", "model": "x"} | fields))
    assert caught.value.param == param


def test_models(client):
    (model,) = client.models.list().data
    assert model.id == "fake"
    assert client.models.retrieve("fake").owned_by == "kimi-audio"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    assert OUTPUT_RATE_HZ == 24_000
