"""Reserved sentences read aloud in named voices, as two recognisers hear them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_audio.core.words import normalise
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Metric, Prediction, Recipe, SampleScore, Scorer
from kimi_audio.evals.speech.recognisers import PocketSphinx, has_pocketsphinx
from recipes.nano.closed.grammar import sentence_grammar
from recipes.nano.evals.data import own_dataset, read
from recipes.nano.evals.listening import BUNDLED, ears_of, words_found

if TYPE_CHECKING:
    from kimi_audio.evals.contract.instruments import Recogniser

OTHER = "other"  # in the meta of a sample: a sentence that its speech does not say


@dataclass(frozen=True)
class ReadAloud(Scorer):
    """Share of the words that own ears hear, and that a recogniser hears which nobody here trained.

    The second knows which sentences can be said, so some words fit by chance: ``sphinx-chance`` compares what it
    heard with another sentence, ``sphinx-gain`` is the difference. Without pocketsphinx the three are left out.
    """

    ears: "Recogniser" = BUNDLED
    sphinx: "Recogniser | None" = None  # None: pocketsphinx, if it is installed
    metrics = (
        Metric("words-heard"),
        Metric("sphinx"),
        Metric("sphinx-chance", higher_is_better=False),
        Metric("sphinx-gain"),
    )

    def equip(self, instruments: Instruments) -> "ReadAloud":
        """Return the scorer with the chosen recogniser as its own ears, if there is one."""
        return replace(self, ears=ears_of(instruments) or self.ears)

    @cached_property
    def _sphinx(self) -> "Recogniser | None":
        return self.sphinx or (PocketSphinx(sentence_grammar()) if has_pocketsphinx() else None)

    def versions(self) -> Mapping[str, str]:
        """Return rules and recognisers."""
        return {
            "rules": "1",
            "recogniser": self.ears.name,
            "other recogniser": self._sphinx.name if self._sphinx else "pocketsphinx is missing",
        }

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Listen to one reading."""
        speech, wanted = prediction.speech, str(sample.reference)
        heard = "" if speech is None else self.ears.transcribe(speech, "en")
        values: dict[str, tuple[int, int]] = {"words-heard": words_found(wanted, heard)}
        details = {"heard": normalise(heard)}
        if self._sphinx:
            details["sphinx"] = "" if speech is None else self._sphinx.transcribe(speech, "en")
            values |= _against_chance(wanted, str(sample.meta[OTHER]), details["sphinx"])
        return SampleScore(sample.id, values, details)

    def worst(self, sample: EvalSample) -> Mapping[str, tuple[int, int]]:
        """Return the statistics of silence."""
        silence = words_found(str(sample.reference), "")
        names = ("words-heard", "sphinx", "sphinx-gain") if self._sphinx else ("words-heard",)
        return dict.fromkeys(names, silence)


def _against_chance(wanted: str, other: str, heard: str) -> dict[str, tuple[int, int]]:
    found, words = words_found(wanted, heard)
    chance = words_found(other, heard)[0]
    return {"sphinx": (found, words), "sphinx-chance": (chance, words), "sphinx-gain": (found - chance, words)}


def read_with_others(folder: Path) -> Iterator[EvalSample]:
    """Yield the sentences, each with one from the other half of the set, which says something else."""
    samples = list(read(folder, {"tts": ""}))
    for place, sample in enumerate(samples):
        other = samples[(place + len(samples) // 2) % len(samples)].reference
        yield replace(sample, meta={**sample.meta, OTHER: other})


TASKS = (
    EvalTask(
        "nano-tts",
        "1",
        own_dataset(read_with_others),
        ReadAloud(),
        {DEFAULT: Recipe(output="both")},
        "reserved sentences read aloud in named voices",
    ),
)
