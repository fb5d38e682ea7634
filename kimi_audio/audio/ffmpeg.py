"""Decoding in blocks with FFmpeg (PyAV): mp3, and what telephones, messengers and browsers make.

Shapes: L samples, C channels.
"""

import importlib.util
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from kimi_audio.audio.announced import ends_within_box
from kimi_audio.audio.condition import CUT_S, Condition
from kimi_audio.audio.formats import CAF, FLAC, MP3, MP4, Format, id3_bytes
from kimi_audio.audio.pcm import to_float
from kimi_audio.audio.sources import Samples, Window, check_rate
from kimi_audio.audio.timeline import TIMED, Timeline, announced_end_s

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, Packet
    from av.container import InputContainer

BLOCK_SAMPLES = 1 << 16  # per channel; the frames of a codec are joined to blocks of about so many
_CODECS = (  # the beginnings of the names of what is decoded, of the hundreds that FFmpeg knows
    *("aac", "ac3", "adpcm_", "alac", "amr_", "eac3", "flac", "gsm", "mp1", "mp2", "mp3"),
    *("opus", "pcm_", "speex", "vorbis", "wma"),
)
_LOOKED_AT_PACKETS = 1000  # for frames of mp3
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # between joined mp3 files, and behind the last
_GAP_S = 0.02  # between two frames of FLAC: one was lost
_LAST_XING_BYTE = 40  # of the first frame of an mp3, where it may begin
_PADDING_FRAMES = 4  # at most, that encoders put before and behind the sound of an mp3, and decoders leave out
_MPEG1_RATE_HZ = 32_000  # from here on an mp3 frame has 1152 samples, below 576


def is_installed() -> bool:
    """Tell whether PyAV is there."""
    return importlib.util.find_spec("av") is not None


def finds_mp3(file: Window) -> bool:
    """Tell whether there are frames of mp3 behind whatever a file begins with: two in a row, as one may be chance."""
    import av
    import av.error

    file.seek(0)
    try:
        with av.open(file, mode="r", format=MP3.demuxer, metadata_errors="ignore") as container:
            stream = container.streams.best("audio")  # None: what is no mp3 can be opened, too
            packets = () if stream is None else _packets(container, stream)  # pyright: ignore[reportArgumentType]
            decodes = (bool(_decoded(packet)) for packet in packets if packet is not None and packet.size)
            return any(map(all, pairwise(islice(decodes, _LOOKED_AT_PACKETS))))
    except av.error.FFmpegError:
        return False


def announced_s(file: Window) -> float | None:
    """Return how long a file is by its header or by its size and bit rate; None where nothing is known."""
    if not is_installed():
        return None
    import av
    import av.error

    file.seek(0)
    try:
        with av.open(file, mode="r", metadata_errors="ignore") as container:
            return None if container.duration is None else container.duration / 1e6
    except av.error.FFmpegError:
        return None


def decode(file: Window, format: Format, condition: Condition) -> Iterator[Samples]:
    """Yield blocks [L, C] of about equal length; the rate and the channels may change between them.

    Raises:
        ValueError: there is no sound in the file or none that is known, or damage that is not borne.
    """
    import av
    import av.error

    is_cut = format == MP4 and ends_within_box(file)
    file.seek(0)
    try:
        container = av.open(file, mode="r", format=format.demuxer, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{condition.name} is not audio that can be read: it begins like {format.name}, but it is damaged, not "
            f"finished, or something else ({error.strerror})"
        ) from None
    with container:
        stream = _sound_of(container, condition.name)
        if format == FLAC:
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        announced_s = _announced_s(container, stream, file, format)
        timeline = Timeline.of(container, format, condition.name)
        packets = _packets(container, stream, timeline)
        yield from _joined(_frames(packets, timeline, condition, must_be_gapless=format == FLAC))
        condition.ended(timeline.heard_s, announced_s, is_cut=is_cut)


def _sound_of(container: "InputContainer", name: str) -> "AudioStream":
    stream = container.streams.best("audio")
    if stream is None:
        raise ValueError(f"{name} has no sound in it")
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "something unknown"
    if not codec.startswith(_CODECS):
        raise ValueError(f"{name} has sound in a codec that is not read here: {codec}; convert it with ffmpeg")
    return stream  # pyright: ignore[reportReturnType] - the best stream of sound is one of sound


