"""The user's sound: where turns begin and end, what is heard of them while they go on, and what becomes of it then.

The detector tells of the beginning of a turn, of pauses in it, and of its end, always a little late. When the user has
paused, the reply is prepared: if nothing follows, the turn ends where the pause was noticed.
"""

from dataclasses import replace

from kimi_audio.serve import session_playback as playback
from kimi_audio.serve import session_response as responses
from kimi_audio.serve import session_transcript as transcript
from kimi_audio.serve.session_config import ResponseConfig, ServerVad
from kimi_audio.serve.session_state import (
    PAUSE_TICKS,
    TICKS_PER_S,
    Appended,
    Detect,
    Discard,
    GiveUp,
    Hear,
    HearSoFar,
    ListenAnew,
    Moments,
    Prepare,
    SessionState,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    Store,
    Turn,
    ms,
)
from kimi_audio.serve.session_step import Refused, Step

LEAST_COMMIT_TICKS = TICKS_PER_S // 10
PREPARED_MOST_TICKS = 30 * TICKS_PER_S  # what was heard of a longer turn is worth more than a reply in advance
HEAR_TICKS = TICKS_PER_S  # of new sound before the model hears more of it
SLACK_TICKS = TICKS_PER_S  # kept before speech is found: the detector tells of it late


def append(step: Step, appended: Appended) -> None:
    """Take more sound, if the client may send it."""
    state, limits = step.state, step.state.rules.limits
    step.set(active_s=step.now_s)
    passed_s = step.now_s - state.appended_s
    seconds = appended.ticks / TICKS_PER_S
    burst_s = max(0.0, state.burst_s - passed_s * limits.input_speed) + seconds
    listens = state.config.audio.input.turn_detection is not None
    held_s = (state.received + appended.ticks - state.buffer_start) / TICKS_PER_S
    if burst_s > limits.buffer_s or (held_s > limits.buffer_s and not listens and not state.has_tracks):
        reason = "faster than it may" if burst_s > limits.buffer_s else "without committing it"
        step.error(
            f"The client sent more than {limits.buffer_s:g} s of sound {reason}; this piece is not kept.",
            "input_audio_buffer_full",
            event_id=appended.event_id,
        )
        return
    step.act(Store(state.received, appended.sound))
    step.set(received=state.received + appended.ticks, burst_s=burst_s, appended_s=step.now_s)
    if listens and state.turn is None:
        _keep_the_latest(step)
    elif state.has_tracks and not listens:  # a microphone that nobody listens to yet goes on all the same
        _discard(step, step.state.received - round(limits.buffer_s * TICKS_PER_S))
    elif state.turn is not None and held_s > limits.buffer_s:  # nobody speaks that long: let it be a turn
        step.act(ListenAnew(step.state.received))
        _speech_stopped(step, SpeechStopped(step.state.received, step.state.received))
    else:
        _hear_so_far(step)
        transcript.write_so_far(step)


def _hear_so_far(step: Step) -> None:
    """Let the model hear what will surely be committed, while more of it comes."""
    state = step.state
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
        step.set(heard=(start, end))
        step.act(HearSoFar(start, since, end, state.items, ResponseConfig.of(state.config, {})))


