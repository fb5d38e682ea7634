"""The session as a function on a virtual clock: single stories, and random ones under the watcher's eyes."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_watcher import Watched

from kimi_audio.serve.client_events import InvalidEventError, parse_event
from kimi_audio.serve.session import deadline_s
from kimi_audio.serve.session_config import SessionConfig
from kimi_audio.serve.session_state import (
    PAUSE_TICKS,
    TICKS_PER_S,
    Appended,
    BadMessage,
    CancelReply,
    Close,
    CutSpeech,
    Detect,
    Drain,
    Forget,
    FromClient,
    Happening,
    Hear,
    HearGiven,
    KeepSpeech,
    Measure,
    ReplyChunk,
    ReplyEnded,
    ReplyFailed,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    StartReply,
    Tick,
    TranscriptEnded,
    TranscriptFailed,
    TranscriptPart,
    TranscriptSoFar,
    WriteSoFar,
)
from kimi_audio.serve.settings import ServeLimits

MANUAL = SessionConfig().updated({"audio": {"input": {"turn_detection": None}}})
TIMER = {
    "type": "function",
    "name": "setTimer",
    "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}},
}


USER_ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


def client(type: str, **values: Any) -> FromClient:
    return FromClient(parse_event(json.dumps({"type": type, "event_id": "mine"} | values)))


def sound(seconds: float) -> Appended:
    return Appended(round(seconds * TICKS_PER_S))


def words(session: Watched, *texts: str, ticks: int = 1920) -> None:
    for text in texts:
        assert session.state.response is not None
        session.do(ReplyChunk(session.state.response.id, text, "AAAA", ticks, (1,)), after_s=0.08)


def ended(session: Watched, reason: Any = "stop") -> ReplyEnded:
    assert session.state.response is not None
    return ReplyEnded(session.state.response.id, reason, {"total_tokens": 3})


def actions_of(session: Watched, kind: type) -> list[Any]:
    return [action for action in session.actions if isinstance(action, kind)]


def talk(session: Watched, seconds: float = 1.0) -> None:
    """Let the user speak, from 0.5 s of silence on, and stop."""
    begin = session.state.received
    session.do(sound(0.5), after_s=0.5)
    session.do(SpeechStarted(begin + TICKS_PER_S // 2))
    session.do(sound(seconds), after_s=seconds)
    end = session.state.received
    session.do(sound(0.5), after_s=0.5)
    session.do(SpeechStopped(end, session.state.received))


# ---------------------------------------------------------------------------------------------------------------------
# Stories


def test_a_turn_and_its_answer():
    session = Watched(SessionConfig().updated({"audio": {"input": {"transcription": {"model": "x"}}}}))
    talk(session)
    words(session, "it is", " three")
    session.do(ended(session))
    assert session.types() == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    item_id = session.last("input_audio_buffer.speech_started")["item_id"]
    assert session.last("input_audio_buffer.committed")["item_id"] == item_id
    assert session.last("input_audio_buffer.speech_started")["audio_start_ms"] == 200  # with padding
    heard = Hear(item_id, TICKS_PER_S // 5, 3 * TICKS_PER_S // 2 + PAUSE_TICKS, is_transcribed=True)
    assert actions_of(session, Hear) == [heard]  # without most of the silence
    (start,) = actions_of(session, StartReply)
    assert [item.id for item in start.items] == [item_id]
    done = session.last("response.done")["response"]
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "it is three"}]
    assert done["usage"] == {"total_tokens": 3}
    answer_id = done["output"][0]["id"]
    assert actions_of(session, KeepSpeech) == [KeepSpeech(answer_id, (1,))] * 2
    assert done["metadata"] == {
        "end_of_speech_to_commit_ms": "500",
        "created_to_first_text_ms": "80",
        "created_to_first_sound_ms": "80",
        "end_of_speech_to_first_sound_ms": "580",
    }
    assert actions_of(session, Measure)[0].seconds == pytest.approx(
        {"first_text": 0.08, "first_audio": 0.08, "reply": 0.16}
    )


def test_who_is_interrupted_stops_before_the_next_turn():
    session = Watched()
    talk(session)
    words(session, "once", " upon")
    response_id = session.state.response.id
    session.do(sound(0.1), after_s=0.1)
    actions = session.do(SpeechStarted(session.state.received))
    assert CancelReply(response_id) in actions
    done = session.last("response.done")["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert session.do(ReplyChunk(response_id, "late", "AAAA", 1920)) == []  # of a reply that has ended
    assert session.do(ReplyEnded(response_id, "cancelled")) == []


def test_speech_may_be_told_not_to_interrupt():
    vad = {"type": "server_vad", "interrupt_response": False}
    session = Watched(SessionConfig().updated({"audio": {"input": {"turn_detection": vad}}}))
    talk(session)
    words(session, "once")
    first = session.state.response.id
    talk(session)
    assert session.state.response.id == first
    session.do(ended(session))
    assert session.state.response.id != first  # now the second turn is answered
    assert len(actions_of(session, StartReply)[1].items) == 3


def test_what_was_not_heard_is_forgotten():
    session = Watched()
    talk(session)
    words(session, "one", " two", " three", " four", ticks=TICKS_PER_S)
    session.do(ended(session))
    item_id = session.state.items[-1].id
    session.do(client("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=4001))
    assert session.last("error")["error"]["event_id"] == "mine"
    session.do(client("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2500))
    assert session.last("conversation.item.truncated")["audio_end_ms"] == 2500
    assert actions_of(session, CutSpeech) == [CutSpeech(item_id, 2500)]
    assert session.state.items[-1].content[0].text == "one two"
    session.do(client("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2600))
    assert session.last("error")["error"]["param"] == "audio_end_ms"


def test_speech_is_cut_by_the_speed_at_which_it_was_said():
    session = Watched(MANUAL.updated({"audio": {"output": {"speed": 1.5}}}))
    session.do(client("response.create"))
    words(session, "one", " two", ticks=TICKS_PER_S)
    session.do(ended(session))
    session.do(client("session.update", session={"audio": {"output": {"speed": 0.5}}}))
    item_id = session.state.items[-1].id
    session.do(client("conversation.item.truncate", item_id=item_id, audio_end_ms=1000))
    assert actions_of(session, CutSpeech) == [CutSpeech(item_id, 1500)]


def test_manual_turns():
    session = Watched(MANUAL)
    session.do(client("input_audio_buffer.commit"))
    assert session.last("error")["error"]["code"] == "input_audio_buffer_commit_empty"
    session.do(sound(1.0), after_s=1.0)
    session.do(SpeechStarted(0))
    assert "input_audio_buffer.speech_started" not in session.types()
    session.do(client("input_audio_buffer.commit"))
    assert session.state.response is None  # the client asks for it
    session.do(sound(0.5), after_s=0.5)
    session.do(client("input_audio_buffer.clear"))
    session.do(sound(0.5), after_s=0.5)
    session.do(client("input_audio_buffer.commit"))
    assert [(hear.start, hear.end) for hear in actions_of(session, Hear)] == [
        (0, TICKS_PER_S),
        (3 * TICKS_PER_S // 2, 2 * TICKS_PER_S),
    ]
    session.do(client("response.create"))
    session.do(client("response.create"))
    assert session.last("error")["error"]["code"] == "conversation_already_has_active_response"
    session.do(client("response.cancel"))
    assert session.last("response.done")["response"]["status_details"]["reason"] == "client_cancelled"
    assert session.last("response.done")["response"]["output"] == []
    session.do(client("response.cancel"))
    assert session.last("error")["error"]["code"] == "response_cancel_not_active"


def test_a_call_and_its_result():
    session = Watched(MANUAL.updated({"tools": [TIMER]}))
    session.do(client("conversation.item.create", item=USER_ITEM))
    session.do(client("response.create"))
    before = len(session.sent)
    words(session, "<call>set_", "timer minutes=5")
    assert len(session.sent) == before  # neither words nor sound of a call are told
    words(session, "</call> and more")
    types = session.types()[before:]
    assert types == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = session.last("response.function_call_arguments.done")
    assert (done["name"], json.loads(done["arguments"])) == ("setTimer", {"minutes": 5})
    output = {"type": "function_call_output", "call_id": done["call_id"], "output": "started"}
    session.do(client("conversation.item.create", item=output))
    session.do(client("response.create"))
    assert [item.type for item in actions_of(session, StartReply)[-1].items] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    words(session, "the timer", " runs")
    session.do(ended(session))
    assert session.last("response.done")["response"]["output"][0]["content"][0]["transcript"] == "the timer runs"


@pytest.mark.parametrize("text", ["<call>nothing_known a=1</call>", "<call>never ends", "<"])
def test_what_only_looks_like_a_call_is_said(text):
    session = Watched(MANUAL.updated({"tools": [TIMER], "output_modalities": ["text"]}))
    session.do(client("response.create"))
    session.do(ReplyChunk(session.state.response.id, text))
    if session.state.response:
        session.do(ended(session))
    assert session.last("response.output_text.done")["text"] == text


def test_without_tools_everything_is_words():
    session = Watched(MANUAL)
    session.do(client("response.create"))
    words(session, "<call>")
    assert session.last("response.output_audio_transcript.delta")["delta"] == "<call>"


def test_a_response_keeps_the_configuration_it_began_with():
    session = Watched(MANUAL)
    session.do(client("response.create"))
    session.do(client("session.update", session={"type": "realtime", "output_modalities": ["text"]}))
    assert session.last("session.updated")["session"]["output_modalities"] == ("text",)
    words(session, "hello")
    assert session.types()[-1] == "response.output_audio.delta"


def test_out_of_band():
    session = Watched(MANUAL)
    asked = {
        "conversation": "none",
        "output_modalities": ["text"],
        "metadata": {"topic": "weather"},
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "QUJD"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "classify"}]},
        ],
    }
    session.do(client("response.create", response=asked))
    words(session, "sunny")
    session.do(ended(session))
    assert session.state.items == ()
    assert not [type for type in session.types() if type.startswith("conversation.item")]
    (start,) = actions_of(session, StartReply)
    assert [item.content[0].type for item in start.items] == ["input_audio", "input_text"]
    assert actions_of(session, HearGiven) == [HearGiven(start.items[0].id, 0, "QUJD")]
    assert actions_of(session, Forget) == [Forget(item.id) for item in start.items]
    assert session.last("response.done")["response"]["metadata"]["topic"] == "weather"
    session.do(client("response.create", response={"input": [{"type": "item_reference", "id": "nowhere"}]}))
    assert session.last("error")["error"]["code"] == "item_not_found"


def test_items():
    session = Watched(MANUAL)

    def create(id: str, **more: Any) -> None:
        item = {"id": id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": id}]}
        session.do(client("conversation.item.create", item=item, **more))

    create("b")
    create("a", previous_item_id="root")
    create("c", previous_item_id="b")
    create("ab", previous_item_id="a")
    assert [item.id for item in session.state.items] == ["a", "ab", "b", "c"]
    create("b")
    assert session.last("error")["error"]["code"] == "item_exists"
    create("z", previous_item_id="y")
    assert session.last("error")["error"]["code"] == "item_not_found"
    session.do(client("conversation.item.retrieve", item_id="ab"))
    assert session.last("conversation.item.retrieved")["item"]["content"][0]["text"] == "ab"
    session.do(client("conversation.item.delete", item_id="ab"))
    assert actions_of(session, Forget) == [Forget("ab")]
    session.do(client("conversation.item.retrieve", item_id="ab"))
    assert session.last("error")["error"]["param"] == "item_id"


@pytest.mark.parametrize(
    "item",
    [
        {"type": "image"},
        {"type": "message", "role": "robot", "content": []},
        {"type": "message", "role": ["user"], "content": []},
        {"type": "message", "role": "user", "content": "text"},
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "", "transcript": 3}]},
        {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
        {"type": "message", "role": "user", "content": [3]},
        {"type": "function_call_output", "output": 3, "call_id": "c"},
    ],
)
def test_bad_items(item):
    session = Watched(MANUAL)
    session.do(client("conversation.item.create", item=item))
    assert session.last("error")["error"]["param"] == "item"
    assert session.state.items == ()


@pytest.mark.parametrize("audio", ["", "!!!!", "QQ==", "QUJ"])
def test_a_sound_that_is_none_is_no_item(audio):
    session = Watched(MANUAL)
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
    session.do(client("conversation.item.create", item=item))
    assert session.types()[-1] == "error"
    session.do(client("response.create", response={"input": [item]}))
    assert session.types()[-2:] == ["error", "error"]
    assert {event["error"]["event_id"] for event in session.sent if event["type"] == "error"} == {"mine"}
    assert (session.state.items, session.state.response, session.state.burst_s) == ((), None, 0.0)
    assert actions_of(session, HearGiven) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"output_modalities": []},
        {"max_output_tokens": 0},
        {"audio": {"input": {"format": {"type": "audio/opus"}}}},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}},
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
        {"audio": {"output": {"speed": 9}}},
        {"audio": {"output": {"voice": "nobody"}}},
        {"audio": 3},
        {"tools": [TIMER, {"type": "function", "name": "set_timer"}]},
        {"tools": [{"type": "function", "name": "123"}]},
        {"instructions": "a" * 100_001},
        {"tools": [TIMER | {"description": "a" * 100_001}]},
    ],
)
def test_bad_configurations(changes):
    session = Watched()
    before = session.state.config
    session.do(client("session.update", session=changes))
    assert session.types()[-1] == "error"
    assert session.last("error")["error"]["event_id"] == "mine"
    assert session.state.config == before


@pytest.mark.parametrize("changes", [{"audio": {"output": {"voice": "nobody"}}}, {"tools": [{"name": "天气"}]}])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_response_that_nobody_asked_for_and_that_cannot_be_is_told(changes, is_late):
    vad = {"type": "server_vad", "interrupt_response": False}
    session = Watched(SessionConfig().updated({"audio": {"input": {"turn_detection": vad}}}))
    if is_late:  # another response is under way, and this one waits for its end
        session.do(client("response.create"))
    session.state = replace(session.state, config=session.state.config.updated(changes))
    talk(session)
    if is_late:
        session.do(ended(session))
    assert session.last("error")["error"]["code"] == "invalid_value"
    assert session.types().count("error") == 1
    assert session.state.response is None
    session.do(client("session.update", session={"audio": {"output": {"voice": "ava"}}, "tools": []}))
    talk(session)
    assert session.state.response is not None


@pytest.mark.parametrize(
    "changes", [{"audio": [1]}, {"audio": {"output": "loud"}}, {"audio": {"output": {"speed": 9}}}]
)
def test_bad_responses(changes):
    session = Watched()
    session.do(client("response.create", response=changes))
    assert session.last("error")["error"]["code"] == "invalid_value"
    assert session.state.response is None


def test_a_field_within_a_field_is_changed_alone():
    session = Watched()
    vad = {"type": "server_vad", "threshold": 0.7}
    session.do(client("session.update", session={"audio": {"input": {"turn_detection": vad}}}))
    session.do(
        client("session.update", session={"audio": {"input": {"turn_detection": vad | {"silence_duration_ms": 300}}}})
    )
    detection = session.state.config.audio.input.turn_detection
    assert (detection.threshold, detection.silence_duration_ms, detection.prefix_padding_ms) == (0.7, 300, 300)
    session.do(client("session.update", session={"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}))
    assert session.state.config.audio.input.turn_detection.type == "semantic_vad"
    session.do(client("session.update", session={"audio": {"input": {"turn_detection": None}}}))
    assert [detect.by is None for detect in actions_of(session, Detect)] == [False, False, False, False, True]


@pytest.mark.parametrize("new", [{"type": "server_vad", "silence_duration_ms": 300}, {"type": "semantic_vad"}])
def test_a_turn_goes_on_while_its_detection_is_changed(new):
    session = Watched()
    session.do(sound(0.5))
    session.do(SpeechStarted(TICKS_PER_S // 2))
    session.do(sound(0.5))
    session.do(SpeechPaused(TICKS_PER_S))
    session.do(client("session.update", session={"audio": {"input": {"turn_detection": new}}}))
    assert [detect.goes_on for detect in actions_of(session, Detect)] == [False, True]
    session.do(SpeechStopped(TICKS_PER_S, TICKS_PER_S))
    (heard,) = actions_of(session, Hear)
    started = session.last("input_audio_buffer.speech_started")
    assert (heard.item_id, heard.start) == (started["item_id"], started["audio_start_ms"] * TICKS_PER_S // 1000)
    assert session.state.response is not None


def test_a_turn_without_detection_is_committed_by_the_client():
    session = Watched()
    session.do(sound(2.0))
    session.do(SpeechStarted(TICKS_PER_S * 3 // 2))
    start = session.state.turn.start
    assert start > session.state.buffer_start
    session.do(client("session.update", session={"audio": {"input": {"turn_detection": None}}}))
    session.do(sound(0.5))
    session.do(client("input_audio_buffer.commit"))
    (heard,) = actions_of(session, Hear)
    assert (heard.start, heard.end) == (start, round(2.5 * TICKS_PER_S))


def test_the_items_of_a_conversation_hold_so_much_text():
    session = Watched(limits=ServeLimits(chat_chars=1000))
    long = USER_ITEM | {"content": [{"type": "input_text", "text": "x" * 400}]}
    for _ in range(3):
        session.do(client("conversation.item.create", item=long))
    assert session.last("error")["error"]["code"] == "too_many_items"
    assert len(session.state.items) == 2
    session.do(client("conversation.item.delete", item_id=session.state.items[0].id))
    session.do(client("conversation.item.create", item=long))
    assert session.types()[-1] == "conversation.item.done"


def test_sound_in_another_format_is_listened_to_anew():
    session = Watched()
    session.do(sound(1.0))
    session.do(client("session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}}))
    assert [detect.by for detect in actions_of(session, Detect)] == 2 * [session.config.audio.input.turn_detection]
    assert session.state.buffer_start == session.state.received


def test_spellings_of_the_beta():
    session = Watched()
    beta = {
        "modalities": ["text", "audio"],
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "pcm16",
        "voice": "alloy",
        "turn_detection": None,
        "input_audio_transcription": {"model": "whisper-1"},
        "max_response_output_tokens": 100,
    }
    session.do(client("session.update", session=beta))
    config = session.state.config
    assert config.output_modalities == ("audio",)
    assert config.audio.input.format.type == "audio/pcmu"
    assert config.audio.input.turn_detection is None
    assert config.audio.output.voice == "alloy"
    assert config.max_output_tokens == 100
    session.do(client("response.create", response={"modalities": ["text"]}))
    assert session.last("response.created")["response"]["output_modalities"] == ["text"]


def test_a_transcription_session_of_the_beta():
    session = Watched()
    beta = {"input_audio_format": "pcm16", "input_audio_transcription": {"model": "whisper-1"}, "turn_detection": None}
    session.do(client("transcription_session.update", session=beta))
    told = session.last("session.updated")["session"]
    assert told["type"] == "transcription"
    assert told["audio"]["input"]["turn_detection"] is None
    assert told["audio"]["input"]["transcription"]["model"] == "whisper-1"


LONG = "x" * 60_000


@pytest.mark.parametrize(
    "response",
    [
        {"instructions": 2 * LONG},
        {"tools": [TIMER | {"description": 2 * LONG}]},
        {"instructions": LONG, "tools": [TIMER | {"description": LONG}]},
        {"instructions": LONG, "input": [USER_ITEM | {"content": [{"type": "input_text", "text": LONG}]}]},
        {"metadata": {"a": 2 * LONG}},
    ],
)
def test_a_response_that_says_too_much_is_refused(response):
    session = Watched(MANUAL)
    session.do(client("response.create", response=response))
    assert session.last("error")["error"]["code"] == "string_above_max_length"
    assert session.state.response is None


def test_a_response_of_null_is_one_without_wishes():
    session = Watched(MANUAL)
    session.do(client("response.create", response=None))
    assert session.types()[-1] == "response.created"


def test_the_voice_stays_once_it_was_heard():
    session = Watched(MANUAL)
    session.do(client("session.update", session={"audio": {"output": {"voice": "ava"}}}))
    session.do(client("response.create"))
    words(session, "hello")
    session.do(client("session.update", session={"audio": {"output": {"voice": "ben"}}}))
    assert session.last("error")["error"]["code"] == "cannot_update_voice"


def test_transcripts():
    session = Watched(MANUAL)
    session.do(sound(1.0), after_s=1.0)
    session.do(client("input_audio_buffer.commit"))
    item_id = session.state.items[0].id
    session.do(TranscriptPart(item_id, "what is"))
    session.do(TranscriptEnded(item_id, "what is this", 1.0))
    completed = session.last("conversation.item.input_audio_transcription.completed")
    assert (completed["transcript"], completed["usage"]["seconds"]) == ("what is this", 1.0)
    assert session.state.items[0].content[0].text == "what is this"
    session.do(TranscriptFailed(item_id, "no"))
    assert session.last("conversation.item.input_audio_transcription.failed")["error"]["message"] == "no"
    session.do(client("conversation.item.delete", item_id=item_id))
    assert session.do(TranscriptPart(item_id, "late")) == []


WRITTEN = SessionConfig().updated({"audio": {"input": {"transcription": {"model": "x"}}}})
DELTA = "conversation.item.input_audio_transcription.delta"


def speaking(session: Watched, *guesses: str | None) -> str:
    """Let the user speak, and each second be written down; returns the item's id."""
    session.do(sound(0.5), after_s=0.5)
    session.do(SpeechStarted(TICKS_PER_S // 2))
    item_id = session.state.turn.item_id
    for guess in guesses:
        session.do(sound(1.0), after_s=1.0)
        session.do(TranscriptSoFar(item_id, guess))
    return item_id


def deltas(session: Watched) -> list[str]:
    return [event["delta"] for event in session.sent if event["type"] == DELTA]


def test_what_two_transcripts_agree_on_is_told_while_the_user_speaks():
    session = Watched(WRITTEN)
    item_id = speaking(session, "what is", "what is the", "what is their name", "what is there")
    assert deltas(session) == ["what is"]  # not "the", which became "their", and nothing is taken back
    assert session.last(DELTA)["item_id"] == item_id
    session.do(SpeechStopped(session.state.received, session.state.received))
    session.do(TranscriptPart(item_id, "what is their"))
    session.do(TranscriptPart(item_id, " name"))
    session.do(TranscriptEnded(item_id, "what is their name", 4.0))
    assert "".join(deltas(session)) == "what is their name"  # nothing twice


def test_a_transcript_that_came_out_otherwise_is_told_as_a_whole():
    session = Watched(WRITTEN)
    item_id = speaking(session, "wet is", "wet is the")
    session.do(SpeechStopped(session.state.received, session.state.received))
    session.do(TranscriptPart(item_id, "what is the"))
    session.do(TranscriptEnded(item_id, "what is the", 2.0))
    assert deltas(session) == ["wet is"]
    completed = session.last("conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "what is the"


def test_a_turn_is_written_down_at_most_once_a_second_and_one_at_a_time():
    session = Watched(WRITTEN)
    item_id = speaking(session)
    for _ in range(40):
        session.do(sound(0.1), after_s=0.1)
    wanted = actions_of(session, WriteSoFar)
    assert [one.item_id for one in wanted] == [item_id]  # the first is not done yet
    assert wanted[0].end - wanted[0].start == pytest.approx(TICKS_PER_S, abs=TICKS_PER_S // 10)
    session.do(TranscriptSoFar(item_id, None))  # the model had no time
    session.do(sound(0.1), after_s=0.1)
    assert len(actions_of(session, WriteSoFar)) == 2
    session.do(SpeechStopped(session.state.received, session.state.received))
    assert session.do(TranscriptSoFar(item_id, "late")) == []


def test_long_turns_and_those_that_nobody_wants_to_read_are_written_down_at_their_end():
    for config, most in ((WRITTEN, 29), (SessionConfig(), 0)):  # the turn began 0.3 s before
        session = Watched(config)
        item_id = speaking(session)
        for _ in range(60):
            session.do(sound(1.0), after_s=1.0)
            session.do(TranscriptSoFar(item_id, "a"))
        assert len(actions_of(session, WriteSoFar)) == most


def test_a_transcription_session_answers_nothing():
    session = Watched(SessionConfig(type="transcription"))
    talk(session)
    assert [hear.is_transcribed for hear in actions_of(session, Hear)] == [True]
    assert actions_of(session, StartReply) == []
    session.do(client("response.create"))
    assert session.last("error")["error"]["code"] == "invalid_session_type"


@pytest.mark.parametrize(
    ("reason", "status"), [("stop", "completed"), ("length", "incomplete"), ("cancelled", "failed")]
)
def test_ends(reason, status):
    session = Watched(MANUAL)
    session.do(client("response.create"))
    words(session, "hello")
    session.do(ended(session, reason))
    assert session.last("response.done")["response"]["status"] == status


def test_a_failure_ends_the_response_alone():
    session = Watched(MANUAL)
    session.do(client("response.create"))
    session.do(ReplyFailed(session.state.response.id, "the model stumbled"))
    done = session.last("response.done")["response"]
    assert done["status_details"]["error"]["message"] == "the model stumbled"
    session.do(client("response.create"))
    assert session.state.response is not None


# ---------------------------------------------------------------------------------------------------------------------
# ServeLimits and time


def test_more_sound_than_may_be_held():
    session = Watched(MANUAL, ServeLimits(buffer_s=2.0))
    session.do(sound(1.5), after_s=1.5)
    session.do(sound(1.0), after_s=1.0)
    assert session.last("error")["error"]["code"] == "input_audio_buffer_full"
    assert session.state.received == 1.5 * TICKS_PER_S
    session.do(client("input_audio_buffer.clear"))
    session.do(sound(1.0), after_s=1.0)
    assert session.state.received == 2.5 * TICKS_PER_S


def test_faster_than_real_time_but_not_for_ever():
    session = Watched(limits=ServeLimits(buffer_s=2.0, input_speed=4.0))
    session.do(sound(2.0))
    session.do(sound(0.4))
    assert session.last("error")["error"]["code"] == "input_audio_buffer_full"
    errors = session.types().count("error")
    for _ in range(50):
        session.do(sound(0.4), after_s=0.11)
    assert session.types().count("error") == errors


def test_sounds_of_items_count_too():
    session = Watched(MANUAL, ServeLimits(buffer_s=2.0))
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "A" * 128_000}]}  # 2 s
    session.do(client("conversation.item.create", item=item | {"id": "first"}))
    session.do(client("conversation.item.create", item=item | {"id": "second"}))
    assert session.last("error")["error"]["code"] == "input_audio_buffer_full"
    assert [one.id for one in session.state.items] == ["first"]
    session.do(sound(1.0), after_s=0.6)  # time lets the client send again
    assert session.state.received == TICKS_PER_S


def test_a_listening_session_keeps_only_the_latest_sound():
    session = Watched()
    for _ in range(100):
        session.do(sound(1.0), after_s=1.0)
    assert session.state.received - session.state.buffer_start == 1.3 * TICKS_PER_S


def test_a_turn_that_does_not_end_is_ended():
    session = Watched(limits=ServeLimits(buffer_s=5.0))
    session.do(sound(0.5), after_s=0.5)
    session.do(SpeechStarted(0))
    for _ in range(6):
        session.do(sound(1.0), after_s=1.0)
    assert session.types().count("input_audio_buffer.committed") == 1
    assert session.state.response is not None


def test_a_long_silence_is_taken_for_a_turn():
    vad = {"type": "server_vad", "idle_timeout_ms": 6000}
    session = Watched(SessionConfig().updated({"audio": {"input": {"turn_detection": vad}}}))
    talk(session)
    words(session, "hello", ticks=2 * TICKS_PER_S)
    session.do(ended(session))
    assert deadline_s(session.state) == pytest.approx(session.now_s + 2.0 + 6.0)
    session.do(sound(2.0), after_s=2.0)
    session.do(Tick(), after_s=5.9)
    assert "input_audio_buffer.timeout_triggered" not in session.types()
    session.do(Tick(), after_s=0.2)
    assert session.types()[-5:] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]


