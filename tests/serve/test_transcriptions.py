"""Transcription, by OpenAI's client and by hand."""

import json
import urllib.request

import openai
import pytest
from serve_fakes import wav_file


def test_json(client, recording):
    done = client.audio.transcriptions.create(file=("talk.wav", recording), model="whisper-1")
    assert done.text == "2.0 seconds of sound."
    assert done.usage.seconds == 2


def test_text(client, recording):
    done = client.audio.transcriptions.create(file=("talk.wav", recording), model="fake", response_format="text")
    assert done == "2.0 seconds of sound.\n"


def test_events(client, recording):
    with client.audio.transcriptions.create(file=("talk.wav", recording), model="fake", stream=True) as stream:
        events = list(stream)
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "2.0 seconds of sound."
    assert events[-1].usage is None  # clients expect tokens there


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"response_format": "diarized_json"}, "response_format"), ({"temperature": 2}, "temperature")],
)
def test_what_there_is_not_is_refused(client, recording, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(file=("talk.wav", recording), model="fake", **fields)
    assert caught.value.param == param
    assert caught.value.code == "unsupported_value"


def test_no_audio(client):
    with pytest.raises(openai.BadRequestError, match="cannot be used") as caught:
        client.audio.transcriptions.create(file=("talk.wav", b"no sound" * 100), model="fake")
    assert caught.value.code == "invalid_audio"
    with pytest.raises(openai.BadRequestError, match="cannot be used"):  # before the first event
        client.audio.transcriptions.create(file=("talk.wav", b"no sound"), model="fake", stream=True)


def test_a_name_is_not_opened(client, tmp_path):
    """The content counts; the name is that of a file on the server."""
    file = tmp_path / "here.wav"
    file.write_bytes(wav_file(1.0))
    with pytest.raises(openai.BadRequestError, match="cannot be used"):
        client.audio.transcriptions.create(file=(str(file), str(file).encode()), model="fake")


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_no_form(address, body):
    request = urllib.request.Request(f"http://{address}/v1/audio/transcriptions", body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert set(json.load(caught.value)["error"]) == {"message", "type", "param", "code"}


def test_the_file_is_missing(address):
    boundary = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nfake\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"http://{address}/v1/audio/transcriptions", boundary, headers, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert json.load(caught.value)["error"]["code"] == "missing_file"


def test_captions(client, recording, assistant):
    asked = {"file": ("talk.wav", recording), "model": "fake"}
    srt = client.audio.transcriptions.create(**asked, response_format="srt")
    assert srt.startswith("1\n00:00:00,000 --> 00:00:01,000\n2.0 seconds\n\n2\n00:00:01,000 --> 00:00:02,000\n")
    vtt = client.audio.transcriptions.create(**asked, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n2.0 seconds\n")
    assert assistant.asked[-1][2] == "word"  # so that long captions can be cut


def test_segments_and_words(client, recording):
    asked = {"file": ("talk.wav", recording), "model": "fake", "response_format": "verbose_json"}
    done = client.audio.transcriptions.create(**asked)
    assert [(segment.id, segment.start, segment.end) for segment in done.segments] == [(0, 0.0, 1.0), (1, 1.0, 2.0)]
    assert (done.words, done.duration, done.language) == (None, 2.0, "english")
    done = client.audio.transcriptions.create(**asked, timestamp_granularities=["word"])
    assert [(word.word, word.start, word.end) for word in done.words] == [("seconds", 0.0, 1.0), ("sound.", 1.0, 2.0)]
    assert done.segments is None
    done = client.audio.transcriptions.create(**asked, timestamp_granularities=["word", "segment"])
    assert (len(done.segments), len(done.words)) == (2, 2)
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(**asked | {"response_format": "json"}, timestamp_granularities=["word"])


def test_keywords_reach_the_model(client, recording, assistant):
    asked = {"file": ("talk.wav", recording), "model": "fake", "extra_body": {"keywords": ["Ava", "Ben"]}}
    client.audio.transcriptions.create(**asked)
    assert assistant.asked[-1][3] == ["Ava", "Ben"]


def test_translation(client, recording, assistant):
    done = client.audio.translations.create(file=("talk.wav", recording), model="fake")
    assert done.text == "it is three."
    assert "English" in assistant.asked[-1][0].content


def test_a_translation_says_that_it_is_one_into_english(client, recording, assistant, monkeypatch):
    monkeypatch.setattr(assistant, "says", "你好 world")
    done = client.audio.translations.create(file=("talk.wav", recording), model="fake", response_format="verbose_json")
    assert (done.task, done.language) == ("translate", "english")
