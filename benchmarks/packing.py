"""What packing is worth: training tokens per second and memory, ``python -m benchmarks.packing``.

The same random documents are learned one by one, filled up in groups of similar length, and packed, by a model of the
size of nano's LLM with AdamW and, where the CPU computes in it, bf16 autocast. Their lengths are distributed as those
of nano's own samples, of which a third of the positions is heard, 24 % have a loss on codes and 20 % on text. Tokens
are positions of documents; what fills up does not count. The ways take turns, so that other work on the machine slows
all of them down alike: look at the ratios, and at those of CPU time if the machine is busy.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

import kimi_audio
from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Batch, Sequence, SequenceBuilder, collate
from kimi_audio.data.mixture import Mixture, Source
from kimi_audio.data.packing import bucket
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.precision import autocast, computes_bf16
from kimi_audio.train.losses import lm_loss

# Positions of nano's samples: the shortest, some percentiles, the longest.
PERCENTILES = (0, 5, 10, 25, 50, 75, 90, 95, 100)
POSITIONS = (25, 37, 40, 47, 57, 66, 73, 79, 106)
HEARD, CODES, TEXT = 1 / 3, 0.24, 0.20
DOCUMENTS = 500
BATCH_POSITIONS = 2048
ALONE_AT_ONCE = 16  # updates of one document between the turns of the others


@dataclass(frozen=True)
class Way:
    """One way to make batches."""

    name: str
    batches: Callable[[list[Sequence], LMConfig], Iterator[Batch]]
    updates: int = 1  # per turn


def documents(config: LMConfig, seed: int = 0) -> list[Sequence]:
    """Return random documents: sound, what nobody learns, and speech beside its text."""
    generator = np.random.default_rng(seed)
    lengths = np.interp(generator.uniform(0, 100, DOCUMENTS), PERCENTILES, POSITIONS).round().astype(int)
    return [_document(int(length), config, generator) for length in lengths]


def _document(length: int, config: LMConfig, generator: np.random.Generator) -> Sequence:
    heard, spoken, written = (round(length * share) for share in (HEARD, CODES, TEXT))

    def ids(count: int, first: int, end: int) -> list[int]:
        return generator.integers(first, end, count).tolist()

    text_end = config.audio_offset
    features = torch.from_numpy(generator.normal(size=(heard, config.adaptor_input_size)).astype(np.float32))
    rows = SequenceBuilder(config.pad_id)
    rows.add(ids(heard, text_end, config.vocab_size), features=features)
    rows.add(text=ids(length - heard - spoken, 0, text_end))
    rows.add(ids(spoken, text_end, config.vocab_size), ids(written, 0, text_end), audio_loss=True, text_loss=True)
    return rows.build()


def alone(sequences: list[Sequence], config: LMConfig) -> Iterator[Batch]:
    """Yield one document after the other."""
    return (collate([sequence], config.pad_id) for sequence in cycle(sequences))


def grouped(sequences: list[Sequence], config: LMConfig) -> Iterator[Batch]:
    """Yield groups of similar length, filled up."""
    lengths = [len(sequence) for sequence in sequences]
    groups = bucket(lengths, BATCH_POSITIONS, np.random.default_rng(0), ordered=False)
    return (collate([sequences[index] for index in group], config.pad_id) for group in cycle(groups))


def packed(row_positions: int) -> Callable[[list[Sequence], LMConfig], Iterator[Batch]]:
    """Return what yields packed rows of one length."""

    def batches(sequences: list[Sequence], config: LMConfig) -> Iterator[Batch]:
        source = Source("documents", [len(s) for s in sequences], lambda index, _: sequences[index], 1.0)
        rows = BATCH_POSITIONS // row_positions
        mixture = Mixture([source], row_positions=row_positions, rows=rows, pad_id=config.pad_id, seed=0)
        return (mixture(step) for step in range(sys.maxsize))

    return batches


WAYS = (
    Way("one document", alone, ALONE_AT_ONCE),
    Way("groups of similar length", grouped),
    Way("packed rows of 256", packed(256)),
    Way("packed rows of 512", packed(512)),
)


class Trainer:
    """A model, its optimiser and its batches."""

    def __init__(self, way: Way, sequences: list[Sequence], config: LMConfig):
        self.way, self.batches = way, way.batches(sequences, config)
        self.model = AudioLM(config)
        self.model.reset_parameters(torch.Generator().manual_seed(0))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.tokens = self.positions = self.updates = 0
        self.wall_s = self.cpu_s = 0.0

    def update(self) -> None:
        """Make one update and count it."""
        batch = next(self.batches)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        with autocast("cpu"):
            loss = lm_loss(self.model, batch).mean
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.wall_s += time.perf_counter() - wall_s
        self.cpu_s += time.process_time() - cpu_s
        self.tokens += int(batch.lengths.sum())
        self.positions += batch.audio_ids.numel()
        self.updates += 1

    def forget_counts(self) -> None:
        """Count from here."""
        self.tokens = self.positions = self.updates = 0
        self.wall_s = self.cpu_s = 0.0


def peak_mib(number: int, config: LMConfig) -> float:
    """Return what model, optimiser and two updates need at most, above the data."""
    sequences = documents(config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trainer = Trainer(WAYS[number], sequences, config)
    for _ in range(2):
        trainer.update()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5, help="of every way")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = LMConfig.from_dict(json.loads((Path(kimi_audio.__file__).parent / "nano" / "config.json").read_text()))
    # A process of its own for every way: freed memory stays with a process. Forked before anything is computed.
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        tasks = [pool.apply_async(peak_mib, (number, config)) for number in range(len(WAYS))]
        memory = [task.get() for task in track(tasks, "memory")]
    sequences = documents(config)
    trainers = [Trainer(way, sequences, config) for way in WAYS]
    for trainer in trainers:
        trainer.update()
        trainer.forget_counts()
    for _ in track(range(arguments.turns), "speed"):
        for trainer in trainers:
            for _ in range(trainer.way.updates):
                trainer.update()
    report(trainers, memory, arguments.threads)


def report(trainers: list[Trainer], memory_mib: list[float], threads: int) -> None:
    """Print the table and what it was measured on."""
    table = Table("an update learns", "tokens", "filled", "tokens/s", "ratio", "CPU ms/token", "ratio", "peak MiB")
    first = trainers[0]
    for trainer, mib in zip(trainers, memory_mib, strict=True):
        speed, cost = trainer.tokens / trainer.wall_s, trainer.cpu_s / trainer.tokens
        table.add_row(
            trainer.way.name,
            f"{trainer.tokens / trainer.updates:.0f}",
            f"{trainer.tokens / trainer.positions:.1%}",
            f"{speed:.0f}",
            f"{speed * first.wall_s / first.tokens:.2f}",
            f"{1000 * cost:.2f}",
            f"{first.cpu_s / first.tokens / cost:.2f}",
            f"{mib:.0f}",
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"python -m benchmarks.packing {shlex.join(sys.argv[1:])}")
    load = os.getloadavg()[0]
    precision = "bf16" if computes_bf16("cpu") else "float32"
    console.print(
        f"{os.cpu_count()} cores (load {load:.1f}), {threads} threads, {precision}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
