"""Acoustic encoder: continuous Whisper features, four 50 Hz frames side by side at 12.5 Hz.

Source: ``kimia_infer/models/tokenizer/whisper_Lv3/whisper.py`` of the official code. Shapes: L samples at 16 kHz,
W windows, T frames at 50 Hz, N tokens at 12.5 Hz, D channels.
"""

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
from kimi_audio.tokenizer.windows import cut_windows, stack_padded, whole_tokens


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
        return torch.cat([self.window_features(window) for window in cut_windows(wav)])

    def window_features(self, window: Tensor) -> Tensor:
        """Return the features [N, 4 D] of one window [L], with gradients for training."""
        # One window at a time: the released encoder was trained with windows filled up to 30 s (and attends to the
        # silence), nano with bare ones; neither then depends on its neighbours.
        length = SAMPLES_PER_WINDOW if self.config.pad_windows else whole_tokens(len(window))
        mel = whisper_log_mel(stack_padded([window.float()], length), self.config.num_mel_bins)
        frames = self(mel.to(self.conv1.weight.dtype))[0]
        kept = tokens_in_window(len(window)) * ENCODER_FRAMES_PER_TOKEN
        return stack_frames(frames[:kept])


def stack_frames(frames: Tensor) -> Tensor:
    """Put 4 consecutive frames side by side: [..., 4N, D] to [..., N, 4D]."""
    return frames.unflatten(-2, (-1, ENCODER_FRAMES_PER_TOKEN)).flatten(-2)
