"""Several sentences in a row, put together from recordings of one each."""

import random
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
import soundfile

from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from recipes.nano.closed.splits import is_reserved
from recipes.nano.joined import FEWEST, LONGEST_S, MOST, PAUSES_S, in_rows, put_together
from recipes.nano.recording import Line, Spoken


def spoken(text: str, voice: str, duration_s: float = 2.0) -> Spoken:
    return Spoken(Line(text, tuple(voice.split("+"))), Path(f"{voice}-{text}.flac"), duration_s)


def test_rows_are_of_one_voice_and_have_each_recording_once():
    items = [
        spoken(f"{letter}.", voice, 1.5 + number / 10)
        for voice in ("ann", "ann+bob")
        for number, letter in enumerate(ascii_lowercase)
    ]
    rows = in_rows(items)
    assert len(rows) > 8
    parts = [part for row in rows.values() for part in row]
    assert len(set(parts)) == len(parts)
    for line, row in rows.items():
        assert FEWEST <= len(row) <= MOST
        assert sum(part.duration_s for part in row) <= LONGEST_S
        assert {part.line.voices for part in row} == {line.voices}
        assert line.text == " ".join(part.line.text for part in row)
    assert set(in_rows(items, seed=1)) != set(rows)


def test_what_would_be_a_reserved_text_is_left_out():
    items = [spoken(f"{first}{second}.", "ann") for first in ascii_lowercase for second in ascii_lowercase]
    rows = in_rows(items)
    assert len(rows) > 150
    assert not any(is_reserved(normalise(line.text)) for line in rows)


def test_silence_around_the_sentences_becomes_a_pause(tmp_path):
    tone = 0.3 * np.sin(np.arange(INPUT_RATE_HZ) / 5)
    silence = np.zeros(2 * INPUT_RATE_HZ)
    row = []
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.flac", np.concatenate([silence, tone, silence]), INPUT_RATE_HZ)
        row.append(Spoken(Line(name, ("ann",)), tmp_path / f"{name}.flac", 5.0))
    wav = put_together(row, random.Random(0))
    quiet = np.abs(wav) < 0.01
    assert 3 + 2 * PAUSES_S[0] < len(wav) / INPUT_RATE_HZ < 3 + 2 * PAUSES_S[1]
    assert not quiet[0]
    assert not quiet[-1]
    silent = quiet[:-400].copy()
    for shift in range(400):
        silent &= quiet[shift : len(quiet) - 400 + shift]
    assert (np.diff(silent.astype(int)) == 1).sum() == len(row) - 1  # pauses of 25 ms or more
    assert np.abs(wav).max() == pytest.approx(0.3, abs=0.01)