def _announced_s(container: "InputContainer", stream: "AudioStream", file: Window, format: Format) -> float | None:
    """Return how long a recording is to be, if its header tells without guessing."""
    if format == MP3:
        return _xing_s(file, stream.sample_rate)
    if format == CAF and (stream.codec_context.name or "").startswith("pcm_"):  # its duration is that of the file
        return stream.frames / stream.sample_rate if stream.frames > 0 and stream.sample_rate else None
    if format in TIMED:
        return announced_end_s(container, stream, format)
    if format not in (CAF, FLAC):
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6


def _xing_s(file: Window, rate_hz: int) -> float | None:
    place = file.tell()
    file.seek(0)
    head = file.read(10)
    file.seek(id3_bytes(head) if head.startswith(b"ID3") else 0)
    frame = file.read(_LAST_XING_BYTE + 12)
    file.seek(place)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if not 0 < at <= _LAST_XING_BYTE or not frame[at + 7] & 1:
        return None
    frames = int.from_bytes(frame[at + 8 : at + 12], "big") - _PADDING_FRAMES
    return frames * (1152 if rate_hz >= _MPEG1_RATE_HZ else 576) / rate_hz


def _frames(
    packets: "Iterator[Packet | None]",
    timeline: Timeline,
    condition: Condition,
    *,
    must_be_gapless: bool,
) -> Iterator[Samples]:
    """Yield frames [L, C]; what cannot be read is damage if sound follows or if it is more than a torn last frame."""
    heard_bytes, broken_bytes = 0, 0
    for packet in packets:
        frames = None if packet is None else _decoded(packet)
        if packet is None or frames is None:
            is_tag = packet is not None and bytes(packet).startswith(_TAGS)
            broken_bytes += 0 if is_tag else packet.size if packet is not None else 1
            continue
        heard_bytes += packet.size
        for frame in frames:
            gap_s = timeline.gap_s(frame.time)
            lost_s = frame.time - timeline.heard_s if must_be_gapless and frame.time is not None else 0.0
            if broken_bytes or lost_s > _GAP_S or timeline.is_lost(gap_s):
                condition.damaged(timeline.heard_s)
                broken_bytes = 0
            array, rate_hz = _array(frame), check_rate(frame.sample_rate, condition.name)
            yield from timeline.silence(gap_s, rate_hz, array.shape[1])
            timeline.heard_s += max(0.0, lost_s) + frame.samples / rate_hz
            yield Samples(array, rate_hz)
    if broken_bytes and broken_bytes * timeline.sound_s >= CUT_S * heard_bytes:
        condition.damaged(timeline.heard_s)


def _packets(
    container: "InputContainer", stream: "AudioStream", timeline: Timeline | None = None
) -> "Iterator[Packet | None]":
    """Yield packets of a stream, and None where they end because the file is damaged; a timeline is told of all."""
    import av.error

    try:
        for packet in container.demux() if timeline else container.demux(stream):
            if timeline:
                timeline.read(packet)
            if packet.stream.index == stream.index:
                yield packet
    except av.error.FFmpegError:
        yield None


def _decoded(packet: "Packet") -> "list[AudioFrame] | None":
    import av.error

    try:
        return packet.decode()  # pyright: ignore[reportReturnType] - of a stream of sound
    except av.error.FFmpegError:
        return None


def _array(frame: "AudioFrame") -> np.ndarray:
    """Return float32 samples [L, C]."""
    array = frame.to_ndarray()  # [C, L], or [1, L * C]
    return to_float(array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels))


def _joined(frames: Iterator[Samples]) -> Iterator[Samples]:
    group: list[np.ndarray] = []
    rate_hz, length = 0, 0
    for frame in frames:
        array = np.asarray(frame.array)
        if group and (length >= BLOCK_SAMPLES or frame.rate_hz != rate_hz or array.shape[1] != group[0].shape[1]):
            yield Samples(np.concatenate(group), rate_hz)
            group, length = [], 0
        group.append(array)
        rate_hz, length = frame.rate_hz, length + len(array)
    if group:
        yield Samples(np.concatenate(group), rate_hz)
