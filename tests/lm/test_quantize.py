"""The LLM at 8 and 4 bits: its products, its replies, how it is loaded and what that costs."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_engine import SPECIAL, Asked, options, prompt, replies
from torch.nn.functional import linear

from kimi_audio.checkpoint import load_lm
from kimi_audio.core.config import LMConfig
from kimi_audio.core.quantized import Format, Int8, Stored, dequantised, quantise_int4, quantise_int8, quantized
from kimi_audio.core.sequence import Inputs
from kimi_audio.core.weights import save_quantized, save_weights
from kimi_audio.lm.engine import Engine
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.quantize import (
    Int4Linear,
    Int8Embedding,
    Int8Linear,
    formats_of,
    give_weights,
    num_bytes,
    quantize_lm,
)

FORMATS: tuple[Format, ...] = ("int8", "int4")


def random_weight(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(columns)) / 10


def random_rows(count: int, columns: int) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("count", [1, 5, 33, 80])
@pytest.mark.parametrize("shape", [(48, 64), (16, 32), (120, 33), (10, 48)])
def test_products_are_those_of_the_widened_matrix(shape: tuple[int, int], count: int, device: str):
    weight, x, bias = random_weight(*shape), random_rows(count, shape[1]).to(device), torch.ones(shape[0]).to(device)
    layers = {Int8Linear(quantise_int8(weight).to(device), bias): quantise_int8(weight)}
    if shape[1] % 32 == 0 and shape[0] % 16 == 0:
        layers[Int4Linear(quantise_int4(weight).to(device), bias)] = quantise_int4(weight)
    for layer, matrix in layers.items():
        expected = linear(x.bfloat16().float(), matrix.dequantised().to(device), bias)
        found = layer(x[None])
        assert found.dtype == x.dtype
        torch.testing.assert_close(found, expected[None], atol=1e-2, rtol=8e-3)  # the results are rounded to bfloat16
        alone = torch.cat([layer(row) for row in x.split(1)])
        torch.testing.assert_close(alone, found[0], atol=1e-2, rtol=8e-3)


def test_embedding_reads_rows():
    table, ids = random_weight(20, 12), torch.tensor([[3, 19], [0, 3]])
    found = Int8Embedding(quantise_int8(table), torch.bfloat16)(ids)
    assert torch.equal(found, quantise_int8(table).dequantised()[ids].bfloat16())


def test_which_matrix_takes_which_format():
    formats = formats_of(AudioLM(LMConfig.tiny()), "int4")
    assert (
        formats["model.layers.0.self_attn.q_proj.weight"] == formats["model.mimo_layers.0.mlp.up_proj.weight"] == "int4"
    )
    assert formats["model.layers.0.mlp.down_proj.weight"] == "int8"  # 48 columns are no whole groups
    for name in ("model.embed_tokens", "lm_head", "mimo_output"):
        assert formats[f"{name}.weight"] == "int8"
    assert not [name for name in formats if "vq_adaptor" in name or "norm" in name or "bias" in name]


def test_codes_that_lie_anywhere_in_a_file_are_moved_to_where_the_kernel_can_read_them():
    weight = quantise_int8(torch.randn(7, 64, generator=torch.Generator().manual_seed(3)))
    x = torch.ones(2, 64)
    for offset in (1, 4, 60):
        file = torch.empty(weight.codes.numel() + offset, dtype=torch.int8)
        codes = file[offset:].view_as(weight.codes).copy_(weight.codes)
        layer = Int8Linear(Int8(codes, weight.scale), None)
        assert layer.codes.data_ptr() % 64 == 0
        assert torch.equal(layer(x), Int8Linear(weight, None)(x))


@pytest.fixture(scope="module", params=FORMATS)
def pair(request: pytest.FixtureRequest, tiny_lm: AudioLM) -> tuple[AudioLM, AudioLM]:
    """A quantised model, and an ordinary one of what its matrices stand for, with biases that are not zero."""
    drawn = copy.deepcopy(tiny_lm)
    for name, bias in drawn.named_parameters():
        if name.endswith("_proj.bias"):
            bias.data.normal_(generator=torch.Generator().manual_seed(len(bias)))
    plain = copy.deepcopy(drawn)
    for name, format_ in formats_of(plain, request.param).items():
        weight = plain.get_parameter(name)
        weight.data = dequantised(quantized(weight.data, format_))
    return quantize_lm(drawn, request.param), plain


def test_scores_are_those_of_the_widened_model(pair: tuple[AudioLM, AudioLM]):
    ids = torch.arange(60).view(2, 30)
    heard = ids % 3 == 0
    features = torch.randn(int(heard.sum()), 8, generator=torch.Generator().manual_seed(0))
    inputs = Inputs(ids, ids.flip(0), heard, features, torch.arange(30).expand(2, -1))
    with torch.inference_mode():
        found, expected = (model(inputs) for model in pair)
    for name in ("text_logits", "audio_logits"):
        wanted = getattr(expected, name)
        assert (getattr(found, name) - wanted).norm() < 0.05 * wanted.norm()  # what they multiply is rounded


def test_what_multiplies_the_same_is_one_matrix(pair: tuple[AudioLM, AudioLM]):
    quantised, plain = ({name for name, _ in model.named_modules()} for model in pair)
    assert {name.rpartition(".")[2] for name in quantised - plain} == {"qkv_proj", "gate_up_proj"}
    assert {name.rpartition(".")[2] for name in plain - quantised} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "gate_proj",
        "up_proj",
    }


def test_matrices_of_two_formats_are_not_joined(tiny_lm: AudioLM):
    """As where four bits suit the shape of the queries alone."""
    plain, mixed = copy.deepcopy(tiny_lm), copy.deepcopy(tiny_lm)
    formats = formats_of(tiny_lm, "int4")
    formats |= {name: "int8" for name in formats if name.endswith(("k_proj.weight", "up_proj.weight"))}
    state: dict[str, Stored] = {**tiny_lm.state_dict()}
    for name, format_ in formats.items():
        state[name] = quantized(state[name], format_)
        plain.get_parameter(name).data = dequantised(state[name])
    give_weights(mixed, state)
    assert isinstance(mixed.get_submodule("model.layers.0.self_attn.q_proj"), Int4Linear)
    assert isinstance(mixed.get_submodule("model.layers.0.self_attn.k_proj"), Int8Linear)
    ids = torch.arange(20)[None]
    inputs = Inputs(ids, ids, ids < 0, None, ids)
    with torch.inference_mode():
        found, expected = mixed(inputs).text_logits, plain(inputs).text_logits
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_a_request_gives_the_ids_that_it_gives_alone(pair: tuple[AudioLM, AudioLM]):
    model = pair[0]
    asked = [
        Asked(prompt(5), options("both"), 1),
        Asked(prompt(70), options("both", 1.0), 2),
        Asked(prompt(33, 1), options("text"), 3, arrives=2),
        Asked(prompt(9, 2), options("text", 1.0), 4, arrives=5),
    ]
    together = replies(Engine(model, SPECIAL, chunk_tokens=20), asked)
    assert together == [one.alone(model) for one in asked]


def test_a_quantised_model_is_not_saved(pair: tuple[AudioLM, AudioLM]):
    with pytest.raises(ValueError, match="cannot be saved; load it without quantize"):
        pair[0].state_dict()


# ---------------------------------------------------------------------------------------------------------------------
# Loading


@pytest.fixture
def folder(tiny_lm: AudioLM, tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(tiny_lm.config.to_dict()))
    save_weights(tmp_path / "model.safetensors", tiny_lm.state_dict())
    return tmp_path


@pytest.mark.parametrize("quantize", FORMATS)
def test_a_quantised_load_is_the_quantised_model(folder: Path, tiny_lm: AudioLM, quantize: Format):
    expected, found = quantize_lm(copy.deepcopy(tiny_lm), quantize), load_lm(folder, quantize=quantize)
    assert_same(found, expected)
    # Stored in the format, it is taken as it is; without a wish it is widened.
    save_quantized(folder / "model.safetensors", tiny_lm.state_dict(), formats_of(tiny_lm, quantize))
    assert_same(load_lm(folder, quantize=quantize), expected)
    plain, name = load_lm(folder), "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(
        plain.get_parameter(name), dequantised(quantized(tiny_lm.get_parameter(name).detach(), quantize))
    )


def assert_same(found: AudioLM, expected: AudioLM) -> None:
    assert not found.training
    values = dict(expected.named_buffers()) | dict(expected.named_parameters())
    assert values.keys() == (dict(found.named_buffers()) | dict(found.named_parameters())).keys()
    for name, value in values.items():
        other = found.get_buffer(name) if name in dict(found.named_buffers()) else found.get_parameter(name)
        assert torch.equal(value, other), name
        assert not other.requires_grad


def test_a_quantised_load_names_what_does_not_fit(folder: Path, tiny_lm: AudioLM):
    tensors = tiny_lm.state_dict()
    tensors["lm_head.weight"] = torch.full_like(tensors["lm_head.weight"], torch.nan)
    tensors["more"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: model.layers.0.mlp.up_proj.weight; not finite: lm_head.weight"):
        load_lm(folder, quantize="int4")


@pytest.mark.parametrize("quantize", FORMATS)
def test_bytes_are_counted_as_they_are_taken(tiny_lm: AudioLM, quantize: Format):
    model = quantize_lm(copy.deepcopy(tiny_lm), quantize)
    assert num_bytes(tiny_lm, quantize, torch.float32) == sum(
        tensor.nbytes for tensor in (*model.parameters(), *model.buffers())
    )
    assert num_bytes(tiny_lm, None, torch.bfloat16) == 2 * sum(p.numel() for p in tiny_lm.parameters())


PEAK = """
import os, sys
from pathlib import Path
import torch
from kimi_audio.checkpoint import load_lm

