"""Predicted mean opinion scores, through torchmetrics, which fetches the weights when they are used first.

``dnsmos`` (overall quality, DNS challenge P.835) and ``nisqa``. UTMOS has no kept package without fairseq; rate with
VERSA, which ships it. Such predictors were trained on English above all.
"""

from kimi_audio.audio.io import load_audio
from kimi_audio.evals.metrics.libraries import versions
from kimi_audio.evals.speech.types import Mos
from kimi_audio.evals.types import Clip
from kimi_audio.units import INPUT_RATE_HZ

NAMES = ("dnsmos", "nisqa")


class TorchmetricsMos:
    """One of the predictors of torchmetrics."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"{kind} (torchmetrics {versions(('torchmetrics',))['torchmetrics']})"

    def rate(self, clip: Clip) -> float:
        """Return the overall score; ValueError if library or weights are missing."""
        try:
            from torchmetrics.functional.audio.dnsmos import (  # pyright: ignore[reportMissingImports]
                deep_noise_suppression_mean_opinion_score,
            )
            from torchmetrics.functional.audio.nisqa import (  # pyright: ignore[reportMissingImports]
                non_intrusive_speech_quality_assessment,
            )
        except ModuleNotFoundError as error:
            raise ValueError(f"{error.name} is missing: pip install torchmetrics[audio]") from None
        wav = load_audio(clip, INPUT_RATE_HZ)
        try:
            if self.kind == "dnsmos":
                # p808, signal, background, overall
                return float(deep_noise_suppression_mean_opinion_score(wav, INPUT_RATE_HZ, personalized=False)[-1])
            return float(non_intrusive_speech_quality_assessment(wav, INPUT_RATE_HZ)[0])
        except (OSError, ModuleNotFoundError) as error:
            raise ValueError(f"{self.kind} lacks weights or a library, see torchmetrics: {error}") from None


def choose_mos(name: str) -> Mos:
    """Return a predictor by name; ValueError if there is none."""
    if name not in NAMES:
        raise ValueError(f"there is no {name!r}; use {' or '.join(NAMES)}. UTMOS: rate the speech files with VERSA")
    return TorchmetricsMos(name)
