"""Whose voice is meant."""

from pathlib import Path

import pytest

from kimi_audio.voice import Voice

NAMES = ("Ben", "Dora")


@pytest.mark.parametrize("said", ["dora", "DORA", Voice(name="dora")])
def test_a_name_is_found_in_any_case_of_letters(said):
    assert Voice.find(said, NAMES) == Voice(name="Dora")


def test_recordings_stay_what_they_are(tmp_path):
    file = tmp_path / "voice.wav"
    file.touch()
    for recording in (str(file), file, b"bytes"):
        assert Voice.find(recording, NAMES) == Voice(recording=recording)
        assert Voice.find(Voice(recording=recording), NAMES) == Voice(recording=recording)


@pytest.mark.parametrize(
    ("said", "names", "error", "message"),
    [
        ("Carl", NAMES, FileNotFoundError, "there is no file Carl, and the model's voices are Ben, Dora"),
        ("Carl", (), FileNotFoundError, "there is no file Carl, and the model has no voices with names"),
        (Voice(name="Carl"), NAMES, ValueError, "there is no voice Carl: the model's voices are Ben, Dora"),
    ],
)
def test_what_is_neither_is_told(said, names, error, message):
    with pytest.raises(error, match=message):
        Voice.find(said, names)


def test_a_voice_is_one_thing():
    for values in ({}, {"name": "Ben", "recording": Path("ben.wav")}):
        with pytest.raises(ValueError, match="either a name or a recording"):
            Voice(**values)
