"""How alike two voices are: the cosine of two vectors.

``spectrum`` needs no weights: mean and spread of the log-mel spectrum over the louder half of the frames. It hears
differences of timbre and of microphones, and is no verifier of speakers; its numbers compare with each other alone.
A folder or hub id of a WavLM x-vector model (microsoft/wavlm-base-plus-sv) gives numbers of the usual kind, and so does
``resemblyzer``, whose package holds its weights.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch

from kimi_audio.audio.io import load_audio
from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.evals.contract.instruments import SpeakerEncoder
from kimi_audio.evals.contract.keys import Clip, named_with_hash

SPECTRUM = "spectrum"
RESEMBLYZER = "resemblyzer"
BANDS = 80


class Spectrum:
    """Mean and spread of each mel band, without the overall loudness."""

    name = "log-mel spectrum/1 (no verifier of speakers)"

    def embed(self, clip: Clip) -> np.ndarray:
        """Return a vector [160]."""
        mel = whisper_log_mel(load_audio(clip, INPUT_RATE_HZ), BANDS).numpy()
        mel = mel.reshape(-1, *mel.shape[-2:])[0]
        bands = mel if mel.shape[0] == BANDS else mel.T  # [bands, frames]
        loudness = bands.mean(axis=0)
        voiced = bands[:, loudness >= np.median(loudness)]
        mean = voiced.mean(axis=1)
        return np.concatenate([mean - mean.mean(), voiced.std(axis=1)])


class WavLM:
    """An x-vector model of transformers."""

    def __init__(self, source: str) -> None:
        self.source, self.name = source, f"x-vector {named_with_hash(source)}"

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoFeatureExtractor, AutoModelForAudioXVector
        except ModuleNotFoundError:
            raise ValueError("transformers is missing: pip install transformers") from None
        extractor = AutoFeatureExtractor.from_pretrained(self.source)
        return extractor, AutoModelForAudioXVector.from_pretrained(self.source).eval()

    def embed(self, clip: Clip) -> np.ndarray:
        """Return a vector [D]."""
        extractor, model = self._model
        wav = load_audio(clip, INPUT_RATE_HZ)
        inputs = extractor(wav.numpy(), sampling_rate=INPUT_RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            return model(**inputs).embeddings[0].float().numpy()


class Resemblyzer:
    """The GE2E speaker encoder of the package of this name."""

    name = RESEMBLYZER

    @cached_property
    def _encoder(self) -> Any:
        try:
            from resemblyzer import VoiceEncoder  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise ValueError(f"{error.name} is missing: pip install resemblyzer 'setuptools<81'") from None
        return VoiceEncoder("cpu", verbose=False)

    def embed(self, clip: Clip) -> np.ndarray:
        """Return a vector [256]."""
        from resemblyzer import preprocess_wav  # pyright: ignore[reportMissingImports]

        encoder = self._encoder
        return encoder.embed_utterance(preprocess_wav(load_audio(clip, INPUT_RATE_HZ).numpy()))


def similarity(encoder: SpeakerEncoder, left: Clip, right: Clip) -> float:
    """Return the cosine, from -1 to 1."""
    a, b = encoder.embed(left), encoder.embed(right)
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))


def choose_speaker_encoder(name: str) -> SpeakerEncoder:
    """Return ``spectrum``, ``resemblyzer``, or an x-vector model by folder or hub id."""
    if name == SPECTRUM:
        return Spectrum()
    return Resemblyzer() if name == RESEMBLYZER else WavLM(name)
