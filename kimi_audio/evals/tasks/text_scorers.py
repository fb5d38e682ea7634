"""Scorers of translations and of descriptions of sound, some of whose scores belong to the whole corpus."""

from collections.abc import Mapping, Sequence
from typing import Any

from kimi_audio.evals.contract.types import Metric, Prediction, Sample, SampleScore
from kimi_audio.evals.metrics import captions, translation
from kimi_audio.evals.metrics.libraries import versions
from kimi_audio.evals.run.scoring import PerSample
from kimi_audio.evals.tasks.scorers import references_of


def _corpus_bleu(rows: Sequence[Sequence[int]]) -> float:
    return translation.corpus_score(translation.bleu(""), rows)  # the language mattered for the counts


def _corpus_chrf(rows: Sequence[Sequence[int]]) -> float:
    return translation.corpus_score(translation.chrf(), rows)


class Translations(PerSample):
    """BLEU and chrF of the corpus, and the mean chrF of single translations, which ranks them.

    ``meta["language"]`` of a sample is the language to translate into; it decides how BLEU cuts words.
    """

    metrics = (
        Metric("bleu", "BLEU", 1.0, combine=_corpus_bleu),
        Metric("chrf", "chrF", 1.0, combine=_corpus_chrf),
        Metric("sentence-chrf", "chrF", 1.0),
    )

    @property
    def versions(self) -> Mapping[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The signatures of sacrebleu, which name its version."""
        bleu = {f"bleu {language}": translation.signature(translation.bleu(language)) for language in ("en", "zh")}
        return {**bleu, "chrf": translation.signature(translation.chrf())}

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Count the n-grams of one translation."""
        wanted = references_of(sample)
        bleu, chrf = translation.bleu(str(sample.meta.get("language", "en"))), translation.chrf()
        counts = translation.counts_of(chrf, prediction.text, wanted)
        values = {
            "bleu": translation.counts_of(bleu, prediction.text, wanted),
            "chrf": counts,
            "sentence-chrf": (translation.corpus_score(chrf, [counts]), 1),
        }
        return SampleScore(sample.id, values)

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the counts of an empty translation."""
        return self.score_one(sample, Prediction()).values


def _settled(rows: Sequence[Any]) -> list[tuple[float, int]]:
    return [(score, 1) for score in captions.cider_d(rows)]


class Captions(PerSample):
    """ROUGE-L, and CIDEr-D, whose weights of words come from all references."""

    metrics = (
        Metric("rouge-l"),
        Metric("cider-d", "of 10", 1.0, settle=_settled),
    )

    @property
    def versions(self) -> Mapping[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The libraries that compare."""
        return {"rules": "captions/2", **versions(("rapidfuzz",))}

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Compare one description with all references."""
        said = captions.caption_tokens(prediction.text)
        wanted = [captions.caption_tokens(text) for text in references_of(sample)]
        values = {
            "rouge-l": (captions.rouge_l(said, wanted), 1),
            "cider-d": (said, wanted),
        }
        return SampleScore(sample.id, values)

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the statistics of an empty description."""
        return self.score_one(sample, Prediction()).values
