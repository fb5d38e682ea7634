"""The audio LLM with matrices at 8 or 4 bits: less memory, and less to read in every step.

The layers of both branches take the wanted format. The embedding and the two heads are int8 in either: they are read
most, or by rows. Norms, biases and the adaptor of the acoustic features stay as they are: they are small. Matrices
whose shape 4 bits do not suit are int8, too. What multiplies the same is one matrix: queries, keys and values, gate
and up.

Products round what they are given to bfloat16 and sum in float32: these are the kernels that torch has. Those of many
positions are made of widened codes where that is faster; they round alike, so that a request gives the same ids alone
and among others.

Shapes: R rows of a matrix (outputs), C columns (inputs), N positions.
"""

from collections.abc import Mapping
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.core.quantized import (
    GROUP_COLUMNS,
    Format,
    Int4,
    Int8,
    Quantized,
    Stored,
    joined,
    quantized,
    takes_int4,
)
from kimi_audio.lm.model import MLP, AudioLM
from kimi_audio.nn.attention import Attention
from kimi_audio.nn.precision import computes_bf16
from kimi_audio.nn.row_product import int8_row_product, suits_int8

FEW_POSITIONS = 32  # up to so many, the product of torch's kernel for CPUs is faster than one of widened int8 codes
KERNEL_ALIGNMENT_BYTES = 64  # where torch puts what it makes; with AVX-512, its int8 kernel crashes at other addresses
KERNEL_COLUMNS = 32  # torch's int8 kernel reads whole vectors, behind the end of rows that are no multiple of one
_BLOCK_VALUES = 2**22  # are widened at once, on a CPU
_GPU_BLOCK_VALUES = 2**27  # on another device, which small blocks leave idle; 270 MB
_ADAPTOR = "model.vq_adaptor."


class QuantizedLinear(nn.Module):
    """A linear layer whose matrix is quantised; it makes [..., R] of [..., C]."""

    bias: Tensor | None

    def __init__(self, bias: Tensor | None) -> None:
        super().__init__()
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., R], in the dtype that came."""
        y = self._product(x.flatten(0, -2).bfloat16())
        y = y if self.bias is None else y + self.bias
        return y.to(x.dtype).unflatten(0, x.shape[:-1])

    def _product(self, x: Tensor) -> Tensor:
        """[N, C] bfloat16 -> [N, R]."""
        raise NotImplementedError

    def _save_to_state_dict(self, destination: object, prefix: str, keep_vars: bool) -> None:
        _refuse_saving()


class Int8Linear(QuantizedLinear):
    """One with a scale per row."""

    codes: Tensor
    scale: Tensor

    def __init__(self, weight: Int8, bias: Tensor | None) -> None:
        super().__init__(bias)
        codes = weight.codes
        if codes.data_ptr() % KERNEL_ALIGNMENT_BYTES:  # a view of a file is where it lies in the file
            codes = codes.clone()
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("scale", weight.scale, persistent=False)

    def _product(self, x: Tensor) -> Tensor:
        on_cpu = x.device.type == "cpu"
        if len(x) == 1 and suits_int8(self.codes):
            return int8_row_product(x, self.codes).bfloat16() * self.scale  # rounded as by the others
        # With torch's kernel for CUDA, a step took five times as long as in bfloat16: see benchmarks/RESULTS.md.
        if on_cpu and len(x) <= FEW_POSITIONS and x.shape[1] % KERNEL_COLUMNS == 0:
            # The kernel would round the scales to bfloat16.
            return torch.ops.aten._weight_int8pack_mm(x, self.codes, _ones(len(self.codes))) * self.scale
        dtype = torch.bfloat16 if computes_bf16(x.device.type) else torch.float32
        x = x.to(dtype)
        blocks = self.codes.split(max(1, (_BLOCK_VALUES if on_cpu else _GPU_BLOCK_VALUES) // self.codes.shape[1]))
        return torch.cat([F.linear(x, block.to(dtype)) for block in blocks], -1).bfloat16() * self.scale


@cache
@torch.inference_mode(False)
def _ones(size: int) -> Tensor:
    """Return the scales of a product that is scaled later: [R]."""
    return torch.ones(size, dtype=torch.bfloat16, device="cpu")


class Int4Linear(QuantizedLinear):
    """One with a step and a middle for every group of columns, in the order of the kernel of its device."""

    packed: Tensor
    groups: Tensor

    def __init__(self, weight: Int4, bias: Tensor | None) -> None:
        super().__init__(bias)
        if weight.codes.is_cuda:
            tiles = next(tiles for tiles in (8, 4, 2) if weight.shape[1] % (16 * tiles) == 0)
            packed = torch.ops.aten._convert_weight_to_int4pack(weight.codes, tiles)
        else:
            packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(weight.unpacked(), 1)
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer("groups", weight.groups.transpose(0, 1).contiguous(), persistent=False)

    def _product(self, x: Tensor) -> Tensor:
        multiply = torch.ops.aten._weight_int4pack_mm if x.is_cuda else torch.ops.aten._weight_int4pack_mm_for_cpu
        return multiply(x, self.packed, GROUP_COLUMNS, self.groups)


class Int8Embedding(nn.Module):
    """A table of vectors at 8 bits."""

    codes: Tensor
    scale: Tensor

    def __init__(self, weight: Int8, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.register_buffer("codes", weight.codes, persistent=False)
        self.register_buffer("scale", weight.scale, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[...] -> [..., C]."""
        return (self.codes[ids] * self.scale[ids][..., None]).to(self.dtype)

    def _save_to_state_dict(self, destination: object, prefix: str, keep_vars: bool) -> None:
        _refuse_saving()


