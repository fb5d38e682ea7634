"""What effort does to the sound of a voice: spectral tilt, breath, roughness, whispering."""

import zlib

import numpy as np
import torch
from torch import Tensor

from recipes.nano.closed.voices import Colour

TILTS_DB = {"bright": 3.0, "soft": -5.0, "strained": 4.5, "whispered": 0.0}  # per octave around TILT_HZ
TILT_HZ = 800.0
TILT_LIMIT_DB = 12.0
BREATH_DB = -16.0  # of the soft voice, below the voice
ROUGHNESS_HZ, ROUGHNESS = 55.0, 0.7  # the strained voice's amplitude flutters
DRIVE = 3.0  # and its peaks are flattened
WHISPER_DB = -14.0  # below an ordinary voice
ENVELOPE_S = 0.0015  # of the cepstrum: shorter than any period of a voice, so that no pitch remains


def colour(samples: np.ndarray, rate_hz: int, name: Colour) -> np.ndarray:
    """Return [T] float32 samples in another colour; the level stays, except that whispers are quieter."""
    if name == "plain":
        return samples
    # The noise differs from utterance to utterance, and is the same each time.
    generator = torch.Generator().manual_seed(zlib.crc32(samples.tobytes()))
    sound = torch.from_numpy(samples)
    level = sound.square().mean().sqrt()
    window = torch.hann_window(round(0.032 * rate_hz) // 2 * 2)
    spectrum = _spectrum(sound, window)
    frequencies_hz = torch.linspace(0, rate_hz / 2, len(spectrum)).clamp(min=50)
    tilt_db = (TILTS_DB[name] * torch.log2(frequencies_hz / TILT_HZ)).clamp(-TILT_LIMIT_DB, TILT_LIMIT_DB)
    spectrum = spectrum * (10 ** (tilt_db / 20))[:, None]
    if name in ("soft", "whispered"):
        noise = torch.randn(len(sound), generator=generator)
        breath = _spectrum(noise, window) * _envelope(spectrum, rate_hz)
        breath = breath * (spectrum.abs().square().mean() / breath.abs().square().mean()).sqrt()
        spectrum = breath if name == "whispered" else spectrum + breath * 10 ** (BREATH_DB / 20)
    coloured = torch.istft(spectrum, len(window), len(window) // 4, window=window, length=len(sound))
    if name == "strained":
        times_s = torch.arange(len(sound)) / rate_hz
        flutter = 1 - ROUGHNESS / 2 * (1 - torch.cos(2 * torch.pi * ROUGHNESS_HZ * times_s))
        coloured = torch.tanh(DRIVE * coloured * flutter / coloured.abs().max())
    if name == "whispered":
        level = level * 10 ** (WHISPER_DB / 20)
    coloured = coloured * level / coloured.square().mean().sqrt()
    return (coloured / coloured.abs().max().clamp(min=1)).numpy()


def _spectrum(sound: Tensor, window: Tensor) -> Tensor:
    return torch.stft(sound, len(window), len(window) // 4, window=window, return_complex=True)


def _envelope(spectrum: Tensor, rate_hz: int) -> Tensor:
    """Return the magnitudes [F, T] without their fine structure: what the mouth does, not the voice."""
    cepstrum = torch.fft.irfft(spectrum.abs().clamp(min=1e-5).log(), dim=0)
    kept = round(ENVELOPE_S * rate_hz)
    cepstrum[kept:-kept] = 0
    return torch.fft.rfft(cepstrum, dim=0).real.exp()
