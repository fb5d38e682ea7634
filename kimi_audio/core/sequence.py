"""The data format of the audio LLM: two parallel rows of ids, and acoustic features at some positions.

Shapes: B batch, T positions, N codes of one audio, M continuous positions of a batch, D acoustic feature
size.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class AudioTokens:
    """One audio in the model's terms: semantic codes, and acoustic features aligned with them one to one."""

    codes: Tensor  # [N] int64, from 0
    features: Tensor | None = None  # [N, D]; None where only the discrete codes are wanted

    def __post_init__(self) -> None:
        if self.codes.ndim != 1 or self.codes.is_floating_point():
            raise ValueError(f"audio codes must be one row of integers, not {tuple(self.codes.shape)}")
        if self.features is not None and self.features.shape[:1] != self.codes.shape:
            raise ValueError(f"{len(self.codes)} codes come with {len(self.features)} rows of features")


@dataclass(frozen=True)
class Sequence:
    """What the audio LLM reads: an audio id and a text id at every position.

    At continuous positions a row of acoustic features is added to the audio embedding. A loss mask marks the
    ids of its row that the model learns to predict (before the shift by one).
    """

    audio_ids: Tensor  # [T] int64
    text_ids: Tensor  # [T] int64
    is_continuous: Tensor  # [T] bool
    features: tuple[
        Tensor, ...
    ] = ()  # one [N, D] per audio that is heard; together as many rows as continuous positions
    transcripts: tuple[Tensor | None, ...] = ()  # text ids of what is said in each of those audios, where it is known
    audio_loss: Tensor | None = None  # [T] bool; None means no loss anywhere
    text_loss: Tensor | None = None  # [T] bool

    def __len__(self) -> int:
        return len(self.audio_ids)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move everything to ``device`` and the features to ``dtype``."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved, features=tuple(block.to(device, dtype) for block in self.features))


def concatenate(parts: Iterable[Sequence]) -> Sequence:
    """Join sequences one after the other; at least one."""
    parts = list(parts)
    return Sequence(
        torch.cat([part.audio_ids for part in parts]),
        torch.cat([part.text_ids for part in parts]),
        torch.cat([part.is_continuous for part in parts]),
        tuple(block for part in parts for block in part.features),
        tuple(ids for part in parts for ids in part.transcripts or [None] * len(part.features)),
        torch.cat([_mask(part.audio_loss, part) for part in parts]),
        torch.cat([_mask(part.text_loss, part) for part in parts]),
    )


def _mask(mask: Tensor | None, sequence: Sequence) -> Tensor:
    return torch.zeros_like(sequence.is_continuous) if mask is None else mask


@dataclass
class SequenceBuilder:
    """Writes the two rows piece by piece; the shorter side of a piece is filled up with blanks."""

    blank_id: int
    _audio: list[int] = field(default_factory=list)
    _text: list[int] = field(default_factory=list)
    _continuous: list[bool] = field(default_factory=list)
    _features: list[Tensor] = field(default_factory=list)
    _transcripts: list[Tensor | None] = field(default_factory=list)
    _audio_loss: list[bool] = field(default_factory=list)
    _text_loss: list[bool] = field(default_factory=list)

    def add(
        self,
        audio: Iterable[int] = (),
        text: Iterable[int] = (),
        *,
        features: Tensor | None = None,
        transcript: Iterable[int] | None = None,
        audio_loss: bool = False,
        text_loss: bool = False,
    ) -> Self:
        """Append ids to both rows. A loss covers the given ids, not the blanks that fill up.

        Args:
            audio: ids of the audio row.
            text: ids of the text row.
            features: [len(audio), D]; makes these positions continuous.
            transcript: text ids of what is said in an audio with features, if it is known.
            audio_loss: predict the given audio ids.
            text_loss: predict the given text ids.
        """
        audio, text = list(audio), list(text)
        length = max(len(audio), len(text))
        self._audio += audio + [self.blank_id] * (length - len(audio))
        self._text += text + [self.blank_id] * (length - len(text))
        self._audio_loss += [audio_loss] * len(audio) + [False] * (length - len(audio))
        self._text_loss += [text_loss] * len(text) + [False] * (length - len(text))
        self._continuous += [features is not None] * length
        if features is not None:
            if not len(features) == len(audio) == length:
                raise ValueError(f"{len(features)} rows of features for {length} positions")
            self._features.append(features)
            self._transcripts.append(None if transcript is None else torch.tensor(list(transcript), dtype=torch.long))
        return self

    def build(self) -> Sequence:
        """Return the sequence written so far."""
        # By way of numpy, which reads lists four times as fast as torch.
        return Sequence(
            torch.from_numpy(np.array(self._audio, np.int64)),
            torch.from_numpy(np.array(self._text, np.int64)),
            torch.from_numpy(np.array(self._continuous, np.bool_)),
            tuple(self._features),
            tuple(self._transcripts),
            torch.from_numpy(np.array(self._audio_loss, np.bool_)),
            torch.from_numpy(np.array(self._text_loss, np.bool_)),
        )


