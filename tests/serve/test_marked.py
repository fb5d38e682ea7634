"""By default every sound that leaves the server carries the mark, whatever the route, format and speed."""

import base64
import io
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from openai import OpenAI
from serve_fakes import FakeAssistant, running

from kimi_audio.answers import StreamChunk
from kimi_audio.audio import marking
from kimi_audio.audio.io import Samples, load_audio
from kimi_audio.audio.writing import PROVENANCE
from kimi_audio.core.units import OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.serve.g711 import decode_ulaw

QUESTIONS = sorted(Path(str(files("kimi_audio") / "nano" / "questions")).glob("*.wav"))


class Speaker(FakeAssistant):
    """Says recorded questions, in chunks."""

    def _words(self, text: str, *given: Any) -> Iterator[StreamChunk]:
        return super()._words(" ".join(["a"] * 75), *given)  # 6 s

    def begin_speech(self, *given: Any) -> Any:
        wav = torch.cat([load_audio(file, OUTPUT_RATE_HZ) for file in QUESTIONS])
        parts = iter(wav.split(OUTPUT_SAMPLES_PER_TOKEN))
        return SimpleNamespace(render=lambda codes, _: torch.cat([torch.zeros(0), *(next(parts) for _ in codes)]))


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    with running(Speaker()) as address:
        yield OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)


def is_marked(sound: Any) -> bool:
    return marking.detect(load_audio(sound, marking.DETECTION_RATE_HZ)).is_marked


@pytest.mark.parametrize("format", ["wav", "mp3", "opus"])
@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_speech(client, format, speed):
    asked: dict[str, Any] = {"voice": "ava", "model": "x", "response_format": format, "speed": speed}
    spoken = client.audio.speech.create(input="hello", **asked).content
    assert is_marked(spoken)
    if format == "wav":
        with soundfile.SoundFile(io.BytesIO(spoken)) as sound:
            assert sound.comment == PROVENANCE


def test_chat(client):
    asked: dict[str, Any] = {"model": "x", "modalities": ["text", "audio"]}
    messages: Any = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(messages=messages, audio={"voice": "alloy", "format": "wav"}, **asked)
    assert is_marked(base64.b64decode(whole.choices[0].message.audio.data))
    stream = client.chat.completions.create(
        messages=messages, audio={"voice": "alloy", "format": "pcm16"}, stream=True, **asked
    )
    audios = [getattr(chunk.choices[0].delta, "audio", None) for chunk in stream if chunk.choices]
    samples = np.frombuffer(b"".join(base64.b64decode(getattr(one, "data", None) or "") for one in audios), "<i2")
    assert len(samples) == 6 * OUTPUT_RATE_HZ
    assert is_marked(Samples(samples.astype(np.float32) / 32768, OUTPUT_RATE_HZ))


def test_a_telephone_conversation(client):
    with client.realtime.connect(model="x") as connection:
        audio: Any = {"output": {"format": {"type": "audio/pcmu"}}}
        connection.session.update(session={"type": "realtime", "audio": audio})
        connection.response.create()
        sound = b""
        for event in connection:
            if event.type == "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
            if event.type == "response.done":
                break
    assert is_marked(Samples(decode_ulaw(sound), 8000))
