"""The play-out buffer, and what the session makes of what it tells, without WebRTC and on a virtual clock."""

from typing import Any

from session_watcher import Watched
from test_session import MANUAL, actions_of, client, ended, sound, words

from kimi_audio.serve.playout import FRAME_SAMPLES, Playout
from kimi_audio.serve.session_state import (
    TICKS_PER_S,
    ClearPlayback,
    Discard,
    Drain,
    EndPlayback,
    Play,
    PlaybackCleared,
    PlaybackStarted,
    PlaybackStopped,
    SpeechStarted,
)
from kimi_audio.serve.settings import ServeLimits

FRAME_BYTES = 2 * FRAME_SAMPLES
SILENCE = bytes(FRAME_BYTES)


def test_frames_tell_where_responses_begin_and_end():
    told: list[Any] = []
    playout = Playout(told.append)
    playout.push("one", b"a" * (FRAME_BYTES + 10))
    assert playout.next_frame() == b"a" * FRAME_BYTES
    assert playout.next_frame() == SILENCE  # the rest waits for what follows it
    playout.push("one", b"b" * 10)
    playout.end("one")
    playout.push("two", b"c" * FRAME_BYTES)
    assert told == [PlaybackStarted("one")]
    assert playout.next_frame() == b"a" * 10 + b"b" * 10 + bytes(FRAME_BYTES - 20)
    assert told[1:] == [PlaybackStopped("one")]
    assert playout.next_frame() == b"c" * FRAME_BYTES
    assert told[2:] == [PlaybackStarted("two")]
    assert playout.clear() == {"two": 20}
    assert playout.next_frame() == SILENCE


def spoken(**options: Any) -> Watched:
    """Return a session whose reply of 160 ms is being played."""
    session = Watched(has_tracks=True, **options)
    session.do(client("response.create"))
    words(session, "it is", " three")
    session.do(PlaybackStarted(actions_of(session, Play)[0].response_id))
    return session


def test_playback_stops_after_its_response():
    session = spoken()
    (first, second) = actions_of(session, Play)
    assert "response.output_audio.delta" not in session.types()
    assert actions_of(session, EndPlayback) == []
    session.do(ended(session))
    assert actions_of(session, EndPlayback) == [EndPlayback(first.response_id)]
    session.do(PlaybackStopped(second.response_id))
    assert session.types()[-2:] == ["response.done", "output_audio_buffer.stopped"]
    session.do(client("output_audio_buffer.clear"))
    assert session.last("error")["error"]["code"] == "response_cancel_not_active"


def test_barge_in_after_the_response_truncates_what_is_left():
    session = spoken()
    session.do(ended(session))
    session.do(sound(0.5), after_s=0.5)
    session.do(SpeechStarted(0))
    assert actions_of(session, ClearPlayback) == [ClearPlayback()]
    response_id = actions_of(session, Play)[0].response_id
    session.do(PlaybackCleared({response_id: 100}))
    assert session.types()[-2:] == ["output_audio_buffer.cleared", "conversation.item.truncated"]
    assert session.last("conversation.item.truncated")["audio_end_ms"] == 100
    assert session.state.items[0].content[0].text == "it is"
    session.do(PlaybackStopped(response_id))  # came too late
    assert session.types()[-1] == "conversation.item.truncated"


def test_a_session_that_drains_plays_to_the_end():
    session = spoken()
    session.do(Drain(30.0))
    session.do(ended(session))
    assert not session.state.is_closed
    session.do(PlaybackStopped(actions_of(session, Play)[0].response_id))
    assert session.state.is_closed


def test_a_microphone_that_nobody_listens_to_goes_on():
    session = Watched(MANUAL, ServeLimits(buffer_s=10.0), has_tracks=True)
    for _ in range(30):
        session.do(sound(1.0), after_s=1.0)
    assert "error" not in session.types()
    assert actions_of(session, Discard)[-1] == Discard(20 * TICKS_PER_S)
    session.do(client("input_audio_buffer.append", audio="AAAA"))
    assert "audio track" in session.last("error")["error"]["message"]
