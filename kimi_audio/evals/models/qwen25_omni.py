"""Qwen2.5-Omni through transformers: ``qwen2.5-omni:Qwen/Qwen2.5-Omni-7B``, or a folder.

Text comes from its thinker alone; text and speech from the whole model, whose voice is the option "speaker" of the
decoding. It speaks as intended only with the vendor's system prompt, which its recipes hold. It hears 300 s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.types import Options, Prediction, Sample
from kimi_audio.evals.models.transformers_model import (
    DECODING,
    MAX_NEW_TOKENS,
    QwenParts,
    answers,
    decoding_of,
    drawing,
    load_checkpoint,
    moved,
)
from kimi_audio.units import OUTPUT_RATE_HZ

FAMILY = "qwen2.5-omni"
SPEAKER = "speaker"


def load(name: str, device: str | None) -> "Qwen25Omni":
    """Load a checkpoint; raises what ``load_checkpoint`` raises."""
    found, model, parts = load_checkpoint(name, device, "Qwen2_5OmniForConditionalGeneration", QwenParts.load)
    return Qwen25Omni(found.name, found.revision, model, parts)


@dataclass(frozen=True)
class Qwen25Omni:
    """A loaded checkpoint under the contract of evaluations."""

    name: str
    revision: str
    model: Any  # Qwen2_5OmniForConditionalGeneration
    parts: QwenParts
    family: str = FAMILY

    def generate(self, samples: Sequence[Sample], options: Options) -> list[Prediction]:
        """Answer a batch; where text or speech are drawn, each sample alone, so that its draws are its own."""
        is_spoken = options.output == "both"
        if is_spoken and not self.model.has_talker:
            raise ValueError(f"{self.name} has no talker and answers in text only")
        known = DECODING | {SPEAKER} if is_spoken else DECODING
        decoding = {"max_new_tokens": MAX_NEW_TOKENS} | decoding_of(FAMILY, options, known)
        is_drawn = is_spoken or decoding.get("do_sample", self.model.thinker.generation_config.do_sample)
        batches = [[sample] for sample in samples] if is_drawn else [samples]
        return [answer for batch in batches for answer in self._answer(batch, options, decoding)]

    def _answer(self, samples: Sequence[Sample], options: Options, decoding: dict[str, Any]) -> list[Prediction]:
        prompts = [self.prompt(sample, options.system) for sample in samples]
        inputs = self.parts.inputs(prompts, [sample.audio for sample in samples])
        device: torch.device = self.model.device
        given = moved(inputs, device, self.model.thinker.dtype)
        speech: Tensor | None = None
        with drawing(options.seed_of(samples[0]), device):
            if options.output == "both":
                named = {name if name == SPEAKER else f"thinker_{name}": value for name, value in decoding.items()}
                ids, speech = self.model.generate(**given, **named)
            else:
                ids = self.model.thinker.generate(**given, **decoding)
        new = ids[:, inputs["input_ids"].shape[1] :]
        found = answers(self.parts.tokenizer, new, self.model.thinker.generation_config.eos_token_id)
        if speech is None:
            return found
        wav = speech.detach().float().cpu().reshape(-1)
        return [replace(found[0], speech=Samples(wav, OUTPUT_RATE_HZ))]

    def prompt(self, sample: Sample, system: str) -> str:
        """Return the whole prompt, the text before the sound as in the vendor's examples of understanding."""
        content = [{"type": "text", "text": sample.text}] if sample.text else []
        content += [{"type": "audio", "audio": "heard"} for _ in sample.audio]
        return self.parts.chat(content, system)
