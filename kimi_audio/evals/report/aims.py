"""What a score is to reach, as the modules of tasks say. An error rate is to be that low, others that high.

An aim of a difference that is 0, such as a gain over chance, is met above it.
"""

from kimi_audio.evals.contract.types import Score
from kimi_audio.evals.registry import all_aims


def find_aim(task: str, score: Score) -> float | None:
    """Return what a score is to reach, None if nobody said."""
    return all_aims().get((task, score.subset, score.metric))


def is_met(score: Score, aim: float) -> bool:
    """Tell whether a score reaches its aim; one that is missing does not."""
    if score.value is None:
        return False
    if not score.higher_is_better:
        return score.value <= aim
    return score.value >= aim if aim else score.value > aim
