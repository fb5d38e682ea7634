"""Codes and acoustic features of whole corpus splits, computed once and mapped from disk.

Shapes: N tokens of one utterance, D acoustic feature size.
"""

import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from kimi_audio.data.manifest import Split
from kimi_audio.sequence import AudioTokens
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.train.batches import BABBLE_POOL, Augment


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
        self.counts: list[int] = json.loads((folder / "tokens.json").read_text())  # tokens of every utterance
        if len(self.counts) != len(split):
            raise ValueError(
                f"{folder} holds the tokens of {len(self.counts)} utterances, but {split.folder} has {len(split)}; "
                "delete it to encode anew"
            )
        self.ends = np.cumsum(self.counts)
        self.codes = np.memmap(folder / "codes.i16", np.int16, mode="r")
        self.features = np.memmap(folder / "features.f16", np.float16, mode="r").reshape(len(self.codes), -1)

    def tokens(self, index: int) -> AudioTokens:
        """Return codes [N] and features [N, D] of one utterance."""
        rows = slice(self.ends[index] - self.counts[index], self.ends[index])
        return AudioTokens(
            torch.from_numpy(self.codes[rows].astype(np.int64)),
            torch.from_numpy(self.features[rows].astype(np.float32)),
        )


def encode_split(
    split: Split,
    semantic: SemanticTokenizer,
    acoustic: AcousticEncoder,
    folder: Path,
    augment: Augment | None = None,
    seed: int = 0,
) -> EncodedSplit:
    """Encode every utterance of a split, or open what an earlier run has encoded.

    Args:
        split: what to encode.
        semantic: gives the codes.
        acoustic: gives the features.
        folder: receives the codes and features; ``tokens.json`` is written last.
        augment: applied to every utterance first.
        seed: of the augmentation.
    """
    if not (folder / "tokens.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        counts = []
        with (folder / "codes.i16").open("wb") as codes, (folder / "features.f16").open("wb") as features:
            waves = [torch.from_numpy(split.samples(utterance)) for utterance in split.utterances[:BABBLE_POOL]]
            for index, utterance in enumerate(track(split.utterances, f"encoding {split.folder.name}")):
                wav = torch.from_numpy(split.samples(utterance))
                if augment is not None:
                    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
                    waves[index % BABBLE_POOL] = wav
                    wav = augment(wav, generator, waves)
                row = semantic.encode_wav(wav)
                codes.write(row.numpy().astype(np.int16).tobytes())
                with torch.autocast("cpu", torch.bfloat16):  # they are stored in half precision anyway
                    rows = acoustic.features(wav)
                features.write(rows.float().numpy().astype(np.float16).tobytes())
                counts.append(len(row))
        partial = folder / "tokens.json.partial"
        partial.write_text(json.dumps(counts))
        partial.replace(folder / "tokens.json")
    return EncodedSplit(split, folder)
