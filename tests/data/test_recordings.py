"""Recordings that a user brings: found, checked, stored."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.data.recordings import Recording, load_speech, read_recordings, store_speech, words_of


def write_tone(path: Path, seconds: float = 1.0, rate_hz: int = 22_050, level: float = 0.3) -> Path:
    times_s = np.arange(int(seconds * rate_hz)) / rate_hz
    soundfile.write(path, level * np.sin(2 * np.pi * 200 * times_s), rate_hz)
    return path


def recording(path: Path) -> Recording:
    return Recording(path, "Hello.", path.name)


def test_a_folder_pairs_sound_with_text(tmp_path: Path):
    for name in ("b", "a"):
        write_tone(tmp_path / f"{name}.wav")
        (tmp_path / f"{name}.txt").write_text(f" Text {name}.\n")
    (tmp_path / "notes.md").write_text("not a recording")
    assert [(item.path.name, item.text) for item in read_recordings(tmp_path)] == [
        ("a.wav", "Text a."),
        ("b.wav", "Text b."),
    ]


@pytest.mark.parametrize("name", ["a.m4a", "a.OPUS", "a.webm"])
def test_recordings_of_telephones_are_found(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.txt").write_text("Text.")
    assert [item.path.name for item in read_recordings(tmp_path)] == [name]


def test_lines_name_sound_beside_the_file(tmp_path: Path):
    source = tmp_path / "list.jsonl"
    source.write_text('{"audio": "wavs/1.flac", "text": "One."}\n\n{"audio": "/x/2.wav", "text": "二。", "more": 1}\n')
    found = read_recordings(source)
    assert [item.path for item in found] == [tmp_path / "wavs/1.flac", Path("/x/2.wav")]
    assert [item.text for item in found] == ["One.", "二。"]


def test_lines_that_cannot_be_used_are_counted_and_named(tmp_path: Path):
    source = tmp_path / "list.jsonl"
    lines = ['{"audio": "1.wav", "text": "One."}', '{"audio": "2.wav"}', "{", "[]", '{"audio": "5.wav", "text": " "}']
    source.write_text("\n".join([*lines, '{"text": "six"}', '{"audio": 7, "text": "seven"}']))
    with pytest.raises(ValueError, match="6 of 7 recordings cannot be used") as error:
        read_recordings(source)
    for problem in (
        "line 2 lacks text",
        "line 3: the line is not JSON",
        "line 4: a sample must be",
        "line 5 lacks text",
    ):
        assert problem in str(error.value)
    assert str(error.value).endswith("line 6 lacks audio; and 1 more")


def test_missing_and_empty_transcripts_are_named(tmp_path: Path):
    for name in ("a", "b", "c"):
        write_tone(tmp_path / f"{name}.wav")
    (tmp_path / "b.txt").write_text("\n")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(
        ValueError, match=r"3 of 3 .* a.wav has no transcript a.txt; b.txt is empty; c.txt is not text in UTF-8"
    ):
        read_recordings(tmp_path)


def test_nothing_is_said_so(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no recordings"):
        read_recordings(tmp_path)
    with pytest.raises(ValueError, match="there is no"):
        read_recordings(tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match="neither a folder nor a JSONL file"):
        read_recordings(write_tone(tmp_path / "sound.wav"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 8000}, "x.wav has 8000 Hz; at least 16000 Hz are needed"),
        ({"seconds": 0.2}, "x.wav lasts 0.20 s; between 0.5 and 30 s are wanted"),
        ({"seconds": 31}, "x.wav lasts 31.00 s"),
        ({"level": 0.0}, "x.wav is silent"),
    ],
)
def test_sound_that_is_no_use_is_named(tmp_path: Path, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        load_speech(recording(write_tone(tmp_path / "x.wav", **options)))


def test_files_that_cannot_be_read_are_named(tmp_path: Path):
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"x\.wav: .* is not audio that can be read"):
        load_speech(recording(tmp_path / "x.wav"))
    with pytest.raises(ValueError, match=r"y\.wav: there is no file"):
        load_speech(recording(tmp_path / "y.wav"))


def test_speech_is_stored_at_both_rates_in_place_of_an_older_try(tmp_path: Path):
    recordings = [recording(write_tone(tmp_path / f"{n}.wav", seconds=n, rate_hz=48_000)) for n in (1, 2)]
    store_speech(recordings[:1], tmp_path / "split")
    split = store_speech(recordings, tmp_path / "split")
    assert [utterance.duration_s for utterance in split.utterances] == [1, 2]
    assert [utterance.transcript for utterance in split.utterances] == ["hello", "hello"]
    for utterance in split.utterances:
        for rate_hz in (INPUT_RATE_HZ, OUTPUT_RATE_HZ):
            samples = split.samples(utterance, rate_hz)
            assert len(samples) == utterance.duration_s * rate_hz
            assert np.abs(samples).max() == pytest.approx(0.3, abs=0.02)


def test_all_unusable_sound_is_counted_and_leaves_no_split(tmp_path: Path):
    good, bad = write_tone(tmp_path / "1.wav"), write_tone(tmp_path / "2.wav", rate_hz=8000)
    recordings = [recording(path) for path in (good, bad, tmp_path / "3.wav")]
    with pytest.raises(ValueError, match=r"2 of 3 recordings cannot be used: 2.wav has 8000 Hz.*; 3.wav: there is"):
        store_speech(recordings, tmp_path / "split")
    assert not (tmp_path / "split" / ".completed").exists()


def test_words_are_those_of_the_transcript_or_as_written():
    assert words_of("Hello, 2 WORLDS!") == ["hello", "two", "worlds"]
    assert words_of("你好 世界") == ["你", "好", "世", "界"]
    assert words_of("打开 iPhone") == ["打", "开", "iphone"]
    assert words_of("...") == ["..."]
