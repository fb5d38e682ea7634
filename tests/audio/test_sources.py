"""Where sound comes from: pipes, devices, numbers in memory."""

import io
import os
import subprocess
import threading

import numpy as np
import pytest
import torch
from encoded import RATE_HZ, by_libsndfile, speechlike

from kimi_audio.audio import sources
from kimi_audio.audio.io import audio_blocks, inspect_audio, load_audio
from kimi_audio.audio.sources import Window


@pytest.fixture
def content() -> bytes:
    return by_libsndfile(speechlike(2.0), "FLAC")


def test_pipes_of_the_shell(content, tmp_path):
    (tmp_path / "x.flac").write_bytes(content)
    with subprocess.Popen(["cat", tmp_path / "x.flac"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        wav = load_audio(f"/dev/fd/{process.stdout.fileno()}", RATE_HZ)
    assert torch.equal(wav, load_audio(content, RATE_HZ))


def test_named_pipes(content, tmp_path):
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    wav = load_audio(pipe, RATE_HZ)
    writer.join()
    assert torch.equal(wav, load_audio(content, RATE_HZ))


def test_a_pipe_to_which_nobody_writes_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "WRITER_WAIT_S", 0.05)
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match=r"pipe\.wav is a pipe to which nobody writes"):
        load_audio(tmp_path / "pipe.wav", RATE_HZ)
    with pytest.raises(ValueError, match=r"pipe\.wav is a pipe"):
        inspect_audio(tmp_path / "pipe.wav")


def test_pipes_have_a_limit(content, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_PIPE_BYTES", len(content) - 1)
    with pytest.raises(ValueError, match=r"brings more than .* write it to a file first"):
        load_audio(io.BytesIO(content), RATE_HZ)


def test_long_pipes_go_through_a_temporary_file(content, monkeypatch):
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 1000)
    assert torch.equal(load_audio(io.BytesIO(content), RATE_HZ), load_audio(content, RATE_HZ))


def test_devices_are_not_read():
    with pytest.raises(ValueError, match="/dev/zero is a device, not an audio file"):
        load_audio("/dev/zero", RATE_HZ)


def test_every_kind_of_bytes(content):
    expected = load_audio(content, RATE_HZ)
    for source in (bytearray(content), memoryview(content)):
        assert torch.equal(load_audio(source, RATE_HZ), expected)


def test_windows_are_files_of_their_own():
    window = Window(io.BytesIO(b"0123456789"), 2, 7)
    assert window.read() == b"23456"
    assert window.seek(-2, io.SEEK_END) == 3
    assert (window.read(9), window.tell(), window.read()) == (b"56", 5, b"")
    assert window.seek(99) == 99
    assert window.read(1) == b""
    assert not hasattr(window, "name")


@pytest.mark.parametrize("dtype", [">i2", ">f4", np.float16])
def test_numbers_in_any_order_of_bytes(dtype: str):
    samples = speechlike(0.5)
    scale = 32768 if dtype == ">i2" else 1
    wav = load_audio(((samples * scale).astype(dtype), RATE_HZ), RATE_HZ)
    torch.testing.assert_close(wav, torch.from_numpy(samples), atol=1e-3, rtol=0)


@pytest.mark.parametrize("rate_hz", [True, 0, -1, 99, 2**70, 16_000.0, None, "16000", np.bool_(True)])
def test_rates_that_are_none(rate_hz):
    with pytest.raises(ValueError, match="sample rate"):
        load_audio((speechlike(0.1), rate_hz), RATE_HZ)
    with pytest.raises(ValueError, match="sample rate"):
        load_audio((speechlike(0.1), RATE_HZ), rate_hz)


def test_rates_in_headers_are_checked_too():
    content = bytearray(by_libsndfile(speechlike(0.1), "WAV"))
    content[24:28] = (1).to_bytes(4, "little")
    with pytest.raises(ValueError, match="the given audio has a sample rate of 1 Hz; from 100 to"):
        load_audio(bytes(content), RATE_HZ)


def test_arrays_come_in_blocks():
    wav = np.zeros(1_000_000, np.float32)
    blocks = list(audio_blocks((wav, RATE_HZ), RATE_HZ))
    assert len(blocks) > 1
    assert sum(map(len, blocks)) == len(wav)
