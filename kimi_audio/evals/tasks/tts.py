"""Reading aloud: Seed-TTS-eval, English and Chinese, in the model's own voice and in that of a recording.

The speech is written down by a recogniser, whose errors are part of the word error rate; it is named beside the score.
``seed-tts-wer`` is counted as seed-tts-eval does: the mean over the utterances, of plain text without punctuation (but
for apostrophes), English in lower case and Chinese by character. Its published numbers are those of Whisper-large-v3
for English and of Paraformer-zh, which writes no digits, for Chinese.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kimi_audio.core.lines import read_lines
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Metric, Prediction, SampleScore, Scorer
from kimi_audio.evals.metrics.error_rate import count_errors, tokenize
from kimi_audio.evals.metrics.languages import WITHOUT_SPACES, language_code
from kimi_audio.evals.speech.voices import Spectrum, similarity
from kimi_audio.evals.tasks.asking import recipes_for
from kimi_audio.evals.tasks.datasets import DatasetFiles, make_dataset
from kimi_audio.evals.tasks.scorers import Transcripts

PARTS = {"en/meta.lst": ("en", "en"), "zh/meta.lst": ("zh", "zh"), "zh/hardcase.lst": ("zh-hard", "zh")}
SEED_TTS = Metric("seed-tts-wer", higher_is_better=False)
TEXTS = Transcripts("en", "zh")


class ReadAloud(Scorer):
    """Errors of the speech as a recogniser writes it down, likeness of the voice, and predicted quality.

    The rate counts words, and characters of Chinese (``mer``). Likeness needs a recording to compare with. Speech that
    is missing has all words wrong; its voice and quality are left out.
    """

    def __init__(self, *, has_voice: bool, instruments: Instruments | None = None) -> None:
        self.has_voice = has_voice
        self.recogniser, self.mos, self.encoder = None, None, Spectrum()
        if instruments:
            self.recogniser, self.mos = instruments.recogniser, instruments.mos
            self.encoder = instruments.speaker or self.encoder
        voice = (Metric("speaker-similarity", "of 1", 1.0),) if has_voice else ()
        quality = (Metric("predicted-mos", "of 5", 1.0),) if self.mos else ()
        self.metrics = (*TEXTS.metrics, SEED_TTS, *voice, *quality)

    def equip(self, instruments: Instruments) -> "ReadAloud":
        """Return the scorer with these instruments."""
        return ReadAloud(has_voice=self.has_voice, instruments=instruments)

    def versions(self) -> Mapping[str, str]:
        """Return recogniser, normaliser, and who else listened."""
        named = {"recogniser": self.recogniser, "mos": self.mos}
        named |= {"speaker encoder": self.encoder} if self.has_voice else {}
        return {**TEXTS.versions(), **{key: item.name if item else "none" for key, item in named.items()}}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Listen to one reading."""
        spoken, language = prediction.speech, sample.meta["language"]
        if spoken is None:
            return SampleScore(sample.id, self.worst(sample), {"reason": "there is no speech"})
        if self.recogniser is None:
            raise ValueError("only a recogniser can score this, and none was chosen: score again with --recogniser")
        heard = self.recogniser.transcribe(spoken, language)
        usual = TEXTS.score(sample, Prediction(heard))
        values = {**usual.values, SEED_TTS.name: (seed_tts_wer(str(sample.reference), heard, language), 1)}
        if self.has_voice:
            values["speaker-similarity"] = (similarity(self.encoder, sample.audio[0], spoken), 1)
        if self.mos:
            values["predicted-mos"] = (self.mos.rate(spoken), 1)
        return replace(usual, values=values, details={**usual.details, "heard": heard})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of silence."""
        return {**TEXTS.worst(sample), SEED_TTS.name: (1.0, 1)}


def seed_tts_wer(reference: str, heard: str, language: str) -> float:
    """Return the word error rate of one utterance as seed-tts-eval counts it."""
    wanted, said = (_seed_tts_tokens(text, language) for text in (reference, heard))
    errors, length = count_errors(wanted, said)
    return errors / max(1, length)


def _seed_tts_tokens(text: str, language: str) -> list[str]:
    kept = "".join(sign for sign in text if sign == "'" or unicodedata.category(sign)[0] not in "PS")
    return tokenize(kept, "characters") if language_code(language) in WITHOUT_SPACES else kept.lower().split()


def read_seed_tts(with_voice: bool, folder: Path) -> Iterator[EvalSample]:
    """Yield the texts: lines of name, text of the recording, recording, text to read, parted by bars."""
    for name, (subset, language) in PARTS.items():
        path = folder / name
        for line in read_lines(path) if path.exists() else ():
            parts = line.split("|")
            if len(parts) < 4:
                yield EvalSample(f"{subset}/{parts[0]}", subset=subset, fault=f"{path} has a line without four parts")
                continue
            audio = (path.parent / parts[2],) if with_voice else ()
            text = parts[3].strip()
            yield EvalSample(f"{subset}/{parts[0]}", audio, text, text, subset, {"language": language})


def _task(name: str, prompt: str, with_voice: bool, description: str) -> EvalTask:
    by_hand = "unpack seedtts_testset of https://github.com/BytedanceSpeech/seed-tts-eval there, with en and zh inside"
    source = "https://github.com/BytedanceSpeech/seed-tts-eval, from Common Voice (CC0) and DiDiSpeech"
    dataset = make_dataset(name, source, DatasetFiles(tuple(PARTS), by_hand), partial(read_seed_tts, with_voice))
    recipes = recipes_for("any", f"Please read the following text aloud{prompt}: {{text}}", "both")
    return EvalTask(name, "1", dataset, ReadAloud(has_voice=with_voice), recipes, f"texts read aloud{description}")


TASKS = (
    _task("tts", "", False, ": errors as a recogniser hears them"),
    _task("voice-cloning", " in the voice of the recording", True, " in the voice of a recording"),
)
