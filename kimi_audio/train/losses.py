"""The training loss of the audio LLM: one masked cross-entropy per row, added."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kimi_audio.core.sequence import Batch, heard_spans
from kimi_audio.lm.model import AudioLM

_EPS = 1e-4  # of the official denominator: a row without loss gives 0, not a division by zero
_CHUNK_POSITIONS = 2048  # scores of so many positions are in memory at once: 1.4 GB at the released vocabulary


@dataclass(frozen=True)
class RowLoss:
    """The cross-entropy of one row, summed, and the number of ids in it."""

    total: Tensor  # [] float32
    count: Tensor  # [] int64

    @property
    def mean(self) -> Tensor:
        """The official mean."""
        return self.total / (self.count + _EPS)


@dataclass(frozen=True)
class LMLoss:
    """The losses of both rows, and what else teaches the model to hear."""

    text: RowLoss
    audio: RowLoss
    heard: RowLoss | None = None  # see ``heard_loss``

    @property
    def mean(self) -> Tensor:
        """The official loss: the sum of the means of the two rows."""
        return self.text.mean + self.audio.mean


def lm_loss(
    model: AudioLM,
    batch: Batch,
    seen: Batch | None = None,
    *,
    text_smoothing: float = 0.0,
    blank_id: int | None = None,
) -> LMLoss:
    """Return the losses of a batch; scores, and the audio branch, are computed only where there is a loss.

    Args:
        model: learns.
        batch: what it is to predict.
        seen: what it sees of that, see ``hiding``; by default everything.
        text_smoothing: share of the probability of each text id that all others are to have.
        blank_id: of the text row; with it, ``heard_loss`` is added.
    """
    spoken = batch.audio_loss.any(1)
    spoken[0] |= ~spoken.any()  # sharded training needs the branch in every graph
    rows = spoken.nonzero()[:, 0]
    hidden = model.model(batch if seen is None else seen, audio_rows=rows)
    assert hidden.text is not None
    assert hidden.audio is not None
    return LMLoss(
        text=row_loss(hidden.text, model.lm_head, batch.text_ids, batch.text_loss, text_smoothing),
        audio=row_loss(hidden.audio, model.mimo_output, batch.audio_ids[rows], batch.audio_loss[rows]),
        heard=None if blank_id is None else heard_loss(hidden.text, model.lm_head, batch, blank_id),
    )


def heard_loss(hidden: Tensor, head: nn.Module, batch: Batch, blank_id: int) -> RowLoss:
    """Return the CTC loss of the transcripts of what is heard, and the number of their ids.

    While it hears, the model is to write along in its text row, with blanks in between. Nothing of that is fed back to
    it; a small model finds out sooner, and new encoders are connected sooner, where sounds end and words begin.

    Args:
        hidden: [B, T, hidden], the states below the head of the text.
        head: hidden states to scores.
        batch: whose audios with features have ``transcripts``, some or all of them.
        blank_id: of the text row.
    """
    states = hidden[batch.is_continuous]  # [M, hidden]
    pairs = [
        (states[start : start + length], ids)
        for (start, length), ids in zip(heard_spans(batch), batch.transcripts, strict=True)
        if ids is not None and len(ids)
    ]
    if not pairs:
        return RowLoss(hidden.sum() * 0.0, torch.zeros((), dtype=torch.long, device=hidden.device))
    padded = nn.utils.rnn.pad_sequence([heard for heard, _ in pairs])  # [N, R, hidden]
    labels = torch.cat([ids for _, ids in pairs]).to(hidden.device)
    total = F.ctc_loss(
        head(padded).float().log_softmax(-1),
        labels,
        torch.tensor([len(heard) for heard, _ in pairs]),
        torch.tensor([len(ids) for _, ids in pairs]),
        blank=blank_id,
        reduction="sum",
        zero_infinity=True,  # words spoken faster than there are tokens teach nothing
    )
    return RowLoss(total, torch.tensor(len(labels), device=hidden.device))


def row_loss(hidden: Tensor, head: nn.Module, ids: Tensor, mask: Tensor, smoothing: float = 0.0) -> RowLoss:
    """Return the cross-entropy of the masked ids, each predicted from the position before it.

    Args:
        hidden: [B, T, hidden], the states below the head.
        head: hidden states to scores.
        ids: [B, T].
        mask: [B, T] bool, the ids to be predicted.
        smoothing: share of the probability of each id that all others are to have.
    """
    mask = mask[:, 1:]
    states, labels = hidden[:, :-1][mask], ids[:, 1:][mask]
    total = hidden.new_zeros((), dtype=torch.float32)
    chunks = list(zip(states.split(_CHUNK_POSITIONS), labels.split(_CHUNK_POSITIONS), strict=True))
    for state, label in chunks:
        if len(chunks) == 1:
            total = total + _cross_entropy(head, state, label, smoothing)
        else:  # do not keep every chunk's scores for the backward pass
            total = total + checkpoint(_cross_entropy, head, state, label, smoothing, use_reentrant=False)
    return RowLoss(total, mask.sum())


def _cross_entropy(head: nn.Module, states: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    return F.cross_entropy(head(states).float(), labels, reduction="sum", label_smoothing=smoothing)
