"""Files of tensors, read with clear errors and written whole or not at all.

Only plain values and tensors are read, never code or pickled objects. Small models keep their matrices as int8 with one
scale per row; nothing but this file knows.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kimi_audio.core.files import as_mapping, read_json, write_whole

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "model.pt"
SCALE_SUFFIX = "_int8_scale"  # row scales of a weight that is stored as int8
INT8_MIN_SIZE = 4096  # smaller matrices are not worth their row scales
KEPT_FLOAT = ("codebook.weight",)  # near codes are told apart by it


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_shards(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of ``model.safetensors``, or of the shards that the index names (their names are irregular).

    Raises:
        ValueError: a file is missing or damaged.
    """
    index = folder / INDEX
    if not index.exists():
        yield from read_safetensors(folder / WEIGHTS)
        return
    shards = as_mapping(read_json(index).get("weight_map"), index)
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard:
            raise ValueError(f"{index} names {shard}, which is outside the folder")
        yield from read_safetensors(folder / shard)


def read_weights(folder: Path, pickle_key: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of ``model.safetensors``, else those under ``pickle_key`` of ``model.pt``.

    Raises:
        ValueError: neither is there, or the file is damaged or holds more than tensors.
    """
    if (folder / WEIGHTS).exists():
        yield from read_safetensors(folder / WEIGHTS)
        return
    path = folder / PICKLE
    if not path.exists():
        raise ValueError(f"{folder} lacks {WEIGHTS} or {PICKLE}")
    try:
        # mmap: the released file also holds two optimiser moments per weight, which are never touched
        values = as_mapping(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)
    except UnpicklingError:
        raise ValueError(f"{path} was not loaded: it holds more than tensors, such as code, or is damaged") from None
    except (RuntimeError, OSError, EOFError) as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    if pickle_key not in values:
        raise ValueError(f"{path} lacks {pickle_key}")
    yield from as_mapping(values[pickle_key], path).items()


def read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one file, int8 weights multiplied with their row scales.

    Raises:
        ValueError: the file is missing or damaged.
    """
    if not path.exists():
        raise ValueError(f"{path.parent} lacks {path.name}")
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name in sorted(names):
                if name.endswith(SCALE_SUFFIX):
                    continue
                tensor = file.get_tensor(name)
                if name + SCALE_SUFFIX in names:
                    tensor = dequantise(tensor, file.get_tensor(name + SCALE_SUFFIX))
                yield name, tensor
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def holds_int8(path: Path) -> bool:
    """Tell whether a safetensors file, if there is one, was written with ``int8``."""
    if not path.exists():
        return False
    with safe_open(path, framework="pt") as tensors:
        return any(name.endswith(SCALE_SUFFIX) for name in tensors.keys())  # noqa: SIM118 (no mapping)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def save_weights(path: Path, tensors: Mapping[str, Tensor], *, int8: bool = False) -> None:
    """Write one safetensors file.

    Args:
        path: of the file.
        tensors: by name; stored exactly unless ``int8``.
        int8: store large matrices as int8 with row scales, and all else in float16.

    Raises:
        ValueError: a tensor is not finite, or not in the range of float16.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if int8 and tensor.dim() >= 2 and tensor.numel() >= INT8_MIN_SIZE and name not in KEPT_FLOAT:
            stored[name], stored[name + SCALE_SUFFIX] = quantise(tensor)
        else:
            stored[name] = tensor.half() if int8 else tensor
    broken = [name for name, tensor in stored.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"{path} was not written: not finite, at least in float16: {', '.join(broken)}")
    with write_whole(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in stored.items()}, partial)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix [R, ...] as int8 with one float32 scale per row, the rows' largest values at 127."""
    rows = weight.float().flatten(1)
    scale = rows.abs().amax(1).clamp(min=1e-12) / 127
    return (rows / scale[:, None]).round().to(torch.int8).view(weight.shape), scale


def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    """Undo ``quantise``."""
    return weight.float() * scale.view(-1, *[1] * (weight.dim() - 1))
