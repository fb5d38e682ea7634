"""One way from a recording to blocks of samples, whatever its format. Shapes: L samples, C channels."""

from collections.abc import Iterator

from kimi_audio.audio import ffmpeg, libsndfile
from kimi_audio.audio.condition import Condition
from kimi_audio.audio.formats import FLAC, MP3, OGG, recognise
from kimi_audio.audio.sources import Samples, Window


def decode(file: Window, condition: Condition, start: int = 0) -> Iterator[Samples]:
    """Yield blocks [L, C] of a file from a sample on; no length in a header is believed.

    Raises:
        ValueError: it is none of the formats that are read, PyAV is missing, or it has damage that is not borne.
    """
    try:
        yield from _decode(file, condition, start)
    except MemoryError:
        raise ValueError(f"{condition.name} takes more memory to decode than there is") from None


def _decode(file: Window, condition: Condition, start: int) -> Iterator[Samples]:
    format = recognise(file)
    # At a damaged place, and where fewer samples come than announced, libsndfile gives up FLAC and what it has of it.
    in_whole_flac = format == FLAC and not start and ffmpeg.is_installed()
    parts = libsndfile.open_parts(file, format) if format and format.libsndfile and not in_whole_flac else None
    if parts is not None:
        seeks = format != OGG and parts[0].sound.seekable()  # in Vorbis, it seeks to other samples than those asked for
        yield from _without(libsndfile.decode(parts, condition, start if seeks else 0), 0 if seeks else start)
        return
    if not ffmpeg.is_installed():
        raise ValueError(_unreadable(condition.name) if format is None else _needs_pyav(condition.name))
    # Of mp3, texts in UTF-16 have the first two bytes, too.
    if format in (None, MP3) and not ffmpeg.finds_mp3(file):
        raise ValueError(_unreadable(condition.name))
    if format is None:  # an mp3 that begins within a frame has no beginning to be recognised by
        condition.damaged(0.0)
    yield from _without(ffmpeg.decode(file, format or MP3, condition), start)


def _unreadable(name: str) -> str:
    readable = "wav, flac, ogg, mp3, m4a, webm, amr, wma and more"
    return f"{name} is not audio that can be read ({readable} can; ffmpeg converts others)"


def _needs_pyav(name: str) -> str:
    return f"{name} needs PyAV to be read; install it with: pip install 'kimi-audio[media]'"


def _without(blocks: Iterator[Samples], first: int) -> Iterator[Samples]:
    """Leave out the first samples."""
    for block in blocks:
        if first < len(block.array):
            yield Samples(block.array[first:], block.rate_hz) if first else block
        first = max(0, first - len(block.array))


def exact_length(file: Window) -> tuple[int, int] | None:
    """Return the samples and the rate of a file where its header can be relied on; None where only decoding tells."""
    format = recognise(file)
    parts = libsndfile.open_parts(file, format) if format and format.libsndfile else None
    if parts is None or len(parts) > 1:
        return None
    return parts[0].sound.frames, parts[0].sound.samplerate