@pytest.mark.parametrize(
    ("limits", "code"),
    [(ServeLimits(session_s=60, idle_s=99), "session_expired"), (ServeLimits(session_s=99, idle_s=60), "session_idle")],
)
def test_sessions_end(limits, code):
    session = Watched(MANUAL, limits)
    session.do(client("response.create"))
    session.do(Tick(), after_s=59.0)
    session.do(Tick())
    assert not session.state.is_closed
    assert deadline_s(session.state) == pytest.approx(160.0)
    session.do(Tick(), after_s=1.0)
    assert session.last("error")["error"]["code"] == code
    assert session.last("response.done")["response"]["status"] == "cancelled"
    assert isinstance(session.actions[-1], Close)
    assert session.do(client("response.create")) == []


def test_a_session_is_told_before_it_expires():
    session = Watched(MANUAL, ServeLimits(session_s=3600, idle_s=9999))
    assert deadline_s(session.state) == pytest.approx(100 + 3540)
    session.do(Tick(), after_s=3540)
    told = session.last("session.expiring")
    assert (told["reason"], told["expires_in_ms"]) == ("session_limit", 60_000)
    assert deadline_s(session.state) == pytest.approx(100 + 3600)
    session.do(Tick(), after_s=1)
    assert session.types().count("session.expiring") == 1


