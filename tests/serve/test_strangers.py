"""Strangers send anything: what comes back is an answer of the right form, and the server goes on."""

import base64
import copy
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from serve_fakes import Address, FakeAssistant, running, wav_file
from session_watcher import OPENAI_EVENTS, OWN
from websockets.sync.client import connect

from kimi_audio.serve.settings import ServeLimits, ServeSettings

SOUND = base64.b64encode(bytes(9600)).decode()
ITEMS: list[Any] = [
    {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": SOUND, "transcript": "hi"}]},
    {"id": "one", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "three"}]},
    {"type": "function_call", "call_id": "call", "name": "set_timer", "arguments": '{"minutes": 3}'},
    {"type": "function_call_output", "call_id": "call", "output": "done"},
]
TOOL = {"type": "function", "name": "set_timer", "parameters": {"properties": {"minutes": {"type": "integer"}}}}
FORMAT = {"type": "audio/pcmu", "rate": 8000}
SESSION: Any = {
    "type": "realtime",
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "max_output_tokens": 100,
    "tools": [TOOL],
    "tool_choice": "auto",
    "audio": {
        "input": {
            "format": FORMAT,
            "noise_reduction": {"type": "near_field"},
            "transcription": {"model": "any", "language": "en"},
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "idle_timeout_ms": 5000},
        },
        "output": {"format": FORMAT, "voice": "default", "speed": 1.0},
    },
}
EVENTS: list[Any] = [
    {"type": "session.update", "event_id": "mine", "session": SESSION},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}},
    {"type": "session.update", "session": {"input_audio_format": "g711_alaw", "modalities": ["text"]}},
    {"type": "input_audio_buffer.append", "audio": SOUND},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    *({"type": "conversation.item.create", "item": item, "previous_item_id": None} for item in ITEMS),
    {"type": "conversation.item.retrieve", "item_id": "one"},
    {"type": "conversation.item.truncate", "item_id": "one", "content_index": 0, "audio_end_ms": 10},
    {"type": "conversation.item.delete", "item_id": "one"},
    {"type": "response.create", "response": {"input": ITEMS, "audio": {"output": {"speed": 1.1}}, "metadata": {}}},
    {
        "type": "response.create",
        "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "one"}]},
    },
    {"type": "response.cancel", "response_id": None},
    {"type": "output_audio_buffer.clear"},
]
CHAT: Any = {
    "model": "fake",
    "modalities": ["text", "audio"],
    "audio": {"voice": "default", "format": "wav"},
    "temperature": 0.5,
    "seed": 1,
    "max_completion_tokens": 5,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ],
}
BODIES: list[tuple[str, Any]] = [
    ("chat/completions", CHAT),
    ("chat/completions", CHAT | {"stream": True, "modalities": ["text"], "stream_options": {"include_usage": True}}),
    ("audio/speech", {"input": "hi", "voice": "default", "response_format": "wav", "speed": 1.2, "seed": 3}),
    ("audio/speech", {"input": "hi", "response_format": "pcm", "stream_format": "sse", "instructions": "slowly"}),
    ("realtime/client_secrets", {"expires_after": {"anchor": "created_at", "seconds": 60}, "session": SESSION}),
]
FORM = {"model": "fake", "response_format": "verbose_json", "language": "en", "prompt": "", "stream": "false"}

