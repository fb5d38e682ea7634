"""A turn is heard while it is spoken, and what comes of it is what comes of hearing it at its end."""

import base64
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI
from serve_fakes import FakeAssistant, running
from session_watcher import Watched

from kimi_audio import KimiAudio
from kimi_audio.answers import StreamChunk
from kimi_audio.audio.io import load_audio
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import SAMPLES_PER_WINDOW
from kimi_audio.serve.client_events import parse_event
from kimi_audio.serve.g711 import encode_ulaw
from kimi_audio.serve.session_config import AudioFormat, SessionConfig
from kimi_audio.serve.session_state import (
    PAUSE_TICKS,
    TICKS_PER_S,
    Appended,
    FromClient,
    GiveUp,
    Hear,
    HearSoFar,
    Prepare,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    StartReply,
)
from kimi_audio.serve.settings import ServeSettings
from kimi_audio.serve.wire_audio import InputBuffer, samples_of

MANUAL: Any = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
QUESTION = files("kimi_audio") / "nano" / "questions" / "02-a-capital.wav"
PATIENT: Any = {
    "type": "realtime",
    "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}},
}
TENTH = TICKS_PER_S // 10


def b64(samples: np.ndarray) -> str:
    return base64.b64encode((samples * 32767).astype("<i2").tobytes()).decode()


def noise(seconds: float, rate_hz: int = 24_000) -> np.ndarray:
    return 0.3 * np.random.default_rng(0).uniform(-1, 1, int(seconds * rate_hz))


def until(connection: Any, type: str) -> list[Any]:
    events = []
    for event in connection:
        events.append(event)
        assert event.type != "error", event.error
        if event.type == type:
            return events
    raise AssertionError(f"the connection ended before {type}")


# ---------------------------------------------------------------------------------------------------------------------
# When


def heard_by(session: Watched) -> list[tuple[int, int, int]]:
    found = [action for action in session.actions if isinstance(action, HearSoFar)]
    return [(one.start // TENTH, one.since // TENTH, one.end // TENTH) for one in found]


def append(session: Watched, tenths: int) -> None:
    for _ in range(tenths):
        session.do(Appended(TENTH), after_s=0.1)


def test_without_turn_detection_all_that_comes_is_heard():
    session = Watched(SessionConfig().updated(MANUAL))
    append(session, 25)
    assert heard_by(session) == [(0, 0, 1), (0, 1, 11), (0, 11, 21)]
    session.do(FromClient(parse_event('{"type": "input_audio_buffer.clear"}')))
    append(session, 5)
    assert heard_by(session)[3:] == [(25, 25, 26)]


def test_a_detected_turn_is_heard_from_its_padded_beginning_and_never_beyond_its_end():
    session = Watched()
    append(session, 12)
    assert heard_by(session) == []
    session.do(SpeechStarted(10 * TENTH))
    padding = SessionConfig().audio.input.turn_detection.prefix_padding_ms // 100  # pyright: ignore
    start = 10 - padding
    assert heard_by(session) == [(start, start, start)]
    append(session, 30)
    session.do(SpeechStopped(38 * TENTH, 41 * TENTH))
    (commit,) = [action for action in session.actions if isinstance(action, Hear)]
    assert commit.start == start * TENTH
    assert heard_by(session)[1:] == [(start, start, start + 10), (start, start + 10, start + 20)]
    assert heard_by(session)[-1][2] * TENTH <= commit.end


def test_the_end_of_a_pause_that_lasts_is_the_end_of_the_turn():
    session = Watched()
    append(session, 12)
    session.do(SpeechStarted(10 * TENTH))
    append(session, 30)
    (prepared,) = [one for one in session.do(SpeechPaused(41 * TENTH)) if isinstance(one, Prepare)]
    before = heard_by(session)
    append(session, 20)
    assert heard_by(session) == before  # silence
    actions = session.do(SpeechStopped(41 * TENTH - PAUSE_TICKS, 62 * TENTH))
    (hear,) = [one for one in actions if isinstance(one, Hear)]
    (reply,) = [one for one in actions if isinstance(one, StartReply)]
    assert (hear.item_id, hear.start, hear.end) == (prepared.item_id, prepared.start, prepared.end)
    assert (reply.items, reply.config) == (prepared.items, prepared.config)
    assert session.last("input_audio_buffer.speech_stopped")["audio_end_ms"] == 6200  # the silence is told of


def test_who_goes_on_after_a_pause_is_heard_anew():
    session = Watched()
    append(session, 12)
    session.do(SpeechStarted(10 * TENTH))
    append(session, 30)
    session.do(SpeechPaused(41 * TENTH))
    append(session, 5)
    assert session.do(SpeechResumed()) == [GiveUp()]
    heard = len(heard_by(session))
    append(session, 1)
    start = heard_by(session)[0][0]
    assert heard_by(session)[heard:] == [(start, start, 38)]
    assert any(isinstance(one, Prepare) for one in session.do(SpeechPaused(48 * TENTH)))


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "transcription"},
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}},
    ],
)
def test_nothing_is_prepared_where_no_reply_follows(changes):
    session = Watched(SessionConfig().updated(changes))
    append(session, 12)
    session.do(SpeechStarted(10 * TENTH))
    append(session, 30)
    assert session.do(SpeechPaused(41 * TENTH)) == []


