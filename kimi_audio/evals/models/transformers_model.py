"""Checkpoints that the transformers library implements: where they are found, how they draw, how they are asked.

A name is a folder or a hub id, with @REVISION if one is wanted. Code from the hub is never run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.devices import find_device
from kimi_audio.evals.contract.keys import Clip, hash_of
from kimi_audio.evals.contract.types import Options
from kimi_audio.evals.models.common import check_decoding

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


@contextmanager
def transformers_extra() -> Iterator[None]:
    """Turn a missing library inside the block into one clear sentence."""
    try:
        yield
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{error.name or 'transformers'} is missing: install kimi-audio[eval-transformers]", name=error.name
        ) from error


def load_checkpoint(
    name: str, device: str | None, architecture: str, read_parts: Callable[[Path], Any]
) -> tuple[str, str, Any, Any]:
    """Load a model for inference, in bfloat16 on a GPU, as the vendors use them; it is downloaded if needed.

    Args:
        name: a folder or a hub id.
        device: where it is to run.
        architecture: the library's class of the model.
        read_parts: reads from the folder what prepares the inputs.

    Returns:
        Its name for reports, the revision of weights, code and precision, the model, and what prepares its inputs.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        ValueError: there is no such checkpoint.
        RuntimeError: there is no such device.
    """
    with transformers_extra():
        import transformers

        where = find_device(device)
        dtype = torch.float32 if where.type == "cpu" else torch.bfloat16
        hub_id, _, wanted = name.partition("@")
        folder = Path(name) if Path(name).is_dir() else _downloaded(hub_id, wanted)
        parts = read_parts(folder)
    weights = hash_of([folder]) if Path(name).is_dir() else folder.name  # the hub's cache names folders by commit
    revision = f"{weights} transformers {version('transformers')} {str(dtype).removeprefix('torch.')}"
    model = getattr(transformers, architecture).from_pretrained(str(folder), dtype=dtype)
    return Path(hub_id).name, revision, model.to(where).eval(), parts


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


def moved(inputs: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the inputs on the device, floating point ones in the precision of the model."""
    return {
        name: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
        for name, tensor in inputs.items()
    }
