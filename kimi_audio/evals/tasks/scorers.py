"""Scorers of transcripts, of multiple choice and of short answers; those of answers can ask a judge as well."""

from collections.abc import Mapping
from typing import Any

from kimi_audio.evals.judges.scorer import Judged
from kimi_audio.evals.metrics.choice import score_choices
from kimi_audio.evals.metrics.error_rate import Alignment, Errors
from kimi_audio.evals.metrics.evalkit import evalkit_fingerprint
from kimi_audio.evals.metrics.normalizers import language_code, normalizer_for
from kimi_audio.evals.metrics.qa import score_answers
from kimi_audio.evals.metrics.transcription import score_transcripts
from kimi_audio.evals.scoring import PerSample
from kimi_audio.evals.types import Metric, Prediction, Sample, SampleScore

KINDS = ("substitutions", "deletions", "insertions")
WITHOUT_SPACES = ("zh", "yue", "ja")
JUDGED = Metric("judged-accuracy")


class Transcripts(PerSample):
    """Error rates of transcripts, by our rules and by the Evalkit's.

    The first rate is what is usual: of words (``wer``), or, where a language is written without spaces, of characters
    with foreign words as one each (``mer``; on pure Mandarin this is the character error rate).

    Args:
        languages: codes that ``meta["language"]`` of the samples may hold; the first is taken where it is missing.
    """

    def __init__(self, *languages: str) -> None:
        self.language = languages[0]
        self.main = "mer" if any(language_code(name) in WITHOUT_SPACES for name in languages) else "wer"
        names = (self.main, "cer", "evalkit-wer", *KINDS)
        self.metrics: tuple[Metric, ...] = tuple(Metric(name, higher_is_better=False) for name in names)
        ours = {f"normaliser {name}": normalizer_for(name).fingerprint for name in languages}
        evalkit = {f"evalkit {name}": evalkit_fingerprint(name) for name in languages}
        self.versions: Mapping[str, str] = ours | evalkit

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return the errors and tokens of one transcript, under each definition."""
        reference = references_of(sample)[0]
        language = str(sample.meta.get("language", self.language))
        scores = score_transcripts([reference], [prediction.text], language)
        main = scores.mer if self.main == "mer" else scores.wer
        values = {self.main: _statistic(main.errors), "cer": _statistic(scores.cer.errors)}
        if scores.evalkit.rows[0] is not None:  # it takes the answer "null" for a missing one, and drops it
            values["evalkit-wer"] = _statistic(scores.evalkit.errors)
        values |= {kind: (getattr(main.errors, kind), main.errors.reference_tokens) for kind in KINDS}
        (row,) = main.rows
        return SampleScore(sample.id, values, {"alignment": _steps(row), "language": language})

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the statistics of a transcript without a word. The Evalkit leaves missing ones out."""
        values = dict(self.score_one(sample, Prediction()).values)
        values.pop("evalkit-wer", None)
        return values


def references_of(sample: Sample) -> tuple[str, ...]:
    """Return all that is accepted."""
    return (sample.reference,) if isinstance(sample.reference, str) else tuple(sample.reference)


def _statistic(errors: Errors) -> tuple[int, int]:
    return errors.total, errors.reference_tokens


def _steps(row: Alignment) -> list[tuple[str, str, str]]:
    return [(step.operation, step.reference, step.prediction) for step in row.tokens]


# ---------------------------------------------------------------------------------------------------------------------
# Answers


class Choices(PerSample):
    """Accuracy of multiple choice by rules, never by chance.

    ``meta["choices"]`` of a sample holds the options, its reference is the right one of them. Replies that name
    no option, or several, are wrong and counted as ``unparsed``; ``accuracy-with-chance`` gives them what a random
    option would be worth on average, as VoiceBench does by drawing one.
    """

    versions: Mapping[str, str] = {"rules": "choice/1"}
    metrics = (
        Metric("accuracy"),
        Metric("accuracy-with-chance"),
        Metric("unparsed", higher_is_better=False),
    )

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return whether the right option is named."""
        options = sample.meta["choices"]
        score = score_choices([prediction.text], [options.index(sample.reference)], [options])
        values = {
            "accuracy": (score.accuracy, 1),
            "accuracy-with-chance": (score.accuracy_with_chance, 1),
            "unparsed": (score.unparsed, 1),
        }
        chosen = score.chosen[0]
        return SampleScore(
            sample.id,
            values,
            {"chosen": None if chosen is None else options[chosen]},
        )

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return a wrong answer. It is a missing one, not one without an option, so ``unparsed`` does not apply."""
        return {metric.name: (0.0, 1) for metric in self.metrics if metric.name != "unparsed"}


class ShortAnswers(PerSample):
    """Short answers to open questions: ``contained`` in the reply, ``exact``, and ``f1`` of their words."""

    versions: Mapping[str, str] = {"rules": "short answers/1"}
    metrics = (Metric("contained"), Metric("exact"), Metric("f1"))

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Compare with all accepted answers; the best counts."""
        score = score_answers([prediction.text], [references_of(sample)])
        values = {"contained": (score.contained_rate, 1), "exact": (score.exact_rate, 1), "f1": (score.f1_mean, 1)}
        return SampleScore(sample.id, values)


def judged_choices() -> Judged:
    """Return the scorer of multiple choice, by rules and by the judge if one is chosen."""
    return Judged("multiple-choice", JUDGED, Choices())


def judged_answers(prompt: str = "short-answer") -> Judged:
    """Return the scorer of short answers, by rules and by the judge if one is chosen."""
    return Judged(prompt, JUDGED, ShortAnswers())