def _keep_the_latest(step: Step) -> None:
    by = step.state.config.audio.input.turn_detection
    padding_ms = by.prefix_padding_ms if isinstance(by, ServerVad) else ServerVad().prefix_padding_ms
    _discard(step, step.state.received - SLACK_TICKS - padding_ms * TICKS_PER_S // 1000)


def _discard(step: Step, before: int) -> None:
    if before > step.state.buffer_start:
        step.set(buffer_start=before)
        step.act(Discard(before))


def speech(step: Step, news: SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped) -> None:
    """Take what the detector tells."""
    match news:
        case SpeechStarted():
            _speech_started(step, news)
        case SpeechPaused():
            _speech_paused(step, news)
        case SpeechResumed():
            _speech_resumed(step)
        case SpeechStopped():
            _speech_stopped(step, news)


def _speech_started(step: Step, started: SpeechStarted) -> None:
    by = step.state.config.audio.input.turn_detection
    if by is None or step.state.turn is not None:
        return
    padding_ms = by.prefix_padding_ms if isinstance(by, ServerVad) else ServerVad().prefix_padding_ms
    start = max(step.state.buffer_start, started.start - padding_ms * TICKS_PER_S // 1000)
    start = min(start, step.state.received)
    turn = Turn(step.new_id("item"), start, written_end=start)
    step.set(turn=turn, nudge_s=None)
    step.send("input_audio_buffer.speech_started", audio_start_ms=ms(turn.start), item_id=turn.item_id)
    if by.interrupt_response:
        step.set(response_wanted=False)
        response = step.state.response
        is_heard = step.state.has_tracks and response is not None and response.config.is_spoken
        if response is not None and (response.is_in_conversation or is_heard):
            responses.cancel(step, "turn_detected")
        playback.clear(step)
    _hear_so_far(step)


def _speech_paused(step: Step, paused: SpeechPaused) -> None:
    """Let the reply be begun: if the user says no more, there is nothing to wait for at the end of the turn."""
    state, turn = step.state, step.state.turn
    by = state.config.audio.input.turn_detection
    if by is None or turn is None:
        return
    end = min(max(paused.end, turn.start), state.received)
    turn = replace(turn, pause_end=end)
    is_answered = by.create_response and _may_respond(state) and state.response is None
    if is_answered and turn.start < end <= turn.start + PREPARED_MOST_TICKS:
        turn = replace(turn, is_prepared=True)
        items, config = (*state.items, turn.item), ResponseConfig.of(state.config, {})
        step.act(Prepare(turn.item_id, turn.start, end, items, config))
    step.set(turn=turn)


def _speech_resumed(step: Step) -> None:
    give_up(step)
    if step.state.turn is not None:
        step.set(turn=replace(step.state.turn, pause_end=None, is_prepared=False))


def give_up(step: Step) -> None:
    """Forget what was prepared for the end of the turn."""
    if step.state.turn is not None and step.state.turn.is_prepared:
        step.set(heard=None)
        step.act(GiveUp())


def forget(step: Step) -> None:
    """Forget a turn under way."""
    give_up(step)
    step.set(turn=None)


def change_detection(step: Step) -> None:
    """Listen in another way. A turn under way goes on; without detection, it is for the client to commit."""
    by, turn = step.state.config.audio.input.turn_detection, step.state.turn
    give_up(step)
    if turn is not None and by is None:
        step.set(turn=None, buffer_start=turn.start)
    elif turn is not None:
        step.set(turn=replace(turn, pause_end=None, is_prepared=False))
    step.act(Detect(by, goes_on=step.state.turn is not None))


def _speech_stopped(step: Step, stopped: SpeechStopped) -> None:
    by, turn = step.state.config.audio.input.turn_detection, step.state.turn
    if by is None or turn is None:
        return
    end = min(max(stopped.end, turn.start), step.state.received)
    step.send("input_audio_buffer.speech_stopped", audio_end_ms=ms(end), item_id=turn.item_id)
    if end == turn.start:
        step.set(turn=None)
        return
    since_s = (step.state.received - stopped.speech_end) / TICKS_PER_S
    end = min(end, max(turn.start + 1, stopped.speech_end + PAUSE_TICKS))
    _commit(step, turn, end, speech_end_s=step.now_s - since_s)
    if by.create_response:
        _want_response(step)


def _want_response(step: Step) -> None:
    if not _may_respond(step.state):
        return
    if step.state.response is None:
        responses.begin(step)
    else:
        step.set(response_wanted=True)


def _may_respond(state: SessionState) -> bool:
    return state.config.type != "transcription" and not state.is_draining


def commit_by_client(step: Step) -> None:
    """Let the client say that the turn is over.

    Raises:
        Refused: there is next to no sound.
    """
    state = step.state
    start = state.turn.start if state.turn else state.buffer_start
    if state.received - start < LEAST_COMMIT_TICKS:
        raise Refused(
            f"The buffer holds {ms(state.received - start)} ms of sound; at least 100 ms are needed to commit it.",
            "input_audio_buffer_commit_empty",
        )
    step.act(ListenAnew(state.received))
    _commit(step, state.turn or Turn(step.new_id("item"), start), state.received, step.now_s)


def _commit(step: Step, turn: Turn, end: int, speech_end_s: float) -> None:
    """Make a turn an item of the user."""
    item = turn.item
    step.set(turn=None, buffer_start=end, last_turn=Moments(speech_end_s=speech_end_s, commit_s=step.now_s))
    step.act(Hear(item.id, turn.start, end, step.state.config.is_transcribed))
    step.act(Discard(end))
    step.send("input_audio_buffer.committed", previous_item_id=step.last_item_id, item_id=item.id)
    step.add_item(item)
    step.item_done(item)


def nudge(step: Step) -> None:
    """Take a long silence of the user for a turn."""
    state = step.state
    step.set(nudge_s=None)
    if state.turn is not None or state.response is not None or state.received == state.buffer_start:
        return
    turn = Turn(step.new_id("item"), state.buffer_start)
    step.send(
        "input_audio_buffer.timeout_triggered",
        audio_start_ms=ms(state.buffer_start),
        audio_end_ms=ms(state.received),
        item_id=turn.item_id,
    )
    _commit(step, turn, state.received, step.now_s)
    _want_response(step)
