"""Who listens to what nano says: its own ears, or a recogniser that is chosen by option."""

from functools import cache, cached_property
from typing import TYPE_CHECKING

from kimi_audio.assistant import KimiAudio
from kimi_audio.checkpoint import NANO, NANO_FOLDER
from kimi_audio.core.words import normalise, word_errors
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.keys import Clip, hash_of
from kimi_audio.evals.models.kimi_audio import InProcess
from kimi_audio.evals.speech.recognisers import ModelRecogniser

if TYPE_CHECKING:
    from kimi_audio.evals.contract.instruments import Recogniser


@cache
def _hash_of_nano() -> str:
    return hash_of([NANO_FOLDER])


class OwnEars:
    """The everyday transcription of one of our models, by default of the bundled nano."""

    def __init__(self, model: KimiAudio | None = None, name: str = "") -> None:
        self.given, self.told = model, name

    @property
    def name(self) -> str:
        """What it is called, with what tells its weights from others."""
        return self.told or f"the bundled nano {_hash_of_nano()}"

    @cached_property
    def _model(self) -> KimiAudio:
        return self.given or KimiAudio.from_pretrained(NANO, load_detokenizer=False, device="cpu")

    def transcribe(self, clip: Clip, language: str) -> str:
        """Return the words; the language is heard, not told."""
        return self._model.transcribe(clip)


BUNDLED = OwnEars()


def ears_of(instruments: Instruments) -> "Recogniser | None":
    """Return the chosen recogniser; one of our own models transcribes as it does every day."""
    chosen = instruments.recogniser
    if isinstance(chosen, ModelRecogniser) and isinstance(chosen.model, InProcess):
        return OwnEars(chosen.model.model, chosen.name)
    return chosen


def words_found(wanted: str, heard: str) -> tuple[int, int]:
    """Return how many words of the first text are in the second, errors subtracted, and how many there are."""
    words = normalise(wanted).split()
    return len(words) - min(len(words), word_errors(words, normalise(heard).split())), len(words)