def test_a_reply_that_takes_too_long_fails():
    session = Watched(MANUAL, ServeLimits(reply_s=10))
    session.do(client("response.create"))
    response_id = session.state.response.id
    assert deadline_s(session.state) == pytest.approx(110.0)
    assert CancelReply(response_id) in session.do(Tick(), after_s=10.0)
    assert session.last("response.done")["response"]["status"] == "failed"


def test_a_server_that_stops_lets_the_response_end():
    session = Watched(MANUAL)
    session.do(client("response.create"))
    session.do(Drain(30.0))
    assert session.last("session.expiring")["expires_in_ms"] == 30_000
    words(session, "goodbye")
    session.do(ended(session))
    assert session.last("response.done")["response"]["status"] == "completed"
    assert session.actions[-1] == Close(1001, "the server stops")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"type": 3}',
        '{"type": "nothing.known"}',
        '{"type": "session.update"}',
        '{"type": "session.update", "session": []}',
        '{"type": "input_audio_buffer.append", "audio": 3}',
        '{"type": "conversation.item.truncate", "item_id": "a", "audio_end_ms": -1}',
        "[" * 100_000,
    ],
)
def test_bad_messages(text):
    with pytest.raises(InvalidEventError) as caught:
        parse_event(text)
    session = Watched()
    session.do(BadMessage(caught.value))
    assert session.last("error")["error"]["code"] == "invalid_event"


