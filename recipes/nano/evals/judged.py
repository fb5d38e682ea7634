"""Answers that name the right thing: the rules of the generators that asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kimi_audio.evals.contract.types import EvalSample, Metric, Prediction, SampleScore, Scorer
from recipes.nano.closed.judging import is_right, judge_caption
from recipes.nano.closed.qa import find_item
from recipes.nano.closed.qa import is_right as is_answer_right


@dataclass(frozen=True)
class Asked:
    """What ``judging`` needs of an example."""

    task: str
    kind: str
    key: str
    essential: tuple[str, ...]

    @classmethod
    def of(cls, sample: EvalSample) -> "Asked":
        """Return the example that a sample was made of."""
        meta = sample.meta
        return cls(meta["task"], meta["kind"], meta["key"], tuple(meta["essential"]))


class RightAnswers(Scorer):
    """Share of questions whose answer names the right thing and no other."""

    metrics = (Metric("right"),)
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return whether the answer is right."""
        right = is_answer_right(find_item(sample.meta["key"]), prediction.text)
        return SampleScore(sample.id, {"right": (float(right), 1)})


class RightReplies(Scorer):
    """Share of the replies to examples of a task that are right."""

    metrics = (Metric("right"),)
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return whether the reply is right."""
        right = is_right(Asked.of(sample), prediction.text)
        return SampleScore(sample.id, {"right": (float(right), 1)}, {"kind": sample.meta["kind"]})


class Captions(Scorer):
    """Share of the sounds that captions name, of captions that invent none, and of those with all sounds in order."""

    metrics = (Metric("named"), Metric("none-invented"), Metric("all-in-order"))
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return what one caption names."""
        score = judge_caption(Asked.of(sample), prediction.text)
        values: dict[str, Any] = {"named": (score.named, score.total), "none-invented": (float(not score.invented), 1)}
        return SampleScore(sample.id, {**values, "all-in-order": (float(score.in_order), 1)})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of a caption with none of the sounds and another one."""
        silent = judge_caption(Asked.of(sample), "")
        return {"named": (0, silent.total), "none-invented": (0, 1), "all-in-order": (0, 1)}
