"""Conversations over HTTP, by OpenAI's client."""

import base64
import io
import json
import urllib.error
import urllib.request

import numpy as np
import openai
import pytest
import soundfile
from serve_fakes import wav_file

from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN


def sound_part(seconds: float):
    data = base64.b64encode(wav_file(seconds)).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def test_text(client, assistant):
    asked = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "which is longer?"}, sound_part(1.0), sound_part(2.0)]},
    ]
    done = client.chat.completions.create(model="gpt-audio", messages=asked)
    assert done.choices[0].message.content == "it is three."
    assert done.choices[0].finish_reason == "stop"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (8, 3)
    assert done.usage.prompt_tokens_details.audio_tokens == 5
    heard = [(message.role, message.message_type) for message in assistant.asked[-1]]
    assert heard == [("system", "text"), ("user", "text"), ("user", "audio"), ("user", "audio")]
    assert [len(message.content.codes) for message in assistant.asked[-1][2:]] == [13, 25]


def test_speech_and_its_id_in_the_next_turn(client, assistant):
    asked = [{"role": "user", "content": [sound_part(1.0)]}]
    options = {"model": "x", "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    audio = client.chat.completions.create(messages=asked, **options).choices[0].message.audio
    assert audio.transcript == "it is three."
    sound, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(audio.data)))
    assert (len(sound), rate_hz) == (3 * OUTPUT_SAMPLES_PER_TOKEN, 24_000)
    again = [*asked, {"role": "assistant", "audio": {"id": audio.id}}, {"role": "user", "content": "why?"}]
    client.chat.completions.create(messages=again, **options)
    said = assistant.asked[-1][1]
    assert (said.message_type, said.content[1], said.content[0].codes.tolist()) == (
        "audio-text",
        audio.transcript,
        [0, 1, 2],
    )
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(messages=[{"role": "assistant", "audio": {"id": "audio_other"}}], **options)


def test_streams(client):
    asked = [{"role": "user", "content": "hello"}]
    usage = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="x", messages=asked, stream=True, stream_options=usage))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "it is three."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == 11
    options = {"modalities": ["text", "audio"], "audio": {"voice": "ava", "format": "pcm16"}}
    deltas = [
        chunk.choices[0].delta.to_dict().get("audio", {})
        for chunk in client.chat.completions.create(model="x", messages=asked, stream=True, **options)
    ]
    sound = b"".join(base64.b64decode(delta.get("data", "")) for delta in deltas)
    assert len(np.frombuffer(sound, "<i2")) == 3 * OUTPUT_SAMPLES_PER_TOKEN
    assert "".join(delta.get("transcript", "") for delta in deltas) == "it is three."
    assert deltas[-2]["expires_at"] > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "robot", "content": "a"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "?"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "QUJD"}}]}]},
        {"messages": [{"role": "user", "content": "a" * 100_001}]},
        {"messages": [{"role": "user", "content": [sound_part(0.1)] * 17}]},
        {"stream": True, "modalities": ["text", "audio"], "audio": {"voice": "ava", "format": "wav"}},
        {"modalities": ["text", "audio"], "audio": {"voice": "nobody", "format": "wav"}},
        {"modalities": ["text", "audio"], "audio": {"voice": "ava", "format": "midi"}},
        {"n": 2},
        {"temperature": 3},
    ],
)
def test_what_cannot_be_is_refused(client, fields):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**({"model": "x", "messages": [{"role": "user", "content": "a"}]} | fields))
    assert caught.value.message


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "1e999", "[" * 100_000, ""])
def test_json_is_read_as_the_standard_has_it(address, value):
    """What is half a character, no number or without end cannot be told to a model, nor sent back."""
    body = '{"messages": [{"role": "user", "content": "a"}], "other": %s}' % value  # noqa: UP031 - braces
    request = urllib.request.Request(f"http://{address}/v1/chat/completions", body.encode())
    request.add_header("Content-Type", "application/json")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert json.load(caught.value)["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys(("temperature", "stream", "modalities", "stream_options", "max_tokens", "n", "audio", "seed")),
        {"seed": -1},
        {"seed": -(2**63)},
    ],
)
def test_null_is_the_default_and_a_seed_is_any_number(client, fields):
    done = client.chat.completions.create(model="x", messages=[{"role": "user", "content": "a"}], **fields)
    assert done.choices[0].message.content == "it is three."
