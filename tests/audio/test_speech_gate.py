"""The gates before the LLM: what nobody said does not pass, and what somebody said does, however softly."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speech_gate import clicks, hum, in_16_bits, noise, with_noise
from kimi_audio.audio.io import load_audio
from kimi_audio.audio.speech_gate import changes_like_speech, holds_speech, vad_hears_speech, vad_is_installed
from kimi_audio.checkpoint import NANO_FOLDER
from kimi_audio.core.units import INPUT_RATE_HZ

QUESTIONS = sorted((NANO_FOLDER / "questions").glob("*.wav"))[:3]
GATES = [changes_like_speech, holds_speech]
needs_vad = pytest.mark.skipif(not vad_is_installed(), reason="needs silero-vad")
needs_nano = pytest.mark.skipif(not QUESTIONS, reason="nano is not bundled with this checkout")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("level", [1.0, 0.1, 0.01, 0.001])
def test_steady_sounds_and_clicks_do_not_pass(gate, level):
    sounds = [
        *(noise(colour, seeded(seed)) for colour in (0, 1, 2) for seed in range(2)),
        *(hum(base, harmonics, seeded(harmonics)) for base in (50, 60) for harmonics in (1, 5, 30)),
        hum(50, 10, seeded(3)) + 0.2 * noise(0, seeded(4)),
        *(clicks(per_s, ring, seeded(5)) for per_s in (0.5, 8) for ring in (0, 1500)),
    ]
    assert [index for index, wav in enumerate(sounds) if gate(level * wav / wav.abs().max())] == []


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("samples", [0, 1, 511, 512, 3000, 80_000])
def test_silence_does_not_pass(gate, samples):
    for value in (0.0, 1e-5, -1.0):
        assert not gate(torch.full((samples,), value))
    assert not gate(torch.randint(-2, 3, (samples,), generator=seeded(0)) / 32768)


def whispered(wav: Tensor) -> Tensor:
    """Return speech [L] without its voice: noise in the shape of the spectrum, of which harmonics are smoothed away."""
    window = torch.hann_window(512)
    envelope = torch.stft(wav, 512, 128, window=window, return_complex=True).abs()
    smooth = F.avg_pool1d(envelope.T[None], 13, 1, 6, count_include_pad=False)[0].T
    hiss = torch.stft(torch.randn(len(wav), generator=seeded(1)), 512, 128, window=window, return_complex=True)
    return torch.istft(smooth * hiss / hiss.abs().mean(), 512, 128, window=window, length=len(wav))


@needs_nano
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("file", QUESTIONS, ids=lambda file: file.stem)
def test_speech_passes(gate, file: Path):
    wav = load_audio(file, INPUT_RATE_HZ)
    quiet = in_16_bits(0.01 * wav)
    changed = [
        wav,
        0.1 * wav,
        quiet,
        with_noise(wav, 10),
        0.01 * with_noise(wav, 10),
        whispered(wav),
        0.1 * whispered(wav),
    ]
    assert [index for index, wav in enumerate(changed) if not gate(wav)] == []
    silence = torch.zeros(2 * INPUT_RATE_HZ)
    assert gate(torch.cat([silence, quiet, silence]))


@needs_vad
@needs_nano
def test_the_network_tells_speech_from_a_swelling_noise():
    swelling = noise(0, seeded(0)) * torch.linspace(0, 1, 5 * INPUT_RATE_HZ)
    assert changes_like_speech(swelling)
    assert not vad_hears_speech(swelling)
    assert not holds_speech(swelling)
    assert vad_hears_speech(load_audio(QUESTIONS[0], INPUT_RATE_HZ))


@needs_vad
def test_the_network_leaves_the_threads_of_torch_alone():
    code = """
import torch
torch.set_num_threads(3)
from kimi_audio.audio.speech_gate import vad_probabilities
assert len(vad_probabilities(torch.rand(2000))) == 4
assert torch.get_num_threads() == 3
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
