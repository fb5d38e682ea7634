"""Scorers of translations and of descriptions of sound, some of whose scores belong to the whole corpus."""

from collections.abc import Mapping, Sequence
from typing import Any

from kimi_audio.evals.contract.types import EvalSample, Metric, Prediction, SampleScore, Scorer
from kimi_audio.evals.metrics import captions, translation
from kimi_audio.evals.metrics.libraries import library_versions


def _corpus_bleu(rows: Sequence[tuple[str, Sequence[int]]]) -> float:
    """Return the score of tokenisers and counts; words that were cut in several ways have no sum."""
    tokenizers = {tokenizer for tokenizer, _ in rows}
    if len(tokenizers) != 1:
        return float("nan")
    return translation.corpus_score(translation.bleu(tokenizers.pop()), [counts for _, counts in rows])


def _corpus_chrf(rows: Sequence[Sequence[int]]) -> float:
    return translation.corpus_score(translation.chrf(), rows)


class Translations(Scorer):
    """BLEU and chrF of the corpus, and the mean chrF of single translations, which ranks them.

    ``meta["language"]`` of a sample is the language to translate into; it decides how BLEU cuts words.
    """

    metrics = (
        Metric("bleu", "BLEU", 1.0, combine=_corpus_bleu),
        Metric("chrf", "chrF", 1.0, combine=_corpus_chrf),
        Metric("sentence-chrf", "chrF", 1.0),
    )

    def versions(self) -> Mapping[str, str]:
        """Return the signatures of sacrebleu by the tokenisers that languages have."""
        tokenizers = sorted({"13a", *translation.TOKENIZERS.values()})
        bleu = {f"bleu {name}": translation.signature(translation.bleu(name)) for name in tokenizers}
        return {**bleu, "chrf": translation.signature(translation.chrf())}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Count the n-grams of one translation."""
        tokenizer = translation.tokenizer_for(str(sample.meta.get("language", "en")))
        bleu, chrf = translation.bleu(tokenizer), translation.chrf()
        counts = translation.counts_of(chrf, prediction.text, sample.references)
        values = {
            "bleu": (tokenizer, translation.counts_of(bleu, prediction.text, sample.references)),
            "chrf": counts,
            "sentence-chrf": (translation.corpus_score(chrf, [counts]), 1),
        }
        return SampleScore(sample.id, values, {"tokeniser": tokenizer})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the counts of an empty translation."""
        return self.score(sample, Prediction()).values


def _settled(rows: Sequence[Any]) -> list[tuple[float, int]]:
    return [(score, 1) for score in captions.cider_d(rows)]


class Descriptions(Scorer):
    """ROUGE-L, and CIDEr-D, whose weights of words come from all references."""

    metrics = (Metric("rouge-l"), Metric("cider-d", "of 10", 1.0, settle=_settled))

    def versions(self) -> Mapping[str, str]:
        """Return the libraries that compare."""
        return {"rules": "captions/2", **library_versions("rapidfuzz")}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Compare one description with all references."""
        said = captions.caption_tokens(prediction.text)
        wanted = [captions.caption_tokens(text) for text in sample.references]
        return SampleScore(sample.id, {"rouge-l": (captions.rouge_l(said, wanted), 1), "cider-d": (said, wanted)})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of an empty description."""
        return self.score(sample, Prediction()).values
