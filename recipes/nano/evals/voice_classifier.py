"""Which of nano's named voices speaks: linear discriminant analysis of timbre and pitch.

It learns from the speech engines themselves, which say sentences of the training side, and never from a model.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from kimi_audio.audio.io import Samples, load_audio
from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.audio.prosody import measure
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_WHISPER_FRAME
from kimi_audio.evals.contract.keys import Clip
from recipes.nano.closed.corpus import Speak
from recipes.nano.closed.sentences import take_sentences
from recipes.nano.closed.speakers import SPEAKERS
from recipes.nano.closed.synthesis import synthesise_all

VERSION = "LDA/1"
SENTENCES = 40  # of each voice
BANDS, CEPSTRA = 40, 16
SHRINKAGE = 0.2  # of the covariance towards its diagonal: a model's speech lies a little beside that of the engines


def features(clip: Clip) -> np.ndarray:
    """Return a vector [D]: mean and spread of the cepstrum over the louder half of the frames, and the pitch.

    Raises:
        ValueError: there is no sound.
    """
    wav = load_audio(clip, INPUT_RATE_HZ)
    shown = measure(wav.numpy(), INPUT_RATE_HZ)
    frames = len(wav) // SAMPLES_PER_WHISPER_FRAME
    bands = whisper_log_mel(wav[None, : frames * SAMPLES_PER_WHISPER_FRAME], BANDS)[0].numpy()  # [M, T]
    loudness = bands.mean(axis=0)
    order = np.arange(1, CEPSTRA + 1)[:, None]  # without the overall loudness
    cosines = np.cos(np.pi / BANDS * order * (np.arange(BANDS) + 0.5))
    cepstrum = cosines @ bands[:, loudness >= np.median(loudness)]
    pitch = np.log2(max(shown.pitch_hz, 1.0))
    return np.concatenate([cepstrum.mean(axis=1), cepstrum.std(axis=1), [pitch, shown.pitch_deviation]])


@dataclass(frozen=True)
class VoiceClassifier:
    """Means [K, D] of the voices, and what their distances are measured in."""

    names: tuple[str, ...]
    means: np.ndarray
    precision: np.ndarray  # [D, D]

    @classmethod
    def fit(cls, recordings: Mapping[str, Sequence[Clip]]) -> Self:
        """Learn from recordings by name of voice."""
        vectors = {name: np.stack([features(clip) for clip in clips]) for name, clips in recordings.items()}
        means = np.stack([group.mean(axis=0) for group in vectors.values()])
        within = np.concatenate([group - group.mean(axis=0) for group in vectors.values()])
        covariance = within.T @ within / len(within)
        diagonal = np.diag(np.diag(covariance) + 1e-6)
        return cls(tuple(vectors), means, np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal))

    @classmethod
    def of_engines(cls, speak: Speak = synthesise_all) -> Self:
        """Learn the named voices from the speech engines; the same in every run.

        Raises:
            ValueError: a speech engine is missing.
        """
        texts = take_sentences(SENTENCES, random.Random("voice classifier"), reserved=False)  # noqa: S311 - texts
        requests = [(name, text) for name in SPEAKERS for text in texts]
        sounds = speak([(text, SPEAKERS[name]) for name, text in requests])
        recordings: dict[str, list[Clip]] = {name: [] for name in SPEAKERS}
        for (name, _), (samples, rate_hz) in zip(requests, sounds, strict=True):
            recordings[name].append(Samples(samples, rate_hz))
        return cls.fit(recordings)

    def classify(self, clip: Clip) -> str:
        """Return the name of the voice that is nearest; ValueError if there is no sound."""
        apart = self.means - features(clip)
        return self.names[int(np.argmin(np.einsum("kd,de,ke->k", apart, self.precision, apart)))]
