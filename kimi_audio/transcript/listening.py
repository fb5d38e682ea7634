"""Long recordings, piece by piece: which are spoken, what is said in them, and how far one is. Shapes: L samples."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from kimi_audio.audio.segments import cut_at_pauses
from kimi_audio.audio.speech_gate import holds_speech, speech_span
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.transcript.timed_text import Segment, Word

MAX_SPOKEN = 8  # pieces that the model hears at once
MAX_PIECES = 32  # silent ones included, after which the model hears what there is

Said = tuple[str, list[Word]]  # times from the beginning of the piece


@dataclass(frozen=True)
class SpokenPiece:
    """A piece of a recording in which somebody speaks."""

    tokens: AudioTokens
    start_s: float  # in the recording
    speech_s: tuple[float, float]  # begin and end in the piece; before and behind it is silent


@dataclass(frozen=True)
class Passage:
    """The next pieces of a recording; there may be none in which somebody speaks."""

    pieces: tuple[SpokenPiece, ...]
    until_samples: int  # its end, at 16 kHz; one can go on from here

    def segments(self, said: Sequence[Said]) -> tuple[Segment, ...]:
        """Return what is said in each of the pieces at its place in the recording; where nothing is, no segment."""
        return tuple(_segment(*pair) for pair in zip(self.pieces, said, strict=True) if pair[1][0])


@dataclass(frozen=True)
class Heard:
    """What is said in the next passage of a recording; there may be nothing."""

    segments: tuple[Segment, ...]
    until_samples: int  # the end of the passage, at 16 kHz; one can go on from here


@dataclass(frozen=True)
class _Cut:
    wav: Tensor
    start_samples: int
    is_spoken: bool


def passages(
    blocks: Iterable[Tensor], longest_s: float, encode: Callable[[Tensor], AudioTokens], start_samples: int = 0
) -> Iterator[Passage]:
    """Yield a recording while it is read, as it is heard; only some pieces of it are held.

    Pieces in which nobody speaks are left out: a model of speech writes words for silence and noise, too. The first
    passages are short, so that one does not wait for the first words; what is said does not depend on the passages.

    Args:
        blocks: the recording at 16 kHz, as a row of blocks [L].
        longest_s: of a piece.
        encode: returns what is heard in a piece [L].
        start_samples: leave out so many, where a passage of an earlier run ended.
    """
    for group in _groups(_cuts(blocks, longest_s, start_samples)):
        pieces = tuple(_piece(cut, encode) for cut in group if cut.is_spoken)
        yield Passage(pieces, group[-1].start_samples + len(group[-1].wav))


def _piece(cut: _Cut, encode: Callable[[Tensor], AudioTokens]) -> SpokenPiece:
    begin, end = speech_span(cut.wav)
    return SpokenPiece(encode(cut.wav), cut.start_samples / INPUT_RATE_HZ, (begin / INPUT_RATE_HZ, end / INPUT_RATE_HZ))


def _cuts(blocks: Iterable[Tensor], longest_s: float, start_samples: int) -> Iterator[_Cut]:
    place = start_samples
    for wav in cut_at_pauses(_from(blocks, start_samples), longest_s):
        yield _Cut(wav, place, holds_speech(wav))
        place += len(wav)


def _from(blocks: Iterable[Tensor], start_samples: int) -> Iterator[Tensor]:
    """Leave out the first samples."""
    for block in blocks:
        if start_samples < len(block):
            yield block[start_samples:]
        start_samples = max(0, start_samples - len(block))


def _groups(cuts: Iterable[_Cut]) -> Iterator[list[_Cut]]:
    """Yield pieces in groups with one, two, four, ... spoken ones in each."""
    group: list[_Cut] = []
    num_spoken, wanted = 0, 1
    for cut in cuts:
        group.append(cut)
        num_spoken += cut.is_spoken
        if num_spoken >= wanted or len(group) >= MAX_PIECES:
            yield group
            group, wanted = [], min(MAX_SPOKEN, wanted * 2 if num_spoken else wanted)
            num_spoken = 0
    if group:
        yield group


def _segment(piece: SpokenPiece, said: Said) -> Segment:
    """Return a segment at its place in the recording; silence before and behind what is said is no part of it."""
    text, words = said
    begin_s, end_s = piece.speech_s

    def within(time_s: float) -> float:
        return piece.start_s + min(max(time_s, begin_s), end_s)

    timed = tuple(Word(word.text, within(word.start_s), within(word.end_s)) for word in words)
    return Segment(text, piece.start_s + begin_s, piece.start_s + end_s, timed)
