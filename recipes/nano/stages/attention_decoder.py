"""A small attention decoder that supervises the semantic tokenizer while it is trained, and is thrown away after.

CTC names sounds frame by frame, each for itself; a decoder that writes the whole pronunciation makes the codes carry
what tells apart words. GLM-4-Voice's tokenizer was trained with Whisper's decoder for the same end.

Shapes: B utterances, N tokens at 12.5 Hz, S phonemes and one mark, D channels, C phonemes and the mark.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.core.config import EncoderConfig
from kimi_audio.tokenizer.encoder import sinusoids

MARK = 0  # begins and ends a pronunciation; the phonemes follow, as behind the blank of CTC
MAX_LABELS = 1024
IGNORED = -100  # what cross entropy leaves out


class AttentionDecoder(nn.Module):
    """Write the labels of an utterance one after the other, looking at its tokens.

    Args:
        config: width, heads and feed-forward size.
        classes: labels and the mark.
        num_layers: of the decoder.
    """

    positions: Tensor

    def __init__(self, config: EncoderConfig, classes: int, num_layers: int):
        super().__init__()
        width = config.hidden_size
        self.embedding = nn.Embedding(classes, width)
        self.memory_norm = nn.LayerNorm(width)  # codes have any length
        self.register_buffer("positions", sinusoids(max(config.max_frames, MAX_LABELS), width), persistent=False)
        layer = nn.TransformerDecoderLayer(
            width, config.num_heads, config.ffn_size, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, num_layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, classes)

    def forward(self, labels: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """Return the logits [B, S, C] of what follows each label.

        Args:
            labels: [B, S], the first of each row the mark.
            tokens: quantised vectors [B, N, D].
            valid: [B, N], True for tokens that hold sound.
        """
        memory = self.memory_norm(tokens) + self.positions[: tokens.shape[1]]
        x = self.embedding(labels) + self.positions[: labels.shape[1]]
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        x = self.layers(x, memory, tgt_mask=later, memory_key_padding_mask=~valid)
        return self.head(x)

    def loss(self, labels: Tensor, lengths: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """Return the cross entropy [] per label, ends included.

        Args:
            labels: of all utterances, one behind the other.
            lengths: how many each has [B].
            tokens: as in ``forward``.
            valid: as in ``forward``.

        Raises:
            ValueError: an utterance has more labels than there are positions.
        """
        if int(lengths.max()) >= MAX_LABELS:
            raise ValueError(f"an utterance has {int(lengths.max())} phonemes; cut it below {MAX_LABELS}")
        rows = labels.split(lengths.tolist())
        mark = labels.new_full((1,), MARK)
        pad = nn.utils.rnn.pad_sequence
        known = pad([torch.cat([mark, row]) for row in rows], batch_first=True, padding_value=MARK)
        wanted = pad([torch.cat([row, mark]) for row in rows], batch_first=True, padding_value=IGNORED)
        return F.cross_entropy(self(known, tokens, valid).float().mT, wanted, ignore_index=IGNORED)
