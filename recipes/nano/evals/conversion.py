"""What one voice says, said again in another: the words, and the voice as a classifier hears it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from kimi_audio.core.words import normalise
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Metric, Prediction, Recipe, SampleScore, Scorer
from recipes.nano.evals.data import own_dataset
from recipes.nano.evals.listening import BUNDLED, ears_of, words_found
from recipes.nano.evals.voice_classifier import VERSION, VoiceClassifier

if TYPE_CHECKING:
    from kimi_audio.evals.contract.instruments import Recogniser


class Classifier(Protocol):
    """Tells voices apart."""

    def classify(self, clip: Clip) -> str:
        """Return the name of the voice."""
        ...


@dataclass(frozen=True)
class Converted(Scorer):
    """Share of the words that are kept, and of the replies in the voice asked for.

    ``classifier`` is the share of the questions, recordings of the speech engines, whose voice is named rightly: what
    the verdicts are worth.
    """

    ears: "Recogniser" = BUNDLED
    classifier: Classifier | None = None  # None: one that learns from the speech engines, when it is needed
    metrics = (Metric("voice"), Metric("words-kept"), Metric("classifier"))

    def equip(self, instruments: Instruments) -> "Converted":
        """Return the scorer with the chosen recogniser, if there is one."""
        return replace(self, ears=ears_of(instruments) or self.ears)

    @cached_property
    def _classifier(self) -> Classifier:
        return self.classifier or VoiceClassifier.of_engines()

    def versions(self) -> Mapping[str, str]:
        """Return rules, recogniser and classifier."""
        return {"rules": "1", "recogniser": self.ears.name, "voice classifier": VERSION}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Listen to one reply, and to what was heard."""
        source, target = sample.meta["kind"].split("-")
        values = {"classifier": (float(self._classifier.classify(sample.audio[0]) == source), 1)}
        if prediction.speech is None:
            return SampleScore(sample.id, {**values, **self.worst(sample)}, {"voice": ""})
        heard, voice = self.ears.transcribe(prediction.speech, "en"), self._classifier.classify(prediction.speech)
        values |= {"voice": (float(voice == target), 1), "words-kept": words_found(str(sample.reference), heard)}
        return SampleScore(sample.id, values, {"voice": voice, "wanted": target, "heard": normalise(heard)})

    def worst(self, sample: EvalSample) -> Mapping[str, tuple[float, float]]:
        """Return the statistics of silence."""
        return {"voice": (0, 1), "words-kept": words_found(str(sample.reference), "")}


TASKS = (
    EvalTask(
        "nano-conversion",
        "1",
        own_dataset({"conversion": ""}),
        Converted(),
        {DEFAULT: Recipe(output="both")},
        "reserved sentences of one named voice, said again in another",
    ),
)
