"""Waveform augmentation for training: other speakers, rooms, noises and levels than those recorded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import soxr
import torch
from torch import Tensor

from kimi_audio.core.units import INPUT_RATE_HZ

NOISES = ("white", "pink", "brown", "hum", "babble")
_SLOPES = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # amplitude falls with this power of the frequency
LOWEST_HZ = 40.0  # coloured noise does not rise further below
BABBLE_VOICES = 4
EQUALISER_BANDS = 8


@dataclass(frozen=True)
class Augmentation:
    """How often each change happens and how strong it is."""

    speed_probability: float = 0.7
    speeds: tuple[float, float] = (0.88, 1.14)  # duration, pitch and formants change together
    reverb_probability: float = 0.25
    reverb_s: tuple[float, float] = (0.08, 0.35)  # time until the room's sound has fallen by 60 dB
    direct_to_reverb_db: tuple[float, float] = (2.0, 15.0)
    equaliser_probability: float = 0.0
    equaliser_db: float = 6.0  # standard deviation of the gain of a band
    noise_probability: float = 0.7
    snr_db: tuple[float, float] = (5.0, 40.0)
    gain_db: tuple[float, float] = (-12.0, 3.0)


def augment(
    samples: Tensor,
    generator: torch.Generator,
    others: Sequence[Tensor] = (),
    settings: Augmentation | None = None,
) -> Tensor:
    """Change one utterance at random.

    Args:
        samples: [T] float32 speech at 16 kHz.
        generator: source of all random draws, on the CPU.
        others: other utterances, the material of babble; without them there is none.
        settings: probabilities and ranges.

    Returns:
        [T / speed] float32 within [-1, 1]. Only the change of speed alters the length.
    """
    settings = settings or Augmentation()
    if _happens(settings.speed_probability, generator):
        samples = change_speed(samples, _draw(settings.speeds, generator))
    if _happens(settings.equaliser_probability, generator):
        samples = equalise(samples, settings.equaliser_db, generator)
    if _happens(settings.reverb_probability, generator):
        decay_s = _draw(settings.reverb_s, generator)
        samples = reverberate(samples, decay_s, _draw(settings.direct_to_reverb_db, generator), generator)
    if _happens(settings.noise_probability, generator):
        kinds = NOISES if others else NOISES[:-1]
        kind = kinds[_index(len(kinds), generator)]
        samples = add_noise(
            samples, make_noise(kind, len(samples), generator, others), _draw(settings.snr_db, generator)
        )
    gain = 10 ** (_draw(settings.gain_db, generator) / 20)
    return (samples * gain).clamp(-1, 1)


def change_speed(samples: Tensor, speed: float) -> Tensor:
    """Play [T] samples ``speed`` times as fast, which raises pitch and formants by the same factor."""
    length = round(len(samples) / speed)
    changed = torch.from_numpy(soxr.resample(samples.numpy(), INPUT_RATE_HZ * speed, INPUT_RATE_HZ, "LQ"))
    return torch.nn.functional.pad(changed, (0, max(0, length - len(changed))))[:length]


def equalise(samples: Tensor, deviation_db: float, generator: torch.Generator) -> Tensor:
    """Colour [T] samples like another throat or microphone: a random gain per band, joined on a scale near to mel."""
    size = _fft_size(len(samples))
    gains_db = deviation_db * torch.randn(1, 1, EQUALISER_BANDS, generator=generator)
    scale = torch.log1p(torch.fft.rfftfreq(size, 1 / INPUT_RATE_HZ) / 700)
    grid = torch.nn.functional.interpolate(gains_db, 256, mode="linear", align_corners=True)[0, 0]
    curve_db = grid[(scale / scale[-1] * 255).round().long()]
    spectrum = torch.fft.rfft(samples, size) * 10 ** (curve_db / 20)
    coloured = torch.fft.irfft(spectrum, size)[: len(samples)]
    loudness = (samples.square().mean() / coloured.square().mean().clamp(min=1e-12)).sqrt()
    return coloured * loudness


def reverberate(samples: Tensor, decay_s: float, direct_db: float, generator: torch.Generator) -> Tensor:
    """Add the tail of a room, noise that decays by 60 dB in ``decay_s``, ``direct_db`` below the [T] samples."""
    count = round(decay_s * INPUT_RATE_HZ)
    envelope = torch.exp(torch.arange(count) * (-math.log(1000) / count))
    tail = torch.randn(count, generator=generator) * envelope
    size = _fft_size(len(samples) + count)
    wet = torch.fft.irfft(torch.fft.rfft(samples, size) * torch.fft.rfft(tail, size), size)[: len(samples)]
    return add_noise(samples, wet, direct_db)


def make_noise(kind: str, length: int, generator: torch.Generator, others: Sequence[Tensor] = ()) -> Tensor:
    """Return [length] samples of one of ``NOISES`` at no particular level."""
    if kind == "babble":
        voices = [others[_index(len(others), generator)] for _ in range(BABBLE_VOICES)]
        return torch.stack([_looped(voice, length, generator) for voice in voices]).sum(0)
    if kind == "hum":
        mains_hz = (50.0, 60.0)[_index(2, generator)]
        harmonics = torch.arange(1, 6)[:, None]
        phases = 2 * math.pi * torch.rand(5, 1, generator=generator)
        times_s = torch.arange(length) / INPUT_RATE_HZ
        waves = torch.sin(2 * math.pi * mains_hz * harmonics * times_s + phases)
        return (waves * torch.rand(5, 1, generator=generator) / harmonics).sum(0)
    white = torch.randn(length, generator=generator)
    if kind == "white":
        return white
    size = _fft_size(length)
    frequencies_hz = torch.fft.rfftfreq(size, 1 / INPUT_RATE_HZ).clamp(min=LOWEST_HZ)
    shaped = torch.fft.rfft(white, size) * frequencies_hz ** -_SLOPES[kind]
    return torch.fft.irfft(shaped, size)[:length]


def add_noise(samples: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """Add [T] noise so that the mean power of the samples is ``snr_db`` above its own."""
    ratio = samples.square().mean() / noise.square().mean().clamp(min=1e-12)
    return samples + noise * (ratio * 10 ** (-snr_db / 10)).sqrt()


def _looped(voice: Tensor, length: int, generator: torch.Generator) -> Tensor:
    start = _index(len(voice), generator)
    return torch.cat([voice[start:], voice]).repeat(-(-length // len(voice)))[:length]


def _fft_size(length: int) -> int:
    """Round up to a length of 2^n or 3 * 2^n, where the transform is fast."""
    size = 1 << (length - 1).bit_length()
    return size * 3 // 4 if size * 3 // 4 >= length else size


def _happens(probability: float, generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < probability


def _draw(span: tuple[float, float], generator: torch.Generator) -> float:
    return span[0] + (span[1] - span[0]) * torch.rand((), generator=generator).item()


def _index(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
