"""Log-mel front-ends: Whisper's (16 kHz in, 100 Hz frames) and the vocoder's (24 kHz, 50 Hz frames).

Shapes: L samples, T frames, M mel bands.
"""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kimi_audio.core.config import VocoderConfig
from kimi_audio.core.units import (
    INPUT_RATE_HZ,
    OUTPUT_RATE_HZ,
    OUTPUT_SAMPLES_PER_MEL_FRAME,
    SAMPLES_PER_WHISPER_FRAME,
)

WHISPER_N_FFT = 400
LOG_MEL_FLOOR = math.log(1e-5)  # the vocoder mel of silence: -11.5129


def whisper_log_mel(wav: Tensor, num_mel_bins: int) -> Tensor:
    """Return Whisper's log-mel of 16 kHz audio whose length is a multiple of 160 samples.

    The frame at the very end is dropped, as in the official front-end, so that L samples give L / 160 frames.

    Args:
        wav: [B, L] in [-1, 1].
        num_mel_bins: M; 128 in the released encoders.

    Returns:
        [B, M, L / 160].
    """
    window = torch.hann_window(WHISPER_N_FFT, device=wav.device, dtype=wav.dtype)
    spectrum = torch.stft(wav, WHISPER_N_FFT, SAMPLES_PER_WHISPER_FRAME, window=window, return_complex=True)
    power = spectrum[..., :-1].abs() ** 2  # [B, 201, T]
    mel = mel_filters(INPUT_RATE_HZ, WHISPER_N_FFT, num_mel_bins).to(wav) @ power
    log_mel = mel.clamp(min=1e-10).log10()
    floor = log_mel.amax(dim=(-2, -1), keepdim=True) - 8.0
    return (torch.maximum(log_mel, floor) + 4.0) / 4.0


def vocoder_log_mel(wav: Tensor, config: VocoderConfig) -> Tensor:
    """Return the natural-log mel spectrogram that the vocoder inverts.

    Args:
        wav: [L] or [B, L] at 24 kHz in [-1, 1].
        config: bands, transform size and frequency range.

    Returns:
        [T, M] or [B, T, M] at 50 Hz; T = L // 480 for the released transform size.
    """
    single = wav.dim() == 1
    batch = wav[None] if single else wav
    padding = (config.n_fft - OUTPUT_SAMPLES_PER_MEL_FRAME) // 2
    batch = F.pad(batch[:, None], (padding, padding), mode="reflect")[:, 0]
    spectrum = torch.stft(
        batch,
        config.n_fft,
        OUTPUT_SAMPLES_PER_MEL_FRAME,
        config.win_size,
        window=torch.hann_window(config.win_size, device=wav.device, dtype=wav.dtype),
        center=False,
        return_complex=True,
    )
    magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()  # [B, F, T]
    filters = mel_filters(OUTPUT_RATE_HZ, config.n_fft, config.num_mels, config.fmin, config.fmax)
    log_mel = (filters.to(wav) @ magnitude).clamp(min=1e-5).log().mT
    return log_mel[0] if single else log_mel


@cache
def mel_filters(rate_hz: int, n_fft: int, bands: int, fmin_hz: float = 0.0, fmax_hz: float | None = None) -> Tensor:
    """Return Slaney's mel filterbank with unit area per band, [M, n_fft // 2 + 1] float32.

    Slaney's scale is linear below 1 kHz (200/3 Hz per mel) and logarithmic above (27 mels per factor 6.4).
    """
    edges_mel = np.linspace(_hz_to_mel(fmin_hz), _hz_to_mel(rate_hz / 2 if fmax_hz is None else fmax_hz), bands + 2)
    edges_hz = _mel_to_hz(edges_mel)
    bins_hz = np.linspace(0, rate_hz / 2, n_fft // 2 + 1)
    distance = edges_hz[:, None] - bins_hz[None]  # [M + 2, F]
    width_hz = np.diff(edges_hz)
    rising = -distance[:-2] / width_hz[:-1, None]
    falling = distance[2:] / width_hz[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    triangles *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    # What is kept must be usable in training, too, even if inference was the first to ask for it.
    with torch.inference_mode(False):
        return torch.from_numpy(triangles.astype(np.float32))


_LINEAR_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_STEP = math.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return _LOG_START_HZ / _LINEAR_HZ_PER_MEL + math.log(hz / _LOG_START_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    start_mel = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (mel - start_mel))
    return np.where(mel < start_mel, _LINEAR_HZ_PER_MEL * mel, logarithmic)
