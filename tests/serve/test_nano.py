"""The whole way with the bundled model."""

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from openai import OpenAI
from serve_fakes import running

from kimi_audio import KimiAudio
from kimi_audio.serve.encodings import to_pcm16


@pytest.fixture(scope="module")
def nano() -> KimiAudio:
    return KimiAudio.from_pretrained("nano", device="cpu")


@pytest.fixture(scope="module")
def client(nano: KimiAudio) -> Iterator[OpenAI]:
    with running(nano, model_name="nano") as address:
        yield OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0, timeout=300)


def test_a_question_is_written_down(client, nano):
    question = files("kimi_audio") / "nano" / "questions" / "02-double.wav"
    heard = client.audio.transcriptions.create(file=("q.wav", question.read_bytes()), model="nano")
    assert heard.text == nano.transcribe(question.read_bytes())
    assert re.search("[a-z]{3}", heard.text)


def test_streamed_speech_is_that_of_the_library(client, nano):
    asked = {"input": "yes", "voice": "Ben", "model": "nano", "response_format": "pcm", "extra_body": {"seed": 3}}
    spoken = client.audio.speech.create(**asked).content
    assert spoken == to_pcm16(nano.speak("yes", voice="Ben", seed=3))
