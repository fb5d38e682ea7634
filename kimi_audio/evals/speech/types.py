"""What measures speech. Each has a name that is printed beside the scores."""

from typing import Protocol

import numpy as np

from kimi_audio.evals.contract.types import Clip


class Recogniser(Protocol):
    """Writes speech down."""

    name: str  # with its revision

    def transcribe(self, clip: Clip, language: str) -> str:
        """Return the words; raises what befalls it."""
        ...


class SpeakerEncoder(Protocol):
    """Describes a voice."""

    name: str

    def embed(self, clip: Clip) -> np.ndarray:
        """Return a vector [D] whose cosine with that of the same voice is high."""
        ...


class Mos(Protocol):
    """Predicts what listeners would say of the quality, from 1 to 5."""

    name: str

    def rate(self, clip: Clip) -> float:
        """Return the predicted mean opinion score."""
        ...
