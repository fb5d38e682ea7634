"""Several sentences in a row by one voice: ``python -m recipes.nano.joined FOLDER --of FOLDER … --count 1500``.

Nobody stops after every sentence, and a model that was never told two leaves out those that follow. The recordings are
those of other folders, put together; the folder that it writes is one as any other.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from recipes.nano.closed.splits import is_reserved
from recipes.nano.recording import Line, Spoken, record, recordings

FEWEST, MOST = 2, 5  # sentences
LONGEST_S = 13.0
PAUSES_S = (0.05, 0.6)
QUIET = 0.02  # of the peak


def in_rows(items: Sequence[Spoken], seed: int = 0) -> Mapping[Line, tuple[Spoken, ...]]:
    """Return recordings of one voice that follow each other, by all that is said; each recording is in one row at most.

    A row whose text is in the reserved tenth is left out.
    """
    generator = random.Random(f"joined {seed}")  # noqa: S311 (no secrets)
    by_voice: dict[tuple[str, ...], list[Spoken]] = defaultdict(list)
    for item in generator.sample(items, len(items)):
        by_voice[item.line.voices].append(item)
    rows = [row for spoken in by_voice.values() for row in _rows(spoken, generator)]
    generator.shuffle(rows)
    lines = {Line(" ".join(part.line.text for part in row), row[0].line.voices): row for row in rows}
    return {line: row for line, row in lines.items() if not is_reserved(normalise(line.text))}


def _rows(items: Sequence[Spoken], generator: random.Random) -> Iterator[tuple[Spoken, ...]]:
    row: list[Spoken] = []
    wanted = generator.randint(FEWEST, MOST)
    for item in items:
        if len(row) == wanted or sum(part.duration_s for part in (*row, item)) > LONGEST_S:
            if len(row) >= FEWEST:
                yield tuple(row)
            row, wanted = [], generator.randint(FEWEST, MOST)
        row.append(item)


def put_together(row: Sequence[Spoken], generator: random.Random) -> np.ndarray:
    """Return what is said in recordings, with pauses between: [L] at 16 kHz."""
    pieces: list[torch.Tensor] = []
    for part in row:
        wav = load_audio(part.audio, INPUT_RATE_HZ)
        loud = (wav.abs() > QUIET * wav.abs().max()).nonzero()[:, 0]  # synthesisers are silent around what they say
        pause_s = generator.uniform(*PAUSES_S) if pieces else 0.0
        pieces += [torch.zeros(round(pause_s * INPUT_RATE_HZ)), wav[loud[0] : loud[-1] + 1]]
    return torch.cat(pieces).numpy()


def main() -> None:
    """Write the folder, or go on where it stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the recordings go")
    parser.add_argument("--of", type=Path, nargs="+", required=True, help="folders of recordings of a sentence each")
    parser.add_argument("--seed", type=int, default=0, help="another one puts others together")
    parser.add_argument("--count", type=int, default=1000, help="recordings in all")
    options = parser.parse_args()
    rows = in_rows([item for folder in options.of for item in recordings(folder)], options.seed)

    def speak(line: Line) -> tuple[np.ndarray, int]:
        return put_together(rows[line], random.Random(line.text)), INPUT_RATE_HZ  # noqa: S311 (no secrets)

    record(iter(rows), speak, options.folder, options.count)


if __name__ == "__main__":
    main()
