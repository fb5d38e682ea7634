"""Endpoints of the OpenAI type, against a server in this process that says what it is told to say."""

import base64
import io
import json
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.types import EvalSample, Options
from kimi_audio.evals.models import chat_client, openai_audio
from kimi_audio.evals.models.chat_client import PATIENCE
from kimi_audio.evals.models.openai_audio import ModelEndpoint, OpenAIAudio

KEY = "sk-very-secret"
TONE = np.sin(np.arange(1600) * 0.1).astype(np.float32) * 0.5
PCM = (TONE * 32767).astype("<i2").tobytes()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        script = self.server.script
        status, content, headers = script.pop(0) if len(script) > 1 else script[0]
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    found = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    found.requests, found.script = [], []
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


def model_of(server, waits=None, **fields):
    url = f"http://127.0.0.1:{server.server_port}/v1"
    endpoint = ModelEndpoint(**{"model": "m", "url": url, "retries": 2, "timeout_s": 60, "stream": False, **fields})
    return OpenAIAudio("m", endpoint, sleep=(waits if waits is not None else []).append)


def whole(text="hello", audio=None):
    message = {"role": "assistant", "content": text} | ({"audio": audio} if audio else {})
    return (200, {"choices": [{"message": message, "finish_reason": "stop"}]}, {})


def streamed(*events, done=True):
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + (["data: [DONE]\n\n"] if done else [])
    return (200, "".join(lines).encode(), {"Content-Type": "text/event-stream"})


def delta(finish=None, **fields):
    return {"choices": [{"delta": fields, "finish_reason": finish}]}


def ask(model, text="What?", options=None, **fields):
    sample = EvalSample("a", audio=(Samples(TONE, 16000),), text=text, **fields)
    (answer,) = model.generate([sample], options or Options())
    return answer


def test_the_question_is_sent_as_text_and_wav_with_system_decoding_and_seed(server):
    server.script = [whole()]
    options = Options(system="Be short.", decoding={"temperature": 0.5}, seed=3)
    answer = ask(model_of(server), options=options)
    assert (answer.text, answer.finish_reason, answer.error) == ("hello", "stop", "")
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body["temperature"] == 0.5
    assert body["seed"] == options.seed_of(EvalSample("a"))
    assert body["modalities"] == ["text"]
    system, user = body["messages"]
    assert system == {"role": "system", "content": "Be short."}
    assert user["content"][0] == {"type": "text", "text": "What?"}
    sound = user["content"][1]["input_audio"]
    assert sound["format"] == "wav"
    heard, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sound["data"])), dtype="float32")
    assert rate_hz == 16000
    assert np.allclose(heard, TONE, atol=1e-4)


def test_a_stream_is_put_together_and_timed(server):
    halves = [base64.b64encode(part).decode() for part in (PCM[:1001], PCM[1001:])]  # cut inside of a sample
    server.script = [
        streamed(
            delta(role="assistant"),
            delta(audio={"transcript": "Hel"}),
            delta(audio={"data": halves[0]}),
            delta(audio={"transcript": "lo", "data": halves[1]}),
            delta("stop"),
            {"choices": [], "usage": {}},
        )
    ]
    answer = ask(model_of(server, stream=True), options=Options("both"))
    assert (answer.text, answer.finish_reason) == ("Hello", "stop")
    assert answer.speech.rate_hz == 24000
    assert np.allclose(answer.speech.array, TONE, atol=1e-4)
    assert 0 < answer.first_text_s <= answer.first_sound_s <= answer.total_s
    assert server.requests[0][2]["audio"]["format"] == "pcm16"


def test_a_whole_spoken_answer_is_decoded_and_not_timed(server):
    file = io.BytesIO()
    soundfile.write(file, TONE, 24000, format="WAV")
    server.script = [whole(None, {"data": base64.b64encode(file.getvalue()).decode(), "transcript": "spoken"})]
    answer = ask(model_of(server), options=Options("both"))
    assert answer.text == "spoken"
    assert (answer.speech.rate_hz, len(answer.speech.array)) == (24000, len(TONE))
    assert answer.first_sound_s is None


def test_busy_and_broken_servers_are_asked_again_with_growing_or_stated_waits(server):
    waits = []
    server.script = [(503, {}, {}), (429, {}, {"Retry-After": "7"}), whole("at last")]
    assert ask(model_of(server, waits)).text == "at last"
    assert waits == [1.0, 7.0]


def test_a_stream_that_breaks_off_is_asked_for_again(server):
    server.script = [streamed(delta(content="half"), done=False), streamed(delta("stop", content="all"))]
    assert ask(model_of(server, stream=True)).text == "all"


def test_after_the_last_attempt_the_sample_has_failed_and_the_others_have_not(server):
    server.script = [(500, {"error": {"message": "out of\norder"}}, {})]
    answer = ask(model_of(server))
    assert answer.error == "EndpointError: gave up after 3 attempts: HTTP 500: out of order"
    server.script = [whole("a"), (400, {"error": {"message": "no"}}, {}), whole("c")]
    samples = [EvalSample(name, text=name) for name in "abc"]
    answers = model_of(server, concurrency=1).generate(samples, Options())
    assert [answer.text for answer in answers] == ["a", "", "c"]
    assert answers[1].error == "EndpointError: HTTP 400: no"


