"""Training the two encoders by recognition of phonemes with CTC.

The acoustic encoder names the phonemes of its 50 Hz frames. The semantic tokenizer starts from its lower layers and
learns to name them through the codebook: each 12.5 Hz code is expanded to four 50 Hz frames again, because phonemes
come faster than 12.5 per second.

Shapes: B utterances, L samples, T frames at 50 Hz, N tokens at 12.5 Hz, D channels, C phonemes and the blank.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.config import EncoderConfig, SemanticConfig
from kimi_audio.data.phonemes import PHONEMES
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.encoder import EncoderLayer, key_mask
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.train.codebook import EMACodebook
from kimi_audio.units import ENCODER_FRAMES_PER_TOKEN, SAMPLES_PER_ENCODER_FRAME

BLANK = 0  # of CTC; the phonemes follow
CLASSES = len(PHONEMES) + 1


@dataclass(frozen=True)
class SpeechBatch:
    """Utterances with their pronunciations.

    Attributes:
        wav: [B, L] at 16 kHz, zero-padded; L is a multiple of 1280.
        samples: [B] true lengths.
        labels: concatenated phoneme numbers of all utterances.
        label_lengths: [B].
    """

    wav: Tensor
    samples: Tensor
    labels: Tensor
    label_lengths: Tensor

    @property
    def valid_frames(self) -> Tensor:
        """[B] 50 Hz frames that hold sound."""
        return (self.samples + SAMPLES_PER_ENCODER_FRAME - 1) // SAMPLES_PER_ENCODER_FRAME


def phoneme_numbers(phonemes: str) -> Tensor:
    """Return the numbers of phonemes separated by spaces.

    Raises:
        ValueError: one is unknown.
    """
    names = phonemes.split()
    unknown = sorted(set(names) - set(PHONEMES))
    if unknown:
        raise ValueError(f"{phonemes!r} holds {' '.join(unknown)}, which PHONEMES lacks")
    return torch.tensor([PHONEMES.index(name) + 1 for name in names], dtype=torch.long)


def phoneme_names(best: Tensor) -> list[str]:
    """Return the phonemes of frame-wise best numbers [T]: repetitions merged, blanks dropped."""
    merged = torch.unique_consecutive(best)
    return [PHONEMES[number - 1] for number in merged.tolist() if number != BLANK]


def ctc_loss(logits: Tensor, batch: SpeechBatch) -> Tensor:
    """Return the CTC loss [] per phoneme of logits [B, T, C]; frames behind the sound do not count."""
    loss = F.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        batch.labels,
        batch.valid_frames,
        batch.label_lengths,
        reduction="sum",
        zero_infinity=True,  # an utterance spoken faster than its frames teaches nothing
    )
    return loss / batch.label_lengths.sum()


class AcousticRecogniser(nn.Module):
    """Acoustic encoder with a phoneme head."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.encoder = AcousticEncoder(config)
        self.head = nn.Linear(config.hidden_size, CLASSES)

    def forward(self, batch: SpeechBatch) -> Tensor:
        """Return phoneme logits [B, T, C]."""
        mel = whisper_log_mel(batch.wav, self.encoder.config.num_mel_bins)
        return self.head(self.encoder(mel, batch.valid_frames))


class SemanticRecogniser(nn.Module):
    """Semantic tokenizer that must name phonemes through its codes."""

    def __init__(self, config: SemanticConfig):
        super().__init__()
        self.tokenizer = SemanticTokenizer(config)
        self.codebook = EMACodebook(self.tokenizer.codebook, config)
        self.position_in_token = nn.Parameter(torch.randn(ENCODER_FRAMES_PER_TOKEN, config.hidden_size) * 0.1)
        self.expand = nn.Linear(config.hidden_size, ENCODER_FRAMES_PER_TOKEN * config.hidden_size)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(2))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, CLASSES)

    def hidden(self, batch: SpeechBatch) -> Tensor:
        """Return the pooled vectors [B, N, D] before quantisation."""
        mel = whisper_log_mel(batch.wav, self.tokenizer.config.num_mel_bins)
        return self.tokenizer(mel, batch.valid_frames)

    def valid_tokens(self, batch: SpeechBatch, tokens: int) -> Tensor:
        """Return [B, N], True for tokens that hold sound."""
        return key_mask(-(-batch.valid_frames // ENCODER_FRAMES_PER_TOKEN), tokens)[:, 0, 0]

    def forward(self, batch: SpeechBatch, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return phoneme logits [B, T, C] and the codebook's losses and statistics.

        With a generator (training) the codebook moves towards the vectors that chose it.
        """
        hidden = self.hidden(batch)
        quantised, statistics = self.codebook(hidden, self.valid_tokens(batch, hidden.shape[1]), generator)
        return self._recognise(quantised, batch), statistics

    def recognise_unquantised(self, batch: SpeechBatch) -> Tensor:
        """Return phoneme logits [B, T, C] without the codebook."""
        return self._recognise(self.hidden(batch), batch)

    def _recognise(self, tokens: Tensor, batch: SpeechBatch) -> Tensor:
        x = self.expand(tokens).unflatten(-1, (ENCODER_FRAMES_PER_TOKEN, -1)) + self.position_in_token
        x = x.flatten(1, 2)  # [B, T, D]
        x = x + self.tokenizer.embed_positions.weight[: x.shape[1]]
        mask = key_mask(batch.valid_frames, x.shape[1])
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.norm(x))
