"""Recognisers by option: any of the models that can be evaluated, or pocketsphinx (small, English, offline)."""

import hashlib
import re
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kimi_audio.audio.io import load_audio
from kimi_audio.evals.contract.prompting import choose_recipe, options_of, render_prompt
from kimi_audio.evals.contract.types import Clip, Model, Sample
from kimi_audio.evals.metrics.libraries import versions
from kimi_audio.evals.registry import all_tasks, parse_model
from kimi_audio.evals.speech.types import Recogniser
from kimi_audio.units import INPUT_RATE_HZ

if TYPE_CHECKING:
    from pocketsphinx import Decoder  # pyright: ignore[reportMissingImports]

POCKETSPHINX = "pocketsphinx"
GRAMMAR_SEARCH = {"maxhmmpf": 3000}  # hypotheses kept in each frame: large grammars are slow without a limit
RECOGNITION_TASKS = {"zh": "aishell-1", "en": "librispeech"}  # whose recipe the model is asked with


class ModelRecogniser:
    """A model that is asked with its recipe for recognition."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = f"{model.family}:{model.name} {model.revision}"

    def transcribe(self, clip: Clip, language: str) -> str:
        """Return what the model wrote; ValueError if it gave up."""
        task = all_tasks()[RECOGNITION_TASKS.get(language, RECOGNITION_TASKS["en"])]
        recipe = choose_recipe(task, self.model.family, "text")
        sample = Sample("speech", (clip,), meta={"language": language})
        asked = Sample("speech", (clip,), render_prompt(recipe, sample), meta=sample.meta)
        (answer,) = self.model.generate([asked], options_of(recipe, 0))
        if answer.error:
            raise ValueError(f"{self.name} could not write the speech down: {answer.error}")
        return answer.text


class PocketSphinx:
    """CMU's small recogniser with its US English model. Its own errors are many: only good for comparing.

    Args:
        grammar: JSGF of all that can be said, which makes it far better where that is known.
    """

    def __init__(self, grammar: str | None = None) -> None:
        self.grammar = grammar
        self.name = f"pocketsphinx {versions(('pocketsphinx',))['pocketsphinx']}, en-us"
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


def choose_recogniser(name: str, device: str | None = None) -> Recogniser:
    """Return ``pocketsphinx``, or a model as ``--model`` names them: whisper:..., nano, a folder; raises as they do."""
    if name == POCKETSPHINX:
        return PocketSphinx()
    return ModelRecogniser(parse_model(name).load(device))
