"""The contract of an evaluation, on one page.

    EvalTask  = data (Dataset) + prompt and decoding (a Recipe per family of models) + Scorer
    infer     EvalSample, its text put into the recipe's prompt  ─ Model.generate ─►  Prediction
    score     EvalSample, Prediction                             ─ Scorer.score ───►  SampleScore: what a metric adds up
    report    the SampleScores of a task                         ─ Metric.combine ─►  Score with its interval, Result

Everything here is plain data that goes to and from JSON; ``run/`` does the work, ``run/store.py`` knows the files.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeAlias

from kimi_audio.evals.contract.instruments import Clip, Instruments
from kimi_audio.evals.contract.keys import one_line

OutputType: TypeAlias = Literal["text", "both"]

POLICY = (
    "Every selected sample is counted in one place. "
    "Scored: the model answered and the answer was scored; an empty answer is an answer, and counted as empty, too. "
    "Failed: the model gave no answer (error, crash, time-out, audio too long); this counts as the worst answer. "
    "Unscored: the answer could not be judged (judge out of reach or not understood); left out, tried again next time. "
    "Skipped: the sample itself is unusable (audio missing or unreadable, id used twice); never asked, left out. "
    "The score covers scored and failed; 'answered' covers the scored alone; 'pessimistic' counts unscored and skipped "
    "as worst answers, too."
)


# ---------------------------------------------------------------------------------------------------------------------
# Infer


@dataclass(frozen=True)
class EvalSample:
    """One item of a dataset. A model gets it with the finished prompt as its text and without the reference."""

    id: str  # unique in its task
    audio: tuple[Clip, ...] = ()
    text: str = ""  # the written part of the question, if there is one
    reference: str | tuple[str, ...] = ""  # the right answer, or all that are accepted
    subset: str = ""  # is scored on its own as well
    meta: Mapping[str, Any] = field(default_factory=dict)  # JSON that prompt or scorer need: choices, language, ...
    fault: str = ""  # why the sample cannot be used; it is then counted as skipped
    needs: tuple[str, ...] = ()  # ids of samples whose answers it is compared with; where it is asked, they are, too

    @property
    def references(self) -> tuple[str, ...]:
        """All that is accepted."""
        return (self.reference,) if isinstance(self.reference, str) else tuple(self.reference)


@dataclass(frozen=True)
class Options:
    """How a model is to answer."""

    output: OutputType = "text"  # or text and speech
    system: str = ""  # system prompt
    decoding: Mapping[str, Any] = field(default_factory=dict)  # temperature, top_k, ...; unknown names: ValueError
    seed: int = 0

    def seed_of(self, sample: EvalSample) -> int:
        """Return the seed of one sample, which does not depend on its batch or order."""
        digest = hashlib.sha256(f"{self.seed}:{sample.id}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1


@dataclass(frozen=True)
class Prediction:
    """What a model answered, or why it did not."""

    text: str = ""
    speech: Clip | None = None  # samples from the model; a file once it is saved
    total_s: float | None = None  # from the request to the end of the answer; in a batch, to the end of the batch
    first_text_s: float | None = None
    first_sound_s: float | None = None
    finish_reason: str = ""  # "stop", "length", ...
    error: str = ""  # one line; the sample is then counted as failed


class Model(Protocol):
    """Something that answers samples; adapters live in ``models/``, one file each.

    Two members with the same name and revision give the same answers; the revision names weights and code
    (a commit, a date, a hash), so that cached answers of older ones are not taken for theirs.
    """

    name: str  # what reports call it
    revision: str
    family: str  # whose recipes it takes, such as "kimi-audio" or "qwen2-audio"

    def generate(self, samples: Sequence[EvalSample], options: Options) -> Sequence[Prediction]:
        """Answer a batch, in its order.

        What happens to one sample (audio too long, an endpoint that gives up) goes into ``Prediction.error``. If an
        exception is raised, each sample of the batch is asked alone and what is raised then is noted.
        ``options.seed_of(sample)`` seeds every draw.
        """
        ...


# ---------------------------------------------------------------------------------------------------------------------
# Score


def ratio(statistics: Sequence[Sequence[Any]]) -> float:
    """Return the sum of all first numbers over the sum of all second ones; nan if that is 0.

    Error rates add up (errors, words), accuracies (1 or 0, 1), ratings (rating, 1). A third entry may name what was
    counted; of different things there is no sum, and the result is nan.
    """
    weight = sum(row[1] for row in statistics)
    if not weight or len({tuple(row[2:]) for row in statistics}) > 1:
        return float("nan")
    return sum(row[0] for row in statistics) / weight


def unchanged(statistics: Sequence[Any]) -> Sequence[Any]:
    """Return the statistics of samples that have nothing to do with each other."""
    return statistics


@dataclass(frozen=True)
class Metric:
    """A number for many samples, made of one statistic per sample; 100 x ratio unless stated otherwise."""

    name: str  # also the key of its statistic in ``SampleScore.values``
    unit: str = "%"
    scale: float = 100.0
    higher_is_better: bool = True
    combine: Callable[[Sequence[Any]], float] = ratio
    # Turns the statistics of all samples, which depend on each other (CIDEr weighs words by how few samples have them),
    # into those that ``combine`` takes; once, before any resampling.
    settle: Callable[[Sequence[Any]], Sequence[Any]] = unchanged

    @property
    def is_ratio(self) -> bool:
        """Tell whether the statistic of a sample alone is a (number, weight) that says how good it is."""
        return self.combine is ratio and self.settle is unchanged


@dataclass(frozen=True)
class SampleScore:
    """The statistics of one sample, by name of metric, and what a reader wants to see of it."""

    id: str
    values: Mapping[str, Any] = field(default_factory=dict)  # JSON; for ratios (number, weight), maybe with a unit
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON. Shown well by the report: "alignment", a list of
    # (operation, reference, answer) with the operations equal, substitute, delete, insert; "normalised"; "judge"
    error: str = ""  # why it could not be scored; the sample is then counted as unscored
    key: str = ""  # of a stored score: what it depends on


class Scorer:
    """Turns one answer into statistics: subclasses say how in ``score``. Failed answers are not shown to it."""

    metrics: tuple[Metric, ...]  # the first is the one to look at
    rules: str = ""  # name and version; raised when the same answer gets another number
    at_once: int = 1  # answers that are scored side by side, in threads

    def versions(self) -> Mapping[str, str]:
        """Return what the numbers depend on: rules, normaliser, libraries, judge and its prompt."""
        return {"rules": self.rules}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return the score of one answer; what it raises becomes the error of that sample alone."""
        raise NotImplementedError

    def score_safely(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return the score, or the reason why there is none."""
        try:
            return self.score(sample, prediction)
        except Exception as error:  # noqa: BLE001 - one strange answer must not cost the others their scores
            return SampleScore(sample.id, error=one_line(error))

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of the worst answer, which stand in for a missing one: by default nothing of one item.

        A sample with a fault may lack what others have; metrics that do not apply to it are left out.
        """
        return {metric.name: (0.0, 1.0) for metric in self.metrics}

    def equip(self, instruments: Instruments) -> "Scorer":
        """Return the scorer with the instruments that it has a use for."""
        return self

    def among(self, pairs: Sequence[tuple[EvalSample, Prediction]]) -> Self:
        """Return the scorer that knows all answers of the task, for one that compares them with each other."""
        return self


# ---------------------------------------------------------------------------------------------------------------------
# Task


@dataclass(frozen=True)
class Recipe:
    """Prompt and decoding, as data. Its fingerprint is printed beside each score; see ``prompting.py``.

    In the prompt, ``{text}`` stands for the text of the sample and any other name in braces for a field of its
    ``meta``; braces themselves are doubled.
    """

    prompt: str = "{text}"
    system: str = ""
    output: OutputType = "text"
    decoding: Mapping[str, Any] = field(default_factory=dict)  # empty: the defaults of the model
    max_audio_s: float | None = None  # samples with more sound are counted as failed


@dataclass(frozen=True)
class Dataset:
    """Data in its public format, in a folder of its name below the root of all data.

    ``load`` is best at naming files: all samples of a task are held in memory.
    """

    name: str
    load: Callable[[Path], Iterable[EvalSample]]  # from its folder; ValueError or OSError: it is missing, what to do
    prepare: Callable[[Path], None]  # fill its folder and check it; ValueError: what to place where by hand
    source: str = ""  # address and licence


@dataclass(frozen=True)
class EvalTask:
    """What to ask and how to score it."""

    name: str
    version: str  # is raised when data, prompt or scoring change
    dataset: Dataset
    scorer: Scorer
    recipes: Mapping[str, Recipe]  # by family of models; "default" serves all others
    description: str = ""


@dataclass(frozen=True)
class Average:
    """A weighted sum of scores, such as the average of a board."""

    name: str
    terms: Mapping[str, float]  # "task", "task/subset" or "task/subset/metric" to its weight
    source: str = ""  # who defined it


@dataclass(frozen=True)
class Suite:
    """Tasks that are run together."""

    name: str
    tasks: tuple[str, ...]
    averages: tuple[Average, ...] = ()
    description: str = ""


# ---------------------------------------------------------------------------------------------------------------------
# Report


@dataclass(frozen=True)
class Counts:
    """Where the samples went; the sum of the four below is ``total``. See POLICY."""

    total: int = 0
    scored: int = 0
    failed: int = 0
    unscored: int = 0
    skipped: int = 0
    empty: int = 0  # of the scored

    @property
    def is_complete(self) -> bool:
        """Tell whether every sample was answered and scored."""
        return self.scored == self.total


@dataclass(frozen=True)
class Score:
    """A metric over a subset. Numbers that cannot be computed are None."""

    metric: str
    subset: str  # "" covers all samples
    value: float | None  # failed samples count as the worst answer
    low: float | None  # 95 % interval: see ``metrics/statistics.py``; None: too few samples
    high: float | None
    samples: int  # that the value covers
    answered: float | None  # the same without failed samples
    pessimistic: float | None  # the same with unscored and skipped samples as worst answers
    unit: str = "%"
    higher_is_better: bool = True
    scale: float | None = 100.0  # of the ratio; None: the metric is not a ratio


@dataclass(frozen=True)
class Conditions:
    """What the answers of a task depend on."""

    task: str
    task_version: str
    model: str
    revision: str
    recipe: Recipe
    fingerprint: str  # of the recipe
    seed: int
    selection: str  # which samples of the dataset: "all 2620", "100 of 2620 per subset", ...


@dataclass(frozen=True)
class Result(Conditions):
    """Scores and all that they depend on."""

    versions: Mapping[str, str]  # of scorer, normaliser, judge and libraries
    git_hash: str  # of this package
    created: str  # ISO 8601, UTC
    policy: str = POLICY
    counts: Mapping[str, Counts] = field(default_factory=dict)  # by subset; "" covers all samples
    scores: tuple[Score, ...] = ()  # by metric and subset
    timings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # quantity to mean, percentiles, ...
    error: str = ""  # why there are no scores, such as a missing dataset

    @property
    def is_complete(self) -> bool:
        """Tell whether every sample was answered and scored."""
        return not self.error and self.counts[""].is_complete
