"""Files of tensors, read with clear errors and written whole or not at all.

Only plain values and tensors are read, never code or pickled objects. Files may hold matrices at 8 or 4 bits (see
``quantized``); most readers get ordinary tensors all the same.
"""

import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kimi_audio.core.files import as_mapping, read_json, write_whole
from kimi_audio.core.quantized import (
    GROUP_COLUMNS,
    Format,
    Int4,
    Int8,
    Stored,
    dequantised,
    quantized,
    takes_int4,
)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "model.pt"
SCALE_SUFFIX = "_int8_scale"  # row scales of a weight that is stored as int8
GROUPS_SUFFIX = "_int4_groups"  # steps and middles of one that is stored as int4
INT8_MIN_SIZE = 4096  # smaller matrices are not worth their row scales
KEPT_FLOAT = ("codebook.weight",)  # near codes are told apart by it


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_shards(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of ``model.safetensors``, or of the shards that the index names (their names are irregular).

    Raises:
        ValueError: a file is missing or damaged.
    """
    return ((name, dequantised(stored)) for name, stored in read_stored_shards(folder))


def read_stored_shards(folder: Path) -> Iterator[tuple[str, Stored]]:
    """Yield the same as it is stored; errors as for ``read_shards``."""
    index = folder / INDEX
    if not index.exists():
        yield from read_stored(folder / WEIGHTS)
        return
    shards = as_mapping(read_json(index).get("weight_map"), index)
    for shard in shards.values():
        if not isinstance(shard, str) or not re.fullmatch(r"[^/\\\0]{1,200}\.safetensors", shard):
            raise ValueError(f"{index} names {shard!r:.60}, which is no .safetensors file in the same folder")
    for shard in sorted(set(shards.values())):
        yield from read_stored(folder / shard)


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
    _check_pickle(path)
    try:
        # mmap: the released file also holds two optimiser moments per weight, which are never touched
        values = as_mapping(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)
    except UnpicklingError:
        raise ValueError(f"{path} was not loaded: it holds more than tensors, such as code, or is damaged") from None
    except _READ_ERRORS as error:
        raise ValueError(f"{path} is damaged: {_first_line(error)}") from None
    if pickle_key not in values:
        raise ValueError(f"{path} lacks {pickle_key}")
    for name, tensor in as_mapping(values[pickle_key], path).items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{path} holds {name!r:.60} among its tensors, which is none")
        yield name, tensor


_READ_ERRORS = (RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_pickle(path: Path) -> None:
    """Check that reading a file of ``torch.save`` costs no more memory than the file is large.

    torch stores all parts uncompressed; what is compressed could be a bomb. Of what its restricted unpickler lets
    through, ``bytearray`` and its like make memory of a number.

    Raises:
        ValueError: it may cost more, or is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise ValueError(f"{path} was not loaded: its parts are compressed, which torch.save does not do")
            if sum(part.file_size for part in parts) > path.stat().st_size:
                raise ValueError(f"{path} is damaged: its parts are larger than the file")
            names = [part.filename for part in parts if part.filename.endswith("data.pkl")]
            calls = [name for part in names for name in _called(archive.read(part))]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: {_first_line(error)}") from None
    unknown = [name for name in calls if not name.startswith("torch") and name not in _PLAIN_CALLS]
    if unknown:
        raise ValueError(f"{path} was not loaded: it holds more than tensors, such as code ({unknown[0]:.60})")


_PLAIN_CALLS = ("collections.OrderedDict", "_codecs.encode")


def _called(pickled: bytes) -> list[str]:
    """Return what a pickle of torch's protocol calls; torch itself refuses the other ways of calling."""
    try:
        return [
            str(argument).replace(" ", ".")
            for code, argument, _ in pickletools.genops(pickled)
            if code.name == "GLOBAL"
        ]
    except (ValueError, LookupError, OverflowError) as error:
        raise zipfile.BadZipFile(f"its data.pkl cannot be read ({_first_line(error)})") from None


def read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one file, quantised ones as what they stand for.

    Raises:
        ValueError: the file is missing or damaged, or weights and their scales do not belong together.
    """
    return ((name, dequantised(stored)) for name, stored in read_stored(path))


def read_stored(path: Path) -> Iterator[tuple[str, Stored]]:
    """Yield the tensors of one file as they are stored; errors as for ``read_safetensors``."""
    if not path.exists():
        raise ValueError(f"{path.parent} lacks {path.name}")
    if not path.is_file():  # reading a pipe could wait for ever
        raise ValueError(f"{path} is not a regular file")
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name in sorted(names):
                scaled = re.sub(f"({SCALE_SUFFIX}|{GROUPS_SUFFIX})$", "", name)
                if scaled != name:
                    if scaled not in names:
                        raise ValueError(f"{path} holds the scales {name}, but not their weight")
                    continue
                tensor = file.get_tensor(name)
                if name + SCALE_SUFFIX in names:
                    yield name, _int8(tensor, file.get_tensor(name + SCALE_SUFFIX), f"{path}: {name}")
                elif name + GROUPS_SUFFIX in names:
                    yield name, _int4(tensor, file.get_tensor(name + GROUPS_SUFFIX), f"{path}: {name}")
                else:
                    yield name, tensor
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _int8(codes: Tensor, scale: Tensor, source: str) -> Int8:
    if codes.dtype != torch.int8 or codes.dim() < 1 or scale.shape != codes.shape[:1] or not scale.is_floating_point():
        raise ValueError(f"{source} is no int8 weight with one scale per row")
    return Int8(codes, scale.float())


def _int4(codes: Tensor, groups: Tensor, source: str) -> Int4:
    matrix = Int4(codes, groups)
    is_packed = codes.dtype == torch.uint8 and codes.dim() == 2 and takes_int4(matrix.shape)
    is_stepped = groups.is_floating_point() and groups.shape == (len(codes), matrix.shape[1] // GROUP_COLUMNS, 2)
    if not is_packed or not is_stepped:
        raise ValueError(f"{source} is no int4 matrix with a step and a middle for {GROUP_COLUMNS} values")
    return matrix


def fitting(
    tensors: Iterable[tuple[str, Tensor]],
    expected: Mapping[str, Tensor],
    source: str,
    device: torch.device | str,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return tensors that are exactly those expected, each moved to the device and the dtype as it comes.

    Args:
        tensors: by name, in any order.
        expected: what they must be called and shaped.
        source: what the message calls the place that they come from.
        device: where they go.
        dtype: what they become; they must be floating-point numbers of at least 16 bits.

    Raises:
        ValueError: tensors are missing, unexpected, given twice, of the wrong shape or type, or not finite; the message
            names them.
    """
    return stored_fitting(tensors, expected, source, lambda _, tensor: tensor.to(device, dtype))


Given = TypeVar("Given", bound=Stored)
Kept = TypeVar("Kept", bound=Stored)


def stored_fitting(
    tensors: Iterable[tuple[str, Given]],
    expected: Mapping[str, Tensor],
    source: str,
    store: Callable[[str, Given], Kept],
) -> dict[str, Kept]:
    """Return what ``store`` makes of each tensor as it comes; all else as for ``fitting``."""
    state: dict[str, Kept] = {}
    problems: dict[str, list[str]] = {"missing": []}
    for name, tensor in tensors:
        problem, detail = ("given twice", "") if name in state else _misfit(tensor, expected.get(name))
        if problem is None:
            state[name] = store(name, tensor)
            problem, detail = _not_finite(tensor, state[name])
        if problem is not None:
            problems.setdefault(problem, []).append(name + detail)
    told = {name.partition(" ")[0] for names in problems.values() for name in names}
    problems["missing"] = [name for name in expected if name not in state and name not in told]
    if any(problems.values()):
        listed = "; ".join(f"{what}: {_few(names)}" for what, names in problems.items() if names)
        raise ValueError(f"the tensors in {source} do not fit its config: {listed}")
    return state


def _misfit(tensor: Stored, expected: Tensor | None) -> tuple[str | None, str]:
    """Return what is wrong with a tensor, None if nothing, and details."""
    if expected is None:
        return "unexpected", ""
    if tensor.shape != expected.shape:
        return "wrong shape", f" {tuple(tensor.shape)} instead of {tuple(expected.shape)}"
    if isinstance(tensor, Tensor) and (not tensor.is_floating_point() or tensor.itemsize < 2):  # without its scale
        return "wrong type", f" {_name(tensor.dtype)}"
    return None, ""


def _not_finite(given: Stored, kept: Stored) -> tuple[str | None, str]:
    if is_finite(kept):
        return None, ""
    return "not finite", f" in {_name(kept.dtype)}" if isinstance(kept, Tensor) and is_finite(given) else ""


def is_finite(tensor: Stored) -> bool:
    """Tell whether all values are finite; their sum is quicker and can only be wrong in that it overflows."""
    if not isinstance(tensor, Tensor):
        return tensor.is_finite
    return math.isfinite(tensor.sum(dtype=torch.float32).item()) or bool(tensor.isfinite().all())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _few(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def holds_int8(path: Path) -> bool:
    """Tell whether a safetensors file, if there is one, was written with ``int8``."""
    if not path.exists():
        return False
    with safe_open(path, framework="pt") as tensors:
        return any(name.endswith(SCALE_SUFFIX) for name in tensors.keys())  # noqa: SIM118 (no mapping)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def save_weights(
    path: Path,
    tensors: Mapping[str, Stored],
    *,
    int8: bool = False,
    exact: Iterable[str] = (),
) -> None:
    """Write one safetensors file.

    Args:
        path: of the file.
        tensors: by name; stored exactly unless ``int8``. What is quantised stays as it is.
        int8: store large tensors as int8, and all else, the scales of their rows as well, in float16.
        exact: names of tensors that are stored exactly all the same.

    Raises:
        ValueError: a tensor is not finite, or not in the range of float16.
    """
    if not int8:
        save_quantized(path, tensors, {})
        return
    plain = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    changed = {name: tensor for name, tensor in plain.items() if name not in set(exact)}
    large = {
        name
        for name, tensor in changed.items()
        if tensor.dim() >= 2 and tensor.numel() >= INT8_MIN_SIZE and name not in KEPT_FLOAT
    }
    others = {name: tensor.half() for name, tensor in changed.items() if name not in large}
    save_quantized(path, {**tensors, **others}, dict.fromkeys(large, "int8"), scales=torch.float16)


def save_quantized(
    path: Path, tensors: Mapping[str, Stored], formats: Mapping[str, Format], *, scales: torch.dtype = torch.float32
) -> None:
    """Write one safetensors file, some tensors, by name, in a format of fewer bits; errors as for ``save_weights``.

    What is quantised already stays as it is, where no other format is wanted.

    ``scales`` is what those of int8 are stored as.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        weight = quantized(tensor, formats[name]) if name in formats else tensor
        if isinstance(weight, Tensor):
            stored[name] = weight
        elif isinstance(weight, Int8):
            stored |= {name: weight.codes, name + SCALE_SUFFIX: weight.scale.to(scales)}
        else:
            stored |= {name: weight.codes, name + GROUPS_SUFFIX: weight.groups}
    broken = [name for name, tensor in stored.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"{path} was not written: not finite, at least in float16: {', '.join(broken)}")
    with write_whole(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in stored.items()}, partial)