def test_what_asking_again_does_not_help_is_asked_once(server):
    for status in (400, 401, 404, 302):
        server.requests.clear()
        server.script = [(status, {"error": {"message": "no"}}, {"Location": "http://127.0.0.1:9/"})]
        assert f"HTTP {status}" in ask(model_of(server)).error
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"<html>welcome</html>",
        [],
        {},
        {"choices": [None]},
        {"choices": [{"message": "x"}]},
        {"error": {"message": "overloaded"}},
        {"choices": [{"message": {"audio": {"data": "?"}}}]},
    ],
)
def test_nonsense_is_an_error_of_the_sample(server, content):
    server.script = [(200, content, {})]
    assert ask(model_of(server)).error.startswith("EndpointError: ")


def test_no_connection_is_an_error_of_the_sample(server):
    closed = model_of(server, url="http://127.0.0.1:9/v1")
    assert "gave up after 3 attempts" in ask(closed).error


@pytest.mark.parametrize("status", [500, 401, 404])
def test_an_endpoint_that_is_dead_or_refuses_all_is_left_alone(server, status):
    server.script = [(status, {}, {})]
    model = model_of(server)
    errors = [answer.error for answer in model.generate([EvalSample(str(n), text="x") for n in range(30)], Options())]
    assert len(server.requests) <= PATIENCE + model.endpoint.concurrency
    assert "is not asked any more" in errors[-1]


def dripping(connection):
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def dripping_head(connection):
    while True:
        connection.sendall(b"X" if connection.fileno() < 0 else b"H")
        time.sleep(0.05)


def flooding(connection):
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * 100_000)


@pytest.mark.parametrize(
    ("behave", "reason"), [(dripping, "within|broke|gave up"), (dripping_head, "gave up"), (flooding, "more than 1 MB")]
)
def test_a_server_that_never_ends_is_left(behave, reason, monkeypatch):
    monkeypatch.setattr(chat_client, "MAX_REPLY_BYTES", 1 << 20)
    monkeypatch.setenv("no_proxy", "*")

    def serve(listener):
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(100_000)
                behave(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        client = chat_client.ChatClient(chat_client.Endpoint(model="m", url=url, timeout_s=0.4, retries=0))
        with pytest.raises(chat_client.EndpointError, match=reason):
            client.ask({}, lambda reply: reply.json())


def test_the_address_belongs_to_the_model():
    first, second = (openai_audio.load(f"m@http://{host}/v1", None) for host in ("a", "b"))
    assert first.name == second.name
    assert first.revision != second.revision


def test_a_silent_server_is_given_up(server):
    server.RequestHandlerClass = type("Silent", (_Handler,), {"do_POST": lambda self: threading.Event().wait(1)})
    assert "gave up after 1 attempts" in ask(model_of(server, timeout_s=0.05, retries=0)).error


def test_the_key_is_read_at_the_call_and_shown_nowhere(server, monkeypatch, caplog):
    model = model_of(server, key_env="SOME_KEY")
    assert "SOME_KEY holds no key" in ask(model).error
    assert not server.requests
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="OPENAI_API_KEY holds no key"):
        openai_audio.load("gpt-4o-audio", None)
    monkeypatch.setenv("SOME_KEY", KEY)
    server.script = [(401, {"error": {"message": f"wrong key {KEY}"}}, {})]
    with caplog.at_level("DEBUG"):
        answer = ask(model)
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
    assert "wrong key ***" in answer.error
    assert KEY not in answer.error + caplog.text + repr(model)


def test_unreadable_audio_is_an_error_of_the_sample(server, tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(b"no sound")
    (answer,) = model_of(server).generate([EvalSample("a", audio=(path,))], Options())
    assert "x.wav" in answer.error


def test_unknown_decoding_is_refused(server):
    with pytest.raises(ValueError, match="no decoding option 'beams'"):
        ask(model_of(server), options=Options(decoding={"beams": 3}))
    server.script = [whole()]
    ask(model_of(server, decoding=("beams",)), options=Options(decoding={"beams": 3}))
    assert server.requests[-1][2]["beams"] == 3


def test_names(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    mini = openai_audio.load("gpt-4o-mini-audio", None)
    assert (mini.name, mini.family, mini.endpoint.key_env) == (
        "gpt-4o-mini-audio",
        "openai-audio",
        "OPENAI_API_KEY",
    )
    assert "2024-12-17" in mini.revision
    own = openai_audio.load("kimi-audio@http://gpu:9000/v1", None)
    assert (own.family, own.endpoint.url) == ("kimi-audio", "http://gpu:9000/v1")
    assert "text_temperature" in own.endpoint.decoding
    elsewhere = openai_audio.load("gpt-4o-audio@http://gpu:9000/v1", None)
    assert elsewhere.endpoint.key_env == "", "a key is only for the host that it belongs to"
    for name in ("gpt-5", "model@ftp://host"):
        with pytest.raises(ValueError, match=name.rpartition("@")[2]):
            openai_audio.load(name, None)


def test_endpoint_files(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: x\nurl: http://h/v1\nfamily: kimi-audio\nrevision: r7\nretries: 1\n")
    model = openai_audio.load(str(path), None)
    assert (model.name, model.revision, model.family, model.endpoint.retries) == (
        "mine",
        "x r7 at http://h/v1",
        "kimi-audio",
        1,
    )
    for text in ("model: x\nkey: secret\n", "url: http://h\n", "[", "model: x\nretries: -1\n"):
        path.write_text(text)
        with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
            openai_audio.load(str(path), None)
