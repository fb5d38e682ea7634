"""Codes and acoustic features of whole corpus splits, computed once and mapped from disk.

Shapes: N tokens of one utterance, D acoustic feature size.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from kimi_audio.core.random import generator_of
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.data.split import Split
from kimi_audio.nn.precision import autocast
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from recipes.nano.stages.batches import BABBLE_POOL, Augment

INDEX = "tokens.json"


class EncodedSplit:
    """A split and the tokens of its utterances, as ``encode_split`` wrote them.

    Args:
        split: the utterances.
        folder: their codes and features.

    Raises:
        ValueError: the folder was written for another number of utterances.
    """

    def __init__(self, split: Split, folder: Path):
        self.split = split
        index = json.loads((folder / INDEX).read_text())
        self.counts: list[int] = index["tokens"]  # of every utterance
        self.spoken = frozenset(index["spoken"])  # utterances without features
        if len(self.counts) != len(split):
            raise ValueError(
                f"{folder} holds the tokens of {len(self.counts)} utterances, but {split.folder} has {len(split)}; "
                "delete it to encode anew"
            )
        rows = np.array([0 if number in self.spoken else count for number, count in enumerate(self.counts)])
        self._code_ends, self._feature_ends = np.cumsum(self.counts), np.cumsum(rows)
        self._codes = np.memmap(folder / "codes.i16", np.int16, mode="r")
        self._features = None
        if rows.any():
            self._features = np.memmap(folder / "features.f16", np.float16, mode="r").reshape(int(rows.sum()), -1)
        self._numbers = {utterance.id: number for number, utterance in enumerate(split.utterances)}

    def tokens(self, index: int, *, features: bool = True) -> AudioTokens:
        """Return codes [N] and, if wanted, features [N, D] of one utterance.

        Raises:
            ValueError: features are wanted of what only the assistant says.
        """
        count = self.counts[index]
        codes = torch.from_numpy(self._codes[self._code_ends[index] - count : self._code_ends[index]].astype(np.int64))
        if not features:
            return AudioTokens(codes)
        if self._features is None or index in self.spoken:
            raise ValueError(f"{self.split.utterances[index].id} was encoded as the assistant's speech, not as heard")
        end = self._feature_ends[index]
        return AudioTokens(codes, torch.from_numpy(self._features[end - count : end].astype(np.float32)))

    def recording(self, index: int) -> "Recording":
        """Return one utterance as the content of a message."""
        return Recording(self, index)

    def find(self, utterance_id: str) -> "Recording":
        """Return the utterance with this id as the content of a message."""
        return Recording(self, self._numbers[utterance_id])


@dataclass(frozen=True)
class Recording:
    """An utterance of an encoded split; its tokens are read when they are needed, because features are large."""

    encoded: EncodedSplit
    index: int

    def __len__(self) -> int:
        return self.encoded.counts[self.index]

    def heard(self) -> AudioTokens:
        """Return codes and features."""
        return self.encoded.tokens(self.index)

    def spoken(self) -> AudioTokens:
        """Return codes alone."""
        return self.encoded.tokens(self.index, features=False)


def encode_split(
    split: Split,
    semantic: SemanticTokenizer,
    acoustic: AcousticEncoder,
    folder: Path,
    augment: Augment | None = None,
    seed: int = 0,
    spoken: Collection[str] = (),
) -> EncodedSplit:
    """Encode every utterance of a split, or open what an earlier run has encoded.

    Args:
        split: what to encode.
        semantic: gives the codes.
        acoustic: gives the features.
        folder: receives the codes and features; the index is written last.
        augment: applied first to every utterance that is heard.
        seed: of the augmentation.
        spoken: ids of what the assistant says: it gets codes alone and is not augmented.
    """
    if not (folder / INDEX).exists():
        folder.mkdir(parents=True, exist_ok=True)
        without = [number for number, utterance in enumerate(split.utterances) if utterance.id in spoken]
        counts = []
        with (folder / "codes.i16").open("wb") as codes, (folder / "features.f16").open("wb") as features:
            waves = [torch.from_numpy(split.samples(utterance)) for utterance in split.utterances[:BABBLE_POOL]]
            for index, utterance in enumerate(track(split.utterances, f"encoding {split.folder.name}")):
                wav, is_heard = torch.from_numpy(split.samples(utterance)), utterance.id not in spoken
                if augment is not None and is_heard:
                    generator = generator_of(seed, index)
                    waves[index % BABBLE_POOL] = wav
                    wav = augment(wav, generator, waves)
                row = semantic.encode_wav(wav)
                codes.write(row.numpy().astype(np.int16).tobytes())
                if is_heard:
                    with autocast(wav.device):  # they are stored in half precision anyway
                        rows = acoustic.features(wav)
                    features.write(rows.float().numpy().astype(np.float16).tobytes())
                counts.append(len(row))
        partial = folder / (INDEX + ".partial")
        partial.write_text(json.dumps({"tokens": counts, "spoken": without}))
        partial.replace(folder / INDEX)
    return EncodedSplit(split, folder)
