"""Spoken questions: answered in text, in text and speech, in the other language, and with what was said before."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kimi_audio.core.words import normalise
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Metric, Prediction, Recipe, SampleScore, Scorer
from kimi_audio.evals.models.kimi_audio import EACH_TURN
from recipes.nano.closed.qa import find_item, is_right
from recipes.nano.evals.data import Sizes, by_voices, own_dataset
from recipes.nano.evals.judged import RightAnswers, RightReplies
from recipes.nano.evals.listening import BUNDLED, ears_of, words_found

if TYPE_CHECKING:
    from kimi_audio.evals.contract.instruments import Recogniser


@dataclass(frozen=True)
class SpokenAnswers(Scorer):
    """Share of right answers, and share of the words of the written answer that are heard in the spoken one.

    Without speech no word is heard.
    """

    ears: "Recogniser" = BUNDLED
    metrics = (Metric("right"), Metric("words-heard"))

    def equip(self, instruments: Instruments) -> "SpokenAnswers":
        """Return the scorer with the chosen recogniser, if there is one."""
        return replace(self, ears=ears_of(instruments) or self.ears)

    def versions(self) -> Mapping[str, str]:
        """Return rules and recogniser."""
        return {"rules": "1", "recogniser": self.ears.name}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Judge the text, and listen to the speech."""
        heard = "" if prediction.speech is None else self.ears.transcribe(prediction.speech, "en")
        right = is_right(find_item(sample.meta["key"]), prediction.text)
        values = {"right": (float(right), 1), "words-heard": words_found(prediction.text, heard)}
        return SampleScore(sample.id, values, {"heard": normalise(heard)})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of silence where the right answer was expected."""
        return {"right": (0, 1), "words-heard": words_found(str(sample.reference), "")}


TASKS = (
    EvalTask(
        "nano-questions",
        "2",
        own_dataset(by_voices("qa")),
        RightAnswers(),
        {DEFAULT: Recipe()},
        "written answers to spoken questions",
    ),
    EvalTask(
        "nano-speech",
        "2",
        own_dataset(by_voices("qa"), Sizes().spoken),
        SpokenAnswers(),
        {DEFAULT: Recipe(output="both")},
        "answers in text and speech to spoken questions, and what a recogniser hears of the speech",
    ),
    EvalTask(
        "nano-cross",
        "1",
        own_dataset(by_voices("cross")),
        RightReplies(),
        {DEFAULT: Recipe(output="both")},
        "questions in one language, answered in the other",
    ),
    EvalTask(
        "nano-dialogues",
        "1",
        own_dataset(by_voices("dialogues")),
        RightReplies(),
        # No default: a model that hears all turns at once is asked something else.
        {"kimi-audio": Recipe(output="both", decoding={EACH_TURN: True})},
        "conversations of three turns, the model's own replies between them; the last needs the first",
    ),
)
