"""Scores from verdicts, beside those of rules where there are any."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kimi_audio.evals.contract.instruments import Instruments, Judge, Verdict
from kimi_audio.evals.contract.keys import one_line
from kimi_audio.evals.contract.types import EvalSample, Metric, Prediction, SampleScore, Scorer
from kimi_audio.evals.judges.prompts import own_prompts
from kimi_audio.evals.judges.stand_in import ALTERNATIVES

NO_JUDGE = "only a judge can score this, and none was chosen: score again with --judge"


class JudgedAnswers(Scorer):
    """Rates each answer by a judge, several at once; the judge's metric comes first.

    Without a judge the rules score alone, if there are rules; else all answers are left unscored. An empty answer gets
    the lowest value without being shown. The question is ``meta["question"]``, or the written one.

    Args:
        prompt: name among those of the judge.
        metric: what the judge's numbers are called.
        beside: scores the same answers by rules.
        judge: who is asked.
    """

    def __init__(self, prompt: str, metric: Metric, beside: Scorer | None = None, judge: Judge | None = None) -> None:
        self.prompt, self.metric, self.beside, self.judge = prompt, metric, beside, judge
        by_rules = beside.metrics if beside else ()
        self.metrics = (metric, *by_rules) if judge or not by_rules else by_rules
        self.told = (judge.prompts if judge else own_prompts())[prompt]
        self.at_once = judge.concurrency if judge else 1

    def equip(self, instruments: Instruments) -> "JudgedAnswers":
        """Return the scorer with the chosen judge."""
        return JudgedAnswers(self.prompt, self.metric, self.beside, instruments.judge or self.judge)

    def versions(self) -> Mapping[str, str]:
        """Return what the numbers depend on."""
        judge = self.judge.version(self.told) if self.judge else "none"
        return {**(self.beside.versions() if self.beside else {}), "judge": judge}

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the lowest value of the judge, and the worst of the rules."""
        values = self.beside.worst(sample) if self.beside else {}
        return {**values, self.metric.name: (self.told.lowest, 1)} if self.metric in self.metrics else values

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return what the rules and the judge say; what one of them says stays if the other says nothing."""
        by_rules = self.beside.score_safely(sample, prediction) if self.beside else SampleScore(sample.id)
        if self.judge is None:
            return by_rules if self.beside else replace(by_rules, error=NO_JUDGE)
        try:
            verdict = self._verdict(self.judge, sample, prediction)
        except Exception as error:  # noqa: BLE001 - one strange reply must not cost the others their scores
            return replace(by_rules, error=one_line(error))
        details = {"judge": {"value": verdict.value, "replies": verdict.replies, "unread": verdict.unread}}
        values = {**by_rules.values, self.metric.name: (verdict.value, 1)}
        return replace(by_rules, values=values, details={**by_rules.details, **details})

    def _verdict(self, judge: Judge, sample: EvalSample, prediction: Prediction) -> Verdict:
        spoken = prediction.speech
        if spoken is None if self.told.hears else not prediction.text.strip():
            return Verdict(self.told.lowest, ("not asked: the answer is empty",))
        known = {name: str(value) for name, value in sample.meta.items()}
        reference = ALTERNATIVES.join(sample.references)
        fields = {"question": sample.text, **known, "reference": reference, "answer": prediction.text}
        return judge.rate(self.told, fields, () if spoken is None else (spoken,))
