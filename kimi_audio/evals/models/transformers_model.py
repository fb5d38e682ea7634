"""Checkpoints that the transformers library implements: where they are found, how they draw, how they are asked.

A name is a folder or a hub id, with @REVISION if one is wanted. Code from the hub is never run.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kimi_audio.assistant import find_device
from kimi_audio.audio.io import load_audio
from kimi_audio.evals.contract.types import Clip, Options, Prediction
from kimi_audio.evals.models.common import check_decoding
from kimi_audio.evals.models.kimi_audio import hash_of
from kimi_audio.units import INPUT_RATE_HZ

FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model", "spk_dict.pt"]
DECODING = {
    "max_new_tokens",
    "min_new_tokens",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "num_beams",
    "repetition_penalty",
    "no_repeat_ngram_size",
}
MAX_NEW_TOKENS = 512  # unless the recipe says otherwise; the library's own default cuts answers after 20
AUDIO_TOKEN = "<|AUDIO|>"  # noqa: S105 - of Qwen's models


@contextmanager
def transformers_extra() -> Iterator[None]:
    """Turn a missing library inside the block into one clear sentence."""
    try:
        yield
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{error.name or 'transformers'} is missing: install kimi-audio[eval-transformers]", name=error.name
        ) from error


@dataclass(frozen=True)
class Checkpoint:
    """Files of a model, and how to load them."""

    folder: Path
    name: str  # for reports
    revision: str  # of weights, code and precision
    device: torch.device
    dtype: torch.dtype


def find_checkpoint(name: str, device: str | None) -> Checkpoint:
    """Return a checkpoint, downloaded if needed; in bfloat16 on a GPU, as the vendors use them.

    Raises:
        ValueError: it is neither a folder nor on the hub.
        RuntimeError: there is no such device.
    """
    found = find_device(device)
    dtype = torch.float32 if found.type == "cpu" else torch.bfloat16
    hub_id, _, wanted = name.partition("@")
    folder = Path(name) if Path(name).is_dir() else _downloaded(hub_id, wanted)
    weights = hash_of([folder]) if Path(name).is_dir() else folder.name  # the hub's cache names folders by commit
    revision = f"{weights} transformers {version('transformers')} {str(dtype).removeprefix('torch.')}"
    return Checkpoint(folder, Path(hub_id).name, revision, found, dtype)


def load_checkpoint(
    name: str, device: str | None, architecture: str, read_parts: Callable[[Path], Any]
) -> tuple[Checkpoint, Any, Any]:
    """Load a model for inference, and what prepares its inputs.

    Args:
        name: a folder or a hub id.
        device: where it is to run.
        architecture: the library's class of the model.
        read_parts: reads from the folder what prepares the inputs.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        ValueError: there is no such checkpoint.
    """
    with transformers_extra():
        import transformers

        found = find_checkpoint(name, device)
        parts = read_parts(found.folder)
    model = getattr(transformers, architecture).from_pretrained(str(found.folder), dtype=found.dtype)
    return found, model.to(found.device).eval(), parts


def _downloaded(hub_id: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download  # late: slow to import

    try:
        return Path(snapshot_download(hub_id, revision=revision or None, allow_patterns=FILES))
    except Exception as error:  # the hub and every transport have their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{hub_id} is no folder, and the hub does not give it: {reason}") from error


def decoding_of(family: str, options: Options, known: set[str]) -> dict[str, Any]:
    """Return the decoding as the library takes it; a temperature switches sampling on, 0 off.

    Raises:
        ValueError: an option is not known.
    """
    check_decoding(family, options, known)
    decoding = dict(options.decoding)
    if (temperature := decoding.get("temperature")) is not None:
        decoding.setdefault("do_sample", temperature > 0)
        if temperature == 0:
            del decoding["temperature"]
    return decoding


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, from which the library draws, inside the block only; no gradients."""
    devices = [] if device.type == "cpu" else [device]
    with torch.inference_mode(), torch.random.fork_rng(devices, device_type=device.type):
        torch.manual_seed(seed)
        yield


def load_waves(clips: Sequence[Clip], max_samples: int) -> list[Any]:
    """Read recordings at 16 kHz as numpy arrays [L]; ValueError where one would be cut off."""
    waves = [load_audio(clip, INPUT_RATE_HZ).numpy() for clip in clips]
    for wave in waves:
        if len(wave) > max_samples:
            heard_s, limit_s = len(wave) / INPUT_RATE_HZ, max_samples / INPUT_RATE_HZ
            raise ValueError(f"the audio lasts {heard_s:.1f} s, more than the {limit_s:g} s that the model hears")
    return waves


# ---------------------------------------------------------------------------------------------------------------------
# Qwen2-Audio and Qwen2.5-Omni


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


def moved(inputs: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the inputs on the device, floating point ones in the precision of the model."""
    return {
        name: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
        for name, tensor in inputs.items()
    }


def answers(tokenizer: Any, ids: Tensor, ends: int | Sequence[int] | None) -> list[Prediction]:
    """Return the texts of generated ids [B, T], and whether each came to an end."""
    known = {ends} if isinstance(ends, int) else set(ends or ())
    return [
        Prediction(
            tokenizer.decode(row, skip_special_tokens=True),
            finish_reason="stop" if known.intersection(row.tolist()) else "length",
        )
        for row in ids
    ]
