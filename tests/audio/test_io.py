"""Reading and writing sound: every form of input, every error."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from kimi_audio.audio import io as audio_io
from kimi_audio.audio.io import (
    Samples,
    audio_blocks,
    decode_audio,
    inspect_audio,
    load_audio,
    resampled_samples,
    save_audio,
)


def tone(rate_hz: int, duration_s: float = 0.5, frequency_hz: float = 440.0) -> Tensor:
    times = torch.arange(int(rate_hz * duration_s)) / rate_hz
    return 0.5 * torch.sin(2 * torch.pi * frequency_hz * times)


@pytest.fixture
def wav_file(tmp_path: Path) -> Path:
    save_audio(tmp_path / "tone.wav", tone(16_000), 16_000)
    return tmp_path / "tone.wav"


# ---------------------------------------------------------------------------------------------------------------------
# Forms of input


def test_every_source_gives_the_same_samples(wav_file: Path):
    content = wav_file.read_bytes()
    array, rate = soundfile.read(wav_file, dtype="float32")
    expected = load_audio(wav_file, 16_000)
    assert expected.dtype == torch.float32
    assert expected.shape == (8000,)
    with wav_file.open("rb") as file:
        sources = [str(wav_file), content, file, io.BytesIO(content), (array, rate), Samples(torch.tensor(array), rate)]
        for source in sources:
            assert torch.equal(load_audio(source, 16_000), expected), type(source)


def test_pipes_can_be_read(wav_file: Path):
    class Pipe(io.BytesIO):
        def seek(self, *_) -> int:
            raise io.UnsupportedOperation("seek")

    assert len(load_audio(Pipe(wav_file.read_bytes()), 16_000)) == 8000


def test_one_decoding_serves_several_rates(wav_file: Path):
    with wav_file.open("rb") as file:
        sound = decode_audio(file)
    assert [len(load_audio(sound, rate)) for rate in (16_000, 24_000, 8_000)] == [8000, 12_000, 4000]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_formats_survive_a_round_trip(tmp_path: Path, suffix: str):
    wav = tone(24_000, 1.0)
    save_audio(tmp_path / f"tone{suffix}", wav, 24_000)
    again = load_audio(tmp_path / f"tone{suffix}", 24_000)
    if suffix in (".wav", ".flac"):
        torch.testing.assert_close(again, wav, atol=1 / 32_000, rtol=0)
    else:  # lossy, possibly with a little padding: the tone is still the loudest
        assert abs(len(again) - len(wav)) < 2400
        spectrum = torch.fft.rfft(again[:24_000]).abs()
        assert spectrum.argmax() == pytest.approx(440, abs=2)
    assert [file.name for file in tmp_path.iterdir()] == [f"tone{suffix}"]


def test_stereo_of_another_rate_is_mixed_and_resampled(tmp_path: Path):
    left = tone(48_000, 1.0).numpy()
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, np.zeros_like(left)], axis=1), 48_000)
    wav = load_audio(tmp_path / "stereo.wav", 16_000)
    assert wav.shape == (16_000,)
    torch.testing.assert_close(wav[500:-500], 0.5 * tone(16_000, 1.0)[500:-500], atol=1e-3, rtol=0)


@pytest.mark.parametrize("layout", ["samples_first", "channels_first", "one_channel", "one_channel_first"])
def test_layouts_of_arrays(layout: str):
    wav = tone(16_000).numpy()
    array = {
        "samples_first": np.stack([wav, 0 * wav], axis=1),
        "channels_first": np.stack([wav, 0 * wav]),
        "one_channel": wav[:, None] / 2,
        "one_channel_first": wav[None] / 2,
    }[layout]
    torch.testing.assert_close(load_audio((array, 16_000), 16_000), torch.from_numpy(wav / 2))


@pytest.mark.parametrize(
    ("dtype", "silence", "scale"),
    [(np.int16, 0, 2**15), (np.int32, 0, 2**31), (np.int8, 0, 128), (np.uint8, 128, 128), (np.float64, 0, 1)],
)
def test_numbers_of_arrays(dtype: type, silence: int, scale: float):
    wav = tone(16_000).double().numpy()
    array = (wav * scale + silence).astype(dtype)
    torch.testing.assert_close(
        load_audio((array, 16_000), 16_000), torch.from_numpy(wav).float(), atol=1.01 / min(scale, 1e6), rtol=0
    )
    assert load_audio((np.full(10, silence, dtype), 16_000), 16_000).tolist() == [0.0] * 10


def test_half_precision_tensors_and_numpy_rates():
    wav = tone(16_000)
    assert load_audio((wav.bfloat16().requires_grad_(), np.int64(16_000)), 16_000).shape == wav.shape


def test_given_array_is_neither_changed_nor_kept():
    array = np.zeros(100, np.float32)
    load_audio((array, 16_000), 16_000)[0] = 1
    assert not array.any()


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_missing_empty_and_foreign_files(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*missing\.wav"):
        load_audio(tmp_path / "missing.wav", 16_000)
    with pytest.raises(ValueError, match="is a folder, not an audio file"):
        load_audio(tmp_path, 16_000)
    for name, content, message in (
        ("empty.wav", b"", r"empty\.wav is empty"),
        ("text.wav", b"this is a text, not sound " * 9, r"text\.wav is not audio that can be read .*ffmpeg"),
        ("half.flac", b"fLaC", r"half\.flac is not audio"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_audio(tmp_path / name, 16_000)
    with pytest.raises(ValueError, match="the given audio is empty"):
        load_audio(b"", 16_000)
    with pytest.raises(ValueError, match="binary mode"), (tmp_path / "text.wav").open() as file:
        load_audio(file, 16_000)


def test_files_without_samples(tmp_path: Path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(ValueError, match=r"none\.wav holds no samples"):
        load_audio(tmp_path / "none.wav", 16_000)
    soundfile.write(tmp_path / "one.wav", np.zeros(1, np.float32), 192_000)
    with pytest.raises(ValueError, match=r"one\.wav is too short"):
        load_audio(tmp_path / "one.wav", 16_000)


def test_recordings_that_do_not_fit_the_memory_are_read_in_blocks(wav_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audio_io, "MAX_BYTES_IN_MEMORY", 4 * 7999)
    with pytest.raises(ValueError, match=r"tone\.wav is too long: its samples take more than .* GiB of memory"):
        load_audio(wav_file, 16_000)
    assert sum(len(block) for block in audio_blocks(wav_file, 16_000)) == 8000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((np.zeros(0), 16_000), "the given array holds no samples"),
        ((np.array([0.0, np.nan]), 16_000), "not finite"),
        ((np.array([0.0, np.inf]), 8_000), "not finite"),
        ((np.zeros(9), 0), "sample rate must be a positive whole number"),
        ((np.zeros(9), -16_000), "sample rate"),
        ((np.zeros(9), 16_000.5), "sample rate"),
        ((np.zeros(9), None), "sample rate"),
        ((np.float32(0), 16_000), "one or two dimensions"),
        ((np.zeros((1, 2, 9)), 16_000), "one or two dimensions"),
        ((np.zeros(9, np.int64), 16_000), "not int64"),
        ((np.zeros(9, bool), 16_000), "not bool"),
        ((np.zeros(9, complex), 16_000), "not complex"),
        ((np.zeros(9), 16_000, 1), "not tuple"),
        (np.zeros(9), "not ndarray"),
        (42, "not int"),
    ],
)
def test_wrong_arrays(source: object, message: str):
    with pytest.raises(ValueError, match=message):
        load_audio(source, 16_000)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def test_loud_samples_are_clipped_and_one_channel_is_flattened(tmp_path: Path):
    save_audio(tmp_path / "loud.wav", torch.tensor([[2.0, -2.0, 0.0]]), 16_000)
    assert load_audio(tmp_path / "loud.wav", 16_000).tolist() == pytest.approx([1, -1, 0], abs=1e-4)


@pytest.mark.parametrize("name", ["reply", "reply.m4a", "reply.raw", "reply.txt"])
def test_unknown_formats_are_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=rf"cannot write {name}: use a file name that ends in \.wav"):
        save_audio(tmp_path / name, torch.zeros(3), 16_000)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"the folder .* does not exist"):
        save_audio(tmp_path / "none" / "a.wav", torch.zeros(3), 16_000)
    with pytest.raises(ValueError, match="one channel"):
        save_audio(tmp_path / "a.wav", torch.zeros(2, 3), 16_000)

    def full_disk(file: Path, content: bytes) -> None:
        with file.open("wb") as partial:
            partial.write(content[:9])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    (tmp_path / "a.wav").write_text("old")
    with pytest.raises(OSError, match="no space"):
        save_audio(tmp_path / "a.wav", torch.zeros(3), 16_000)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.wav", b"old")]


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 96000])
def test_the_length_after_resampling_is_known_before(tmp_path: Path, rate_hz: int):
    for length in (1, 99, 4001, 7777):
        soundfile.write(tmp_path / "x.wav", np.zeros((length, 2)), rate_hz)
        assert inspect_audio(tmp_path / "x.wav") == (length, rate_hz)
        expected = resampled_samples(length, rate_hz, 16_000)
        if expected:
            assert len(load_audio(tmp_path / "x.wav", 16_000)) == expected
        else:
            with pytest.raises(ValueError, match="too short"):
                load_audio(tmp_path / "x.wav", 16_000)


def test_what_has_no_header_cannot_be_inspected(tmp_path: Path):
    for content, reason in ((b"", "is empty"), (b"noise" * 99, "is not audio")):
        (tmp_path / "x.wav").write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            inspect_audio(tmp_path / "x.wav")
    soundfile.write(tmp_path / "x.wav", np.zeros(0), 8000)
    with pytest.raises(ValueError, match="holds no samples"):
        inspect_audio(tmp_path / "x.wav")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        inspect_audio(tmp_path / "gone.wav")
