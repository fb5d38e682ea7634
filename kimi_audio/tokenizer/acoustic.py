"""Acoustic encoder: continuous Whisper features, four 50 Hz frames side by side at 12.5 Hz.

Source: ``kimia_infer/models/tokenizer/whisper_Lv3/whisper.py`` of the official code. Shapes: L samples at 16 kHz,
W windows, T frames at 50 Hz, N tokens at 12.5 Hz, D channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.core.config import EncoderConfig
from kimi_audio.core.units import (
    ENCODER_FRAMES_PER_TOKEN,
    SAMPLES_PER_WINDOW,
    tokens_in_window,
)
from kimi_audio.tokenizer.encoder import WhisperEncoder, key_mask
from kimi_audio.tokenizer.windows import alike, cut_windows, stack_padded, whole_tokens

SAMPLES_AT_ONCE = 4 * SAMPLES_PER_WINDOW  # bounds the memory of long recordings


class AcousticEncoder(WhisperEncoder):
    """Whisper encoder whose windows see themselves whole."""

    def __init__(self, config: EncoderConfig):
        super().__init__(config, config.num_layers, causal_convolution=False)
        self.config = config
        self.layer_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, mel: Tensor, valid_frames: Tensor | None = None) -> Tensor:
        """Encode mel [W, M, 2T] to [W, T, D]; frames from ``valid_frames`` [W] on are not attended to."""
        mask = None if valid_frames is None else key_mask(valid_frames, mel.shape[-1] // 2)
        return self.layer_norm(self.encode(mel, mask))

    @torch.no_grad()
    def features(self, wav: Tensor) -> Tensor:
        """Return the features [N, 4 D] of a recording wav [L] of any length.

        Raises:
            ValueError: there is no sample.
        """
        return self.features_of([wav])[0]

    @torch.no_grad()
    def features_of(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        """Return the features [N, 4 D] of every recording wav [L].

        Raises:
            ValueError: one of them has no sample.
        """
        windows = [cut_windows(wav) for wav in wavs]
        found = iter(self.window_features([window for of_one in windows for window in of_one]))
        return [torch.cat([next(found) for _ in of_one]) for of_one in windows]

    def window_features(self, windows: Sequence[Tensor]) -> list[Tensor]:
        """Return the features [N, 4 D] of each window [L], with gradients for training."""
        # The released encoder was trained with windows filled up to 30 s (and attends to the silence), nano with bare
        # ones. Only windows of one length are encoded together, so that none depends on its neighbours.
        padded = [SAMPLES_PER_WINDOW if self.config.pad_windows else whole_tokens(len(window)) for window in windows]
        found: dict[int, Tensor] = {}
        for length, numbers in alike(padded, SAMPLES_AT_ONCE):
            stacked = stack_padded([windows[number].float() for number in numbers], length)
            frames = self(whisper_log_mel(stacked, self.config.num_mel_bins).to(self.conv1.weight.dtype))
            for number, row in zip(numbers, frames, strict=True):
                kept = tokens_in_window(len(windows[number])) * ENCODER_FRAMES_PER_TOKEN
                found[number] = stack_frames(row[:kept])
        return [found[number] for number in range(len(windows))]


def stack_frames(frames: Tensor) -> Tensor:
    """Put 4 consecutive frames side by side: [..., 4N, D] to [..., N, 4D]."""
    return frames.unflatten(-2, (-1, ENCODER_FRAMES_PER_TOKEN)).flatten(-2)
