"""How nano does with people and natural voices, in any words: what it hears, answers, and reads aloud."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kimi_audio.chat.tools import write_tools
from kimi_audio.core.words import normalise, word_errors
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import (
    Dataset,
    EvalSample,
    EvalTask,
    Metric,
    OutputType,
    Prediction,
    Recipe,
    SampleScore,
    Scorer,
)
from kimi_audio.evals.models.kimi_audio import BEAMS, CUT, EACH_TURN
from kimi_audio.evals.speech.voices import Spectrum
from kimi_audio.evals.tasks.datasets import make_dataset
from recipes.nano.corpora import ALOUD_REQUESTS, ASR_REQUESTS
from recipes.nano.evals.data import read
from recipes.nano.evals.listening import BUNDLED, ears_of, words_found
from recipes.nano.evaluation_recordings import FILES
from recipes.nano.talks import of_values
from recipes.nano.world.judging import is_refusal
from recipes.nano.world.registry import KINDS, REFUSED
from recipes.nano.world.tools import TOOLS, is_call_right

if TYPE_CHECKING:
    from kimi_audio.evals.contract.instruments import Mos, Recogniser, SpeakerEncoder


class Heard(Scorer):
    """The word error rate in the form that nano writes."""

    metrics = (Metric("nano-wer", higher_is_better=False),)
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return the errors of one transcript."""
        wanted, heard = str(sample.reference).split(), normalise(prediction.text).split()
        values = {"nano-wer": (word_errors(wanted, heard), len(wanted))}
        return SampleScore(sample.id, values, {"normalised": " ".join(heard)})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of a transcript without a word."""
        words = len(str(sample.reference).split())
        return {"nano-wer": (words, words)}


class SlotsHeard(Scorer):
    """Share of what matters in an order (number, size, drink …) that is in the transcript."""

    metrics = (Metric("heard"),)
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return how many values of one order were heard."""
        heard, values = f" {normalise(prediction.text)} ", sample.meta["values"]
        found = sum(f" {value} " in heard for value in values)
        return SampleScore(sample.id, {"heard": (found, len(values))}, {"normalised": heard.strip()})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of an order that was not heard at all."""
        return {"heard": (0, len(sample.meta.get("values", ())))}


class NothingWritten(Scorer):
    """Share of recordings without speech for which nothing is written."""

    metrics = (Metric("nothing-written"),)
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return whether one transcript is empty."""
        return SampleScore(sample.id, {"nothing-written": (float(not prediction.text.strip()), 1)})


class RightTalks(Scorer):
    """Share of conversations whose last reply is right, and of known things that are refused by mistake."""

    metrics = (Metric("right"), Metric("refused-by-mistake", higher_is_better=False))
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Judge the last reply of one conversation by the rule of its kind."""
        talk = of_values(dict(sample.meta["talk"]))
        is_right = KINDS[talk.kind].is_right(talk, prediction.text)
        values = {"right": (float(is_right), 1)}
        if talk.kind not in REFUSED:
            values["refused-by-mistake"] = (float(not is_right and is_refusal(prediction.text)), 1)
        return SampleScore(sample.id, values, {"kind": talk.kind})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of a wrong reply."""
        return {"right": (0, 1)}


