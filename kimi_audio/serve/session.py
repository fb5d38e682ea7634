"""A Realtime session as a function: (state, what happens, when) to (state, what is to be done). It does nothing itself.

At most one response is under way. Each that is created ends exactly once, with everything that it opened closed, and
nothing of it follows. A response works with the configuration that held when it began. The user's sound is committed,
thrown away or kept, each tick of it once.
"""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from kimi_audio.serve import session_playback as playback
from kimi_audio.serve import session_response as responses
from kimi_audio.serve import session_transcript as transcript
from kimi_audio.serve import session_turns as turns
from kimi_audio.serve.client_events import (
    AnyClientEvent,
    Append,
    Clear,
    Commit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputClear,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
    described,
)
from kimi_audio.serve.items import parse_item
from kimi_audio.serve.session_checks import check_config
from kimi_audio.serve.session_config import SessionConfig
from kimi_audio.serve.session_state import (
    Action,
    Appended,
    BadMessage,
    CancelReply,
    Close,
    Connected,
    Detect,
    Discard,
    Drain,
    Forget,
    FromClient,
    Happening,
    ListenAnew,
    PlaybackCleared,
    PlaybackStarted,
    PlaybackStopped,
    ReplyChunk,
    ReplyEnded,
    ReplyFailed,
    Rules,
    SessionState,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    Tick,
    TranscriptEnded,
    TranscriptFailed,
    TranscriptPart,
    TranscriptSoFar,
)
from kimi_audio.serve.session_step import Refused, Step

WARNING_S = 60.0  # before a session expires
NORMAL_CLOSE, GOING_AWAY, POLICY_CLOSE = 1000, 1001, 1008


def begin(
    session_id: str, config: SessionConfig, rules: Rules, now_s: float, *, has_tracks: bool = False
) -> SessionState:
    """Return the state of a new session; its first event is ``Connected``."""
    return SessionState(session_id, rules, config, now_s, now_s, now_s, has_tracks)


def step(state: SessionState, happening: Happening, now_s: float) -> tuple[SessionState, tuple[Action, ...]]:
    """Return what a session becomes, and what is to be done, in this order."""
    if state.is_closed:
        return state, ()
    work = Step(state, now_s)
    _dispatch(work, happening)
    _follow_up(work)
    return work.state, tuple(work.actions)


def deadline_s(state: SessionState) -> float:
    """Return when ``Tick`` is to happen at the latest."""
    limits = state.rules.limits
    warning_s = 0.0 if state.is_warned else _warning_s(state)
    moments = [state.began_s + limits.session_s - warning_s, state.active_s + limits.idle_s]
    if state.response is not None:
        moments.append(state.response.moments.created_s + limits.reply_s)
    if state.nudge_s is not None:
        moments.append(state.nudge_s)
    return min(moments)


def _warning_s(state: SessionState) -> float:
    """Return how long before its end a session is told of it."""
    return min(WARNING_S, state.rules.limits.session_s / 10)


def _dispatch(work: Step, happening: Happening) -> None:
    match happening:
        case Connected():
            work.send("session.created", session=_wire(work))
            work.act(Detect(work.state.config.audio.input.turn_detection))
        case FromClient(event):
            work.set(active_s=work.now_s)
            _from_client(work, event)
        case BadMessage(error):
            work.set(active_s=work.now_s)
            work.error(str(error), "invalid_event", param=error.param, event_id=error.event_id)
        case Appended():
            turns.append(work, happening)
        case SpeechStarted() | SpeechPaused() | SpeechResumed() | SpeechStopped():
            turns.speech(work, happening)
        case ReplyChunk() | ReplyEnded() | ReplyFailed():
            responses.handle(work, happening)
        case PlaybackStarted() | PlaybackStopped() | PlaybackCleared():
            playback.handle(work, happening)
        case TranscriptSoFar() | TranscriptPart() | TranscriptEnded() | TranscriptFailed():
            transcript.handle(work, happening)
        case Tick():
            _tick(work)
        case Drain(within_s):
            work.set(is_draining=True)
            work.send("session.expiring", reason="server_stopping", expires_in_ms=round(1000 * within_s))


def _follow_up(work: Step) -> None:
    """Do what waited for the end of a response."""
    state = work.state
    if state.response is not None or state.is_closed:
        return
    if state.is_draining:
        if not state.playbacks:
            _close(work, GOING_AWAY, "the server stops")
    elif state.response_wanted:
        responses.begin(work)


def _close(work: Step, code: int, reason: str) -> None:
    responses.cancel(work, "client_cancelled")
    work.set(is_closed=True)
    work.act(Close(code, reason))


def _wire(work: Step) -> dict[str, Any]:
    state = work.state
    kind = "realtime.session" if state.config.type == "realtime" else "realtime.transcription_session"
    return {"id": state.id, "object": kind} | state.config.wire()


# ---------------------------------------------------------------------------------------------------------------------
# Wishes of the client


def _from_client(work: Step, event: AnyClientEvent) -> None:
    before = work.state, len(work.actions)
    try:
        _grant(work, event)
    except Refused as refused:
        # Nothing of a wish that is not granted remains.
        work.state = replace(before[0], count=work.state.count)
        del work.actions[before[1] :]
        work.error(str(refused), refused.code, param=refused.param, event_id=event.event_id)