TEXTS = st.text(st.characters(), max_size=10)  # with halves of characters
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, float("inf")]))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def places(values: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within values."""
    yield place
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for name, value in inner:
        yield from places(value, (*place, name))


@st.composite
def damaged(draw: Any, whole: Any) -> Any:
    """Return values with another one in some place, or without it."""
    *way, last = draw(st.sampled_from([place for place in places(whole) if place]))
    values = within = copy.deepcopy(whole)
    for name in way:
        within = within[name]
    if draw(st.booleans()):
        within[last] = draw(VALUES)
    else:
        del within[last]
    return values


def sent_as_json(values: Any) -> str:
    return json.dumps(values).replace("Infinity", "1e999")


SOME_SOUND = st.binary(max_size=400).map(
    lambda content: {"type": "input_audio_buffer.append", "audio": base64.b64encode(content).decode()}
)
WHOLE = st.sampled_from(EVENTS)
MESSAGES = st.one_of(
    (WHOLE | WHOLE.flatmap(damaged) | SOME_SOUND | VALUES).map(sent_as_json), st.text(max_size=20), st.just("[" * 5000)
)
REQUESTS = st.sampled_from(BODIES).flatmap(lambda one: st.tuples(st.just(one[0]), damaged(one[1]).map(sent_as_json)))


def tries(count: int) -> settings:
    """Return how often a test is done; its failures are made smaller, which takes as long as it takes."""
    return settings(max_examples=count, phases=[Phase.generate, Phase.shrink], suppress_health_check=[*HealthCheck])


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with running(FakeAssistant("hi"), ServeSettings(limits=ServeLimits(sessions=4, sounds=4))) as address:
        yield address  # which checks at its end that the server can stop: no session is left behind


def answers(address: str, messages: list[str]) -> list[dict[str, Any]]:
    """Send messages and return all events up to the answer to one that comes behind them."""
    last = {"type": "conversation.item.retrieve", "item_id": "nothing", "event_id": "the last one"}
    events = []
    with connect(f"ws://{address}/v1/realtime") as raw:
        for message in [*messages, json.dumps(last)]:
            raw.send(message)
        while not events or (events[-1].get("error") or {}).get("event_id") != last["event_id"]:
            events.append(json.loads(raw.recv(timeout=20)))
    return events


def check_messages(address: str, messages: list[str]) -> None:
    for event in answers(address, messages):
        json.dumps(event, allow_nan=False)
        if event["type"] not in OWN:
            assert OPENAI_EVENTS.validate_python(event).type == event["type"]
        assert "internal_error" not in json.dumps(event)


def check_request(address: str, path: str, content: bytes, content_type: str) -> None:
    request = urllib.request.Request(f"http://{address}/v1/{path}", content, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            status, answer = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, answer = error.code, error.read()
    assert 200 <= status < 500, answer
    assert b"internal_error" not in answer
    if status >= 400:
        assert set(json.loads(answer)["error"]) == {"message", "type", "param", "code"}


def check_form(address: str, content: bytes, form: dict[str, str]) -> None:
    parts = [(f'name="{name}"', value.encode()) for name, value in form.items()]
    parts.append(('name="file"; filename="sound.wav"', content))
    lines = [
        b"--end\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (name.encode(), value) for name, value in parts
    ]
    check_request(
        address, "audio/transcriptions", b"".join(lines) + b"--end--\r\n", "multipart/form-data; boundary=end"
    )


@tries(40)
@given(messages=st.lists(MESSAGES, max_size=12))
def test_any_message_is_borne(address, messages):
    check_messages(address, messages)


@tries(60)
@given(asked=REQUESTS)
def test_any_body_is_answered(address, asked):
    path, body = asked
    check_request(address, path, body.encode(), "application/json")


@tries(5)
@given(
    content=st.binary(max_size=100) | st.just(wav_file(0.5)),
    form=st.dictionaries(st.sampled_from([*FORM]), st.text(max_size=10)),
)
def test_any_upload_is_answered(address, content, form):
    check_form(address, content, FORM | form)


@pytest.mark.slow
@tries(3000)
@given(messages=st.lists(MESSAGES, max_size=30))
def test_any_message_is_borne_for_long(address, messages):
    check_messages(address, messages)


@pytest.mark.slow
@tries(5000)
@given(asked=REQUESTS)
def test_any_body_is_answered_for_long(address, asked):
    path, body = asked
    check_request(address, path, body.encode(), "application/json")
