"""Matrices at 8 and 4 bits: how near they are, and that files keep them as they are."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kimi_audio.core.quantized import Int4, Int8, quantise_int4, quantise_int8, quantized, takes_int4
from kimi_audio.core.weights import GROUPS_SUFFIX, read_safetensors, read_stored, save_quantized


def matrix(rows: int = 32, columns: int = 96) -> torch.Tensor:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) / 30
    weight[3] += 2.0  # far from zero: only groups with a middle of their own are near
    weight[4] = 0.0
    return weight


def test_no_value_is_further_off_than_half_a_step():
    weight = matrix()
    eight = quantise_int8(weight).dequantised()
    assert ((eight - weight).abs().amax(1) <= weight.abs().amax(1) / 127 / 2 * 1.001 + 1e-9).all()
    four = quantise_int4(weight).dequantised()
    groups = weight.unflatten(1, (-1, 32))
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    rounding = 2**-8 * groups.abs().amax(-1)  # of the middle to bfloat16, at the ends
    error = (four - weight).unflatten(1, (-1, 32)).abs().amax(-1)
    assert (error <= 0.55 * step + rounding + 1e-9).all()


def test_large_matrices_are_converted_by_blocks_as_a_whole(monkeypatch: pytest.MonkeyPatch):
    weight = matrix(48)
    whole = quantise_int8(weight), quantise_int4(weight)
    monkeypatch.setattr("kimi_audio.core.quantized._BLOCK_VALUES", 5 * 96)
    kept = weight.clone()
    for one, other in zip(whole, (quantise_int8(weight), quantise_int4(weight)), strict=True):
        assert torch.equal(one.dequantised(), other.dequantised())
    assert torch.equal(weight, kept)


def test_what_is_in_the_format_stays_as_it_is():
    eight, four = quantise_int8(matrix()), quantise_int4(matrix())
    assert quantized(eight, "int8") is eight
    assert quantized(four, "int4") is four
    assert isinstance(quantized(eight, "int4"), Int4)
    assert isinstance(quantized(four, "int8"), Int8)


def test_not_every_shape_takes_four_bits():
    assert [takes_int4(shape) for shape in ((16, 32), (8, 32), (16, 48), (16, 32, 2))] == [True, False, False, False]
    with pytest.raises(ValueError, match=r"shape \(16, 48\) cannot be held at 4 bits"):
        quantise_int4(torch.ones(16, 48))


def test_files_keep_the_bits(tmp_path: Path):
    path, tensors = tmp_path / "model.safetensors", {"a": matrix(), "b": matrix(16), "c": matrix(48)}
    save_quantized(path, tensors, {"a": "int8", "b": "int4"})
    stored = dict(read_stored(path))
    eight, four = quantise_int8(tensors["a"]), quantise_int4(tensors["b"])
    assert isinstance(stored["a"], Int8)
    assert isinstance(stored["b"], Int4)
    assert torch.equal(stored["a"].codes, eight.codes)
    assert torch.equal(stored["b"].codes, four.codes)
    read = dict(read_safetensors(path))
    assert list(read) == ["a", "b", "c"]
    for name, expected in {"a": eight.dequantised(), "b": four.dequantised(), "c": tensors["c"]}.items():
        assert torch.equal(read[name], expected)


@pytest.mark.parametrize("broken", ["codes", "groups", "alone"])
def test_int4_codes_and_groups_belong_together(tmp_path: Path, broken: str):
    path = tmp_path / "model.safetensors"
    save_quantized(path, {"a": matrix()}, {"a": "int4"})
    tensors = load_file(path)
    if broken == "alone":
        del tensors["a"]
    else:
        name = "a" if broken == "codes" else "a" + GROUPS_SUFFIX
        tensors[name] = tensors[name][:, :1].contiguous()
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"no int4 matrix with a step|but not their weight"):
        list(read_stored(path))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_broken_weights_are_not_written(tmp_path: Path, value: float):
    weight = matrix()
    weight[5, 6] = value
    for format_ in ("int8", "int4"):
        with pytest.raises(ValueError, match="not finite"):
            save_quantized(tmp_path / "model.safetensors", {"a": weight}, {"a": format_})
