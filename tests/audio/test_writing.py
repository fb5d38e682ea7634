"""Writing sound: whole or not at all, of any length, noticed before the work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from encoded import speechlike

from kimi_audio.audio.io import check_folder, check_target, load_audio, save_audio


def test_long_recordings_can_be_written(tmp_path: Path):
    # In a process of its own with a small stack: what is tried here ended the process.
    code = f"""
import threading, torch
from kimi_audio.audio.io import save_audio
threading.stack_size(256 * 1024)
for suffix in (".wav", ".flac", ".mp3", ".ogg"):
    path, wav = {str(tmp_path / "x")!r} + suffix, torch.zeros(60 * 24_000)
    work = threading.Thread(target=save_audio, args=(path, wav, 24_000))
    work.start()
    work.join()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    durations_s = {path.suffix: soundfile.info(path).duration for path in tmp_path.iterdir()}
    assert durations_s == pytest.approx(dict.fromkeys((".wav", ".flac", ".mp3", ".ogg"), 60), abs=0.1)


def test_blocks_leave_no_trace(tmp_path: Path):
    wav = torch.from_numpy(speechlike(3.0, 24_000))
    save_audio(tmp_path / "x.wav", wav, 24_000)
    torch.testing.assert_close(load_audio(tmp_path / "x.wav", 24_000), wav, atol=1 / 32_000, rtol=0)


def test_sound_that_is_not_finite_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match=r"cannot write x\.wav: .* not finite"):
        save_audio(tmp_path / "x.wav", torch.tensor([0.0, float("nan")]), 16_000)
    assert not list(tmp_path.iterdir())


def test_rates_that_a_format_does_not_know(tmp_path: Path):
    with pytest.raises(ValueError, match=r"cannot write x\.mp3 at 12345 Hz"):
        save_audio(tmp_path / "x.mp3", torch.zeros(100), 12_345)


def test_targets_that_cannot_be_written_are_noticed(tmp_path: Path):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(ValueError, match=r"folder\.wav: there is a folder or a device of that name"):
        check_target(tmp_path / "folder.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match="a folder or a device"):
        check_target(tmp_path / "pipe.wav")
    check_target(tmp_path / "new.wav")
    check_folder(tmp_path / "new" / "folder")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to the folder .*/file/below: .*/file is a file"):
        check_folder(tmp_path / "file" / "below")


def test_read_only_places_are_noticed(tmp_path: Path, monkeypatch):
    (tmp_path / "old.wav").write_text("")
    for place, check, target in (
        (tmp_path, check_target, tmp_path / "new.wav"),
        (tmp_path / "old.wav", check_target, tmp_path / "old.wav"),
        (tmp_path, check_folder, tmp_path / "new"),
    ):
        monkeypatch.setattr(os, "access", lambda path, mode, place=place: (path, mode) != (place, os.W_OK))
        with pytest.raises(ValueError, match="is read-only"):
            check(target)
