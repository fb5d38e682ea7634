"""Who gets in, and what is refused before it costs anything."""

import asyncio
import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import openai
import pytest
import torch
from openai import OpenAI
from serve_fakes import FakeAssistant, running, wav_file
from websockets.sync.client import connect

from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.serve.auth import MAX_SECRETS_CHARS, Keys
from kimi_audio.serve.http_errors import ApiError, failure
from kimi_audio.serve.logs import JsonFormatter
from kimi_audio.serve.settings import ServeLimits, ServeSettings
from kimi_audio.serve.voice_registry import Voices

KEYS = ("first-key-1234", "second-key-5678")


def status_of(address: str, path: str, method: str = "GET", **headers: str) -> int:
    request = urllib.request.Request(f"http://{address}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def locked():
    with running(FakeAssistant(), ServeSettings(api_keys=KEYS, origins=("https://app.example",))) as address:
        yield address


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/"])
def test_open_to_all(locked, path):
    assert status_of(locked, path) in (200, 404)  # a page need not be there


@pytest.mark.parametrize(
    "path", ["/v1/models", "/metrics", "/openapi.json", "/nothing", "/web", "/v1/audio/speech", "//livez", "/livez/"]
)
def test_closed_without_a_key(locked, path):
    assert status_of(locked, path) == 401
    assert status_of(locked, path, Authorization="Bearer wrong-key-1234") == 401
    assert status_of(locked, path, Authorization=f"Basic {KEYS[0]}") == 401


@pytest.mark.parametrize("key", KEYS)
def test_every_key_opens(locked, key):
    client = OpenAI(base_url=f"http://{locked}/v1", api_key=key, max_retries=0)
    assert client.models.list().data[0].id == "fake"
    wrong = client.with_options(api_key=key[:-1])
    with pytest.raises(openai.AuthenticationError) as caught:
        wrong.models.list()
    assert caught.value.code == "invalid_api_key"


def test_pages_from_elsewhere(address, locked):
    assert status_of(address, "/v1/models", Origin=f"http://{address}") == 200
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        assert status_of(address, "/v1/models", Origin=origin) == 403
    assert status_of(address, "/v1/models", Host="evil.example") == 403  # a name that points to this machine
    assert status_of(address, "/v1/models", Origin="http://[") == 403  # no address at all
    assert status_of(address, "/v1/models", Host="[") == 403
    key = {"Authorization": f"Bearer {KEYS[0]}"}
    assert status_of(locked, "/v1/models", Origin="https://app.example", **key) == 200
    assert status_of(locked, "/v1/models", Origin="https://evil.example", **key) == 403
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert status_of(locked, "/v1/audio/speech", "OPTIONS", **preflight) == 200
    assert status_of(locked, "/v1/audio/speech", "OPTIONS", **preflight | {"Origin": "https://evil.example"}) == 403


def test_headers(address):
    with urllib.request.urlopen(f"http://{address}/livez") as response:
        headers = response.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-cache"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Request-ID"].startswith("req_")
    assert "server" not in headers


def test_others_need_keys():
    with pytest.raises(ValueError, match="KIMI_AUDIO_API_KEY"):
        ServeSettings(host="0.0.0.0")
    assert not ServeSettings(host="0.0.0.0", api_keys=KEYS).is_local
    with pytest.raises(ValueError, match="8 printable"):
        ServeSettings(api_keys=("short",))


def test_secrets_expire_and_open_realtime_only():
    now = [1000.0]
    keys = Keys(KEYS, clock=lambda: now[0])
    secret, expires_at = keys.new_secret(600, {"instructions": "be brief"})
    assert expires_at == 1600
    assert keys.knows(secret, secrets_too=True)
    assert not keys.knows(secret, secrets_too=False)
    assert keys.session_of(secret) == {"instructions": "be brief"}
    assert keys.session_of("unknown") == {}
    now[0] = 1600.0
    assert not keys.knows(secret, secrets_too=True)