def memory(field):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(field)]
    return int(line.split()[1]) * 1024

torch.set_num_threads(1)
for quantize in (None, "int8", "int4"):
    if os.fork():
        os.wait()
    else:
        load_lm(Path(sys.argv[2]), dtype=torch.bfloat16, quantize=quantize)  # what is read once for all models
        before = memory("VmRSS")
        lm = load_lm(Path(sys.argv[1]), dtype=torch.bfloat16, quantize=quantize)
        print(memory("VmHWM") - before, flush=True)
        os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux about memory")
def test_the_full_copy_is_never_in_memory(tmp_path: Path, folder: Path):
    """A model of about 120 MB in bfloat16, in shards like the released one."""
    config = LMConfig.tiny(hidden_size=512, intermediate_size=1536, num_layers=16, num_audio_layers=2, num_heads=8)
    large = tmp_path / "large"
    large.mkdir()
    (large / "config.json").write_text(json.dumps(config.to_dict()))
    model = AudioLM(config).bfloat16()
    model.reset_parameters(torch.Generator().manual_seed(0))
    tensors, places = model.state_dict(), {}
    for number, names in enumerate(list(tensors)[start::12] for start in range(12)):
        save_file({name: tensors[name] for name in names}, large / f"part-{number}.safetensors")
        places |= dict.fromkeys(names, f"part-{number}.safetensors")
    (large / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    full_bytes = sum(tensor.nbytes for tensor in tensors.values())
    assert full_bytes > 100e6

    command = [sys.executable, "-c", PEAK, str(large), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout, done.stderr
    plain, int8, int4 = (int(line) / full_bytes for line in done.stdout.split())
    assert plain > 0.9
    assert int8 < 0.8
    assert int4 < 0.7
