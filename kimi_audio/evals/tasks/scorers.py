"""Scorers of transcripts, of multiple choice and of short answers; those of answers can ask a judge as well."""

from collections.abc import Mapping
from typing import Any

from kimi_audio.evals.contract.types import Metric, Prediction, Sample, SampleScore
from kimi_audio.evals.judges.scorer import Judged
from kimi_audio.evals.metrics.choice import extract_choice, find_option, is_same_option
from kimi_audio.evals.metrics.error_rate import Alignment, align, count_errors, tokenize
from kimi_audio.evals.metrics.evalkit import evalkit_errors, evalkit_fingerprint
from kimi_audio.evals.metrics.languages import WITHOUT_SPACES, language_code
from kimi_audio.evals.metrics.normalizers import normalizer_for
from kimi_audio.evals.metrics.qa import contains, exact_match, f1
from kimi_audio.evals.run.scoring import PerSample

KINDS = ("substitutions", "deletions", "insertions")
JUDGED = Metric("judged-accuracy")


class Transcripts(PerSample):
    """Error rates of transcripts, by our rules and by the Evalkit's.

    The first rate is what is usual: of words (``wer``), or, where a language is written without spaces, of characters
    with foreign words as one each (``mer``; on pure Mandarin this is the character error rate). Of several references,
    the one with the lowest rate counts.

    Args:
        languages: codes that ``meta["language"]`` of the samples may hold; the first is taken where it is missing.
    """

    def __init__(self, *languages: str) -> None:
        self.language = languages[0]
        mains = dict.fromkeys(_main(name) for name in languages)
        names = (*mains, "cer", "evalkit-wer", *KINDS)
        self.metrics: tuple[Metric, ...] = tuple(Metric(name, higher_is_better=False) for name in names)
        ours = {f"normaliser {name}": normalizer_for(name).fingerprint for name in languages}
        evalkit = {f"evalkit {name}": evalkit_fingerprint(name) for name in languages}
        self.versions: Mapping[str, str] = ours | evalkit

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return the errors and tokens of one transcript, under each definition."""
        language = str(sample.meta.get("language", self.language))
        normalize, main = normalizer_for(language), _main(language)
        unit = "mixed" if main == "mer" else "words"
        said = normalize(prediction.text)
        written = [normalize(text) for text in references_of(sample)]
        rows = [align(tokenize(text, unit), tokenize(said, unit)) for text in written]
        rates = [row.errors.total / max(1, row.errors.reference_tokens) for row in rows]
        best = rates.index(min(rates))
        errors = rows[best].errors
        values: dict[str, Any] = {
            main: (errors.total, errors.reference_tokens),
            "cer": count_errors(tokenize(written[best], "characters"), tokenize(said, "characters")),
        }
        # What is counted stands in the third place: words and characters are not added up.
        if evalkit := evalkit_errors(references_of(sample)[best], prediction.text, language):
            values["evalkit-wer"] = (*evalkit, unit)
        values |= {kind: (getattr(errors, kind), errors.reference_tokens, unit) for kind in KINDS}
        return SampleScore(sample.id, values, {"alignment": _steps(rows[best]), "language": language})

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the statistics of a transcript without a word. The Evalkit leaves missing ones out."""
        values = dict(self.score_one(sample, Prediction()).values)
        values.pop("evalkit-wer", None)
        return values


def _main(language: str) -> str:
    return "mer" if language_code(language) in WITHOUT_SPACES else "wer"


def references_of(sample: Sample) -> tuple[str, ...]:
    """Return all that is accepted."""
    return (sample.reference,) if isinstance(sample.reference, str) else tuple(sample.reference)


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

    versions: Mapping[str, str] = {"rules": "choice/2"}
    metrics = (
        Metric("accuracy"),
        Metric("accuracy-with-chance"),
        Metric("unparsed", higher_is_better=False),
    )

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return whether the right option is named."""
        options = [str(option) for option in sample.meta["choices"]]
        right = options[find_option(str(sample.reference), options)]
        place = extract_choice(prediction.text, options)
        chosen = None if place is None else options[place]
        is_right = chosen is not None and is_same_option(chosen, right)
        values = {
            "accuracy": (int(is_right), 1),
            "accuracy-with-chance": (1 / len(options) if chosen is None else int(is_right), 1),
            "unparsed": (int(chosen is None), 1),
        }
        return SampleScore(sample.id, values, {"chosen": chosen})

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return a wrong answer. It is a missing one, not one without an option, so ``unparsed`` does not apply."""
        return {metric.name: (0.0, 1) for metric in self.metrics if metric.name != "unparsed"}


class ShortAnswers(PerSample):
    """Short answers to open questions: ``contained`` in the reply, ``exact``, and ``f1`` of their words."""

    versions: Mapping[str, str] = {"rules": "short answers/1"}
    metrics = (Metric("contained"), Metric("exact"), Metric("f1"))

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Compare with all accepted answers; the best counts."""
        reply, wanted = prediction.text, references_of(sample)
        values = {"contained": contains(reply, wanted), "exact": exact_match(reply, wanted), "f1": f1(reply, wanted)}
        return SampleScore(sample.id, {name: (float(value), 1) for name, value in values.items()})


def judged_choices() -> Judged:
    """Return the scorer of multiple choice, by rules and by the judge if one is chosen."""
    return Judged("multiple-choice", JUDGED, Choices())


def judged_answers(prompt: str = "short-answer") -> Judged:
    """Return the scorer of short answers, by rules and by the judge if one is chosen."""
    return Judged(prompt, JUDGED, ShortAnswers())