def test_a_transcription_is_not_prepared_for_a_reply():
    session = Watched(SessionConfig().updated(MANUAL | {"type": "transcription"}))
    append(session, 25)
    assert heard_by(session) == []


@given(
    st.sampled_from([AudioFormat(), AudioFormat(type="audio/pcmu")]),
    st.lists(st.integers(1, 400), min_size=1, max_size=6),
    st.integers(0, 2),
    st.data(),
)
def test_pieces_of_the_buffer_are_the_whole(format, sizes, offset, data):
    """At any ticks, also those within a sample."""
    samples = noise(sum(sizes) / 24_000)
    content = encode_ulaw(samples) if format.type == "audio/pcmu" else (samples * 32767).astype("<i2").tobytes()
    per_sample = TICKS_PER_S // format.rate_hz
    buffer, first = InputBuffer(), 0
    for size in sizes:
        part = content[first * format.sample_bytes : (first + size) * format.sample_bytes]
        buffer.append(offset + first * per_sample, part, format)
        first += size
    end = offset + first * per_sample
    start, middle = sorted(data.draw(st.lists(st.integers(offset, end - 1), min_size=2, max_size=2)))
    whole = buffer.take(start, end).array
    parts = [buffer.take(start, middle).array, buffer.take(middle, end).array]
    assert np.array_equal(np.concatenate([np.asarray(part) for part in parts]), np.asarray(whole))
    assert np.array_equal(np.asarray(whole), samples_of(content, format)[(start - offset) // per_sample :])


# ---------------------------------------------------------------------------------------------------------------------
# What


def wait_for(happened: Callable[[], Any]) -> None:
    for _ in range(500):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def refused() -> Any:
    raise ValueError("this one hears whole recordings only")


def connected(address: str) -> Any:
    return OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0).realtime.connect(model="fake")


@pytest.mark.parametrize("is_possible", [True, False])
def test_a_detected_turn_gives_the_same_tokens_early_and_late(is_possible):
    class Assistant(FakeAssistant):
        def hear(self, *arguments: Any, **options: Any) -> Any:
            return super().hear(*arguments, **options) if is_possible else refused()

    assistant = Assistant()
    question = load_audio(str(QUESTION), 24_000).numpy()
    with running(assistant) as address, connected(address) as connection:
        connection.session.update(session={"type": "realtime", "instructions": "be brief"})
        for _ in range(2):
            connection.input_audio_buffer.append(audio=b64(np.resize(question, 40_000)))
            connection.input_audio_buffer.append(audio=b64(np.zeros(24_000)))
            until(connection, "response.done")
    found = [len(messages[-1].content.codes) for messages in assistant.asked[-2:]]
    assert all(20 <= count <= 40 for count in found)  # not all of the silence
    if is_possible:
        kinds = [[message.message_type for message in history] for history, _ in assistant.heard]
        assert kinds == [["text"], ["text", "audio", "audio-text"]]
        assert [early == count for early, count in zip(assistant.finished, found, strict=True)] == [True, True]


def outcomes(address: Any) -> dict[str, float]:
    prepared = address.services.metrics.prepared_replies
    return {outcome: prepared.labels(outcome)._value.get() for outcome in ("used", "given_up")}


def test_a_reply_is_begun_in_the_silence_that_ends_a_turn():
    """It is told when the turn is over, not earlier."""
    assistant = FakeAssistant()
    question = load_audio(str(QUESTION), 24_000).numpy()
    with running(assistant) as address, connected(address) as connection:
        assistant.asked.clear()
        connection.session.update(session=PATIENT)
        connection.input_audio_buffer.append(audio=b64(question))
        connection.input_audio_buffer.append(audio=b64(np.zeros(14_400)))
        wait_for(lambda: assistant.asked)
        connection.input_audio_buffer.append(audio=b64(np.zeros(14_400)))
        types = [event.type for event in until(connection, "response.done")]
        assert outcomes(address) == {"used": 1, "given_up": 0}
    assert types.index("input_audio_buffer.committed") < types.index("response.created")
    assert len(assistant.asked) == 1


def test_a_reply_that_was_begun_too_early_is_given_up():
    assistant = FakeAssistant()
    question = load_audio(str(QUESTION), 24_000).numpy()
    with running(assistant) as address, connected(address) as connection:
        connection.session.update(session=PATIENT)
        for _ in range(2):
            connection.input_audio_buffer.append(audio=b64(question))
            connection.input_audio_buffer.append(audio=b64(np.zeros(14_400)))
            time.sleep(0.1)
        connection.input_audio_buffer.append(audio=b64(np.zeros(14_400)))
        types = [event.type for event in until(connection, "response.done")]
        assert outcomes(address) == {"used": 1, "given_up": 1}
    assert types.count("input_audio_buffer.committed") == types.count("response.created") == 1
    assert len(assistant.asked[-1][-1].content.codes) > 2 * 12.5 * len(question) / 24_000  # both times, and the pause


def test_a_prepared_reply_that_fails_is_made_again():
    failures: list[Exception] = []

    def says(_: Any) -> str:
        if failures:
            raise failures.pop()
        return "at last."

    assistant = FakeAssistant(says)
    question = load_audio(str(QUESTION), 24_000).numpy()
    with running(assistant) as address, connected(address) as connection:
        failures.append(RuntimeError("not now"))
        connection.session.update(session=PATIENT)
        connection.input_audio_buffer.append(audio=b64(question))
        connection.input_audio_buffer.append(audio=b64(np.zeros(14_400)))
        wait_for(lambda: not failures)
        time.sleep(0.1)
        connection.input_audio_buffer.append(audio=b64(np.zeros(14_400)))
        done = until(connection, "response.done")[-1].response
    assert (done.status, done.output[0].content[0].transcript) == ("completed", "at last.")


def test_what_is_cleared_is_forgotten():
    assistant = FakeAssistant()
    with running(assistant) as address, connected(address) as connection:
        connection.session.update(session=MANUAL)
        connection.input_audio_buffer.append(audio=b64(noise(2.0)))
        connection.input_audio_buffer.clear()
        connection.input_audio_buffer.append(audio=b64(noise(0.8)))
        connection.input_audio_buffer.commit()
        connection.response.create()
        until(connection, "response.done")
    assert len(assistant.asked[-1][-1].content.codes) == 10
    assert assistant.finished == [10]


class Recorder:
    """A model that replies with the same seed always, and what it was asked and made."""

    def __init__(self, model: KimiAudio, is_early: bool) -> None:
        self._model, self._is_early = model, is_early
        self.codes: list[int] = []
        self.text = ""
        self.heard: list[AudioTokens] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def hear(self, *arguments: Any, **options: Any) -> Any:
        return self._model.hear(*arguments, **options) if self._is_early else refused()

    def think(self, messages: Any, options: Any, **rest: Any) -> Iterator[StreamChunk]:
        self.heard = [message.content for message in messages if message.message_type == "audio"]
        self.codes, self.text = [], ""
        rest["seed"] = 0
        for chunk in self._model.think(messages, options, **rest):
            self.codes += chunk.codes
            self.text += chunk.text
            yield chunk


def test_the_reply_is_the_same_early_and_late(reference, monkeypatch):
    """With a real model, of a turn longer than the encoders see at once."""
    model = KimiAudio(reference / "checkpoint", device="cpu")
    encoded: list[int] = []
    encode = model._encoded
    monkeypatch.setattr(model, "_encoded", lambda wav, *rest: encoded.append(len(wav)) or encode(wav, *rest))
    sound, replies = noise(31.0), []
    for is_early in (True, False):
        recorder = Recorder(model, is_early)
        with running(recorder, ServeSettings(is_marked=False)) as address, connected(address) as connection:
            encoded.clear()
            connection.session.update(session=MANUAL | {"max_output_tokens": 12})
            for piece in np.array_split(sound, 8):
                connection.input_audio_buffer.append(audio=b64(piece))
            connection.input_audio_buffer.commit()
            until(connection, "input_audio_buffer.committed")
            connection.response.create()
            until(connection, "response.done")
        assert encoded[0] == SAMPLES_PER_WINDOW if is_early else encoded[0] > SAMPLES_PER_WINDOW
        replies.append((recorder.heard[0], recorder.codes, recorder.text))
    early, late = replies
    assert early[1]
    assert early[1:] == late[1:]
    assert torch.equal(early[0].codes, late[0].codes)
    torch.testing.assert_close(early[0].features, late[0].features, atol=1e-3, rtol=0)