def _grant(work: Step, event: AnyClientEvent) -> None:
    match event:
        case SessionUpdate():
            _update(work, event)
        case Append():  # elsewhere sound is decoded first, and arrives as ``Appended``
            raise Refused("Over WebRTC sound comes by the audio track.", "invalid_event", "audio")
        case Commit():
            turns.commit_by_client(work)
        case Clear():
            work.set(turn=None, buffer_start=work.state.received)
            work.act(Discard(work.state.received))
            work.act(ListenAnew(work.state.received))
            work.send("input_audio_buffer.cleared")
        case ItemCreate():
            _create_item(work, event)
        case ItemRetrieve():
            work.send("conversation.item.retrieved", item=work.find_item(event.item_id).wire())
        case ItemTruncate():
            _truncate(work, event)
        case ItemDelete():
            _delete_item(work, event.item_id)
        case ResponseCreate():
            responses.create(work, event)
        case ResponseCancel(response_id=response_id):
            _cancel(work, response_id)
        case OutputClear():
            _clear_output(work)


def _update(work: Step, event: SessionUpdate) -> None:
    state, old = work.state, work.state.config
    try:
        new = old.updated(event.session)
    except ValidationError as error:
        raise Refused(*described(error), "invalid_value", "session") from None
    check_config(new, state.rules)
    playback.check_format(work, new.audio.input.format, new.audio.output.format)
    if state.has_spoken and new.audio.output.voice_name != old.audio.output.voice_name:
        raise Refused("The voice stays once it was heard.", "cannot_update_voice", "session.audio.output.voice")
    if new.type != old.type and (state.items or state.response):
        raise Refused("The type of a session stays once it is used.", "invalid_value", "session.type")
    work.set(config=new)
    has_new_format = new.audio.input.format != old.audio.input.format
    if has_new_format:  # what is not committed was in the old one
        work.set(buffer_start=state.received)
        work.act(Discard(state.received))
        turns.forget(work)
    if has_new_format or new.audio.input.turn_detection != old.audio.input.turn_detection:
        turns.change_detection(work)
    work.send("session.updated", session=_wire(work))


def _create_item(work: Step, event: ItemCreate) -> None:
    given = event.item.get("id")
    if given is not None and not (isinstance(given, str) and 0 < len(given) <= 128):
        raise Refused("The id of an item is a string of up to 128 characters.", "invalid_value", "item.id")
    if given is not None and work.state.turn is not None and given == work.state.turn.item_id:
        raise Refused(f"There is an item {given!r} already.", "item_exists", "item.id")
    _check_room(work)
    try:
        item, sounds = parse_item(event.item, given or work.new_id("item"))
    except ValueError as error:
        raise Refused(f"{error}.", "invalid_value", "item") from None
    most_chars = work.state.rules.limits.chat_chars
    if item.chars > most_chars:
        raise Refused("The item is too long.", "string_above_max_length", "item")
    if item.chars + sum(other.chars for other in work.state.items) > most_chars:
        raise Refused(
            f"The items of a conversation hold at most {most_chars} characters; delete some.", "too_many_items", "item"
        )
    work.add_item(item, event.previous_item_id)
    responses.hear_given(work, item.id, sounds)
    work.item_done(item)


def _check_room(work: Step) -> None:
    most = work.state.rules.limits.items
    if len(work.state.items) >= most:
        raise Refused(f"A conversation has at most {most} items; delete some.", "too_many_items")


def _delete_item(work: Step, item_id: str) -> None:
    item = work.find_item(item_id)
    response = work.state.response
    if response is not None and response.item is not None and response.item.id == item_id:
        raise Refused("The item is being made; cancel the response first.", "item_in_progress", "item_id")
    work.set(items=tuple(other for other in work.state.items if other is not item))
    work.act(Forget(item_id))
    work.send("conversation.item.deleted", item_id=item_id)


def _truncate(work: Step, event: ItemTruncate) -> None:
    item = work.find_item(event.item_id)
    response = work.state.response
    if item.role != "assistant" or item.type != "message" or not item.content[0].is_audio:
        raise Refused("Only what the assistant said can be truncated.", "invalid_value", "item_id")
    if response is not None and response.item is not None and response.item.id == item.id:
        raise Refused("The item is being made; cancel the response first.", "item_in_progress", "item_id")
    if event.content_index != 0:
        raise Refused("The item has one part, 0.", "invalid_value", "content_index")
    if event.audio_end_ms > item.audio_ms:
        raise Refused(f"The item lasts {item.audio_ms} ms.", "invalid_value", "audio_end_ms")
    playback.truncate(work, item, event.audio_end_ms)


def _cancel(work: Step, wanted: str | None = None) -> None:
    response = work.state.response
    if response is None or wanted not in (None, response.id):
        raise Refused("There is no active response to cancel.", "response_cancel_not_active")
    responses.cancel(work, "client_cancelled")


def _clear_output(work: Step) -> None:
    if not work.state.playbacks or (work.state.response is not None and work.state.response.config.is_spoken):
        _cancel(work)
    playback.clear(work)


# ---------------------------------------------------------------------------------------------------------------------
# Time


def _tick(work: Step) -> None:
    state, limits, now_s = work.state, work.state.rules.limits, work.now_s
    if now_s >= state.began_s + limits.session_s:
        work.error(f"The session has lasted {limits.session_s / 60:g} minutes, as long as it may.", "session_expired")
        _close(work, NORMAL_CLOSE, "the session has expired")
    elif now_s >= state.active_s + limits.idle_s:
        work.error(f"The client has sent nothing for {limits.idle_s:g} s.", "session_idle")
        _close(work, NORMAL_CLOSE, "the session was idle")
    elif state.response is not None and now_s >= state.response.moments.created_s + limits.reply_s:
        work.act(CancelReply(state.response.id))
        responses.fail(work, "The reply took too long.", "response_timeout")
    elif state.nudge_s is not None and now_s >= state.nudge_s:
        turns.nudge(work)
    elif not state.is_warned and (left_s := state.began_s + limits.session_s - now_s) <= _warning_s(state):
        work.set(is_warned=True)
        work.send("session.expiring", reason="session_limit", expires_in_ms=round(1000 * left_s))
