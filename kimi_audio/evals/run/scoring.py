"""The second step: score stored answers, keep each score at once, and add them up to a result."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from kimi_audio.evals.contract.keys import key_of
from kimi_audio.evals.contract.types import Metric, Prediction, Result, Sample, SampleScore, Scorer, Task
from kimi_audio.evals.metrics.timing import real_time_factor, summarize_latency
from kimi_audio.evals.run.aggregate import count, make_score, subsets_of
from kimi_audio.evals.run.engines import one_line
from kimi_audio.evals.run.provenance import git_hash
from kimi_audio.evals.run.store import Answered, Asked, Outcome, RowLog, Run, Scored, State, TaskFolder

logger = logging.getLogger(__name__)

Advance = Callable[[int, int], None]  # samples that are done, and all
NOT_ANSWERED = "there is no answer"


class PerSample:
    """A scorer that looks at one answer at a time: subclasses say how in ``score_one``.

    What ``score_one`` raises becomes the error of that sample alone.
    """

    metrics: tuple[Metric, ...]
    versions: Mapping[str, str]

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return the score of one answer."""
        raise NotImplementedError

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the statistics of the worst answer: nothing of one item, as for an accuracy."""
        return {metric.name: (0.0, 1.0) for metric in self.metrics}

    def score(self, pairs: Sequence[tuple[Sample, Prediction]]) -> Iterator[SampleScore]:
        """Yield the scores one by one."""
        for sample, prediction in pairs:
            try:
                yield self.score_one(sample, prediction)
            except Exception as error:  # noqa: BLE001 - one strange answer must not cost the others their scores
                yield SampleScore(sample.id, error=one_line(error))


@runtime_checkable
class Comparing(Protocol):
    """A scorer that judges answers by other answers of the same task."""

    def among(self, pairs: Sequence[tuple[Sample, Prediction]]) -> Scorer:
        """Return the scorer that knows all answers, those that were scored before among them."""
        ...


def score(task: Task, folder: TaskFolder, advance: Advance = lambda done, total: None) -> Result:
    """Score the answers in a folder and write its result. Answers that are scored already are not scored again.

    It can be stopped at any point and started again; needs neither the model nor the data.

    Raises:
        ValueError: nothing was asked yet, or it was another task.
    """
    run = folder.read_run()
    if run.task != task.name:
        raise ValueError(f"{folder.path} holds answers to {run.task}, not to {task.name}")
    asked = folder.read_asked()
    answers = folder.read_answers()
    pairs = [(item, answers[item.key]) for item in asked if _is_answered(item, answers)]
    scores = _score_all(task, folder, pairs, advance)
    outcomes = [_outcome(item, answers.get(item.key), scores.get(item.sample.id), task.scorer) for item in asked]
    folder.write_outcomes(outcomes)
    result = make_result(task, run, outcomes, summarise_timings(pairs))
    folder.write_result(result)
    return result


def _is_answered(item: Asked, answers: Mapping[str, Answered]) -> bool:
    return item.key in answers and not answers[item.key].prediction.error


def _score_all(
    task: Task, folder: TaskFolder, pairs: Sequence[tuple[Asked, Answered]], advance: Advance
) -> dict[str, SampleScore]:
    """Return the scores by id of sample: those that are stored, and new ones for the rest."""
    keys = {item.sample.id: _score_key(task, item, answer) for item, answer in pairs}
    stored = folder.read_scores()
    found = {id_: stored[key].score for id_, key in keys.items() if key in stored and not stored[key].score.error}
    answered = [(item.sample, answer.prediction) for item, answer in pairs]
    pending = [(sample, prediction) for sample, prediction in answered if sample.id not in found]
    scorer = task.scorer.among(answered) if isinstance(task.scorer, Comparing) else task.scorer
    advance(len(found), len(keys))
    told: set[str] = set()
    with RowLog(folder.scores) as rows:
        for result in _guarded(scorer, pending):
            if result.error and result.error not in told:
                logger.warning("%s could not be scored: %s", result.id, result.error)  # the report lists all
                told.add(result.error)
            rows.append(folder.score_row(Scored(keys[result.id], result)))
            found[result.id] = result
            advance(len(found), len(keys))
    return found


def _guarded(scorer: Scorer, pending: Sequence[tuple[Sample, Prediction]]) -> Iterator[SampleScore]:
    """Yield one score for every pair, whatever the scorer does."""
    left = {sample.id for sample, _ in pending}
    reason = "the scorer gave no score"
    try:
        for result in scorer.score(pending) if pending else ():
            if result.id not in left:
                raise ValueError(f"the scorer gave a score for {result.id}, which nobody asked for")
            left.remove(result.id)
            yield _checked(result, scorer)
    except Exception as error:  # noqa: BLE001 - what is scored so far stays, the rest is told
        reason = one_line(error)
    for id_ in sorted(left):
        yield SampleScore(id_, error=reason)


def _checked(result: SampleScore, scorer: Scorer) -> SampleScore:
    """Return the score, with an error if a statistic is not a finite number or belongs to no metric."""
    names = {metric.name for metric in scorer.metrics}
    if unknown := set(result.values) - names:
        return replace(result, values={}, error=f"there is no metric {min(unknown)!r}")
    try:
        key_of(values=dict(result.values), details=dict(result.details))
    except (TypeError, ValueError, RecursionError) as error:
        return SampleScore(result.id, error=f"the score is not JSON of finite numbers: {error}")
    return result


def _score_key(task: Task, item: Asked, answer: Answered) -> str:
    sample, prediction = item.sample, answer.prediction
    return key_of(
        task=task.name,
        version=task.version,
        versions=dict(task.scorer.versions),
        answer=answer.key,
        text=prediction.text,
        speech=answer.spoken_s,
        reference=sample.reference,
        meta=dict(sample.meta),
        subset=sample.subset,
        written=sample.text,
    )


def _outcome(item: Asked, answer: Answered | None, result: SampleScore | None, scorer: Scorer) -> Outcome:
    sample = item.sample
    if sample.fault:
        return Outcome(sample, State.skipped, reason=sample.fault)
    if answer is None or answer.prediction.error:
        reason = answer.prediction.error if answer else NOT_ANSWERED
        return Outcome(sample, State.failed, scorer.worst(sample), reason=reason)
    assert result is not None
    if result.error:
        return Outcome(sample, State.unscored, result.values, result.details, reason=result.error)
    is_empty = not answer.prediction.text.strip() and answer.prediction.speech is None
    return Outcome(sample, State.scored, result.values, result.details, is_empty)


def make_result(
    task: Task, run: Run, outcomes: Sequence[Outcome], timings: Mapping[str, Mapping[str, float]]
) -> Result:
    """Add up the outcomes of a task."""
    groups = subsets_of(outcomes)
    metrics = [metric for metric in task.scorer.metrics if _applies(metric, outcomes, task.scorer)]
    return Result(
        task=run.task,
        task_version=task.version,
        model=run.model,
        revision=run.revision,
        recipe=run.recipe,
        fingerprint=run.fingerprint,
        seed=run.seed,
        selection=run.selection,
        versions=dict(task.scorer.versions),
        git_hash=git_hash(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        counts={subset: count(group) for subset, group in groups.items()},
        scores=tuple(
            make_score(metric, subset, group, task.scorer)
            for subset, group in groups.items()
            for metric in metrics or task.scorer.metrics
        ),
        timings=timings,
    )


def _applies(metric: Metric, outcomes: Sequence[Outcome], scorer: Scorer) -> bool:
    """Tell whether any sample has this metric: the word error rate is none of Mandarin."""
    return any(metric.name in item.values or metric.name in scorer.worst(item.sample) for item in outcomes)


def summarise_timings(pairs: Sequence[tuple[Asked, Answered]]) -> dict[str, dict[str, float]]:
    """Return the distribution of seconds to the first text, the first sound and the end, and real-time factors.

    The factors divide seconds of work by seconds of sound, heard and spoken; a batch shares its seconds. Answers from
    the cache are left out, which were timed in another run and maybe on another machine.
    """
    pairs = [(item, answer) for item, answer in pairs if not answer.cached]
    predictions = [answer.prediction for _, answer in pairs]
    summary = {
        name: asdict(summarize_latency([getattr(prediction, name) for prediction in predictions]))
        for name in ("first_text_s", "first_sound_s", "total_s")
    }
    work_s = [
        None if answer.prediction.total_s is None else answer.prediction.total_s / answer.batch for _, answer in pairs
    ]
    sound_s = {"heard": [item.heard_s for item, _ in pairs], "spoken": [answer.spoken_s for _, answer in pairs]}
    summary |= {
        f"real_time_factor_{name}": asdict(real_time_factor(work_s, seconds)) for name, seconds in sound_s.items()
    }
    return {name: values for name, values in summary.items() if values["measured"]}
