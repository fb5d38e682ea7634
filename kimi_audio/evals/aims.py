"""What a score is to reach, as data: ``aims.json`` beside this file. An error rate is to be that low, others that high.

An aim of a difference that is 0, such as a gain over chance, is met above it.
"""

import json
from functools import cache
from pathlib import Path

from kimi_audio.evals.types import Score


@cache
def aims() -> dict[tuple[str, str, str], float]:
    """Return the aims by task, subset and metric."""
    document = json.loads((Path(__file__).parent / "aims.json").read_text("utf-8"))
    return {(row["task"], row["subset"], row["metric"]): float(row["value"]) for row in document["rows"]}


def find_aim(task: str, score: Score) -> float | None:
    """Return what a score is to reach, None if nobody said."""
    return aims().get((task, score.subset, score.metric))


def is_met(score: Score, aim: float) -> bool:
    """Tell whether a score reaches its aim; one that is missing does not."""
    if score.value is None:
        return False
    if not score.higher_is_better:
        return score.value <= aim
    return score.value >= aim if aim else score.value > aim
