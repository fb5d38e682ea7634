"""The second step: score stored answers, keep each score at once, and add them up to a result."""

import logging
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kimi_audio.evals.contract.keys import key_of
from kimi_audio.evals.contract.rows import appending
from kimi_audio.evals.contract.types import (
    Conditions,
    EvalSample,
    EvalTask,
    Metric,
    Prediction,
    Result,
    SampleScore,
    Scorer,
)
from kimi_audio.evals.metrics.libraries import library_versions
from kimi_audio.evals.metrics.timing import real_time_factor, summarize_latency
from kimi_audio.evals.run.aggregate import count, make_score, subsets_of
from kimi_audio.evals.run.infer import Advance
from kimi_audio.evals.run.store import AskedSample, SampleAnswer, SampleOutcome, State, TaskFolder

logger = logging.getLogger(__name__)

AnsweredSamples = Sequence[tuple[AskedSample, SampleAnswer]]
NOT_ANSWERED = "there is no answer"


def score(task: EvalTask, folder: TaskFolder, advance: Advance = lambda done, total: None) -> Result:
    """Score the answers in a folder and write its result. Answers that are scored already are not scored again.

    It can be stopped at any point and started again; needs neither the model nor the data.

    Raises:
        ValueError: nothing was asked yet, or it was another task.
    """
    conditions = folder.read_conditions()
    if conditions.task != task.name:
        raise ValueError(f"{folder.path} holds answers to {conditions.task}, not to {task.name}")
    asked, answers = folder.read_asked(), folder.read_answers()
    answered = [(item, answers[item.key]) for item in asked if item.key in answers and not answers[item.key].error]
    scores = _score_stored(task, folder, answered, advance)
    outcomes = [_outcome(item, answers.get(item.key), scores.get(item.id), task.scorer) for item in asked]
    folder.write_outcomes(outcomes)
    groups = subsets_of(outcomes)
    metrics = [metric for metric in task.scorer.metrics if _applies(metric, outcomes, task.scorer)]
    result = replace(
        make_result(task, conditions),
        counts={subset: count(group) for subset, group in groups.items()},
        scores=tuple(
            make_score(metric, subset, group, task.scorer)
            for subset, group in groups.items()
            for metric in metrics or task.scorer.metrics
        ),
        timings=summarise_timings(answered),
    )
    folder.write_result(result)
    return result


def _score_stored(
    task: EvalTask, folder: TaskFolder, answered: AnsweredSamples, advance: Advance
) -> dict[str, SampleScore]:
    """Return the scores by id of sample: those that are stored, and new ones for the rest."""
    facts = {"task": task.name, "version": task.version, "versions": dict(task.scorer.versions())}
    keys = {item.id: _score_key(facts, item, answer) for item, answer in answered}
    stored = folder.read_scores()
    found = {id_: stored[key] for id_, key in keys.items() if key in stored and not stored[key].error}
    pending = [pair for pair in answered if pair[0].id not in found]
    scorer = task.scorer.among(answered)
    advance(len(found), len(keys))
    told: set[str] = set()
    with appending(folder.scores) as append:
        for result in score_all(scorer, pending):
            if result.error and result.error not in told:
                logger.warning("%s could not be scored: %s", result.id, result.error)  # the report lists all
                told.add(result.error)
            append(vars(replace(result, key=keys[result.id])))
            found[result.id] = result
            advance(len(found), len(keys))
    return found


def score_all(scorer: Scorer, pairs: Iterable[tuple[EvalSample, Prediction]]) -> Iterator[SampleScore]:
    """Yield the scores of answers as they become known."""
    if scorer.at_once == 1:
        for pair in pairs:
            yield _checked(scorer.score_safely(*pair), scorer)
        return
    with ThreadPoolExecutor(scorer.at_once, thread_name_prefix="scorer") as pool:
        waiting = [pool.submit(scorer.score_safely, *pair) for pair in pairs]
        try:
            for done in as_completed(waiting):
                yield _checked(done.result(), scorer)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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


def _score_key(facts: Mapping[str, Any], item: AskedSample, answer: SampleAnswer) -> str:
    return key_of(
        **facts,
        answer=answer.key,
        text=answer.text,
        speech=answer.spoken_s,
        reference=item.reference,
        meta=dict(item.meta),
        subset=item.subset,
        written=item.text,
    )


def _outcome(
    sample: AskedSample, answer: SampleAnswer | None, result: SampleScore | None, scorer: Scorer
) -> SampleOutcome:
    if sample.fault:
        return SampleOutcome(sample, State.skipped, reason=sample.fault)
    if answer is None or answer.error:
        return SampleOutcome(
            sample, State.failed, scorer.worst(sample), reason=answer.error if answer else NOT_ANSWERED
        )
    assert result is not None
    if result.error:
        return SampleOutcome(sample, State.unscored, result.values, result.details, reason=result.error)
    is_empty = not answer.text.strip() and answer.speech is None
    return SampleOutcome(sample, State.scored, result.values, result.details, is_empty)


def _applies(metric: Metric, outcomes: Sequence[SampleOutcome], scorer: Scorer) -> bool:
    """Tell whether any sample has this metric: the word error rate is none of Mandarin."""
    return any(metric.name in item.values or metric.name in scorer.worst(item.sample) for item in outcomes)


def make_result(task: EvalTask, conditions: Conditions, error: str = "") -> Result:
    """Return a result without scores yet; with an error, that of a task that could not begin."""
    return Result(
        **vars(conditions),
        versions=dict(task.scorer.versions()),
        git_hash=git_hash(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        error=error,
    )


def git_hash() -> str:
    """Return the commit of this package, with "+" if files differ from it; else its version."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return "kimi-audio " + library_versions("kimi-audio")["kimi-audio"]


def _git(*arguments: str) -> str:
    program, folder = shutil.which("git"), Path(__file__).parents[1]
    if program is None:
        raise FileNotFoundError("git")
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - fixed arguments
    return done.stdout.strip()


def summarise_timings(answered: AnsweredSamples) -> dict[str, dict[str, float]]:
    """Return the distribution of seconds to the first text, the first sound and the end, and real-time factors.

    The factors divide seconds of work by seconds of sound, heard and spoken; a batch shares its seconds. Answers from
    the cache are left out, which were timed in another run and maybe on another machine.
    """
    fresh = [(item, answer) for item, answer in answered if not answer.cached]
    times = ("first_text_s", "first_sound_s", "total_s")
    summary = {name: summarize_latency([getattr(answer, name) for _, answer in fresh]) for name in times}
    work_s = [None if answer.total_s is None else answer.total_s / answer.batch for _, answer in fresh]
    sounds_s = {"heard": [item.heard_s for item, _ in fresh], "spoken": [answer.spoken_s for _, answer in fresh]}
    for name, sound_s in sounds_s.items():
        summary[f"real_time_factor_{name}"] = real_time_factor(work_s, sound_s)
    return {name: values for name, values in summary.items() if values["measured"]}
