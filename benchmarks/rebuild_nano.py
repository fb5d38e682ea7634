"""How long nano's training took, per component: ``python -m benchmarks.rebuild_nano runs/nano``.

Each run below the folder has a ``log.jsonl``, of which every row knows the seconds of its step. A row stands for all
steps since the one before; steps that were done again after a stop count once. Evaluations, checkpoints, and stages
without a training loop (speech engines, encoding) are not in it. The seconds are those of the machine as it was: other
work beside the training is in them. The last column is what the recipe's schedule from random weights would take at the
same pace.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kimi_audio.train.loop.journal import LOG
from kimi_audio.train.loop.schedule import LoopConfig
from recipes.nano.build import FROM_NOTHING


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


def from_nothing(cost: Cost) -> Cost:
    """Return what the component takes in the schedule from random weights, at the pace of a run; 0 for others."""
    schedule: LoopConfig | None = getattr(FROM_NOTHING, cost.component, None)
    steps = 0 if schedule is None else schedule.steps
    return Cost(cost.component, steps, steps * cost.training_s / max(cost.steps, 1))


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost("together", sum(cost.steps for cost in costs), sum(cost.training_s for cost in costs))


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs")
    try:
        costs = read_costs(parser.parse_args().runs)
    except ValueError as error:
        parser.error(str(error))
    whole = [from_nothing(cost) for cost in costs]
    table = Table("component", "steps", "s per step", "hours", "from nothing: steps", "hours")
    for cost, planned in zip((*costs, _sum(costs)), (*whole, _sum(whole)), strict=True):
        per_step = cost.training_s / max(cost.steps, 1)
        hours = [f"{part.training_s / 3600:.2f}" for part in (cost, planned)]
        table.add_row(cost.component, f"{cost.steps:,}", f"{per_step:.2f}", hours[0], f"{planned.steps:,}", hours[1])
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