def test_secrets_hold_so_much_together():
    now = [1000.0]
    keys = Keys(KEYS, clock=lambda: now[0])
    session = {"instructions": "x" * (MAX_SECRETS_CHARS // 3)}
    kept = [keys.new_secret(600, session)[0] for _ in range(2)]
    with pytest.raises(ApiError, match="too many client secrets"):
        keys.new_secret(600, session)
    assert keys.session_of(kept[0]) == session
    now[0] = 1600.0
    keys.new_secret(600, session)


# ---------------------------------------------------------------------------------------------------------------------
# ServeLimits


@pytest.fixture(scope="module")
def narrow():
    limits = ServeLimits(body_bytes=100_000, sound_s=1.5, requests=1, waiting=1)
    with running(FakeAssistant(pause_s=0.2), ServeSettings(limits=limits)) as address:
        yield address


def test_a_long_recording(narrow):
    client = OpenAI(base_url=f"http://{narrow}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.APIStatusError, match=r"at most 1\.5 s") as caught:
        client.audio.transcriptions.create(file=("a.wav", wav_file(2.0)), model="x")
    assert caught.value.code == "invalid_audio"
    assert client.audio.transcriptions.create(file=("a.wav", wav_file(1.4)), model="x").text


def test_a_large_body(narrow):
    client = OpenAI(base_url=f"http://{narrow}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(file=("a.wav", b"0" * 100_001), model="x")
    assert caught.value.status_code == 413


def test_a_body_larger_than_it_says(narrow):
    """Chunks, without a length: it is counted."""
    host, port = narrow.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        answer = b""
        chunk = b"2710\r\n" + b" " * 10_000 + b"\r\n"
        try:
            for _ in range(20):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
            answer = connection.recv(1000)
        except ConnectionError:
            answer = connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 413")


def test_who_connects_and_says_nothing_is_let_go():
    with running(FakeAssistant(), ServeSettings(limits=ServeLimits(handshake_s=0.3))) as address:
        host, port = address.split(":")
        for beginning in (b"", b"GET /livez HTTP/1.1\r\nHo"):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(beginning)
                assert connection.recv(100) == b""
        head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
        with connect(f"ws://{address}/v1/realtime") as conversation:  # has said what it wants
            conversation.recv(timeout=10)
            time.sleep(0.6)
            conversation.send("{}")
            assert "error" in str(conversation.recv(timeout=10))


def test_who_does_not_read_is_let_go_and_gives_its_place_back():
    limits = ServeLimits(requests=1, send_s=0.5)
    with running(FakeAssistant(), ServeSettings(is_marked=False, limits=limits)) as address:
        host, port = address.split(":")
        body = json.dumps({"input": "a " * 2000, "voice": "ava", "model": "x", "response_format": "pcm"}).encode()
        head = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((host, int(port)))
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert came_true(lambda: address.services.slots.count == 1)
            assert came_true(lambda: address.services.slots.count == 0)
            client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
            asked = {"input": "one two", "voice": "ava", "model": "x", "response_format": "pcm"}
            assert len(client.audio.speech.create(**asked).content) == 2 * 2 * OUTPUT_SAMPLES_PER_TOKEN


@pytest.mark.parametrize("path", ["transcriptions", "translations", "chat", "speech", "events"])
def test_who_leaves_before_the_answer_stops_the_model_and_gives_the_place_back(path):
    class Slow(FakeAssistant):
        """Writes until nobody wants it any more."""

        def think(self, *given: Any, **options: Any) -> Iterator[Any]:
            is_at_work.set()
            return super().think(*given, **options)

        def write_down(self, *_: Any, cancelled: Any, **__: Any) -> Iterator[Any]:
            is_at_work.set()
            if came_true(cancelled):
                self.stopped.set()
            yield from ()

        def begin_speech(self, *_: Any) -> Any:
            return SimpleNamespace(render=lambda *_: torch.zeros(0))  # so that no answer begins

    is_at_work = threading.Event()
    assistant = Slow(says="a " * 400, pause_s=0.05)
    with running(assistant, ServeSettings(is_marked=False)) as address:
        host, port = address.split(":")
        slots = address.services.slots
        is_at_work.clear()  # to warm up is work, too
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(unanswered(path))
            assert is_at_work.wait(15)
            assert slots.count == 1
        assert came_true(lambda: slots.count == 0, within_s=5)
        assert assistant.stopped.wait(5)
        metrics = address.services.metrics
        assert came_true(lambda: b'status="499"' in metrics.text())


def unanswered(path: str) -> bytes:
    """Return a request whose answer begins late."""
    words = "a " * 400
    bodies = {
        "chat": ("chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        "speech": ("audio/speech", {"input": words, "response_format": "pcm"}),
        "events": ("audio/speech", {"input": words, "response_format": "pcm", "stream_format": "sse"}),
    }
    if path in bodies:
        place, values = bodies[path]
        kind, body = "application/json", json.dumps(values).encode()
    else:
        place, kind = f"audio/{path}", "multipart/form-data; boundary=x"
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        body = head + wav_file(2.0) + b"\r\n--x--\r\n"
    lines = f"POST /v1/{place} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {len(body)}"
    return "\r\n".join((*lines, "", "")).encode() + body


def came_true(condition: Callable[[], bool], within_s: float = 15.0) -> bool:
    end_s = time.monotonic() + within_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.02)
    return condition()


def test_a_busy_server_says_when_to_come_back(narrow):
    client = OpenAI(base_url=f"http://{narrow}/v1", api_key="x", max_retries=0)

    def speak(_: int) -> int:
        try:
            client.audio.speech.create(input="one two three", voice="ava", model="x", response_format="pcm")
        except openai.InternalServerError as error:
            return error.status_code if error.response.headers["retry-after"] == "1" else 0
        return 200

    with ThreadPoolExecutor(5) as pool:
        statuses = list(pool.map(speak, range(5)))
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 2
    assert speak(0) == 200  # places are given back


def test_running_work_is_finished_and_new_work_refused():
    with running(FakeAssistant(pause_s=0.1)) as address, ThreadPoolExecutor(1) as pool:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        asked = {"input": "one two three four five", "voice": "ava", "model": "x", "response_format": "pcm"}
        with client.audio.speech.with_streaming_response.create(**asked) as response:
            sound = pool.submit(response.read)
            asyncio.run(address.services.drain())
            assert address.services.slots.count == 0
            assert len(sound.result()) == 5 * 2 * OUTPUT_SAMPLES_PER_TOKEN
        assert status_of(address, "/readyz") == 503
        assert status_of(address, "/livez") == 200
        with pytest.raises(openai.InternalServerError) as caught:
            client.audio.speech.create(**asked)
        assert caught.value.code == "server_stopping"


# ---------------------------------------------------------------------------------------------------------------------
# What is told to whom


def test_failures_are_told_to_the_log_alone(caplog):
    told = failure(RuntimeError("a secret of /etc"))
    assert told.status == 500
    assert "secret" not in told.message
    number = told.message.split()[-1].rstrip(".")
    assert number in caplog.text
    assert failure(ValueError("too short")).status == 400
    assert failure(told) is told


def test_logs_are_json_with_facts_and_without_content(address, caplog):
    caplog.set_level(logging.INFO)
    client = OpenAI(base_url=f"http://{address}/v1", api_key="very-secret-key", max_retries=0)
    client.audio.speech.create(input="private words", voice="ava", model="x", response_format="pcm")
    deadline = time.monotonic() + 5
    while not (lines := [r for r in caplog.records if r.name == "kimi_audio.serve.requests"]):
        assert time.monotonic() < deadline
    entry = json.loads(JsonFormatter().format(lines[-1]))
    assert entry["path"] == "/v1/audio/speech"
    assert entry["status"] == 200
    assert entry["request_id"].startswith("req_")
    text = " ".join(JsonFormatter().format(record) for record in caplog.records if record.name.startswith("kimi"))
    assert "private" not in text
    assert "secret" not in text


def test_metrics(address):
    client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
    client.audio.transcriptions.create(file=("a.wav", wav_file(1.0)), model="x")
    text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    assert 'kimi_audio_requests_total{method="POST",path="/v1/audio/transcriptions",status="200"}' in text
    assert status_of(address, "/what-a-client-writes") == 404
    text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
    assert "what-a-client-writes" not in text
    values = dict(line.split(" ") for line in text.splitlines() if line.count(" ") == 1)
    assert float(values["kimi_audio_jobs"]) == float(values["kimi_audio_sessions"]) == 0
    assert all(float(values[f"kimi_audio_{name}"]) > 0 for name in ("tasks", "threads"))
    assert float(values["process_open_fds"]) > 0
    assert float(values["kimi_audio_kept_turns_bytes"]) == FakeAssistant.kept_bytes
    assert float(values["kimi_audio_kept_conversations_bytes"]) == address.services.store.num_bytes


def test_voices_are_names(tmp_path):
    (tmp_path / "Grandma.wav").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    voices = Voices(("Ava", "Ben"), tmp_path)
    assert voices.names == ["default", "Ava", "Ben", "grandma"]
    assert voices.find("grandma") == tmp_path / "Grandma.wav"
    assert voices.find({"id": "BEN"}) == "Ben"
    assert voices.find(None) is None
    assert voices.find("alloy") in ("Ava", "Ben")
    for name in ("notes", "../Grandma", str(tmp_path / "Grandma.wav")):
        with pytest.raises(ApiError):
            voices.find(name)
    assert Voices(()).find("alloy") is None
