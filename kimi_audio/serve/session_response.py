"""The life of a response: it is created, becomes words or a call, and ends exactly once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from kimi_audio.chat.tools import is_call
from kimi_audio.serve import session_playback as playback
from kimi_audio.serve.client_events import ResponseCreate, described
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.items import Content, ConversationItem, function_call, parse_item, plain_tools
from kimi_audio.serve.session_checks import check_length, check_voice
from kimi_audio.serve.session_config import ResponseConfig, ServerVad
from kimi_audio.serve.session_state import (
    TICKS_PER_S,
    CancelReply,
    Forget,
    HearGiven,
    KeepSpeech,
    Measure,
    Moments,
    ReplyChunk,
    ReplyEnded,
    ReplyFailed,
    Response,
    StartReply,
    ms,
)
from kimi_audio.serve.session_step import Refused, Step
from kimi_audio.serve.sounds import from_base64

CALL_END = "</call>"
_PLACE = {"output_index": 0, "content_index": 0}


def begin(step: Step) -> None:
    """Begin a response that no message of the client asks for; what stands against it is told all the same."""
    try:
        create(step)
    except Refused as refused:
        step.set(response_wanted=False)
        step.error(str(refused), refused.code, param=refused.param)


def create(step: Step, asked: ResponseCreate | None = None) -> None:
    """Begin a response: to a turn of the user, or because the client asked for it.

    Raises:
        Refused: there is one under way, or what is asked for cannot be.
    """
    state = step.state
    if state.config.type == "transcription":
        raise Refused("A transcription session has no responses.", "invalid_session_type")
    if state.response is not None:
        raise Refused(
            f"The conversation has an active response, {state.response.id}; wait for its end or cancel it.",
            "conversation_already_has_active_response",
        )
    if state.is_draining:
        raise Refused("The server is about to stop.", "server_stopping")
    changes = dict(asked.response) if asked else {}
    given = changes.pop("input", None)
    try:
        config = ResponseConfig.of(state.config, changes)
        plain_tools(config.tools)
        items = state.items if given is None else _given_items(step, given)
    except ValidationError as error:
        raise Refused(*described(error), "invalid_value", "response") from None
    except ValueError as error:
        raise Refused(f"{error}.", "invalid_value", "response") from None
    check_length(config, () if given is None else items, state.rules, "response")
    check_voice(config.output.voice_name, state.rules, "audio.output.voice")
    playback.check_format(step, config.output.format)
    moments = replace(state.last_turn or Moments(), created_s=step.now_s)
    own_ids = {item.id for item in step.state.items}
    given_ids = tuple(item.id for item in items if item.id not in own_ids)
    response = Response(step.new_id("resp"), config, moments, given_ids=given_ids)
    step.set(response=response, last_turn=None, response_wanted=False, nudge_s=None)
    step.send("response.created", response=_wire(step, response, "in_progress"))
    step.act(StartReply(response.id, items, config))


def _given_items(step: Step, given: Any) -> tuple[ConversationItem, ...]:
    """Return the items that a response is to see instead of the conversation."""
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ValueError("input must be a list of items")
    if len(given) > step.state.rules.limits.items:
        raise ValueError(f"input has more than {step.state.rules.limits.items} items")
    items = []
    for values in given:
        if values.get("type") == "item_reference":
            items.append(step.find_item(str(values.get("id"))))
            continue
        item, sounds = parse_item(values, step.new_id("item"))
        items.append(item)
        hear_given(step, item.id, sounds)
    return tuple(items)


def hear_given(step: Step, item_id: str, sounds: Mapping[int, str]) -> None:
    """Let the sounds that came with an item be heard.

    Raises:
        Refused: the client sends more sound than it may, or what is none.
    """
    format, limits = step.state.config.audio.input.format, step.state.rules.limits
    for index, sound in sounds.items():
        burst_s = step.state.burst_s + 3 * len(sound) / 4 / format.sample_bytes / format.rate_hz
        if burst_s > limits.buffer_s:
            raise Refused("The client sends sound faster than it may.", "input_audio_buffer_full", "item")
        _check_sound(sound, format.sample_bytes, limits.frame_bytes)
        step.set(burst_s=burst_s)
        step.act(HearGiven(item_id, index, sound))


def _check_sound(sound: str, least_bytes: int, most_bytes: int) -> None:
    try:
        content = from_base64(sound, most_bytes, "audio")
    except ApiError as error:
        raise Refused(error.message, error.code or "invalid_value", "item") from None
    if len(content) < least_bytes:
        raise Refused("The audio holds no sound.", "invalid_value", "item")


# ---------------------------------------------------------------------------------------------------------------------
# While it is made


def handle(step: Step, news: ReplyChunk | ReplyEnded | ReplyFailed) -> None:
    """Take what the model tells of the response under way; of one that has ended, nothing is heard any more."""
    if step.state.response is None or step.state.response.id != news.response_id:
        return
    match news:
        case ReplyChunk():
            _take(step, step.state.response, news)
        case ReplyEnded():
            _end(step, news)
        case ReplyFailed():
            fail(step, news.message, news.code)


def _take(step: Step, response: Response, chunk: ReplyChunk) -> None:
    """Pass a piece on, once it is known whether the reply is words or a call."""
    response = replace(response, moments=_with_firsts(response.moments, chunk, step.now_s))
    if response.kind == "message":
        _pass_on(step, response, chunk)
        return
    response = replace(response, text=response.text + chunk.text)
    if response.config.usable_tools and (not response.text or is_call(response.text)):
        held = (*response.held, chunk) if response.kind == "open" else ()
        step.set(response=replace(response, held=held))
        if CALL_END in response.text:
            step.act(CancelReply(response.id))
            _end(step, ReplyEnded(response.id, "stop"))
        return
    _become_message(step, response, chunk)


def _become_message(step: Step, response: Response, *chunks: ReplyChunk) -> None:
    held = response.held
    response = replace(response, kind="message", text="", held=())
    content = Content("output_audio" if response.config.is_spoken else "output_text", "")
    item = ConversationItem(step.new_id("item"), role="assistant", status="in_progress", content=(content,))
    item = replace(item, speed=response.config.output.speed)
    response = replace(response, item=item)
    step.set(response=response)
    shown = replace(item, content=())
    step.send("response.output_item.added", response_id=response.id, output_index=0, item=shown.wire())
    if response.is_in_conversation:
        step.add_item(item)
    step.send("response.content_part.added", **_ids(response), **_PLACE, part=_part(response, ""))
    for chunk in (*held, *chunks):
        response = _pass_on(step, response, chunk)


def _pass_on(step: Step, response: Response, chunk: ReplyChunk) -> Response:
    item = response.item
    assert item is not None
    response = replace(response, text=response.text + chunk.text, sound_ticks=response.sound_ticks + chunk.ticks)
    step.set(response=response, has_spoken=step.state.has_spoken or bool(chunk.ticks))
    if chunk.codes and response.is_in_conversation:
        step.act(KeepSpeech(item.id, chunk.codes))
    if chunk.text:
        kind = "output_audio_transcript" if response.config.is_spoken else "output_text"
        step.send(f"response.{kind}.delta", **_ids(response), **_PLACE, delta=chunk.text)
    if chunk.sound and step.state.has_tracks:
        playback.play(step, response.id, item.id, chunk.sound)
    elif chunk.sound:
        step.send("response.output_audio.delta", **_ids(response), **_PLACE, delta=chunk.sound)
    return response


def _with_firsts(moments: Moments, chunk: ReplyChunk, now_s: float) -> Moments:
    if chunk.text and moments.first_text_s is None:
        moments = replace(moments, first_text_s=now_s)
    if chunk.ticks and moments.first_sound_s is None:
        moments = replace(moments, first_sound_s=now_s)
    return moments


# ---------------------------------------------------------------------------------------------------------------------
# Its end


def _end(step: Step, ended: ReplyEnded) -> None:
    """End the response as the model ended it."""
    if ended.reason == "cancelled":
        _finish(step, "failed", {"type": "failed", "error": _error("The server stopped the reply.", "server_stopping")})
    elif ended.reason == "stop":
        _finish(step, "completed", {"type": "completed"}, ended)
    else:  # its length, or that it repeats itself
        _finish(step, "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}, ended)


def fail(step: Step, message: str, code: str) -> None:
    """End the response under way because it cannot be made."""
    _finish(step, "failed", {"type": "failed", "error": _error(message, code)})


def cancel(step: Step, reason: str) -> None:
    """End the response under way, because the user speaks or the client wants it."""
    if step.state.response is not None:
        step.act(CancelReply(step.state.response.id))
        _finish(step, "cancelled", {"type": "cancelled", "reason": reason})


def _error(message: str, code: str) -> dict[str, str]:
    return {"type": "server_error", "code": code, "message": message}


def _finish(step: Step, status: str, details: dict[str, Any], ended: ReplyEnded | None = None) -> None:
    response = step.state.response
    assert response is not None
    if response.kind != "message" and response.text and status != "cancelled":
        _finish_call(step, response)
    elif response.kind == "open" and response.held and not response.text:
        _become_message(step, response)
    response = step.state.response
    assert response is not None
    item_status = "completed" if status == "completed" else "incomplete"
    if response.kind == "message":
        response = _close_message(step, response, item_status)
    step.set(response=None, nudge_s=_nudge_s(step, response))
    usage = dict(ended.usage) if ended and ended.usage else None
    wire = _wire(step, response, status) | {"status_details": details, "usage": usage}
    step.send("response.done", response=wire)
    playback.end(step, response.id)
    for item_id in response.given_ids:
        step.act(Forget(item_id))
    step.act(Measure(status, _seconds(response.moments, step.now_s)))


def _nudge_s(step: Step, response: Response) -> float | None:
    """Return when the user has been silent for too long, counted from where playback ends."""
    by = step.state.config.audio.input.turn_detection
    if not isinstance(by, ServerVad) or by.idle_timeout_ms is None or not response.is_in_conversation:
        return None
    first_s = response.moments.first_sound_s
    played_s = step.now_s if first_s is None else max(step.now_s, first_s + response.sound_ticks / TICKS_PER_S)
    return played_s + by.idle_timeout_ms / 1000


def _close_message(step: Step, response: Response, status: Any) -> Response:
    assert response.item is not None
    ids = _ids(response)
    if response.config.is_spoken:
        step.send("response.output_audio.done", **ids, **_PLACE)
        step.send("response.output_audio_transcript.done", **ids, **_PLACE, transcript=response.text)
    else:
        step.send("response.output_text.done", **ids, **_PLACE, text=response.text)
    step.send("response.content_part.done", **ids, **_PLACE, part=_part(response, response.text))
    item = replace(response.item, status=status, audio_ms=ms(response.sound_ticks)).with_text(0, response.text)
    _item_done(step, response, item)
    return replace(response, item=item)


def _item_done(step: Step, response: Response, item: ConversationItem) -> None:
    if response.is_in_conversation and any(item.id == other.id for other in step.state.items):
        step.replace_item(item)
        step.item_done(item)
    step.send("response.output_item.done", response_id=response.id, output_index=0, item=item.wire())


def _finish_call(step: Step, response: Response) -> None:
    """Tell the client of a call; what the model wrote instead of one is told as words."""
    text = response.text[: response.text.find(CALL_END) + len(CALL_END)] if CALL_END in response.text else response.text
    try:
        name, arguments = function_call(text, response.config.usable_tools)
    except ValueError:
        _become_message(step, replace(response, held=response.held or (ReplyChunk(response.id, response.text),)))
        return
    call_id = step.new_id("call")
    item = ConversationItem(
        step.new_id("item"), "function_call", "assistant", "in_progress", call_id=call_id, name=name, arguments=""
    )
    step.send("response.output_item.added", response_id=response.id, output_index=0, item=item.wire())
    if response.is_in_conversation:
        step.add_item(item)
    place = {"response_id": response.id, "item_id": item.id, "output_index": 0, "call_id": call_id}
    step.send("response.function_call_arguments.delta", **place, delta=arguments)
    step.send("response.function_call_arguments.done", **place, name=name, arguments=arguments)
    item = replace(item, status="completed", arguments=arguments)
    _item_done(step, response, item)
    step.set(response=replace(response, kind="call", item=item))


# ---------------------------------------------------------------------------------------------------------------------
# On the wire


def _ids(response: Response) -> dict[str, str]:
    assert response.item is not None
    return {"response_id": response.id, "item_id": response.item.id}


def _part(response: Response, text: str) -> dict[str, str]:
    return {"type": "audio", "transcript": text} if response.config.is_spoken else {"type": "text", "text": text}


def _wire(step: Step, response: Response, status: str) -> dict[str, Any]:
    config = response.config
    latency = _latency(response.moments) if status != "in_progress" else {}
    metadata = dict(config.metadata or {})
    metadata |= {name: value for name, value in latency.items() if len(metadata) < 16 and name not in metadata}
    return {
        "id": response.id,
        "object": "realtime.response",
        "status": status,
        "status_details": None,
        "output": [response.item.wire()] if response.item else [],
        "conversation_id": f"conv_{step.state.id.removeprefix('sess_')}" if response.is_in_conversation else None,
        "output_modalities": list(config.output_modalities),
        "max_output_tokens": config.max_output_tokens,
        "audio": {"output": {"format": config.output.format.wire(), "voice": config.output.voice_name}},
        "metadata": metadata or None,
        "usage": None,
    }


def _latency(moments: Moments) -> dict[str, str]:
    """Return what took how long, in milliseconds, as text: that is what metadata hold."""
    marks = {
        "end_of_speech_to_commit_ms": (moments.speech_end_s, moments.commit_s),
        "created_to_first_text_ms": (moments.created_s, moments.first_text_s),
        "created_to_first_sound_ms": (moments.created_s, moments.first_sound_s),
        "end_of_speech_to_first_sound_ms": (moments.speech_end_s, moments.first_sound_s),
    }
    return {
        name: str(round(1000 * (until_s - since_s)))
        for name, (since_s, until_s) in marks.items()
        if since_s is not None and until_s is not None
    }


def _seconds(moments: Moments, now_s: float) -> dict[str, float]:
    since_s = moments.commit_s or moments.created_s
    ends = {"first_text": moments.first_text_s, "first_audio": moments.first_sound_s, "reply": now_s}
    return {name: max(0.0, end_s - since_s) for name, end_s in ends.items() if end_s is not None}
