"""Build the nano model from nothing: ``python -m recipes.nano --out runs/nano``.

Every stage leaves its result under the output folder and is skipped, or resumed, when the command is given again. The
speech engines come from ``make speech-tools``.
"""

import argparse
import logging
from functools import partial
from pathlib import Path

import torch

from kimi_audio.config import EncoderConfig, SemanticConfig
from kimi_audio.data.augment import augment
from kimi_audio.train.batches import load_splits
from kimi_audio.train.encoders import load_acoustic_run, train_acoustic, train_semantic
from kimi_audio.train.loop import LoopConfig

SEED = 0
NUM_CODES = 1024

ACOUSTIC = EncoderConfig(
    num_mel_bins=80, hidden_size=256, num_layers=6, num_heads=4, ffn_size=1024, pad_windows=False
)
SEMANTIC = SemanticConfig(
    num_mel_bins=80,
    hidden_size=256,
    num_layers=6,
    num_heads=4,
    ffn_size=1024,
    num_used_layers=4,
    num_codes=NUM_CODES,
    block_frames=200,
)
# A short start on one clean voice, where the alignment of sound and letters is found soon; then everything.
ACOUSTIC_START = LoopConfig(steps=240, peak_lr=1.5e-3, final_lr=1.5e-3, checkpoint_every_steps=50)
ACOUSTIC_LOOP = LoopConfig(steps=1400, peak_lr=1.5e-3, final_lr=5e-5, warmup_steps=50, checkpoint_every_steps=50)
SEMANTIC_LOOP = LoopConfig(steps=500, peak_lr=8e-4, final_lr=5e-5, warmup_steps=50, checkpoint_every_steps=50)


def acoustic_start(corpus: Path, out: Path) -> None:
    """Find the alignment of sound and letters."""
    splits = load_splits(corpus, ["assistant"])
    train_acoustic(ACOUSTIC, ACOUSTIC_START, splits, [], out / "acoustic-start", seconds=60, augment=None)


def acoustic(corpus: Path, out: Path) -> None:
    """Train the acoustic encoder."""
    splits = load_splits(corpus, ["asr-", "questions-", "assistant"])
    held_out = load_splits(corpus, ["eval-asr-"])
    start = load_acoustic_run(ACOUSTIC, out / "acoustic-start")
    train_acoustic(ACOUSTIC, ACOUSTIC_LOOP, splits, held_out, out / "acoustic", 80, augment, start=start)


def semantic(corpus: Path, out: Path) -> None:
    """Train the semantic tokenizer."""
    splits = load_splits(corpus, ["asr-", "questions-", "assistant"])
    held_out = load_splits(corpus, ["eval-asr-"])
    start = load_acoustic_run(ACOUSTIC, out / "acoustic")
    train_semantic(SEMANTIC, start, SEMANTIC_LOOP, splits, held_out, out / "semantic", 80, augment)


STAGES = {"acoustic-start": acoustic_start, "acoustic": acoustic, "semantic": semantic}


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--stage", choices=STAGES, help="run this stage only")
    parser.add_argument("--threads", type=int, help="cores to use")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    for name, stage in STAGES.items():
        if arguments.stage in (None, name):
            partial(stage, arguments.corpus, arguments.out)()


if __name__ == "__main__":
    main()
