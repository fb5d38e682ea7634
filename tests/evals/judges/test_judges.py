"""Judges: what they are told, how their replies are read, and everything that can go wrong with an endpoint."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.instruments import Instruments, JudgeError
from kimi_audio.evals.contract.types import EvalSample, Metric, Prediction
from kimi_audio.evals.judges.endpoint import EndpointJudge, JudgeEndpoint, choose_judge
from kimi_audio.evals.judges.prompts import JudgePrompt, read_prompts
from kimi_audio.evals.judges.scorer import JudgedAnswers
from kimi_audio.evals.judges.stand_in import StandIn
from kimi_audio.evals.judges.verdicts import combine, read_reply
from kimi_audio.evals.models.chat_client import PATIENCE
from kimi_audio.evals.run.scoring import score_all
from kimi_audio.evals.tasks.conversation import Ratings
from kimi_audio.evals.tasks.scorers import ShortAnswers

LABEL = JudgePrompt("label", 1, "{question} {answer}", "label", labels={"yes": 1, "no": 0})
NUMBER = JudgePrompt("number", 1, "{answer}", "number", low=1, high=5)
TRIVIA, LLAMA = read_prompts()["trivia"], read_prompts()["llama-questions"]
FIELDS = {"question": "who?", "reference": "Ann", "answer": "Ann it is"}


# ---------------------------------------------------------------------------------------------------------------------
# Replies


@pytest.mark.parametrize(
    ("prompt", "reply", "value"),
    [
        (LABEL, "A reason, yes or no.\n\n**Yes**", 1),
        (LABEL, "No, yesterday", 0),
        (NUMBER, "4", 4),
        (NUMBER, "2 of its 3 points are wrong.\nScore: **3.5**/5", 3.5),
        (NUMBER, "not [[1]] but [[ 4 ]] I think", 4),
        (NUMBER, "理由。\n得分：4分", 4),
        (TRIVIA, 'Sure: ```{"analysis": "a } b", "judgment": "Correct"}```', 1),
        (TRIVIA, '{"analysis": {"judgment": "correct"}, "judgment": "incorrect"}', 0),
        (TRIVIA, '{"judgment": "correct."}', 1),
        (LLAMA, "**The score is [Correct]**", 1),
        (LLAMA, "The score is [Incorrect]", 0),
        (LABEL, "Final verdict: yes.", 1),
    ],
)
def test_replies_are_read(prompt, reply, value):
    assert read_reply(prompt, reply) == value


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        (LABEL, "I know"),
        (LABEL, "yes and no"),
        (LABEL, "yes\nas far as I can tell"),
        (NUMBER, ""),
        (NUMBER, "6"),
        (NUMBER, "between 3 and 4"),
        (NUMBER, "[[9]]"),
        (TRIVIA, '{"judgment": __import__("os").system("true")}'),
        (TRIVIA, '{"analysis": "correct"}'),
        (TRIVIA, '{"judgment": "not correct"}'),
        (TRIVIA, '{"judgment": "partially correct"}'),
        (LLAMA, "The reply is not correct"),
        (LLAMA, "The score is [Not Correct]"),
        (LLAMA, "The score is not [Correct]"),
        (LLAMA, "The score is [Partially Correct]"),
        (NUMBER, "4/10"),
        (TRIVIA, "{" * 5000),
    ],
)
def test_unclear_replies_are_errors(prompt, reply):
    with pytest.raises(ValueError, match="judge"):
        read_reply(prompt, reply)


def test_votes_are_counted_or_averaged():
    assert combine(NUMBER, [2, 3, 4]) == 3
    assert combine(LABEL, [1, 1, 0]) == 1
    assert combine(LABEL, [1, 0]) == 0


# ---------------------------------------------------------------------------------------------------------------------
# Prompts


def test_prompts_show_their_answer_and_have_distinct_fingerprints():
    prompts = read_prompts()
    assert all("{answer}" in prompt.text or prompt.hears for prompt in prompts.values())
    assert len({prompt.fingerprint for prompt in prompts.values()}) == len(prompts)


def test_prompts_of_a_file_replace_ours(tmp_path):
    (tmp_path / "p.yaml").write_text("alpaca-eval: {version: 7, text: 'Rate {answer}', reply: number, low: 1, high: 9}")
    prompts = read_prompts(tmp_path / "p.yaml")
    assert prompts["alpaca-eval"].text == "Rate {answer}"
    assert prompts["trivia"] == TRIVIA


@pytest.mark.parametrize("text", ["- a", "x: {version: 1, text: t, reply: number, scale: 5}", "x: {text: t}", "a: ["])
def test_files_without_prompts_are_refused(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"p\.yaml"):
        read_prompts(tmp_path / "p.yaml")


# ---------------------------------------------------------------------------------------------------------------------
# Endpoint


class Server(HTTPServer):
    """Answers as the test says: a reply, or a status."""

    script: list[str | int]
    requests: list[dict]
    keys: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        script = self.server.script
        step = script.pop(0) if len(script) > 1 else script[0]
        status = step if isinstance(step, int) else 200
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": step}}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        if status != 200:
            body = {"error": {"message": f"not with {self.headers['Authorization']}"}}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.script, server.requests, server.keys = ["yes"], [], []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def endpoint(server: Server, tmp_path: Path, **options) -> EndpointJudge:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return EndpointJudge(JudgeEndpoint(url=url, model="m", cache=tmp_path / "cache", **options))


def test_nothing_is_asked_twice(server, tmp_path):
    judge = endpoint(server, tmp_path)
    assert judge.rate(LABEL, FIELDS).value == 1
    assert endpoint(server, tmp_path).rate(LABEL, FIELDS).value == 1
    assert len(server.requests) == 1
    judge.rate(LABEL, FIELDS | {"answer": "Bob"})
    judge.rate(JudgePrompt("label", 2, LABEL.text, "label", labels=LABEL.labels), FIELDS)
    assert len(server.requests) == 3


def test_votes_are_asked_one_by_one(server, tmp_path):
    server.script = ["1", "who knows", "4"]
    judge = endpoint(server, tmp_path, votes=3, decoding={"temperature": 0.5})
    verdict = judge.rate(NUMBER, FIELDS)
    assert (verdict.value, verdict.unread, len(verdict.replies)) == (2.5, 1, 3)
    assert {request["temperature"] for request in server.requests} == {0.5}
    assert "votes 3, mean, temperature 0.5" in judge.version(NUMBER)
    assert NUMBER.fingerprint in judge.version(NUMBER)


def test_replies_that_are_not_understood_are_asked_again(server, tmp_path):
    server.script = ["hm", "yes"]
    judge = endpoint(server, tmp_path)
    with pytest.raises(JudgeError, match="last line"):
        judge.rate(LABEL, FIELDS)
    assert judge.rate(LABEL, FIELDS).value == 1


def test_passing_errors_are_retried(server, tmp_path):
    server.script = [503, 429, "yes"]
    assert endpoint(server, tmp_path, retries=2, backoff_s=0.01).rate(LABEL, FIELDS).value == 1


def test_key_is_read_when_asked_and_never_told(server, tmp_path, monkeypatch):
    judge = endpoint(server, tmp_path, key_env="JUDGE_TEST_KEY", retries=0)
    monkeypatch.delenv("JUDGE_TEST_KEY", raising=False)
    with pytest.raises(JudgeError, match="JUDGE_TEST_KEY"):
        judge.rate(LABEL, FIELDS)
    monkeypatch.setenv("JUDGE_TEST_KEY", "secret-key")
    server.script = [401]
    with pytest.raises(JudgeError) as error:
        judge.rate(LABEL, FIELDS)
    assert server.keys == ["Bearer secret-key"]
    assert "secret-key" not in str(error.value)
    assert "***" in str(error.value)


def test_a_dead_endpoint_is_left_alone_after_a_while(server, tmp_path):
    server.script = [500]
    judge = endpoint(server, tmp_path, retries=0, concurrency=1)
    pairs = [(EvalSample(str(number)), Prediction(f"answer {number}")) for number in range(PATIENCE + 3)]
    scores = list(score_all(JudgedAnswers("open-question", Metric("rating"), judge=judge), pairs))
    assert len(server.requests) == PATIENCE
    assert all(score.error for score in scores)
    assert "not asked any more" in scores[-1].error


# ---------------------------------------------------------------------------------------------------------------------
# Scores


def test_stand_in_is_clearly_named_and_looks_for_the_reference():
    judge = StandIn()
    assert "not a judge" in judge.version(TRIVIA)
    assert judge.rate(TRIVIA, FIELDS).value == 1
    assert judge.rate(TRIVIA, FIELDS | {"answer": "Bob"}).value == 0
    rated = [judge.rate(NUMBER, {"answer": text}).value for text in ("", "one two", "one two three four five")]
    assert rated == sorted(set(rated))
    assert rated[0] == 1


def test_without_a_judge_answers_are_unscored():
    score = JudgedAnswers("open-question", Metric("rating")).score(EvalSample("a"), Prediction("well"))
    assert "--judge" in score.error


def test_what_rules_say_stays_when_the_judge_is_out_of_reach(server, tmp_path):
    server.script = [400]
    scorer = JudgedAnswers("short-answer", Metric("judged"), ShortAnswers(), endpoint(server, tmp_path, retries=0))
    score = scorer.score(EvalSample("a", reference="Paris"), Prediction("Paris"))
    assert score.error
    assert score.values["contained"] == (1, 1)
    assert "judged" not in score.values


def test_what_the_judge_says_stays_when_no_listener_has_rated():
    both = JudgedAnswers("spoken-reply", Metric("judged-rating"), Ratings(), StandIn())
    heard = Prediction("hello there", Samples(np.zeros(100, np.float32), 24000))
    sample = EvalSample("a", meta={"question": "q", "wanted": "w"})
    score = both.score(sample, heard)
    assert "no listener has rated it" in score.error
    alone = JudgedAnswers("spoken-reply", Metric("judged-rating"), judge=StandIn()).score(sample, heard)
    assert score.values == alone.values


def test_two_servers_of_one_model_are_two_judges(server, tmp_path):
    judge = endpoint(server, tmp_path)
    other = EndpointJudge(replace(judge.endpoint, url=judge.endpoint.url.replace("127.0.0.1", "localhost")))
    server.script = ["yes", "no"]
    assert (judge.rate(LABEL, FIELDS).value, other.rate(LABEL, FIELDS).value) == (1, 0)
    assert judge.version(LABEL) != other.version(LABEL)


@pytest.mark.parametrize("reply", ["1:" * 50_000, "*" * 100_000, "[[" * 50_000, "[[ " + " " * 100_000, ":" * 100_000])
def test_a_long_reply_is_read_soon(reply):
    with pytest.raises(ValueError, match="judge"):
        read_reply(NUMBER, reply)


def test_empty_answers_get_the_lowest_value_unasked(server, tmp_path):
    scorer = JudgedAnswers("open-question", Metric("rating")).equip(Instruments(judge=endpoint(server, tmp_path)))
    score = scorer.score(EvalSample("a"), Prediction("  "))
    assert score.values == {"rating": (1, 1)}
    assert scorer.worst(EvalSample("a")) == {"rating": (1, 1)}
    assert server.requests == []


def test_judges_are_chosen_by_option(tmp_path):
    assert isinstance(choose_judge("stand-in"), StandIn)
    (tmp_path / "judge.yaml").write_text("url: http://localhost:1/v1\nmodel: m\nvotes: 3\ncache: null\n")
    judge = choose_judge(str(tmp_path / "judge.yaml"))
    assert isinstance(judge, EndpointJudge)
    assert judge.endpoint.votes == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: m", r"judge\.yaml describes no judge: it needs url and model"),
        ("url: ftp://x\nmodel: m", "the address of an endpoint must begin with http:// or https://, not 'ftp://x'"),
        (
            "url: http://x\nmodel: m\nkey: secret",
            r"judge\.yaml: unknown field 'key'; a judge has backoff_s, cache, concurrency",
        ),
        ("a: [", r"judge\.yaml is not YAML"),
    ],
)
def test_files_that_describe_no_judge_are_refused(tmp_path, text, message):
    (tmp_path / "judge.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        choose_judge(str(tmp_path / "judge.yaml"))


def test_missing_judge_file_is_one_sentence():
    with pytest.raises(ValueError, match="stand-in"):
        choose_judge("gpt-9")
