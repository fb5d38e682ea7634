"""Predicted mean opinion scores.

``utmos`` through utmos-pytorch; ``dnsmos`` (overall quality, DNS challenge P.835) through speechmos, which holds its
weights; ``nisqa`` through torchmetrics. The other two fetch their weights when they are used first.
Such predictors were trained on English above all.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.evals.contract.instruments import Mos
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.metrics.libraries import library_versions

Predictor = Callable[[Tensor], float]  # of a waveform [L] at 16 kHz


def _utmos() -> Predictor:
    from utmos_pytorch import UTMOSScoreTorch  # pyright: ignore[reportMissingImports]

    model = UTMOSScoreTorch(device="cpu")
    return lambda wav: float(model.score(wav).reshape(()))


def _dnsmos() -> Predictor:
    from speechmos import dnsmos  # pyright: ignore[reportMissingImports]

    def predict(wav: Tensor) -> float:
        ratings: Any = dnsmos.run(wav.clamp(-1, 1).numpy(), INPUT_RATE_HZ)  # of one waveform, by name
        return float(ratings["ovrl_mos"])

    return predict


def _nisqa() -> Predictor:
    from torchmetrics.functional.audio.nisqa import (  # pyright: ignore[reportMissingImports]
        non_intrusive_speech_quality_assessment as predict,
    )

    return lambda wav: float(predict(wav, INPUT_RATE_HZ)[0])


PREDICTORS: dict[str, tuple[Callable[[], Predictor], str]] = {  # and the library
    "utmos": (_utmos, "utmos-pytorch"),
    "dnsmos": (_dnsmos, "speechmos"),
    "nisqa": (_nisqa, "torchmetrics"),
}


class PredictedMos:
    """One of the predictors."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._load, self.library = PREDICTORS[kind]
        self.name = f"{kind} ({self.library} {library_versions(self.library)[self.library]})"

    @cached_property
    def _predict(self) -> Predictor:
        return self._load()

    def rate(self, clip: Clip) -> float:
        """Return the overall score; ValueError if library or weights are missing."""
        wav = load_audio(clip, INPUT_RATE_HZ)
        try:
            with torch.inference_mode():
                return self._predict(wav)
        except ModuleNotFoundError as error:
            wanted = "torchmetrics[audio]" if self.library == "torchmetrics" else self.library
            raise ValueError(f"{self.kind} needs {error.name}: pip install '{wanted}'") from None
        except OSError as error:
            raise ValueError(f"the weights of {self.kind} cannot be fetched: {error}") from None


def choose_mos(name: str) -> Mos:
    """Return a predictor by name; ValueError if there is none."""
    if name not in PREDICTORS:
        raise ValueError(f"there is no {name!r}; use {', '.join(PREDICTORS)}")
    return PredictedMos(name)
