"""Qwen2-Audio through transformers: ``qwen2-audio:Qwen/Qwen2-Audio-7B-Instruct``, or a folder.

The base model continues a text instead of chatting and has recipes of its own (family "qwen2-audio-base"):
``qwen2-audio:Qwen/Qwen2-Audio-7B``, or ``qwen2-audio:base:FOLDER``. It hears 30 s; longer sound is an error.
"""

from kimi_audio.evals.contract.types import EvalSample
from kimi_audio.evals.models.qwen import AUDIO_TOKEN, QwenModel, QwenParts
from kimi_audio.evals.models.transformers_model import load_checkpoint

FAMILY, BASE_FAMILY = "qwen2-audio", "qwen2-audio-base"
BASE_PREFIX, BASE_HUB_ID = "base:", "Qwen/Qwen2-Audio-7B"


def load(name: str, device: str | None) -> "Qwen2Audio":
    """Load a checkpoint; raises what ``load_checkpoint`` raises."""
    is_base = name.startswith(BASE_PREFIX) or name.partition("@")[0] == BASE_HUB_ID
    short, revision, model, parts = load_checkpoint(
        name.removeprefix(BASE_PREFIX), device, "Qwen2AudioForConditionalGeneration", QwenParts.load
    )
    return Qwen2Audio(short, revision, BASE_FAMILY if is_base else FAMILY, model, parts)


class Qwen2Audio(QwenModel):
    """The model for a chat, or the base model."""

    def prompt(self, sample: EvalSample, system: str) -> str:
        """Return the whole prompt, the sound before the text as both models were trained."""
        if self.family == BASE_FAMILY:
            return f"<|audio_bos|>{AUDIO_TOKEN}<|audio_eos|>" * len(sample.audio) + sample.text
        content = [{"type": "audio", "audio_url": "heard"} for _ in sample.audio]
        content += [{"type": "text", "text": sample.text}] if sample.text else []
        return self.parts.chat(content, system)
