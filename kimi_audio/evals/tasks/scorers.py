"""Scorers of transcripts, of multiple choice and of short answers; those of answers can ask a judge as well."""

from collections.abc import Mapping
from typing import Any

from kimi_audio.evals.contract.types import EvalSample, Metric, Prediction, SampleScore, Scorer
from kimi_audio.evals.judges.scorer import JudgedAnswers
from kimi_audio.evals.metrics.choice import extract_choice, find_options, is_same_option
from kimi_audio.evals.metrics.error_rate import align, count_errors, count_steps, tokenize
from kimi_audio.evals.metrics.evalkit import evalkit_errors, evalkit_fingerprint
from kimi_audio.evals.metrics.languages import WITHOUT_SPACES, language_code
from kimi_audio.evals.metrics.normalizers import normalizer_for
from kimi_audio.evals.metrics.qa import contains, exact_match, f1

KINDS = ("substitutions", "deletions", "insertions")


class Transcripts(Scorer):
    """Error rates of transcripts, by our rules and by the Evalkit's.

    The first rate is what is usual: of words (``wer``), or, where a language is written without spaces, of characters
    with foreign words as one each (``mer``; on pure Mandarin this is the character error rate). Of several references,
    the one with the lowest rate counts.

    Args:
        languages: codes that ``meta["language"]`` of the samples may hold; the first is taken where it is missing.
    """

    def __init__(self, *languages: str) -> None:
        self.languages = languages
        names = (*dict.fromkeys(map(_main, languages)), "cer", "evalkit-wer", *KINDS)
        self.metrics = tuple(Metric(name, higher_is_better=False) for name in names)

    def versions(self) -> Mapping[str, str]:
        """Return the way of counting, and the normalisers of all languages."""
        ours = {f"normaliser {name}": normalizer_for(name).fingerprint for name in self.languages}
        return (
            {"tokens": "by language/2"}
            | ours
            | {f"evalkit {name}": evalkit_fingerprint(name) for name in self.languages}
        )

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return the errors and tokens of one transcript, under each definition."""
        language = str(sample.meta.get("language", self.languages[0]))
        normalize, main = normalizer_for(language), _main(language)
        unit = "mixed" if main == "mer" else "words"
        said = normalize(prediction.text)
        written = [normalize(text) for text in sample.references]
        alignments = [align(tokenize(text, unit), tokenize(said, unit)) for text in written]
        counts = [count_steps(steps) for steps in alignments]
        rates = [errors.total / max(1, errors.reference_tokens) for errors in counts]
        best = rates.index(min(rates))
        errors, tokens = counts[best], counts[best].reference_tokens
        values: dict[str, Any] = {
            main: (errors.total, tokens),
            "cer": count_errors(tokenize(written[best], "characters"), tokenize(said, "characters")),
        }
        # What is counted stands in the third place: words and characters are not added up.
        if evalkit := evalkit_errors(sample.references[best], prediction.text, language):
            values["evalkit-wer"] = (*evalkit, unit)
        values |= {kind: (getattr(errors, kind), tokens, unit) for kind in KINDS}
        return SampleScore(sample.id, values, {"alignment": alignments[best], "language": language})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of a transcript without a word. The Evalkit leaves missing ones out."""
        values = dict(self.score(sample, Prediction()).values)
        values.pop("evalkit-wer", None)
        return values


def _main(language: str) -> str:
    return "mer" if language_code(language) in WITHOUT_SPACES else "wer"


class Choices(Scorer):
    """Accuracy of multiple choice by rules, never by chance.

    ``meta["choices"]`` of a sample holds the options, its references are the right ones of them. Replies that name
    no option, or several, are wrong and counted as ``unparsed``; ``accuracy-with-chance`` gives them what a random
    option would be worth on average, as VoiceBench does by drawing one.
    """

    metrics = (Metric("accuracy"), Metric("accuracy-with-chance"), Metric("unparsed", higher_is_better=False))
    rules = "choice/4"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return whether the right option is named."""
        options = [str(option) for option in sample.meta["choices"]]
        right = [options[place] for place in find_options(sample.references, options)]
        place = extract_choice(prediction.text, options)
        chosen = None if place is None else options[place]
        is_right = chosen is not None and any(is_same_option(chosen, option) for option in right)
        values = {
            "accuracy": (int(is_right), 1),
            "accuracy-with-chance": (1 / len(options) if chosen is None else int(is_right), 1),
            "unparsed": (int(chosen is None), 1),
        }
        return SampleScore(sample.id, values, {"chosen": chosen})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return a wrong answer. It is a missing one, not one without an option, so ``unparsed`` does not apply."""
        return {"accuracy": (0.0, 1), "accuracy-with-chance": (0.0, 1)}


class ShortAnswers(Scorer):
    """Short answers to open questions: ``contained`` in the reply, ``exact``, and ``f1`` of their words."""

    metrics = (Metric("contained"), Metric("exact"), Metric("f1"))
    rules = "short answers/2"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Compare with all accepted answers; the best counts."""
        reply, wanted = prediction.text, sample.references
        values = {"contained": contains(reply, wanted), "exact": exact_match(reply, wanted), "f1": f1(reply, wanted)}
        return SampleScore(sample.id, {name: (float(value), 1) for name, value in values.items()})


def judged_choices() -> JudgedAnswers:
    """Return the scorer of multiple choice, by rules and by the judge if one is chosen."""
    return JudgedAnswers("multiple-choice", Metric("judged-accuracy"), Choices())


def judged_answers(prompt: str = "short-answer") -> JudgedAnswers:
    """Return the scorer of short answers, by rules and by the judge if one is chosen."""
    return JudgedAnswers(prompt, Metric("judged-accuracy"), ShortAnswers())
