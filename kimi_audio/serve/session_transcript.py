"""What the user says, in writing: what is told of it while it is said, and the rest when it was said."""

from dataclasses import replace

from kimi_audio.serve.session_state import (
    TICKS_PER_S,
    TranscriptEnded,
    TranscriptFailed,
    TranscriptPart,
    TranscriptSoFar,
    WriteSoFar,
)
from kimi_audio.serve.session_step import Step

SO_FAR_TICKS = TICKS_PER_S  # of new speech between two transcripts of a turn that goes on
SO_FAR_MOST_TICKS = 30 * TICKS_PER_S  # longer turns are written down at their end

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def write_so_far(step: Step) -> None:
    """Let a turn that goes on be written down, once there is enough that is new."""
    turn, received = step.state.turn, step.state.received
    if turn is None or turn.is_written or not step.state.config.is_transcribed:
        return
    if received - turn.written_end >= SO_FAR_TICKS and received - turn.start <= SO_FAR_MOST_TICKS:
        step.set(turn=replace(turn, is_written=True, written_end=received))
        step.act(WriteSoFar(turn.item_id, turn.start, received))


def _so_far(step: Step, heard: TranscriptSoFar) -> None:
    """Tell the words on which two transcripts in a row agree: clients only ever add to what they were told."""
    turn = step.state.turn
    if turn is None or turn.item_id != heard.item_id:
        return
    if heard.text is None:
        step.set(turn=replace(turn, is_written=False))
        return
    told = _agreed(turn.guess, heard.text)
    if not told.startswith(turn.told):
        told = turn.told
    step.set(turn=replace(turn, is_written=False, guess=heard.text, told=told))
    if delta := told.removeprefix(turn.told):
        step.send(f"{_TRANSCRIPTION}.delta", item_id=turn.item_id, content_index=0, delta=delta)


def _agreed(one: str, other: str) -> str:
    """Return the whole words that two texts begin with in common."""
    words = []
    for word, same in zip(one.split(" "), other.split(" "), strict=False):
        if word != same:
            break
        words.append(word)
    return " ".join(words)


def handle(step: Step, heard: TranscriptSoFar | TranscriptPart | TranscriptEnded | TranscriptFailed) -> None:
    """Take what the model wrote down."""
    if isinstance(heard, TranscriptSoFar):
        _so_far(step, heard)
        return
    item = next((item for item in step.state.items if item.id == heard.item_id), None)
    if item is None:
        return
    place = {"item_id": item.id, "content_index": 0}
    match heard:
        case TranscriptPart(text=text):
            written = item.written + text
            is_more = written.startswith(item.told)  # else the words while it was said were others
            step.replace_item(replace(item, written=written, told=written if is_more else item.told))
            if is_more and (delta := written.removeprefix(item.told)):
                step.send(f"{_TRANSCRIPTION}.delta", **place, delta=delta)
        case TranscriptEnded(text=text, seconds=seconds):
            step.replace_item(item.with_text(0, text))
            usage = {"type": "duration", "seconds": round(seconds, 3)}
            step.send(f"{_TRANSCRIPTION}.completed", **place, transcript=text, usage=usage)
        case TranscriptFailed(message=message):
            error = {"type": "transcription_error", "code": "transcription_failed", "message": message, "param": None}
            step.send(f"{_TRANSCRIPTION}.failed", **place, error=error)
