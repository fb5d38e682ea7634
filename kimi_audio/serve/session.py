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
from kimi_audio.serve.items import parse_item, plain_tools
from kimi_audio.serve.session_config import ResponseConfig, ServerVad, SessionConfig
from kimi_audio.serve.session_state import (
    PAUSE_TICKS,
    TICKS_PER_S,
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
    GiveUp,
    Happening,
    Hear,
    HearSoFar,
    Moments,
    PlaybackCleared,
    PlaybackStarted,
    PlaybackStopped,
    Prepare,
    ReplyChunk,
    ReplyEnded,
    ReplyFailed,
    Rules,
    SessionState,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    Store,
    Tick,
    TranscriptEnded,
    TranscriptFailed,
    TranscriptPart,
    TranscriptSoFar,
    Turn,
    WriteSoFar,
    ms,
)
from kimi_audio.serve.session_step import Refused, Step

LEAST_COMMIT_TICKS = TICKS_PER_S // 10
PREPARED_MOST_TICKS = 30 * TICKS_PER_S  # what was heard of a longer turn is worth more than a reply in advance
SO_FAR_TICKS = TICKS_PER_S  # of new speech between two transcripts of a turn that goes on
SO_FAR_MOST_TICKS = 30 * TICKS_PER_S  # longer turns are written down at their end
HEAR_TICKS = TICKS_PER_S  # of new sound before the model hears more of it
WARNING_S = 60.0  # before a session expires
SLACK_TICKS = TICKS_PER_S  # kept before speech is found: the detector tells of it late
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
            _append(work, happening)
        case SpeechStarted() | SpeechPaused() | SpeechResumed() | SpeechStopped():
            _speech(work, happening)
        case ReplyChunk() | ReplyEnded() | ReplyFailed():
            responses.handle(work, happening)
        case PlaybackStarted() | PlaybackStopped() | PlaybackCleared():
            playback.handle(work, happening)
        case TranscriptSoFar() | TranscriptPart() | TranscriptEnded() | TranscriptFailed():
            _written(work, happening)
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
        responses.create(work)


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
            _commit_by_client(work)
        case Clear():
            work.set(turn=None, buffer_start=work.state.received)
            work.act(Discard(work.state.received))
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
        plain_tools(new.tools)
    except ValidationError as error:
        raise Refused(*described(error), "invalid_value", "session") from None
    except ValueError as error:
        raise Refused(f"{error}.", "invalid_value", "session.tools") from None
    if len(new.instructions) > state.rules.limits.chat_chars:
        raise Refused("The instructions are too long.", "string_above_max_length", "session.instructions")
    playback.check_format(work, new.audio.input.format, new.audio.output.format)
    voice = new.audio.output.voice_name
    if not state.rules.is_voice(voice):
        raise Refused(f"There is no voice {voice[:50]!r}.", "invalid_value", "session.audio.output.voice")
    if state.has_spoken and voice != old.audio.output.voice_name:
        raise Refused("The voice stays once it was heard.", "cannot_update_voice", "session.audio.output.voice")
    if new.type != old.type and (state.items or state.response):
        raise Refused("The type of a session stays once it is used.", "invalid_value", "session.type")
    work.set(config=new)
    has_new_format = new.audio.input.format != old.audio.input.format
    if has_new_format:  # what is not committed was in the old one
        work.set(buffer_start=state.received)
        work.act(Discard(state.received))
    if has_new_format or new.audio.input.turn_detection != old.audio.input.turn_detection:
        _give_up(work)
        work.set(turn=None)
        work.act(Detect(new.audio.input.turn_detection))
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
    chars = sum(len(part.text or "") for part in item.content) + len(item.output) + len(item.arguments)
    if chars > work.state.rules.limits.chat_chars:
        raise Refused("The item is too long.", "string_above_max_length", "item")
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
# The user's sound


def _append(work: Step, appended: Appended) -> None:
    state, limits = work.state, work.state.rules.limits
    work.set(active_s=work.now_s)
    passed_s = work.now_s - state.appended_s
    seconds = appended.ticks / TICKS_PER_S
    burst_s = max(0.0, state.burst_s - passed_s * limits.input_speed) + seconds
    listens = state.config.audio.input.turn_detection is not None
    held_s = (state.received + appended.ticks - state.buffer_start) / TICKS_PER_S
    if burst_s > limits.buffer_s or (held_s > limits.buffer_s and not listens and not state.has_tracks):
        reason = "faster than it may" if burst_s > limits.buffer_s else "without committing it"
        work.error(
            f"The client sent more than {limits.buffer_s:g} s of sound {reason}; this piece is not kept.",
            "input_audio_buffer_full",
            event_id=appended.event_id,
        )
        return
    work.act(Store(state.received, appended.sound))
    work.set(received=state.received + appended.ticks, burst_s=burst_s, appended_s=work.now_s)
    if listens and state.turn is None:
        _keep_the_latest(work)
    elif state.has_tracks and not listens:  # a microphone that nobody listens to yet goes on all the same
        _discard(work, work.state.received - round(limits.buffer_s * TICKS_PER_S))
    elif state.turn is not None and held_s > limits.buffer_s:  # nobody speaks that long: let it be a turn
        _speech_stopped(work, SpeechStopped(work.state.received, work.state.received))
    else:
        _hear_so_far(work)
        _write_so_far(work)


