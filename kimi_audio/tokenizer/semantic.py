"""Semantic tokenizer: a Whisper encoder cut short, pooled to 12.5 Hz and quantised with one codebook.

Source: ``speech_tokenizer/`` of GLM-4-Voice. It always runs in float32, because the choice between near codes is
precision-sensitive. Shapes: L samples at 16 kHz, W windows, T frames at 50 Hz, N tokens at 12.5 Hz, D channels, V
codes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.core.config import SemanticConfig
from kimi_audio.core.units import (
    ENCODER_FRAMES_PER_TOKEN,
    SAMPLES_PER_ENCODER_FRAME,
    SAMPLES_PER_WINDOW,
    tokens_in_window,
)
from kimi_audio.tokenizer.encoder import WhisperEncoder, key_mask
from kimi_audio.tokenizer.windows import alike, cut_windows, stack_padded, whole_tokens

WINDOWS_PER_BATCH = 16  # 8 minutes of sound; bounds the memory of long recordings


class SemanticTokenizer(WhisperEncoder):
    """Sound to one code per 80 ms."""

    def __init__(self, config: SemanticConfig):
        super().__init__(config, config.num_used_layers, causal_convolution=True)
        self.config = config
        self.codebook = nn.Embedding(config.num_codes, config.hidden_size)

    def forward(self, mel: Tensor, valid_frames: Tensor) -> Tensor:
        """Return the pooled hidden vectors.

        Args:
            mel: [W, M, 2T] with T a multiple of 4.
            valid_frames: [W] 50 Hz frames that hold sound; later ones are not attended to.

        Returns:
            [W, T / 4, D], of which the official pooling averages padded frames, too.
        """
        frames = mel.shape[-1] // 2
        block = torch.arange(frames, device=mel.device) // self.config.block_frames
        mask = (block[:, None] >= block[None, :]) & key_mask(valid_frames, frames)
        hidden = self.encode(mel, mask)
        return F.avg_pool1d(hidden.mT, ENCODER_FRAMES_PER_TOKEN).mT

    def quantise(self, hidden: Tensor) -> Tensor:
        """Return the nearest codes [...] of hidden vectors [..., D]."""
        flat, codebook = hidden.flatten(0, -2), self.codebook.weight
        # |x - c|^2 in the official order of operations, so that ties and near-ties fall alike.
        distance = torch.addmm(
            codebook.square().sum(1) + flat.square().sum(1, keepdim=True), flat, codebook.T, alpha=-2.0
        )
        return distance.argmin(1).view(hidden.shape[:-1])

    @torch.no_grad()
    def encode_wav(self, wav: Tensor, *, continues: bool = False) -> Tensor:
        """Return the codes [N] of a recording wav [L] of any length.

        All windows of one recording are padded to its longest, as in the official code: padding changes the last mel
        frame, hence sometimes the last code.

        Args:
            wav: the recording, or what follows whole windows of it.
            continues: whole windows came before.

        Raises:
            ValueError: there is no sample.
        """
        windows = cut_windows(wav.float())
        length = SAMPLES_PER_WINDOW if continues else whole_tokens(max(map(len, windows)))
        parts = [windows[start : start + WINDOWS_PER_BATCH] for start in range(0, len(windows), WINDOWS_PER_BATCH)]
        return torch.cat([row for part in parts for row in self._window_codes(part, length)])

    @torch.no_grad()
    def encode_wavs(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        """Return the codes [N] of each recording wav [L]; those of one padded length are encoded together.

        Raises:
            ValueError: one of them has no sample.
        """
        found = {}
        short = [number for number, wav in enumerate(wavs) if 0 < len(wav) <= SAMPLES_PER_WINDOW]
        lengths = [whole_tokens(len(wavs[number])) for number in short]
        for length, places in alike(lengths, WINDOWS_PER_BATCH * SAMPLES_PER_WINDOW):
            numbers = [short[place] for place in places]
            found |= zip(numbers, self._window_codes([wavs[number].float() for number in numbers], length), strict=True)
        return [found[number] if number in found else self.encode_wav(wav) for number, wav in enumerate(wavs)]

    def _window_codes(self, windows: Sequence[Tensor], length: int) -> list[Tensor]:
        """Return the codes [N] of each window [L], filled up to one length."""
        mel = whisper_log_mel(stack_padded(windows, length), self.config.num_mel_bins)
        lengths = torch.tensor([len(window) for window in windows], device=mel.device)
        valid_frames = (lengths + SAMPLES_PER_ENCODER_FRAME - 1) // SAMPLES_PER_ENCODER_FRAME
        rows = self.quantise(self(mel, valid_frames))
        return [row[: tokens_in_window(len(window))] for row, window in zip(rows, windows, strict=True)]
