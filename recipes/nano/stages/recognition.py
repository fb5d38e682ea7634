"""Training the two encoders by recognition of phonemes with CTC and, by option, an attention decoder.

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
from kimi_audio.core.config import EncoderConfig, SemanticConfig
from kimi_audio.core.units import ENCODER_FRAMES_PER_TOKEN, SAMPLES_PER_ENCODER_FRAME
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.encoder import EncoderLayer, key_mask
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.train.speech.codebook import EMACodebook
from recipes.nano.closed.phonemes import HEARD
from recipes.nano.stages.attention_decoder import AttentionDecoder

BLANK = 0  # of CTC; the phonemes and marks follow
CLASSES = len(HEARD) + 1


@dataclass(frozen=True)
class SpeechBatch:
    """Utterances with their pronunciations.

    Attributes:
        wav: [B, L] at 16 kHz, zero-padded; L is a multiple of 1280.
        samples: [B] true lengths.
        labels: concatenated phoneme numbers of all utterances.
        label_lengths: [B].
        ids: names of the utterances, for messages.
    """

    wav: Tensor
    samples: Tensor
    labels: Tensor
    label_lengths: Tensor
    ids: tuple[str, ...] | None = None

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
    unknown = sorted(set(names) - set(HEARD))
    if unknown:
        raise ValueError(f"{phonemes!r} holds {' '.join(unknown)}, which HEARD lacks")
    return torch.tensor([HEARD.index(name) + 1 for name in names], dtype=torch.long)


def phoneme_names(best: Tensor) -> list[str]:
    """Return the phonemes of frame-wise best numbers [T]: repetitions merged, blanks dropped."""
    merged = torch.unique_consecutive(best)
    return [HEARD[number - 1] for number in merged.tolist() if number != BLANK]


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


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What teaches the semantic tokenizer, by the weight of each loss; a loss of weight 0 is not computed.

    Args:
        ctc: phonemes from the codes.
        unquantised_ctc: phonemes from the vectors before the codebook, through the same layers: a direction for
            the encoder that does not depend on which code was chosen.
        decoder: phonemes written from the codes by an attention decoder, which is trained along and thrown away.
        decoder_layers: of that decoder.
        restart_until: share of the steps after which dead codes stay dead, see ``EMACodebook``.
    """

    ctc: float = 1.0
    unquantised_ctc: float = 0.0
    decoder: float = 0.0
    decoder_layers: int = 2
    restart_until: float = 0.9

    def __post_init__(self) -> None:
        if min(self.ctc, self.unquantised_ctc, self.decoder) < 0 or not self.ctc + self.decoder:
            raise ValueError("the weights of ctc and decoder must not be negative, and one of them must be above 0")


class SemanticRecogniser(nn.Module):
    """Semantic tokenizer that must name phonemes through its codes.

    Args:
        config: sizes of the tokenizer.
        supervision: its losses; a run is loaded with those that it was trained with.
    """

    def __init__(self, config: SemanticConfig, supervision: Supervision | None = None):
        super().__init__()
        self.supervision = supervision or Supervision()
        self.tokenizer = SemanticTokenizer(config)
        self.codebook = EMACodebook(self.tokenizer.codebook, config)
        self.position_in_token = nn.Parameter(torch.randn(ENCODER_FRAMES_PER_TOKEN, config.hidden_size) * 0.1)
        self.expand = nn.Linear(config.hidden_size, ENCODER_FRAMES_PER_TOKEN * config.hidden_size)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(2))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, CLASSES)
        self.decoder = None
        if self.supervision.decoder:
            self.decoder = AttentionDecoder(config, CLASSES, self.supervision.decoder_layers)

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

    def losses(
        self, batch: SpeechBatch, generator: torch.Generator | None, *, quantised: bool = True, restart: bool = True
    ) -> dict[str, Tensor]:
        """Return the losses of a batch, "loss" their weighted sum, and the codebook's statistics.

        Args:
            batch: utterances.
            generator: of restarted codes; None leaves the codebook as it is.
            quantised: False teaches everything from the vectors before the codebook.
            restart: dead codes may restart.
        """
        hidden = self.hidden(batch)
        valid = self.valid_tokens(batch, hidden.shape[1])
        tokens, named = self.codebook(hidden, valid, generator, restart=restart) if quantised else (hidden, {})
        weights = self.supervision
        loss = named.get("commit_loss", hidden.new_zeros(()))
        if weights.ctc:
            named["ctc"] = ctc_loss(self._recognise(tokens, batch), batch)
            loss = loss + weights.ctc * named["ctc"]
        if weights.unquantised_ctc and quantised:
            named["unquantised_ctc"] = ctc_loss(self._recognise(hidden, batch), batch)
            loss = loss + weights.unquantised_ctc * named["unquantised_ctc"]
        if self.decoder is not None:
            named["decoder"] = self.decoder.loss(batch.labels, batch.label_lengths, tokens, valid)
            loss = loss + weights.decoder * named["decoder"]
        return {"loss": loss, **named}

    @torch.no_grad()
    def codes(self, batch: SpeechBatch) -> Tensor:
        """Return the codes [M] of all tokens that hold sound."""
        hidden = self.hidden(batch)
        return self.tokenizer.quantise(hidden[self.valid_tokens(batch, hidden.shape[1])].float())

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
