"""Scores from verdicts, beside those of rules where there are any."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any, Self

from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.types import Metric, Prediction, Sample, SampleScore, Scorer
from kimi_audio.evals.judges.prompts import JudgePrompt, read_prompts
from kimi_audio.evals.judges.stand_in import ALTERNATIVES
from kimi_audio.evals.judges.types import Judge, Verdict
from kimi_audio.evals.run.engines import one_line

NO_JUDGE = "only a judge can score this, and none was chosen: score again with --judge"


@dataclass(frozen=True)
class Judged:
    """Rates each answer by a judge, several at once; the judge's metric comes first.

    Without a judge the rules score alone, if there are rules; else all answers are left unscored. An empty answer gets
    the lowest value without being shown. The question is ``meta["question"]``, or the written one.
    """

    prompt: str  # name among those of the judge
    metric: Metric
    rules: Scorer | None = None
    judge: Judge | None = None

    def equip(self, instruments: Instruments) -> Self:
        """Return the scorer with the chosen judge."""
        return replace(self, judge=instruments.judge or self.judge)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The judge's, unless there are only rules, and those of the rules."""
        rules = self.rules.metrics if self.rules else ()
        return (self.metric, *rules) if self.judge or not rules else rules

    @property
    def versions(self) -> Mapping[str, str]:
        """What the numbers depend on."""
        judge = self.judge.version(self._told(self.judge)) if self.judge else "none"
        return {**(self.rules.versions if self.rules else {}), "judge": judge}

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the lowest value of the judge, and the worst of the rules."""
        values = self.rules.worst(sample) if self.rules else {}
        return {**values, self.metric.name: (self._lowest(), 1)} if self.metric in self.metrics else values

    def score(self, pairs: Sequence[tuple[Sample, Prediction]]) -> Iterator[SampleScore]:
        """Yield scores as verdicts come in."""
        judge = self.judge
        if judge is None:
            yield from self.rules.score(pairs) if self.rules else self._unscored(pairs)
            return
        with ThreadPoolExecutor(judge.concurrency, thread_name_prefix="judge") as pool:
            waiting = [pool.submit(self._score_one, judge, *pair) for pair in pairs]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _unscored(self, pairs: Sequence[tuple[Sample, Prediction]]) -> Iterator[SampleScore]:
        for sample, _ in pairs:
            yield SampleScore(sample.id, error=NO_JUDGE)

    def _score_one(self, judge: Judge, sample: Sample, prediction: Prediction) -> SampleScore:
        by_rules = SampleScore(sample.id)
        try:
            by_rules = next(iter(self.rules.score([(sample, prediction)]))) if self.rules else by_rules
            verdict = self._verdict(judge, sample, prediction)
        except Exception as error:  # noqa: BLE001 - one strange reply must not cost the others their scores
            return replace(by_rules, error=one_line(error))  # what the rules say stays
        if by_rules.error:
            return by_rules
        details = {"judge": {"value": verdict.value, "replies": verdict.replies, "unread": verdict.unread}}
        values = {**by_rules.values, self.metric.name: (verdict.value, 1)}
        return SampleScore(sample.id, values, {**by_rules.details, **details})

    def _verdict(self, judge: Judge, sample: Sample, prediction: Prediction) -> Verdict:
        prompt = self._told(judge)
        spoken = prediction.speech
        if spoken is None if prompt.hears else not prediction.text.strip():
            return Verdict(self._lowest(), ("not asked: the answer is empty",))
        return judge.rate(prompt, fields_of(sample, prediction), () if spoken is None else (spoken,))

    def _told(self, judge: Judge) -> JudgePrompt:
        return judge.prompts[self.prompt]

    def _lowest(self) -> float:
        """Return the lowest value of the scale; of ours, if there is no judge to ask."""
        return lowest(self._told(self.judge) if self.judge else read_prompts()[self.prompt])


def lowest(prompt: JudgePrompt) -> float:
    """Return the value of the worst answer."""
    return min(prompt.labels.values(), default=prompt.low)


def fields_of(sample: Sample, prediction: Prediction) -> dict[str, str]:
    """Return what a judge is shown: question, reference, answer, and what else the sample holds."""
    reference = sample.reference if isinstance(sample.reference, str) else ALTERNATIVES.join(sample.reference)
    known = {name: str(value) for name, value in sample.meta.items()}
    return {"question": sample.text, **known, "reference": reference, "answer": prediction.text}
