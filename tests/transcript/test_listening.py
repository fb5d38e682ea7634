"""Recordings are heard piece by piece, each at its place."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from kimi_audio.audio.speech_gate import FRAME_SAMPLES
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.transcript import listening
from kimi_audio.transcript.listening import MAX_PIECES, Heard, Said, passages
from kimi_audio.transcript.timed_text import Segment, Word

SECOND = INPUT_RATE_HZ


@pytest.fixture(autouse=True)
def loud_is_spoken(monkeypatch):
    """Samples that are not zero are speech, and pieces are cut at whole seconds."""
    monkeypatch.setattr(listening, "holds_speech", lambda wav: bool(wav.any()))
    monkeypatch.setattr("kimi_audio.audio.segments._quietest", lambda wav, begin, end: end)

    def span(wav: Tensor) -> tuple[int, int]:
        loud = wav.nonzero()[:, 0]
        return int(loud[0]), int(loud[-1]) + 1

    monkeypatch.setattr(listening, "speech_span", span)


def recording(spoken: str) -> list[Tensor]:
    """Return a second for each letter: half of it said, or silent where there is a point."""
    said = torch.zeros(SECOND)
    said[SECOND // 4 : SECOND * 3 // 4] = 1.0
    return [torch.zeros(SECOND) if letter == "." else said * ord(letter) for letter in spoken]


def write(pieces: list[Tensor]) -> list[tuple[str, list[Word]]]:
    letters = [chr(int(piece.max())) for piece in pieces]
    return [(letter, [Word(letter, 0.0, 0.5), Word("!", 0.5, 1.0)]) for letter in letters]


def listen(
    blocks: Iterable[Tensor], longest_s: float, write: Callable[[list[Tensor]], list[Said]], start_samples: int = 0
) -> Iterator[Heard]:
    """Hear samples as they are, and write them down."""
    for passage in passages(blocks, longest_s, lambda wav: cast(Any, wav), start_samples):
        said = write([cast(Any, piece.tokens) for piece in passage.pieces]) if passage.pieces else []
        yield Heard(passage.segments(said), passage.until_samples)


def test_segments_and_words_lie_where_they_are_said():
    heard = list(listen(recording("a.b"), 1.0, write))
    assert [one for passage in heard for one in passage.segments] == [
        Segment("a", 0.25, 0.75, (Word("a", 0.25, 0.5), Word("!", 0.5, 0.75))),
        Segment("b", 2.25, 2.75, (Word("b", 2.25, 2.5), Word("!", 2.5, 2.75))),
    ]


def test_the_first_words_come_soon_and_later_ones_together():
    sizes = []

    def counted(pieces: list[Tensor]) -> list[tuple[str, list[Word]]]:
        sizes.append(len(pieces))
        return write(pieces)

    read = []
    blocks = (read.append(1) or block for block in recording("." * 3 + "a" * 30))
    heard = listen(blocks, 1.0, counted)
    assert next(heard).segments[0].text == "a"
    assert len(read) <= 6
    list(heard)
    assert sizes == [1, 2, 4, 8, 8, 7]


def test_how_far_one_is_is_told_in_silence_too():
    heard = list(listen(recording("." * (MAX_PIECES + 3)), 1.0, lambda _: pytest.fail("the model was asked")))
    assert heard == [Heard((), MAX_PIECES * SECOND), Heard((), (MAX_PIECES + 3) * SECOND)]


@pytest.mark.parametrize("passages", [1, 2, 3])
def test_going_on_gives_what_one_run_gives(passages: int):
    letters = "ab.cdefg..hijk"
    whole = list(listen(recording(letters), 1.0, write))
    first = whole[:passages]
    rest = list(listen(recording(letters), 1.0, write, first[-1].until_samples))
    said = [segment for passage in [*first, *rest] for segment in passage.segments]
    assert said == [segment for passage in whole for segment in passage.segments]
    assert rest[-1].until_samples == whole[-1].until_samples == len(letters) * SECOND


def test_what_the_model_leaves_empty_is_no_segment():
    assert [passage.segments for passage in listen(recording("ab"), 1.0, lambda some: [("", [])] * len(some))] == [
        (),
        (),
    ]


def test_the_last_piece_may_be_short():
    (heard,) = listen([torch.ones(FRAME_SAMPLES)], 1.0, lambda _: [("a", [])])
    assert heard == Heard((Segment("a", 0.0, FRAME_SAMPLES / SECOND),), FRAME_SAMPLES)