@dataclass(frozen=True)
class Inputs:
    """What one forward pass of the audio LLM reads."""

    audio_ids: Tensor  # [B, T] int64
    text_ids: Tensor  # [B, T] int64
    is_continuous: Tensor  # [B, T] bool
    features: Tensor | None  # [M, D], rows in the order of the continuous positions, batch row after batch row
    positions: Tensor  # [B, T] int64, restarting with every sequence
    attention_mask: Tensor | None = None  # [B, 1, T, T] bool, True = may attend; None = causal


@dataclass(frozen=True, kw_only=True)
class Batch(Inputs):
    """Sequences side by side, filled up on the right.

    Causal attention keeps real positions from seeing the filling behind them, so no mask is needed unless a row
    packs several sequences.
    """

    lengths: Tensor  # [B] int64
    audio_loss: Tensor  # [B, T] bool
    text_loss: Tensor  # [B, T] bool
    transcripts: tuple[Tensor | None, ...] = ()  # of the audios with features, in their order, on the CPU

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move everything to ``device`` and the features to ``dtype``."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        if self.features is not None:
            moved["features"] = self.features.to(device, dtype)
        return replace(self, **moved)


def heard_spans(batch: Inputs) -> list[tuple[int, int]]:
    """Return where the audios with features begin among the continuous positions of a batch, and how long they are."""
    places = batch.is_continuous.nonzero()  # [M, 2]
    if not len(places):
        return []
    # Between two audios there is a mark at least, so the second does not begin at the next position.
    begins = (places[1:] - places[:-1] != torch.tensor([0, 1], device=places.device)).any(1)
    starts = [0, *(begins.nonzero()[:, 0] + 1).tolist()]
    return [(start, end - start) for start, end in zip(starts, [*starts[1:], len(places)], strict=True)]


def collate(sequences: Iterable[Sequence], pad_id: int) -> Batch:
    """Put sequences side by side, one per row, filled up with ``pad_id`` on the right."""
    return pack([[sequence] for sequence in sequences], pad_id)


def pack(rows: list[list[Sequence]], pad_id: int, length: int | None = None) -> Batch:
    """Put several sequences into each row, none attending to another.

    Args:
        rows: the sequences of every row.
        pad_id: fills the rows up on the right.
        length: positions of every row, for static shapes; by default those of the longest row.
    """
    joined = [concatenate(row) for row in rows]
    longest = max(len(row) for row in joined)
    length = longest if length is None else length
    if longest > length:
        raise ValueError(f"a row of {longest} positions does not fit into {length}")

    def fill(values: list[Tensor], value: int | bool) -> Tensor:
        return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=value) for row in values])

    # Filling continues the count of a row's last sequence.
    positions, segments = [], []
    for row in rows:
        sizes = [len(sequence) for sequence in row]
        sizes[-1] += length - sum(sizes)
        positions.append(torch.cat([torch.arange(size) for size in sizes]))
        segments.append(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)))
    mask = None
    if any(len(row) > 1 for row in rows):
        segment = torch.stack(segments)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        mask = ((segment[:, :, None] == segment[:, None, :]) & causal)[:, None]
    position = torch.stack(positions)
    blocks = [block for row in joined for block in row.features]
    return Batch(
        audio_ids=fill([row.audio_ids for row in joined], pad_id),
        text_ids=fill([row.text_ids for row in joined], pad_id),
        is_continuous=fill([row.is_continuous for row in joined], False),
        features=torch.cat(blocks) if blocks else None,
        transcripts=tuple(ids for row in joined for ids in row.transcripts),
        positions=position,
        attention_mask=mask,
        lengths=torch.tensor([len(row) for row in joined]),
        # Nothing precedes the first id of a sequence, so nothing can predict it.
        audio_loss=fill([_mask(row.audio_loss, row) for row in joined], False) & (position > 0),
        text_loss=fill([_mask(row.text_loss, row) for row in joined], False) & (position > 0),
    )
