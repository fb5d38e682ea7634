"""Qwen2.5-Omni through transformers: ``qwen2.5-omni:Qwen/Qwen2.5-Omni-7B``, or a folder.

Text comes from its thinker alone; text and speech from the whole model, whose voice is the option "speaker" of the
decoding. It speaks as intended only with the vendor's system prompt, which its recipes hold. It hears 300 s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kimi_audio.audio.io import Samples
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.evals.contract.types import EvalSample, Options, Prediction
from kimi_audio.evals.models.qwen import QwenModel, QwenParts
from kimi_audio.evals.models.transformers_model import DECODING, drawing, load_checkpoint

FAMILY = "qwen2.5-omni"
SPEAKER = "speaker"


def load(name: str, device: str | None) -> "Qwen25Omni":
    """Load a checkpoint; raises what ``load_checkpoint`` raises."""
    architecture = "Qwen2_5OmniForConditionalGeneration"
    short, revision, model, parts = load_checkpoint(name, device, architecture, QwenParts.load)
    return Qwen25Omni(short, revision, FAMILY, model, parts)


class Qwen25Omni(QwenModel):
    """Thinker and talker."""

    @property
    def thinker(self) -> Any:
        """The part of the model that writes."""
        return self.model.thinker

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        """Answer a batch; spoken answers are drawn, so each sample alone."""
        if options.output == "text":
            return super().generate(samples, options)
        if not self.model.has_talker:
            raise ValueError(f"{self.name} has no talker and answers in text only")
        decoding = self.decoding(options, DECODING | {SPEAKER})
        return [self._spoken(sample, options, decoding) for sample in samples]

    def _spoken(self, sample: EvalSample, options: Options, decoding: Mapping[str, Any]) -> Prediction:
        inputs, given = self.inputs([sample], options)
        named = {name if name == SPEAKER else f"thinker_{name}": value for name, value in decoding.items()}
        with drawing(options.seed_of(sample), self.model.device):
            ids, speech = self.model.generate(**given, **named)
        wav = speech.detach().float().cpu().reshape(-1)
        return replace(self.texts(ids, inputs)[0], speech=Samples(wav, OUTPUT_RATE_HZ))

    def prompt(self, sample: EvalSample, system: str) -> str:
        """Return the whole prompt, the text before the sound as in the vendor's examples of understanding."""
        content = [{"type": "text", "text": sample.text}] if sample.text else []
        content += [{"type": "audio", "audio": "heard"} for _ in sample.audio]
        return self.parts.chat(content, system)
