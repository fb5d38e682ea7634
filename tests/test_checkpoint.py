"""Model folders: what is written is read back, and every defect is named in one sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kimi_audio import checkpoint
from kimi_audio.config import Settings
from kimi_audio.tokenizer.text import TextTokenizer


@pytest.fixture(scope="module")
def components(reference: Path) -> dict:
    """Everything that ``save_model`` takes, in float32."""
    folder = reference / "checkpoint"
    dit, flow_config = checkpoint.load_flow(folder)
    return {
        "lm": checkpoint.load_lm(folder),
        "text_tokenizer": TextTokenizer.load(folder),
        "acoustic": checkpoint.load_acoustic(folder),
        "semantic": checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(folder)),
        "dit": dit,
        "flow_config": flow_config,
        "vocoder": checkpoint.load_vocoder(folder)[0],
        "settings": Settings(segment_s=12.5, ode_steps=7),
    }


MODULES = ("lm", "acoustic", "semantic", "dit", "vocoder")


def load_all(folder: Path) -> dict[str, nn.Module]:
    semantic = checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(folder))
    return {
        "lm": checkpoint.load_lm(folder),
        "acoustic": checkpoint.load_acoustic(folder),
        "semantic": semantic,
        "dit": checkpoint.load_flow(folder)[0],
        "vocoder": checkpoint.load_vocoder(folder)[0],
    }


def test_saved_model_is_read_back_exactly(components: dict, tmp_path: Path):
    folder = tmp_path / "new" / "model"
    checkpoint.save_model(folder, **components)
    loaded = load_all(checkpoint.find_model(folder))
    for name in MODULES:
        assert loaded[name].config == components[name].config, name
        state = loaded[name].state_dict()
        for key, tensor in components[name].state_dict().items():
            # weight norm is folded again when the vocoder is read
            torch.testing.assert_close(state[key], tensor, atol=0, rtol=1e-6 if name == "vocoder" else 0)
    assert checkpoint.load_flow(folder)[1] == components["flow_config"]
    assert checkpoint.load_settings(folder) == components["settings"]
    text_tokenizer = TextTokenizer.load(folder)
    assert text_tokenizer.encode("你好, world") == components["text_tokenizer"].encode("你好, world")
    assert text_tokenizer.special == components["text_tokenizer"].special
    assert not list(folder.rglob("*.partial"))


def test_int8_model_is_small_and_near(components: dict, tmp_path: Path):
    checkpoint.save_model(tmp_path / "exact", **components)
    checkpoint.save_model(tmp_path / "int8", **components, int8=True)
    loaded = load_all(tmp_path / "int8")
    for name in MODULES:
        for key, tensor in components[name].state_dict().items():
            near = loaded[name].state_dict()[key]
            error = (near - tensor).flatten(1 if tensor.dim() > 1 else 0).abs().amax(-1)
            largest = tensor.flatten(1 if tensor.dim() > 1 else 0).abs().amax(-1)
            allowed = 1 / 500 if name == "vocoder" else 1 / 250  # of float16 twice (length, direction), of int8
            assert (error <= allowed * largest + 1e-7).all(), (name, key)

    def size(folder: str, *path: str) -> int:
        return tmp_path.joinpath(folder, *path, "model.safetensors").stat().st_size

    assert size("int8") < 0.3 * size("exact")
    assert size("int8", "vocoder") < 0.6 * size("exact", "vocoder")


def test_saved_names_are_those_of_the_release(components: dict, reference: Path, tmp_path: Path):
    checkpoint.save_model(tmp_path, **components)

    def shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in tensors.items()}

    source = reference / "checkpoint"
    official = torch.load(source / "audio_detokenizer/model.pt", weights_only=True)["state_dict"]
    official = {name: tensor for name, tensor in official.items() if name.startswith("speech_model.")}
    assert shapes(load_file(tmp_path / "audio_detokenizer/model.safetensors")) == shapes(official)
    official = torch.load(source / "vocoder/model.pt", weights_only=True)["generator"]
    assert shapes(load_file(tmp_path / "vocoder/model.safetensors")) == shapes(official)
    official = load_file(source / "whisper-large-v3/model.safetensors")
    encoder = {name: tensor for name, tensor in official.items() if name.startswith("model.encoder.")}
    assert shapes(load_file(tmp_path / "whisper-large-v3/model.safetensors")) == shapes(encoder)
    named = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(load_file(tmp_path / "model.safetensors")) == {n for n in named if not n.endswith("inv_freq")}
    released, saved = (json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path))
    assert all(released[name] == value for name, value in saved.items() if name in released)