def formats_of(lm: nn.Module, wanted: Format) -> dict[str, Format]:
    """Return the format of every matrix of an LLM that is quantised, by the name of the tensor."""
    formats: dict[str, Format] = {}
    for name, module in lm.named_modules():
        if not isinstance(module, (nn.Linear, nn.Embedding)) or name.startswith(_ADAPTOR):
            continue
        is_layer = "layers." in name
        formats[f"{name}.weight"] = wanted if is_layer and takes_int4(module.weight.shape) else "int8"
    return formats


def is_faster_on(device: torch.device) -> bool:
    """Tell whether steps of a small LLM take less time at 8 bits than in float32: measured on CPUs with AVX alone."""
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def num_bytes(lm: nn.Module, wanted: Format | None, dtype: torch.dtype) -> int:
    """Return the memory that the weights of an LLM, which may be on the meta device, take in a format."""
    formats = {} if wanted is None else formats_of(lm, wanted)
    return sum(_bytes_in(tensor, formats.get(name), dtype) for name, tensor in lm.state_dict().items())


def _bytes_in(tensor: Tensor, format_: Format | None, dtype: torch.dtype) -> int:
    if format_ is None:
        return tensor.numel() * dtype.itemsize
    if format_ == "int8":
        return tensor.numel() + 4 * len(tensor)
    return tensor.numel() // 2 + tensor.numel() // GROUP_COLUMNS * 4


def quantize_lm(lm: AudioLM, wanted: Format) -> AudioLM:
    """Quantise an LLM in place, one matrix after the other, and return it; it cannot be trained or saved any more."""
    formats = formats_of(lm, wanted)
    for path, olds in _places(lm, formats).items():
        weights = [quantized(lm.get_parameter(f"{old}.weight").detach(), formats[f"{old}.weight"]) for old in olds]
        _replace(lm, path, olds, weights)
    return lm


def give_weights(lm: AudioLM, state: dict[str, Stored]) -> None:
    """Give an LLM on the meta device its weights, some of them quantised, taking them out of ``state`` one by one."""
    plain = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    # Biases are given to the ordinary layers, and taken over from those.
    lm.load_state_dict(plain, strict=False, assign=True)
    for name in plain:
        del state[name]
    for path, olds in _places(lm, {name: type(weight) for name, weight in state.items()}).items():
        _replace(lm, path, olds, [state.pop(f"{old}.weight") for old in olds])  # pyright: ignore[reportArgumentType]


def _places(lm: AudioLM, formats: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the paths of all quantised layers, each with those of the layers in whose place it comes.

    These are several where the formats of their weights are one.
    """
    places = {name.removesuffix(".weight"): [name.removesuffix(".weight")] for name in formats}
    for path, module in lm.named_modules():
        for joint, members in module.JOINED.items() if isinstance(module, (Attention, MLP)) else ():
            olds = [f"{path}.{member}" for member in members]
            if len({formats.get(f"{old}.weight") for old in olds}) == 1 and olds[0] in places:
                places[f"{path}.{joint}"] = [place for old in olds for place in places.pop(old)]
    return places


def _replace(lm: AudioLM, path: str, olds: list[str], weights: list[Quantized]) -> None:
    layers = [lm.get_submodule(old) for old in olds]
    biases = [bias for layer in layers if isinstance(bias := getattr(layer, "bias", None), Tensor)]
    weight, bias = joined(weights), torch.cat(biases).detach() if biases else None
    if isinstance(weight, Int4):
        new = Int4Linear(weight, bias)
    else:
        is_table = isinstance(layers[0], nn.Embedding)
        new = Int8Embedding(weight, lm.dtype) if is_table else Int8Linear(weight, bias)
    parent = lm.get_submodule(path.rpartition(".")[0])
    for old in olds:
        delattr(parent, old.rpartition(".")[2])
    setattr(parent, path.rpartition(".")[2], new.eval())


def _refuse_saving() -> None:
    raise ValueError("a quantised model in memory cannot be saved; load it without quantize, and save that quantised")
