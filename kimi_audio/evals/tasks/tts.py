"""Reading aloud: Seed-TTS-eval, English and Chinese, in the model's own voice and in that of a recording.

The speech is written down by a recogniser, whose errors are part of the word error rate; it is named beside the score.
``seed-tts-wer`` is counted as seed-tts-eval does: the mean over the utterances, of plain text without punctuation (but
for apostrophes), English in lower case and Chinese by character. Its published numbers are those of Whisper-large-v3
for English and of Paraformer-zh, which writes no digits, for Chinese.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from kimi_audio.core.lines import read_lines
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.types import Metric, Prediction, Recipe, Sample, SampleScore, Task
from kimi_audio.evals.metrics.error_rate import count_errors, tokenize
from kimi_audio.evals.metrics.languages import WITHOUT_SPACES, language_code
from kimi_audio.evals.run.scoring import PerSample
from kimi_audio.evals.speech.speakers import Spectrum, similarity
from kimi_audio.evals.tasks.asking import KIMI_AUDIO
from kimi_audio.evals.tasks.datasets import Layout, make_dataset
from kimi_audio.evals.tasks.scorers import Transcripts

PARTS = {"en/meta.lst": ("en", "en"), "zh/meta.lst": ("zh", "zh"), "zh/hardcase.lst": ("zh-hard", "zh")}
ALOUD = "Please read the following text aloud: {text}"
IN_THE_VOICE = "Please read the following text aloud in the voice of the recording: {text}"


SEED_TTS = Metric("seed-tts-wer", higher_is_better=False)


@dataclass(frozen=True)
class Speech(PerSample):
    """Errors of the speech as a recogniser writes it down, likeness of the voice, and predicted quality.

    The rate counts words, and characters of Chinese (``mer``). Likeness needs a recording to compare with. Speech that
    is missing has all words wrong; its voice and quality are left out.
    """

    instruments: Instruments = field(default_factory=Instruments)
    has_voice: bool = False

    def equip(self, instruments: Instruments) -> "Speech":
        """Return the scorer with these instruments."""
        return replace(self, instruments=instruments)

    @cached_property
    def _texts(self) -> Transcripts:
        return Transcripts("en", "zh")

    @property
    def metrics(self) -> tuple[Metric, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those that there are instruments for."""
        voice = (Metric("speaker-similarity", "of 1", 1.0),) if self.has_voice else ()
        quality = (Metric("predicted-mos", "of 5", 1.0),) if self.instruments.mos else ()
        return (*self._texts.metrics, SEED_TTS, *voice, *quality)

    @property
    def versions(self) -> Mapping[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Recogniser, normaliser, and who else listened."""
        named = {"recogniser": self.instruments.recogniser, "mos": self.instruments.mos}
        named |= {"speaker encoder": self._encoder} if self.has_voice else {}
        return {**self._texts.versions, **{key: item.name if item else "none" for key, item in named.items()}}

    @property
    def _encoder(self) -> Any:
        return self.instruments.speaker or Spectrum()

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Listen to one reading."""
        spoken, recogniser = prediction.speech, self.instruments.recogniser
        if spoken is None:
            return SampleScore(sample.id, self.worst(sample), {"reason": "there is no speech"})
        if recogniser is None:
            raise ValueError("only a recogniser can score this, and none was chosen: score again with --recogniser")
        heard = recogniser.transcribe(spoken, sample.meta["language"])
        score = self._texts.score_one(sample, Prediction(heard))
        values = {
            **score.values,
            SEED_TTS.name: (seed_tts_wer(str(sample.reference), heard, sample.meta["language"]), 1),
        }
        if self.has_voice:
            values["speaker-similarity"] = (similarity(self._encoder, sample.audio[0], spoken), 1)
        if self.instruments.mos:
            values["predicted-mos"] = (self.instruments.mos.rate(spoken), 1)
        return replace(score, values=values, details={**score.details, "heard": heard})

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the statistics of silence."""
        return {**self._texts.worst(sample), SEED_TTS.name: (1.0, 1)}


def seed_tts_wer(reference: str, heard: str, language: str) -> float:
    """Return the word error rate of one utterance as seed-tts-eval counts it."""
    wanted, said = (_seed_tts_tokens(text, language) for text in (reference, heard))
    errors, length = count_errors(wanted, said)
    return errors / max(1, length)


def _seed_tts_tokens(text: str, language: str) -> list[str]:
    kept = "".join(sign for sign in text if sign == "'" or unicodedata.category(sign)[0] not in "PS")
    return tokenize(kept, "characters") if language_code(language) in WITHOUT_SPACES else kept.lower().split()


def read(with_voice: bool, folder: Path) -> Iterator[Sample]:
    """Yield the texts: lines of name, text of the recording, recording, text to read, parted by bars."""
    for name, (subset, language) in PARTS.items():
        path = folder / name
        lines = read_lines(path) if path.exists() else ()
        for line in lines:
            parts = line.split("|")
            if len(parts) < 4:
                yield Sample(f"{subset}/{parts[0]}", subset=subset, fault=f"{path} has a line without four parts")
                continue
            audio = (path.parent / parts[2],) if with_voice else ()
            text = parts[3].strip()
            yield Sample(f"{subset}/{parts[0]}", audio, text, text, subset, {"language": language})


def _task(name: str, prompt: str, with_voice: bool, description: str) -> Task:
    by_hand = "unpack seedtts_testset of https://github.com/BytedanceSpeech/seed-tts-eval there, with en and zh inside"
    source = "https://github.com/BytedanceSpeech/seed-tts-eval, from Common Voice (CC0) and DiDiSpeech"
    dataset = make_dataset(name, source, Layout(tuple(PARTS), by_hand), partial(read, with_voice))
    recipes = {
        "kimi-audio": Recipe(prompt, output="both", decoding=KIMI_AUDIO),
        "default": Recipe(prompt, output="both"),
    }
    return Task(name, "1", dataset, Speech(has_voice=with_voice), recipes, description)


TASKS = (
    _task("tts", ALOUD, False, "texts read aloud: errors as a recogniser hears them"),
    _task("voice-cloning", IN_THE_VOICE, True, "texts read aloud in the voice of a recording"),
)