# ---------------------------------------------------------------------------------------------------------------------
# Random stories

UPDATES = [
    {"audio": {"input": {"turn_detection": None}}},
    {"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}}},
    {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}}},
    {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "create_response": False}}}},
    {"audio": {"input": {"format": {"type": "audio/pcmu"}}}},
    {"audio": {"output": {"voice": "ben"}}},
    {"tools": [TIMER]},
    {"tools": []},
    {"output_modalities": ["text"]},
    {"type": "transcription"},
]
CREATES = [{}, {"conversation": "none"}, {"input": [USER_ITEM]}, {"output_modalities": ["text"]}, {"tools": [TIMER]}]
WORDS = ["a", " word", "<", "<call>", "set_timer", " minutes=3", "</call>", ""]
OPERATIONS = {  # with their arguments; the first ones happen oftener
    "sound": [0.02, 0.1, 1.0, 1.0, 30.0],
    "starts": [-2.0, -0.5, 0.0, 1.0],
    "stops": [-2.0, -0.5, 0.0, 1.0],
    "pauses": [-2.0, -0.5, 0.0],
    "resumes": [None],
    "words": WORDS,
    "commit": [None],
    "create": CREATES,
    "ends": ["stop", "length", "loop", "cancelled", "failed"],
    "late": ["chunk", "end", "failure"],
    "clear": [None],
    "cancel": [None],
    "update": UPDATES,
    "item": ["x", "y", "root"],
    "truncate": [0, 100, 1000, 3000],
    "delete": [0, 1, 2, 3],
    "transcript": [0, 1, 2],
    "so far": ["a b", "a c", None],
    "wait": [0.1, 6.0, 60.0],
    "drain": [None],
}
OFTEN = [*OPERATIONS] + 3 * [*OPERATIONS][:8]
STORIES = st.lists(st.sampled_from([(name, value) for name in OFTEN for value in OPERATIONS[name]]), min_size=20)


