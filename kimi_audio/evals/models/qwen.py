"""What Qwen2-Audio and Qwen2.5-Omni have in common: how text and sound become their input, and how they are asked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.contract.types import EvalSample, Options, Prediction
from kimi_audio.evals.models.transformers_model import (
    DECODING,
    MAX_NEW_TOKENS,
    decoding_of,
    drawing,
    load_waves,
    moved,
)

AUDIO_TOKEN = "<|AUDIO|>"  # noqa: S105 - a token of a model


@dataclass(frozen=True)
class QwenParts:
    """What makes text and sound into what Qwen's models take.

    It stands in for the library's processors: that of Omni wants torchvision even where nothing is seen.
    """

    tokenizer: Any
    features: Any  # WhisperFeatureExtractor
    template: str  # of a chat, Jinja

    @classmethod
    def load(cls, folder: Path) -> "QwenParts":
        """Read them from a checkpoint; ImportError without the library."""
        from transformers import AutoTokenizer, WhisperFeatureExtractor

        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        separate = folder / "chat_template.json"
        template = json.loads(separate.read_text("utf-8"))["chat_template"] if separate.exists() else None
        return cls(
            tokenizer, WhisperFeatureExtractor.from_pretrained(folder), template or tokenizer.chat_template or ""
        )

    def chat(self, content: Sequence[Mapping[str, str]], system: str) -> str:
        """Return the text of a chat with one question."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": list(content)}]
        if system:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        return self.tokenizer.apply_chat_template(
            messages, chat_template=self.template, tokenize=False, add_generation_prompt=True
        )

    def inputs(self, prompts: Sequence[str], clips: Sequence[Sequence[Clip]]) -> dict[str, Tensor]:
        """Return the inputs of a batch.

        Returns:
            input_ids, attention_mask [B, T]; with sound also input_features [clips, M, frames] and
            feature_attention_mask [clips, frames].
        """
        waves = [load_waves(some, self.features.n_samples) for some in clips]
        heard: dict[str, Tensor] = {}
        lengths: list[int] = []
        if flat := [wave for some in waves for wave in some]:
            found = self.features(
                flat,
                sampling_rate=INPUT_RATE_HZ,
                padding="max_length",
                return_attention_mask=True,
                return_tensors="pt",
            )
            heard = {"input_features": found["input_features"], "feature_attention_mask": found["attention_mask"]}
            # Two halvings: the second convolution of the encoder and the pooling behind it.
            lengths = [((int(frames) - 1) // 2 - 1) // 2 + 1 for frames in found["attention_mask"].sum(-1)]
        counts = iter(lengths)
        texts = [_expanded(prompt, [next(counts) for _ in some]) for prompt, some in zip(prompts, waves, strict=True)]
        text = self.tokenizer(texts, padding=True, return_tensors="pt")
        return {"input_ids": text["input_ids"], "attention_mask": text["attention_mask"], **heard}


def _expanded(prompt: str, lengths: Sequence[int]) -> str:
    """Return the prompt with one audio token per position of the sound."""
    first, *others = prompt.split(AUDIO_TOKEN)
    if len(others) != len(lengths):
        raise ValueError(f"the prompt has {len(others)} places for sound and the sample {len(lengths)} recordings")
    return first + "".join(AUDIO_TOKEN * length + rest for length, rest in zip(lengths, others, strict=True))


@dataclass(frozen=True)
class QwenModel:
    """A loaded checkpoint under the contract of evaluations; subclasses write the prompt."""

    name: str
    revision: str
    family: str
    model: Any  # of the library
    parts: QwenParts

    @property
    def thinker(self) -> Any:
        """The part of the model that writes."""
        return self.model

    def prompt(self, sample: EvalSample, system: str) -> str:
        """Return the whole prompt."""
        raise NotImplementedError

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        """Answer a batch; where answers are drawn, each sample alone, so that its draws are its own."""
        if options.output != "text":
            raise ValueError(f"{self.name} answers in text only")
        decoding = self.decoding(options, DECODING)
        is_drawn = decoding.get("do_sample", self.thinker.generation_config.do_sample)
        batches = [[sample] for sample in samples] if is_drawn else [samples]
        return [answer for batch in batches for answer in self.answer(batch, options, decoding)]

    def decoding(self, options: Options, known: set[str]) -> dict[str, Any]:
        """Return the decoding as the library takes it; ValueError if an option is not known."""
        return {"max_new_tokens": MAX_NEW_TOKENS} | decoding_of(self.family, options, known)

    def answer(self, samples: Sequence[EvalSample], options: Options, decoding: Mapping[str, Any]) -> list[Prediction]:
        """Answer in text, all samples in one call."""
        inputs, given = self.inputs(samples, options)
        with drawing(options.seed_of(samples[0]), self.model.device):
            ids = self.thinker.generate(**given, **decoding)
        return self.texts(ids, inputs)

    def inputs(self, samples: Sequence[EvalSample], options: Options) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the inputs of a batch, and the same on the device of the model."""
        prompts = [self.prompt(sample, options.system) for sample in samples]
        inputs = self.parts.inputs(prompts, [sample.audio for sample in samples])
        return inputs, moved(inputs, self.model.device, self.thinker.dtype)

    def texts(self, ids: Tensor, inputs: Mapping[str, Tensor]) -> list[Prediction]:
        """Return what was written behind the inputs in ids [B, T], and whether each text came to an end."""
        new, ends = ids[:, inputs["input_ids"].shape[1] :], self.thinker.generation_config.eos_token_id
        known = {ends} if isinstance(ends, int) else set(ends or ())
        return [
            Prediction(
                self.parts.tokenizer.decode(row, skip_special_tokens=True),
                finish_reason="stop" if known.intersection(row.tolist()) else "length",
            )
            for row in new
        ]
