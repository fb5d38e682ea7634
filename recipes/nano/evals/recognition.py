"""Recognition of reserved sentences: English, quiet and in noise, and Mandarin."""

from collections.abc import Mapping
from dataclasses import replace

from kimi_audio.core.config import Settings
from kimi_audio.core.words import normalise, word_errors
from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Metric, Prediction, Recipe, SampleScore
from kimi_audio.evals.models.kimi_audio import BEAMS, CUT
from kimi_audio.evals.tasks.scorers import Transcripts
from recipes.nano.closed.scoring import character_errors
from recipes.nano.evals.data import NOISY, by_voices, own_dataset


class SentenceTranscripts(Transcripts):
    """The usual error rates, behind the word error rate in the form that nano writes (numbers as words)."""

    def __init__(self) -> None:
        super().__init__("en")
        self.metrics = (Metric("nano-wer", higher_is_better=False), *self.metrics)

    def versions(self) -> Mapping[str, str]:
        """Return the normalisers, behind the version of nano's own."""
        return {"nano-wer": "1", **super().versions()}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return the errors of one transcript."""
        usual = super().score(sample, prediction)
        wanted = str(sample.reference).split()
        errors = word_errors(wanted, normalise(prediction.text).split())
        return replace(usual, values={"nano-wer": (errors, len(wanted)), **usual.values})


class MandarinTranscripts(Transcripts):
    """The usual error rates, behind the character error rate in the form that nano writes (digits as characters)."""

    def __init__(self) -> None:
        super().__init__("zh")
        self.metrics = (Metric("nano-cer", higher_is_better=False), *self.metrics)

    def versions(self) -> Mapping[str, str]:
        """Return the normalisers, behind the version of nano's own."""
        return {"nano-cer": "1", **super().versions()}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return the errors of one transcript."""
        usual = super().score(sample, prediction)
        return replace(
            usual, values={"nano-cer": character_errors(str(sample.reference), prediction.text), **usual.values}
        )


TASKS = (
    EvalTask(
        "nano-asr",
        "2",
        own_dataset({**by_voices("asr"), NOISY: "noise"}),
        SentenceTranscripts(),
        {
            "kimi-audio": Recipe(Settings.transcribe_prompt, decoding={CUT: True, BEAMS: 4}),
            DEFAULT: Recipe(Settings.transcribe_prompt),
        },
        "recognition of reserved sentences; those in noise (10 dB) are those of the seen voices",
    ),
    EvalTask(
        "nano-mandarin",
        "1",
        own_dataset(by_voices("mandarin")),
        MandarinTranscripts(),
        {"kimi-audio": Recipe(decoding={BEAMS: 4}), DEFAULT: Recipe()},
        "recognition of reserved Mandarin sentences and questions",
    ),
)
