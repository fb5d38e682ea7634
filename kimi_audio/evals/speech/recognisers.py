"""Recognisers by option: any of the models that can be evaluated, faster-whisper, or pocketsphinx (small, English)."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.evals.contract.keys import Clip, named_with_hash
from kimi_audio.evals.contract.prompting import choose_recipe, render_prompt
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Model, Options
from kimi_audio.evals.metrics.libraries import library_versions

if TYPE_CHECKING:
    from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]
    from pocketsphinx import Decoder  # pyright: ignore[reportMissingImports]

POCKETSPHINX = "pocketsphinx"
FASTER_WHISPER = "faster-whisper"  # :folder, or the name of a Whisper that it downloads
GRAMMAR_SEARCH = {"maxhmmpf": 3000}  # hypotheses kept in each frame: large grammars are slow without a limit


class ModelRecogniser:
    """A model that is asked with its recipe for recognition.

    Args:
        model: who is asked.
        task_of: gives the task whose recipe it is asked with, by language.
    """

    def __init__(self, model: Model, task_of: Callable[[str], EvalTask]) -> None:
        self.model, self.task_of = model, task_of
        self.name = f"{model.family}:{model.name} {model.revision}"

    def transcribe(self, clip: Clip, language: str) -> str:
        """Return what the model wrote; ValueError if it gave up."""
        recipe = choose_recipe(self.task_of(language), self.model.family, "text")
        sample = EvalSample("speech", (clip,), meta={"language": language})
        options = Options(recipe.output, recipe.system, recipe.decoding)
        (answer,) = self.model.generate([replace(sample, text=render_prompt(recipe, sample))], options)
        if answer.error:
            raise ValueError(f"{self.name} could not write the speech down: {answer.error}")
        return answer.text


class FasterWhisper:
    """A Whisper of CTranslate2, several times as fast on CPUs as that of transformers; int8, five beams.

    Args:
        source: a folder of CTranslate2, or a name such as ``base`` that faster-whisper downloads.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.name = f"{FASTER_WHISPER}:{named_with_hash(source)} ({library_versions(FASTER_WHISPER)[FASTER_WHISPER]})"

    @cached_property
    def _model(self) -> "WhisperModel":
        try:
            from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise ValueError("faster-whisper is missing: pip install faster-whisper") from None
        return WhisperModel(self.source, device="cpu", compute_type="int8", cpu_threads=torch.get_num_threads())

    def transcribe(self, clip: Clip, language: str) -> str:
        """Return the words."""
        wav = load_audio(clip, INPUT_RATE_HZ).numpy()
        segments, _ = self._model.transcribe(wav, language=language, beam_size=5, condition_on_previous_text=False)
        return " ".join(segment.text.strip() for segment in segments)


class PocketSphinx:
    """CMU's small recogniser with its US English model. Its own errors are many: only good for comparing.

    Args:
        grammar: JSGF of all that can be said, which makes it far better where that is known.
    """

    def __init__(self, grammar: str | None = None) -> None:
        self.grammar = grammar
        self.name = f"pocketsphinx {library_versions(POCKETSPHINX)[POCKETSPHINX]}, en-us"
        if grammar:
            self.name += f", grammar {hashlib.sha256(grammar.encode()).hexdigest()[:8]}"

    @cached_property
    def _decoder(self) -> "Decoder":
        try:
            from pocketsphinx import Decoder  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError:
            raise ValueError("pocketsphinx is missing: pip install pocketsphinx") from None
        if self.grammar is None:
            return Decoder(samprate=float(INPUT_RATE_HZ), loglevel="FATAL")
        decoder = Decoder(samprate=float(INPUT_RATE_HZ), loglevel="FATAL", lm=None, **GRAMMAR_SEARCH)
        decoder.add_jsgf_string("grammar", self.grammar)
        decoder.activate_search("grammar")
        return decoder

    def transcribe(self, clip: Clip, language: str) -> str:
        """Return the words; ValueError for languages other than English."""
        if language != "en":
            raise ValueError(f"pocketsphinx knows English alone, not {language}; choose another --recogniser")
        wav = load_audio(clip, INPUT_RATE_HZ)
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw((wav.clamp(-1, 1) * 32767).short().numpy().tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return re.sub(r"\(\d+\)", "", found.hypstr) if found else ""  # the(2): another pronunciation


def has_pocketsphinx() -> bool:
    """Tell whether pocketsphinx is installed."""
    return find_spec(POCKETSPHINX) is not None