def happening(session: Watched, name: str, value: Any) -> Happening:
    """Return what an operation means in the state of the session."""
    state = session.state
    live = state.response.id if state.response else "resp_none"
    old = next(iter(sorted(session.ended)), "resp_none")
    items = state.items
    some = items[value % len(items)].id if isinstance(value, int) and items else "item_none"
    meanings: dict[str, Callable[[], Happening]] = {
        "sound": lambda: sound(value),
        "starts": lambda: SpeechStarted(max(0, state.received + int(value * TICKS_PER_S))),
        "stops": lambda: SpeechStopped(max(0, state.received + int(value * TICKS_PER_S)), state.received),
        "pauses": lambda: SpeechPaused(max(0, state.received + int(value * TICKS_PER_S))),
        "resumes": lambda: SpeechResumed(),
        "words": lambda: ReplyChunk(live, value, "AAAA", 1920, (1,)),
        "ends": lambda: ReplyFailed(live, "no") if value == "failed" else ReplyEnded(live, value),
        "late": lambda: {"chunk": ReplyChunk(old), "end": ReplyEnded(old, "stop")}.get(value, ReplyFailed(old, "x")),
        "commit": lambda: client("input_audio_buffer.commit"),
        "clear": lambda: client("input_audio_buffer.clear"),
        "create": lambda: client("response.create", response=value),
        "cancel": lambda: client("response.cancel"),
        "update": lambda: client("session.update", session=value),
        "item": lambda: client("conversation.item.create", item=USER_ITEM | {"id": value}, previous_item_id="root"),
        "truncate": lambda: client("conversation.item.truncate", item_id=some, audio_end_ms=value),
        "delete": lambda: client("conversation.item.delete", item_id=some),
        "transcript": lambda: TranscriptEnded(some, "said", 1.0),
        "so far": lambda: TranscriptSoFar(state.turn.item_id if state.turn else "item_none", value),
        "wait": lambda: Tick(),
        "drain": lambda: Drain(1.0),
    }
    return meanings[name]()


@settings(max_examples=100)
@given(STORIES, st.booleans())
def test_whatever_happens(operations, manual):
    session = Watched(MANUAL if manual else SessionConfig(), ServeLimits(buffer_s=40.0, items=8, reply_s=50, idle_s=90))
    for name, value in operations:
        was_speaking = session.state.turn is not None
        session.do(happening(session, name, value), after_s=value if name == "wait" else 0.01)
        by, response = session.state.config.audio.input.turn_detection, session.state.response
        began_speaking = session.state.turn is not None and not was_speaking
        if began_speaking and by is not None and by.interrupt_response:
            assert response is None or not response.is_in_conversation, "the user is not let in"
        assert deadline_s(session.state) >= session.now_s or name != "wait" or session.state.is_closed
    session.do(Drain(1.0))
    if session.state.response is not None:
        session.do(ended(session))
    assert session.state.is_closed
    assert session.types().count("response.created") == session.types().count("response.done")