class RightCalls(Scorer):
    """Share of spoken requests that become the call of a tool that was wanted, to the last argument."""

    metrics = (Metric("right"),)
    rules = "1"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Compare the call of one reply."""
        is_right = is_call_right(of_values(dict(sample.meta["talk"])), prediction.text)
        return SampleScore(sample.id, {"right": (float(is_right), 1)})


@dataclass(frozen=True)
class HeardAloud(Scorer):
    """The errors of a recogniser in what is read aloud, and the quality as a predictor of ratings hears it."""

    ears: "Recogniser" = BUNDLED
    mos: "Mos | None" = None
    metrics = (Metric("nano-wer", higher_is_better=False), Metric("mos", unit="of 5", scale=1.0))

    def equip(self, instruments: Instruments) -> "HeardAloud":
        """Return the scorer with the chosen recogniser and predictor, if there are any."""
        return replace(self, ears=ears_of(instruments) or self.ears, mos=instruments.mos or self.mos)

    def versions(self) -> Mapping[str, str]:
        """Return rules, recogniser and predictor."""
        return {"rules": "1", "recogniser": self.ears.name, "mos": self.mos.name if self.mos else "none"}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Listen to one reading."""
        wanted = normalise(str(sample.reference)).split()
        heard = "" if prediction.speech is None else normalise(self.ears.transcribe(prediction.speech, "en"))
        values: dict[str, Any] = {"nano-wer": (word_errors(wanted, heard.split()), len(wanted))}
        if self.mos and prediction.speech is not None:
            values["mos"] = (self.mos.rate(prediction.speech), 1)
        return SampleScore(sample.id, values, {"heard": heard})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of silence."""
        words = len(normalise(str(sample.reference)).split())
        return {"nano-wer": (words, words)}


@dataclass(frozen=True)
class ChangedVoice(Scorer):
    """Share of the words that are kept, and of the replies in the voice asked for.

    A voice is that of the named ones whose recordings are nearest, as the speaker encoder hears it; ``named-rightly``
    says how often that is right for the recordings that are heard: what the verdicts are worth.
    """

    ears: "Recogniser" = BUNDLED
    speaker: "SpeakerEncoder" = field(default_factory=Spectrum)
    metrics = (Metric("voice"), Metric("words-kept"), Metric("named-rightly"))

    def equip(self, instruments: Instruments) -> "ChangedVoice":
        """Return the scorer with the chosen recogniser and speaker encoder, if there are any."""
        return replace(self, ears=ears_of(instruments) or self.ears, speaker=instruments.speaker or self.speaker)

    def versions(self) -> Mapping[str, str]:
        """Return rules, recogniser and speaker encoder."""
        return {"rules": "1", "recogniser": self.ears.name, "speaker": self.speaker.name}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Listen to one reply, and to what was heard."""
        voices, (source,) = sample.meta["voices"], sample.audio
        root = Path(str(source)).parent.parent
        values: dict[str, Any] = {
            "named-rightly": (float(self._nearest(source, voices, root) == sample.meta["source"]), 1)
        }
        if prediction.speech is None:
            return SampleScore(sample.id, {**values, **self.worst(sample)})
        heard, voice = self.ears.transcribe(prediction.speech, "en"), self._nearest(prediction.speech, voices, root)
        values["voice"] = (float(voice == sample.meta["target"]), 1)
        values["words-kept"] = words_found(str(sample.reference), heard)
        return SampleScore(sample.id, values, {"voice": voice, "heard": normalise(heard)})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the statistics of silence."""
        return {"voice": (0, 1), "words-kept": words_found(str(sample.reference), "")}

    def _nearest(self, clip: Clip, voices: Mapping[str, Sequence[str]], root: Path) -> str:
        vector = _direction(self.speaker.embed(clip))
        known = {name: _voice_of(self.speaker, tuple(root / file for file in files)) for name, files in voices.items()}
        return max(known, key=lambda name: float(vector @ known[name]))


@cache
def _voice_of(speaker: "SpeakerEncoder", files: tuple[Path, ...]) -> np.ndarray:
    """Return the mean direction of recordings of one voice."""
    return _direction(np.mean([_direction(speaker.embed(file)) for file in files], axis=0))


def _direction(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _dataset(splits: Mapping[str, str]) -> Dataset:
    """Return parts of ``nano-people``, with the subset that each is scored as; those that are missing are left out."""
    files = replace(FILES, index=tuple(f"{name}.jsonl" for name in splits))

    def samples(folder: Path) -> Iterator[EvalSample]:
        there = {name: subset for name, subset in splits.items() if (folder / f"{name}.jsonl").exists()}
        return read(folder, there)

    return make_dataset("nano-people", "generated, seed 0; OpenSLR 101; coffee commands", files, samples)


def _heard(name: str, splits: Mapping[str, str], scorer: Scorer, description: str) -> EvalTask:
    recipes = {
        "kimi-audio": Recipe(ASR_REQUESTS[0], decoding={CUT: True, BEAMS: 4}),
        DEFAULT: Recipe("Transcribe the speech."),
    }
    return EvalTask(f"nano-{name}", "1", _dataset(splits), scorer, recipes, description)


def _talks(name: str, output: OutputType, description: str) -> EvalTask:
    recipes = {"kimi-audio": Recipe(output=output, decoding={EACH_TURN: True})}
    return EvalTask(f"nano-{name}", "2", _dataset({name: ""}), RightTalks(), recipes, description)


EVERYDAY = {f"asr-{voices}": voices for voices in ("natural", "synthetic", "readers")}
TASKS = (
    _heard("everyday", EVERYDAY, Heard(), "everyday sentences in natural and in synthetic voices, and people who read"),
    _heard("orders-of-coffee", {"orders": ""}, SlotsHeard(), "people who order coffee: number, size, drink"),
    _heard("silence", {"silence": ""}, NothingWritten(), "silence, noise and hum without a word"),
    _talks("talks", "text", "reserved conversations in natural voices that were never heard in training"),
    _talks("other-words", "text", "conversations whose last turn is said in words that training never has"),
    EvalTask(
        "nano-tools",
        "1",
        _dataset({"tools": ""}),
        RightCalls(),
        {DEFAULT: Recipe(system=write_tools(TOOLS))},
        "requests for the clock, a timer, a calculator or a lamp in natural voices: the call that is wanted",
    ),
    EvalTask(
        "nano-aloud",
        "1",
        _dataset({"aloud": ""}),
        HeardAloud(),
        {DEFAULT: Recipe(ALOUD_REQUESTS[0] + "{text}", output="both")},
        "everyday sentences read aloud",
    ),
    EvalTask(
        "nano-changed-voice",
        "1",
        _dataset({"conversion": ""}),
        ChangedVoice(),
        {DEFAULT: Recipe(output="both")},
        "everyday sentences of one named voice, said again in another",
    ),
)
