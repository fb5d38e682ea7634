"""The mark in generated speech: it is found in what was marked, and in nothing else, and it is not in the way."""

from pathlib import Path

import pytest
import soundfile
import soxr
import torch
from typer.testing import CliRunner

from kimi_audio import cli
from kimi_audio.audio import marking
from kimi_audio.audio.io import load_audio, save_audio
from kimi_audio.audio.marking import Marker, detect, marked
from kimi_audio.audio.writing import PROVENANCE
from kimi_audio.core.units import OUTPUT_RATE_HZ

QUESTIONS = sorted((Path(__file__).parents[2] / "kimi_audio" / "nano" / "questions").glob("*.wav"))


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    """Five seconds of questions [L] at 24 kHz."""
    whole = torch.cat([load_audio(file, OUTPUT_RATE_HZ) for file in QUESTIONS])
    return whole.repeat(3)[: 5 * OUTPUT_RATE_HZ]


def at_8_khz(wav: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(soxr.resample(wav.numpy(), OUTPUT_RATE_HZ, marking.DETECTION_RATE_HZ))


def test_it_is_found_wherever_the_recording_begins(speech):
    whole = marked(speech)
    for first in (0, 111, 5000, 24_000):
        assert detect(at_8_khz(whole[first:])).is_marked
        assert not detect(at_8_khz(speech[first:])).is_marked


def test_it_is_found_at_another_loudness_and_behind_other_speech(speech):
    assert detect(at_8_khz(0.05 * marked(speech))).is_marked
    assert detect(at_8_khz(torch.cat([speech[:24_000], marked(speech)]))).is_marked


@pytest.mark.parametrize("wav", [torch.zeros(40_000), torch.randn(40_000, generator=torch.Generator().manual_seed(0))])
def test_silence_and_noise_have_none(wav):
    assert not detect(wav).is_marked


def test_it_changes_little(speech):
    noise = marked(speech) - speech
    assert 19 < 10 * torch.log10(speech.square().sum() / noise.square().sum()) < 25
    quiet = marked(torch.zeros(24_000))
    assert quiet.abs().max() == 0  # it adds nothing where nothing is
    outside = torch.fft.rfft(noise).abs().square()
    frequency_hz = torch.fft.rfftfreq(len(noise), 1 / OUTPUT_RATE_HZ)
    inside = (frequency_hz > 250) & (frequency_hz < 3350)
    assert outside[~inside].sum() < 0.02 * outside.sum()


def test_a_stream_is_marked_like_the_whole(speech):
    for sizes in ([1920] * 70, [1, 479, 480, 481, 10_000, 200_000]):
        marker = Marker()
        parts = [marker.push(piece) for piece in speech.split([*fitting(sizes, len(speech))])]
        parts.append(marker.push(torch.zeros(0), is_final=True))
        streamed = torch.cat(parts)
        assert streamed.shape == speech.shape
        torch.testing.assert_close(streamed, marked(speech))


def fitting(sizes: list[int], total: int) -> list[int]:
    """Return the first sizes, and one for the rest."""
    kept = []
    for size in sizes:
        if sum(kept) + size < total:
            kept.append(size)
    return [*kept, total - sum(kept)]


@pytest.mark.parametrize("samples", [0, 1, 479, 480, 481])
def test_nothing_of_a_short_sound_is_lost(samples):
    wav = torch.linspace(0, 0.5, samples)
    torch.testing.assert_close(Marker(strength_db=0.0).push(wav, is_final=True), wav, atol=1e-6, rtol=0)


def test_too_short_to_say():
    with pytest.raises(ValueError, match="at least 1 s"):
        detect(torch.zeros(7999))


def test_the_command_line_tells(tmp_path, speech):
    plain, made = tmp_path / "plain.wav", tmp_path / "made.wav"
    save_audio(plain, speech, OUTPUT_RATE_HZ)
    save_audio(made, marked(speech), OUTPUT_RATE_HZ, comment=PROVENANCE)
    done = CliRunner().invoke(cli.app, ["detect", str(made)])
    assert (done.exit_code, "made by kimi-audio" in done.output) == (0, True)
    done = CliRunner().invoke(cli.app, ["detect", str(made), str(plain)])
    assert (done.exit_code, "no mark found" in done.output) == (1, True)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_files_tell_where_they_come_from(tmp_path, suffix):
    save_audio(tmp_path / f"a{suffix}", torch.zeros(24_000), OUTPUT_RATE_HZ, comment=PROVENANCE)
    with soundfile.SoundFile(tmp_path / f"a{suffix}") as sound:
        assert sound.comment == PROVENANCE
