"""Qwen2-Audio through transformers: ``qwen2-audio:Qwen/Qwen2-Audio-7B-Instruct``, or a folder.

The base model continues a text instead of chatting and has recipes of its own (family "qwen2-audio-base"):
``qwen2-audio:Qwen/Qwen2-Audio-7B``, or ``qwen2-audio:base:FOLDER``. It hears 30 s; longer sound is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kimi_audio.evals.contract.types import Options, Prediction, Sample
from kimi_audio.evals.models.transformers_model import (
    AUDIO_TOKEN,
    DECODING,
    MAX_NEW_TOKENS,
    QwenParts,
    answers,
    decoding_of,
    drawing,
    load_checkpoint,
    moved,
)

FAMILY, BASE_FAMILY = "qwen2-audio", "qwen2-audio-base"
BASE_PREFIX, BASE_HUB_ID = "base:", "Qwen/Qwen2-Audio-7B"


def load(name: str, device: str | None) -> "Qwen2Audio":
    """Load a checkpoint; raises what ``load_checkpoint`` raises."""
    is_base = name.startswith(BASE_PREFIX) or name.partition("@")[0] == BASE_HUB_ID
    found, model, parts = load_checkpoint(
        name.removeprefix(BASE_PREFIX), device, "Qwen2AudioForConditionalGeneration", QwenParts.load
    )
    return Qwen2Audio(found.name, found.revision, BASE_FAMILY if is_base else FAMILY, model, parts)


@dataclass(frozen=True)
class Qwen2Audio:
    """A loaded checkpoint under the contract of evaluations."""

    name: str
    revision: str
    family: str
    model: Any  # Qwen2AudioForConditionalGeneration
    parts: QwenParts

    def generate(self, samples: Sequence[Sample], options: Options) -> list[Prediction]:
        """Answer a batch; where answers are drawn, each sample alone, so that its draws are its own."""
        if options.output != "text":
            raise ValueError(f"{self.name} answers in text only")
        decoding = {"max_new_tokens": MAX_NEW_TOKENS} | decoding_of(self.family, options, DECODING)
        is_drawn = decoding.get("do_sample", self.model.generation_config.do_sample)
        batches = [[sample] for sample in samples] if is_drawn else [samples]
        return [answer for batch in batches for answer in self._answer(batch, options, decoding)]

    def _answer(self, samples: Sequence[Sample], options: Options, decoding: dict[str, Any]) -> list[Prediction]:
        prompts = [self.prompt(sample, options.system) for sample in samples]
        inputs = self.parts.inputs(prompts, [sample.audio for sample in samples])
        device: torch.device = self.model.device
        with drawing(options.seed_of(samples[0]), device):
            ids = self.model.generate(**moved(inputs, device, self.model.dtype), **decoding)
        new = ids[:, inputs["input_ids"].shape[1] :]
        return answers(self.parts.tokenizer, new, self.model.generation_config.eos_token_id)

    def prompt(self, sample: Sample, system: str) -> str:
        """Return the whole prompt, the sound before the text as both models were trained."""
        if self.family == BASE_FAMILY:
            return f"<|audio_bos|>{AUDIO_TOKEN}<|audio_eos|>" * len(sample.audio) + sample.text
        content = [{"type": "audio", "audio_url": "heard"} for _ in sample.audio]
        content += [{"type": "text", "text": sample.text}] if sample.text else []
        return self.parts.chat(content, system)
