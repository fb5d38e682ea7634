"""Recognition of reserved sentences: English, quiet and in noise, and Mandarin."""

from dataclasses import replace

from kimi_audio.assistant import ASR_INSTRUCTION
from kimi_audio.core.words import normalise, word_errors
from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import Metric, Prediction, Recipe, Sample, SampleScore, Task
from kimi_audio.evals.tasks.scorers import Transcripts
from recipes.nano.closed.scoring import character_errors
from recipes.nano.evals.data import NOISY, by_voices, own_dataset


class SentenceTranscripts(Transcripts):
    """The usual error rates, behind the word error rate in the form that nano writes (numbers as words)."""

    def __init__(self) -> None:
        super().__init__("en")
        self.metrics = (Metric("nano-wer", higher_is_better=False), *self.metrics)
        self.versions = {"nano-wer": "1", **self.versions}

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return the errors of one transcript."""
        usual = super().score_one(sample, prediction)
        wanted = str(sample.reference).split()
        errors = word_errors(wanted, normalise(prediction.text).split())
        return replace(usual, values={"nano-wer": (errors, len(wanted)), **usual.values})


class MandarinTranscripts(Transcripts):
    """The usual error rates, behind the character error rate in the form that nano writes (digits as characters)."""

    def __init__(self) -> None:
        super().__init__("zh")
        self.metrics = (Metric("nano-cer", higher_is_better=False), *self.metrics)
        self.versions = {"nano-cer": "1", **self.versions}

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return the errors of one transcript."""
        usual = super().score_one(sample, prediction)
        return replace(
            usual, values={"nano-cer": character_errors(str(sample.reference), prediction.text), **usual.values}
        )


TASKS = (
    Task(
        "nano-asr",
        "2",
        own_dataset({**by_voices("asr"), NOISY: "noise"}),
        SentenceTranscripts(),
        {
            "kimi-audio": Recipe(ASR_INSTRUCTION, decoding={"cut_at_pauses": True}),
            DEFAULT: Recipe(ASR_INSTRUCTION),
        },
        "recognition of reserved sentences; those in noise (10 dB) are those of the seen voices",
    ),
    Task(
        "nano-mandarin",
        "1",
        own_dataset(by_voices("mandarin")),
        MandarinTranscripts(),
        {DEFAULT: Recipe()},
        "recognition of reserved Mandarin sentences and questions",
    ),
)
