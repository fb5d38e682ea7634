"""What happens to speech on its way to a microphone and through a telephone: other speeds, rooms, noise, codecs.

Shapes: L samples at 16 kHz.
"""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from kimi_audio.audio.augment import Augmentation, augment
from kimi_audio.core.units import INPUT_RATE_HZ

PLAIN_SHARE = 0.3  # of the copies that stay as they are, but for their level
TELEPHONE_HZ = 8_000
# Format and subtype of what recordings were squeezed through, and the rate that the codec takes.
CODECS = {
    "telephone": ("WAV", "ULAW", TELEPHONE_HZ),
    "opus": ("OGG", "OPUS", INPUT_RATE_HZ),
    "mp3": ("MP3", "MPEG_LAYER_III", INPUT_RATE_HZ),
}
CODEC_SHARES = {"telephone": 0.15, "opus": 0.15, "mp3": 0.1}
ANYWHERE = Augmentation(
    speed_probability=0.3,
    speeds=(0.9, 1.12),
    reverb_probability=0.35,
    equaliser_probability=0.4,
    equaliser_db=4.0,
    noise_probability=0.6,
    snr_db=(2.0, 30.0),
    gain_db=(-30.0, 3.0),
)
LEVEL_ALONE = replace(
    ANYWHERE, speed_probability=0.0, reverb_probability=0.0, equaliser_probability=0.0, noise_probability=0.0
)


def vary(wav: Tensor, others: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """Return a recording [L] as it may reach the model: plain, or after a room, noise and a codec drawn at random.

    Args:
        wav: [L] in [-1, 1].
        others: other speech, the material of babble.
        generator: source of all random draws, on the CPU.
    """
    if _draw(generator) < PLAIN_SHARE:
        return augment(wav, generator, settings=LEVEL_ALONE)
    changed = augment(wav, generator, others, ANYWHERE)
    chance = _draw(generator)
    for name, share in CODEC_SHARES.items():
        if chance < share:
            return through_codec(changed, name)
        chance -= share
    return changed


def through_codec(wav: Tensor, name: str) -> Tensor:
    """Return what a codec of ``CODECS`` leaves of wav [L]; encoders may change the length by some milliseconds."""
    container, subtype, rate_hz = CODECS[name]
    coded = io.BytesIO()
    soundfile.write(coded, _resampled(wav.numpy(), INPUT_RATE_HZ, rate_hz), rate_hz, subtype, format=container)
    coded.seek(0)
    return torch.from_numpy(_resampled(soundfile.read(coded, dtype="float32")[0], rate_hz, INPUT_RATE_HZ))


def _resampled(samples: np.ndarray, rate_hz: int, target_hz: int) -> np.ndarray:
    return samples if rate_hz == target_hz else soxr.resample(samples, rate_hz, target_hz)


def _draw(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
