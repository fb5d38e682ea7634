"""Long recordings, piece by piece: which are spoken, what is said in them, and how far one is. Shapes: L samples."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from kimi_audio.audio.segments import cut_at_pauses
from kimi_audio.audio.speech_gate import holds_speech, speech_span
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.transcript.timed_text import Segment, Word

MAX_SPOKEN = 8  # pieces that the model hears at once
MAX_PIECES = 32  # silent ones included, after which the model hears what there is

Said = tuple[str, list[Word]]  # times from the beginning of the piece


@dataclass(frozen=True)
class Heard:
    """What is said in the next stretch of a recording; there may be nothing."""

    segments: tuple[Segment, ...]
    until_samples: int  # the end of the stretch, at 16 kHz; one can go on from here


@dataclass(frozen=True)
class _Piece:
    wav: Tensor
    start_samples: int
    is_spoken: bool


def listen(
    blocks: Iterable[Tensor], longest_s: float, write: Callable[[list[Tensor]], list[Said]], start_samples: int = 0
) -> Iterator[Heard]:
    """Yield what is said in a recording while it is read; only some pieces of it are held.

    Pieces in which nobody speaks are left out: a model of speech writes words for silence and noise, too. The first
    stretches are short, so that one does not wait for the first words; what is said does not depend on the stretches.

    Args:
        blocks: the recording at 16 kHz, as a row of blocks [L].
        longest_s: of a piece.
        write: returns what is said in each of some pieces [L].
        start_samples: leave out so many, where a stretch of an earlier run ended.
    """
    for stretch in _stretches(_pieces(blocks, longest_s, start_samples)):
        spoken = [piece for piece in stretch if piece.is_spoken]
        said = write([piece.wav for piece in spoken]) if spoken else []
        segments = [_segment(*pair) for pair in zip(spoken, said, strict=True) if pair[1][0]]
        yield Heard(tuple(segments), stretch[-1].start_samples + len(stretch[-1].wav))


def _pieces(blocks: Iterable[Tensor], longest_s: float, start_samples: int) -> Iterator[_Piece]:
    place = start_samples
    for wav in cut_at_pauses(_from(blocks, start_samples), longest_s):
        yield _Piece(wav, place, holds_speech(wav))
        place += len(wav)


def _from(blocks: Iterable[Tensor], start_samples: int) -> Iterator[Tensor]:
    """Leave out the first samples."""
    for block in blocks:
        if start_samples < len(block):
            yield block[start_samples:]
        start_samples = max(0, start_samples - len(block))


def _stretches(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Yield pieces in groups with one, two, four, ... spoken ones in each."""
    stretch: list[_Piece] = []
    num_spoken, wanted = 0, 1
    for piece in pieces:
        stretch.append(piece)
        num_spoken += piece.is_spoken
        if num_spoken >= wanted or len(stretch) >= MAX_PIECES:
            yield stretch
            stretch, wanted = [], min(MAX_SPOKEN, wanted * 2 if num_spoken else wanted)
            num_spoken = 0
    if stretch:
        yield stretch


def _segment(piece: _Piece, said: Said) -> Segment:
    """Return a segment at its place in the recording; silence before and behind what is said is no part of it."""
    text, words = said
    start_s, end_s = (samples / INPUT_RATE_HZ for samples in speech_span(piece.wav))
    place_s = piece.start_samples / INPUT_RATE_HZ

    def within(time_s: float) -> float:
        return place_s + min(max(time_s, start_s), end_s)

    timed = tuple(Word(word.text, within(word.start_s), within(word.end_s)) for word in words)
    return Segment(text, place_s + start_s, place_s + end_s, timed)