def _hear_so_far(work: Step) -> None:
    """Let the model hear what will surely be committed, while more of it comes."""
    state = work.state
    listens = state.config.audio.input.turn_detection is not None
    start = state.turn.start if state.turn else state.buffer_start
    if state.config.type == "transcription" or (listens and state.turn is None) or start == state.received:
        return
    if state.turn is not None and state.turn.pause_end is not None:  # what comes now is probably not part of the turn
        return
    # The detector tells late of the end of a turn, too: it is before what has come by then.
    end = max(start, state.received - SLACK_TICKS) if listens else state.received
    began, since = state.heard or (None, start)
    since = since if began == start else start
    if began != start or end - since >= HEAR_TICKS:
        work.set(heard=(start, end))
        work.act(HearSoFar(start, since, end, state.items, ResponseConfig.of(state.config, {})))


def _keep_the_latest(work: Step) -> None:
    by = work.state.config.audio.input.turn_detection
    padding_ms = by.prefix_padding_ms if isinstance(by, ServerVad) else ServerVad().prefix_padding_ms
    _discard(work, work.state.received - SLACK_TICKS - padding_ms * TICKS_PER_S // 1000)


def _discard(work: Step, before: int) -> None:
    if before > work.state.buffer_start:
        work.set(buffer_start=before)
        work.act(Discard(before))


def _speech(work: Step, news: SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped) -> None:
    match news:
        case SpeechStarted():
            _speech_started(work, news)
        case SpeechPaused():
            _speech_paused(work, news)
        case SpeechResumed():
            _speech_resumed(work)
        case SpeechStopped():
            _speech_stopped(work, news)


def _speech_started(work: Step, started: SpeechStarted) -> None:
    by = work.state.config.audio.input.turn_detection
    if by is None or work.state.turn is not None:
        return
    padding_ms = by.prefix_padding_ms if isinstance(by, ServerVad) else ServerVad().prefix_padding_ms
    start = max(work.state.buffer_start, started.start - padding_ms * TICKS_PER_S // 1000)
    start = min(start, work.state.received)
    turn = Turn(work.new_id("item"), start, written_end=start)
    work.set(turn=turn, nudge_s=None)
    work.send("input_audio_buffer.speech_started", audio_start_ms=ms(turn.start), item_id=turn.item_id)
    if by.interrupt_response:
        work.set(response_wanted=False)
        response = work.state.response
        is_heard = work.state.has_tracks and response is not None and response.config.is_spoken
        if response is not None and (response.is_in_conversation or is_heard):
            responses.cancel(work, "turn_detected")
        playback.clear(work)
    _hear_so_far(work)


def _speech_paused(work: Step, paused: SpeechPaused) -> None:
    """Let the reply be begun: if the user says no more, there is nothing to wait for at the end of the turn."""
    state, turn = work.state, work.state.turn
    by = state.config.audio.input.turn_detection
    if by is None or turn is None:
        return
    end = min(max(paused.end, turn.start), state.received)
    turn = replace(turn, pause_end=end)
    is_answered = by.create_response and _may_respond(state) and state.response is None
    if is_answered and turn.start < end <= turn.start + PREPARED_MOST_TICKS:
        turn = replace(turn, is_prepared=True)
        items, config = (*state.items, turn.item), ResponseConfig.of(state.config, {})
        work.act(Prepare(turn.item_id, turn.start, end, items, config))
    work.set(turn=turn)


def _speech_resumed(work: Step) -> None:
    _give_up(work)
    if work.state.turn is not None:
        work.set(turn=replace(work.state.turn, pause_end=None, is_prepared=False))


def _give_up(work: Step) -> None:
    """Forget what was prepared for the end of the turn."""
    if work.state.turn is not None and work.state.turn.is_prepared:
        work.set(heard=None)
        work.act(GiveUp())


def _speech_stopped(work: Step, stopped: SpeechStopped) -> None:
    by, turn = work.state.config.audio.input.turn_detection, work.state.turn
    if by is None or turn is None:
        return
    end = min(max(stopped.end, turn.start), work.state.received)
    work.send("input_audio_buffer.speech_stopped", audio_end_ms=ms(end), item_id=turn.item_id)
    if end == turn.start:
        work.set(turn=None)
        return
    since_s = (work.state.received - stopped.speech_end) / TICKS_PER_S
    end = min(end, max(turn.start + 1, stopped.speech_end + PAUSE_TICKS))
    _commit(work, turn, end, speech_end_s=work.now_s - since_s)
    if by.create_response:
        _want_response(work)


def _want_response(work: Step) -> None:
    if not _may_respond(work.state):
        return
    if work.state.response is None:
        responses.create(work)
    else:
        work.set(response_wanted=True)


def _may_respond(state: SessionState) -> bool:
    return state.config.type != "transcription" and not state.is_draining


def _commit_by_client(work: Step) -> None:
    state = work.state
    start = state.turn.start if state.turn else state.buffer_start
    if state.received - start < LEAST_COMMIT_TICKS:
        raise Refused(
            f"The buffer holds {ms(state.received - start)} ms of sound; at least 100 ms are needed to commit it.",
            "input_audio_buffer_commit_empty",
        )
    _commit(work, state.turn or Turn(work.new_id("item"), start), state.received, work.now_s)


def _commit(work: Step, turn: Turn, end: int, speech_end_s: float) -> None:
    """Make a turn an item of the user."""
    item = turn.item
    work.set(turn=None, buffer_start=end, last_turn=Moments(speech_end_s=speech_end_s, commit_s=work.now_s))
    work.act(Hear(item.id, turn.start, end, work.state.config.is_transcribed))
    work.act(Discard(end))
    work.send("input_audio_buffer.committed", previous_item_id=work.last_item_id, item_id=item.id)
    work.add_item(item)
    work.item_done(item)


# ---------------------------------------------------------------------------------------------------------------------
# What the user says, in writing

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def _write_so_far(work: Step) -> None:
    """Let a turn that goes on be written down, once there is enough that is new."""
    turn, received = work.state.turn, work.state.received
    if turn is None or turn.is_written or not work.state.config.is_transcribed:
        return
    if received - turn.written_end >= SO_FAR_TICKS and received - turn.start <= SO_FAR_MOST_TICKS:
        work.set(turn=replace(turn, is_written=True, written_end=received))
        work.act(WriteSoFar(turn.item_id, turn.start, received))


def _so_far(work: Step, heard: TranscriptSoFar) -> None:
    """Tell the words on which two transcripts in a row agree: clients only ever add to what they were told."""
    turn = work.state.turn
    if turn is None or turn.item_id != heard.item_id:
        return
    if heard.text is None:
        work.set(turn=replace(turn, is_written=False))
        return
    told = _agreed(turn.guess, heard.text)
    if not told.startswith(turn.told):
        told = turn.told
    work.set(turn=replace(turn, is_written=False, guess=heard.text, told=told))
    if delta := told.removeprefix(turn.told):
        work.send(f"{_TRANSCRIPTION}.delta", item_id=turn.item_id, content_index=0, delta=delta)


def _agreed(one: str, other: str) -> str:
    """Return the whole words that two texts begin with in common."""
    words = []
    for word, same in zip(one.split(" "), other.split(" "), strict=False):
        if word != same:
            break
        words.append(word)
    return " ".join(words)


def _written(work: Step, heard: TranscriptSoFar | TranscriptPart | TranscriptEnded | TranscriptFailed) -> None:
    if isinstance(heard, TranscriptSoFar):
        _so_far(work, heard)
        return
    item = next((item for item in work.state.items if item.id == heard.item_id), None)
    if item is None:
        return
    place = {"item_id": item.id, "content_index": 0}
    match heard:
        case TranscriptPart(text=text):
            written = item.written + text
            is_more = written.startswith(item.told)  # else the words while it was said were others
            work.replace_item(replace(item, written=written, told=written if is_more else item.told))
            if is_more and (delta := written.removeprefix(item.told)):
                work.send(f"{_TRANSCRIPTION}.delta", **place, delta=delta)
        case TranscriptEnded(text=text, seconds=seconds):
            work.replace_item(item.with_text(0, text))
            usage = {"type": "duration", "seconds": round(seconds, 3)}
            work.send(f"{_TRANSCRIPTION}.completed", **place, transcript=text, usage=usage)
        case TranscriptFailed(message=message):
            error = {"type": "transcription_error", "code": "transcription_failed", "message": message, "param": None}
            work.send(f"{_TRANSCRIPTION}.failed", **place, error=error)


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
        _nudge(work)
    elif not state.is_warned and (left_s := state.began_s + limits.session_s - now_s) <= _warning_s(state):
        work.set(is_warned=True)
        work.send("session.expiring", reason="session_limit", expires_in_ms=round(1000 * left_s))


def _nudge(work: Step) -> None:
    """Take a long silence of the user for a turn."""
    state = work.state
    work.set(nudge_s=None)
    if state.turn is not None or state.response is not None or state.received == state.buffer_start:
        return
    turn = Turn(work.new_id("item"), state.buffer_start)
    work.send(
        "input_audio_buffer.timeout_triggered",
        audio_start_ms=ms(state.buffer_start),
        audio_end_ms=ms(state.received),
        item_id=turn.item_id,
    )
    _commit(work, turn, state.received, work.now_s)
    _want_response(work)
