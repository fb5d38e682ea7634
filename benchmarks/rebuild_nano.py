"""How long nano's training took, per component: ``python -m benchmarks.rebuild_nano runs/nano``.

Each run below the folder has a ``log.jsonl``, of which every row knows the seconds of its step. A row stands for all
steps since the one before; steps that were done again after a stop count once. Evaluations, checkpoints, and stages
without a training loop (speech engines, encoding) are not in it. The seconds are those of the machine as it was: other
work beside the training is in them.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kimi_audio.train.journal import LOG


@dataclass(frozen=True)
class Cost:
    """What one component took."""

    component: str
    steps: int
    training_s: float


def read_costs(runs: Path) -> list[Cost]:
    """Return the cost of every run below a folder, by name.

    Raises:
        ValueError: there is no run, or a log cannot be read.
    """
    logs = sorted(runs.rglob(LOG))
    if not logs:
        raise ValueError(f"there is no {LOG} below {runs}; give the folder of runs")
    return [_cost(str(path.parent.relative_to(runs)), path) for path in logs]


def _cost(component: str, path: Path) -> Cost:
    step_s: dict[int, float] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            step_s[int(row["step"])] = float(row["step_s"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            raise ValueError(f"{path}, line {number}: not a row with step and step_s") from None
    steps = sorted(step_s)
    training_s = sum((step - before) * step_s[step] for before, step in zip([0, *steps], steps, strict=False))
    return Cost(component, steps[-1] if steps else 0, training_s)


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    try:
        costs = read_costs(parser.parse_args().runs)
    except ValueError as error:
        parser.error(str(error))
    table = Table("component", "steps", "s per step", "hours")
    for cost in (*costs, Cost("together", sum(c.steps for c in costs), sum(c.training_s for c in costs))):
        per_step = cost.training_s / max(cost.steps, 1)
        table.add_row(cost.component, f"{cost.steps:,}", f"{per_step:.2f}", f"{cost.training_s / 3600:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
