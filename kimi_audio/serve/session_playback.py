"""What a session plays, where the server does and not the client: over WebRTC.

Each response that is played is started once, and then either stopped or cleared. What of an item was thrown away before
it was played, the user has not heard, so the item is truncated.
"""

from dataclasses import replace

from kimi_audio.serve.items import ConversationItem
from kimi_audio.serve.session_config import AudioFormat
from kimi_audio.serve.session_state import (
    ClearPlayback,
    CutSpeech,
    EndPlayback,
    Play,
    Playback,
    PlaybackCleared,
    PlaybackStarted,
    PlaybackStopped,
)
from kimi_audio.serve.session_step import Refused, Step


def check_format(step: Step, *formats: AudioFormat) -> None:
    """See that sound has the one format that is made into that of the tracks, where there are any.

    Raises:
        Refused: it is to have another.
    """
    if step.state.has_tracks and any(format.type != "audio/pcm" for format in formats):
        raise Refused(
            "Over WebRTC the format of sound is negotiated by SDP; leave it at audio/pcm.",
            "invalid_value",
            "session.audio",
        )


def play(step: Step, response_id: str, item_id: str, sound: str) -> None:
    """Let sound of a response be played."""
    if all(playback.response_id != response_id for playback in step.state.playbacks):
        step.set(playbacks=(*step.state.playbacks, Playback(response_id, item_id)))
    step.act(Play(response_id, sound))


def end(step: Step, response_id: str) -> None:
    """Let the playback of a response stop after its last sound."""
    if any(playback.response_id == response_id for playback in step.state.playbacks):
        step.act(EndPlayback(response_id))


def clear(step: Step) -> None:
    """Let nothing more be played."""
    if step.state.playbacks:
        step.act(ClearPlayback())


def handle(step: Step, news: PlaybackStarted | PlaybackStopped | PlaybackCleared) -> None:
    """Take what the player tells; of responses that were cleared, nothing is heard any more."""
    if isinstance(news, PlaybackCleared):
        _cleared(step, news)
        return
    playback = next((one for one in step.state.playbacks if one.response_id == news.response_id), None)
    if playback is None:
        return
    if isinstance(news, PlaybackStarted):
        _started(step, playback)
        return
    step.set(playbacks=tuple(one for one in step.state.playbacks if one.response_id != news.response_id))
    step.send("output_audio_buffer.stopped", response_id=news.response_id)


def _started(step: Step, playback: Playback) -> None:
    started = replace(playback, is_started=True)
    step.set(playbacks=tuple(started if one is playback else one for one in step.state.playbacks))
    step.send("output_audio_buffer.started", response_id=playback.response_id)


def _cleared(step: Step, news: PlaybackCleared) -> None:
    for playback in step.state.playbacks:
        played_ms = news.played_ms.get(playback.response_id, 0)
        if played_ms and not playback.is_started:  # the news of it are still on their way
            _started(step, playback)
        step.send("output_audio_buffer.cleared", response_id=playback.response_id)
        item = next((item for item in step.state.items if item.id == playback.item_id), None)
        if item is not None and played_ms < item.audio_ms:
            truncate(step, item, played_ms)
    step.set(playbacks=())


def truncate(step: Step, item: ConversationItem, end_ms: int) -> None:
    """Keep of the assistant's words what was surely heard: by their share of the sound, whole words only."""
    text = item.content[0].text or ""
    heard = text
    if end_ms < item.audio_ms:
        shown = text[: len(text) * end_ms // item.audio_ms]
        heard = shown[: shown.rfind(" ") + 1].rstrip() if " " in text else ""
    step.replace_item(replace(item, audio_ms=end_ms).with_text(0, heard))
    step.act(CutSpeech(item.id, round(end_ms * item.speed)))
    step.send("conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=end_ms)
