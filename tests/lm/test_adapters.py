"""Adapter folders: exactly what they promise is applied, or one sentence says what is wrong with them."""

import json
import math
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kimi_audio.checkpoint import load_lm
from kimi_audio.core.sequence import Inputs
from kimi_audio.lm.adapters import load_adapter
from kimi_audio.lm.model import AudioLM

peft = pytest.importorskip("peft")

TARGETS = r"model\.layers\.[01]\.self_attn\.(q|v)_proj|lm_head"


@pytest.fixture
def lm(reference: Path) -> AudioLM:
    return load_lm(reference / "checkpoint")


def write_adapter(lm: AudioLM, folder: Path, **options: object) -> torch.Tensor:
    """Write an adapter that changes the scores, in the way of peft, and return the scores."""
    config = peft.LoraConfig(**({"r": 2, "lora_alpha": 4, "target_modules": TARGETS} | options))
    wrapped = peft.PeftModel(lm, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    return scores(lm)


def scores(lm: AudioLM) -> torch.Tensor:
    with torch.no_grad():
        ids = torch.arange(8)[None]
        return lm(Inputs(ids, ids + 8, ids < 0, None, ids)).text_logits


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": ["self_attn.q_proj", "down_proj", "embed_tokens"], "use_rslora": True},
        {"use_dora": True, "target_modules": ["q_proj"], "lora_dropout": 0.5},
        {"modules_to_save": ["mimo_output", "lm_head"], "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"},
    ],
)
def test_adapters_of_peft_have_their_whole_effect(lm, reference, tmp_path, options):
    before = scores(lm)
    config = {name: value for name, value in options.items() if name != "task_type"}
    lm.eval()
    write_adapter(lm, tmp_path, **config)
    wanted = scores(lm.eval())
    edit_config(tmp_path, **options)
    assert not torch.allclose(wanted, before, atol=1e-2)
    for merge in (True, False):
        loaded = load_adapter(load_lm(reference / "checkpoint"), tmp_path, merge=merge)
        torch.testing.assert_close(scores(loaded), wanted, atol=1e-3, rtol=1e-3)
        assert not any(parameter.requires_grad for parameter in loaded.parameters())


def drop_half(tensors: dict[str, torch.Tensor]) -> None:
    for name in sorted(tensors)[::2]:
        del tensors[name]


def rename(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[name.replace("base_model.model.model.layers", "base_model.model.thinker.layers")] = tensors.pop(name)


def break_one(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values())).view(-1)[0] = math.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_half, "missing: base_model.model"),
        (rename, "missing: .*; unexpected: base_model.model.thinker.layers"),
        (lambda tensors: tensors.clear(), "missing: .* and 5 more"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "unexpected: extra"),
        (break_one, "not finite: base_model.model"),
        (
            lambda tensors: tensors.update({name: t.to(torch.int8) for name, t in tensors.items()}),
            "wrong type: .* int8",
        ),
    ],
)
def test_tensors_must_be_those_that_the_config_promises(lm, reference, tmp_path, change, message):
    write_adapter(lm, tmp_path)
    edit_tensors(tmp_path, change)
    with pytest.raises(ValueError, match=f"does not fit this model: .*{message}") as caught:
        load_adapter(load_lm(reference / "checkpoint"), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 3}, "wrong shape"),
        ({"r": 60_000}, "wrong shape"),  # no memory is taken for it
        ({"r": 10**9}, "r must be a whole number"),
        ({"r": "2"}, "r must be a whole number"),
        ({"lora_alpha": math.nan}, "lora_alpha must be a number"),
        ({"lora_alpha": None}, "lora_alpha must be a number"),
        ({"use_rslora": "yes"}, "must be true or false"),
        ({"target_modules": None}, "target_modules must be a list of names"),
        ({"target_modules": ["q_proj", 3]}, "target_modules must be a list of names"),
        ({"target_modules": ["nothing_proj"]}, "does not fit this model"),
        ({"target_modules": r"model\.layers\.0\.self_attn\.(q|v)_proj|lm_head"}, "unexpected"),
        ({"target_modules": "thinker.*"}, "means no module of this model"),
        ({"target_modules": "("}, "the pattern target_modules cannot be used"),
        ({"target_modules": r"(\w+\w*\.?)+!|((.?)*)*,"}, "means no module|cannot be used"),
        ({"modules_to_save": "lm_head"}, "modules_to_save must be a list of names"),
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not supported"),
        ({"peft_type": None}, "peft_type None is not supported"),
        ({"bias": "all"}, "asks for bias 'all', which is not supported"),
        ({"init_lora_weights": "pissa"}, "asks for init_lora_weights 'pissa'"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "asks for megatron_config"),
        ({"rank_pattern": {"(a+)+": 3}, "exclude_modules": "(a+)+"}, "asks for .*rank_pattern"),
    ],
)
def test_configs_are_understood_or_refused(lm, reference, tmp_path, monkeypatch, changes, message):
    write_adapter(lm, tmp_path)
    edit_config(tmp_path, **changes)
    monkeypatch.setattr("kimi_audio.lm.adapters._PATTERN_S", 0.5)
    with pytest.raises(ValueError, match=message) as caught:
        load_adapter(load_lm(reference / "checkpoint"), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_not_looked_for_elsewhere(lm, tmp_path, monkeypatch):
    (tmp_path / "adapters" / "talk").mkdir(parents=True)
    write_adapter(lm, tmp_path / "adapters" / "talk")
    (tmp_path / "adapters" / "talk" / "adapter_model.safetensors").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", None)
    with pytest.raises(ValueError, match=r"adapters/talk lacks adapter_model.safetensors"):
        load_adapter(lm, "adapters/talk")
    with pytest.raises(ValueError, match="adapters holds no adapter"):
        load_adapter(lm, "adapters")
    (tmp_path / "adapters" / "talk" / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config.json is damaged"):
        load_adapter(lm, "adapters/talk")
