"""Whisper through transformers: ``whisper:openai/whisper-large-v3``, or a folder.

It transcribes and takes no prompt: the text of a sample is left out. The language comes from the decoding of the recipe
({language: zh}, {task: translate}), else the model finds it. Beyond 30 s it goes on window by window, with time stamps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.evals.contract.types import EvalSample, Options, Prediction
from kimi_audio.evals.models.transformers_model import DECODING, decoding_of, drawing, load_checkpoint, moved

FAMILY = "whisper"
KNOWN = DECODING | {"language", "task"}


def load(name: str, device: str | None) -> "Whisper":
    """Load a checkpoint; raises what ``load_checkpoint`` raises."""
    return Whisper(*load_checkpoint(name, device, "WhisperForConditionalGeneration", _processor))


def _processor(folder: Path) -> Any:
    from transformers import WhisperProcessor  # late: slow to import

    return WhisperProcessor.from_pretrained(folder)


@dataclass(frozen=True)
class Whisper:
    """A loaded checkpoint under the contract of evaluations."""

    name: str
    revision: str
    model: Any  # WhisperForConditionalGeneration
    processor: Any  # WhisperProcessor
    family: str = FAMILY

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        """Transcribe a batch; long recordings and those whose text is drawn one by one."""
        if options.output != "text":
            raise ValueError(f"{self.name} answers in text only")
        decoding = decoding_of(FAMILY, options, KNOWN)
        waves = [self._wave(sample) for sample in samples]
        is_long = any(len(wave) > self.processor.feature_extractor.n_samples for wave in waves)
        if len(samples) > 1 and (is_long or decoding.get("do_sample", self.model.generation_config.do_sample)):
            return [answer for sample in samples for answer in self.generate([sample], options)]
        return self._transcribe(waves, is_long, options.seed_of(samples[0]), decoding)

    def _transcribe(self, waves: list[Any], is_long: bool, seed: int, decoding: dict[str, Any]) -> list[Prediction]:
        windows = {"truncation": False, "padding": "longest"} if is_long else {}
        found = self.processor.feature_extractor(
            waves, sampling_rate=INPUT_RATE_HZ, return_attention_mask=True, return_tensors="pt", **windows
        )
        device: torch.device = self.model.device
        inputs = moved({name: found[name] for name in ("input_features", "attention_mask")}, device, self.model.dtype)
        stamps = {"return_timestamps": True} if is_long else {}
        with drawing(seed, device):
            ids = self.model.generate(**inputs, **stamps, **decoding)
        return [Prediction(text.strip()) for text in self.processor.batch_decode(ids, skip_special_tokens=True)]

    def _wave(self, sample: EvalSample) -> Any:
        if len(sample.audio) != 1:
            raise ValueError(f"{self.name} hears one recording per sample, and {sample.id} has {len(sample.audio)}")
        return load_audio(sample.audio[0], INPUT_RATE_HZ).numpy()
