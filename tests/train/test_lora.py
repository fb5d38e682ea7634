"""Adapters of the audio LLM: what they change, how they are kept, loaded, merged and exported."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kimi_audio import KimiAudio
from kimi_audio.checkpoint import load_lm
from kimi_audio.core.sequence import Inputs
from kimi_audio.lm.adapters import load_adapter, merged
from kimi_audio.lm.model import AudioLM
from kimi_audio.train.export import export_adapter, export_model
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.lora import LoraOptions, add_lora, only_trained
from kimi_audio.train.sft import FINETUNING, FinetuneConfig, finetune
from tests.train.conversations import write_conversations

pytest.importorskip("peft")

SHARED = ["model.layers.0.self_attn.q_proj", "model.layers.5.mlp.down_proj"]
EVERYWHERE = [*SHARED, "model.mimo_layers.1.mlp.gate_proj", "model.vq_adaptor.layers.0", "model.vq_adaptor.layers.3"]


@pytest.fixture
def base(reference: Path) -> Path:
    return reference / "checkpoint"


def logits(lm: AudioLM) -> torch.Tensor:
    """Scores [2, T, V] of both rows where something is heard."""
    ids = torch.arange(12)[None]
    heard = (ids > 2) & (ids < 6)
    features = torch.randn(3, lm.config.adaptor_input_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = lm(Inputs(ids + 20, ids + 50, heard, features, ids))
    assert out.text_logits is not None
    assert out.audio_logits is not None
    return torch.cat([out.text_logits, out.audio_logits])


def adapted(lm: AudioLM) -> set[str]:
    return {name.partition(".lora_")[0] for name, p in lm.named_parameters() if p.requires_grad}


def disturb(lm: AudioLM) -> None:
    """Let the adapters have an effect; new ones have none."""
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))


def test_adapters_are_beside_all_projections(base):
    lm = load_lm(base)
    before = logits(lm)
    add_lora(lm, LoraOptions(rank=2))
    names = adapted(lm)
    assert names >= set(EVERYWHERE)
    assert len(names) == 7 * 8 + 2
    assert torch.equal(logits(lm), before)  # they begin with nothing
    more = load_lm(base)
    add_lora(more, LoraOptions(rank=2, heads=True, embeddings=True))
    assert adapted(more) - names == {"lm_head", "mimo_output", "model.embed_tokens"}


def test_the_same_seed_gives_the_same_adapters(base):
    models = [load_lm(base) for _ in range(3)]
    for lm, seed in zip(models, (0, 0, 1), strict=True):
        add_lora(lm, LoraOptions(rank=2), seed)
    first, same, other = (dict(lm.named_parameters())[f"{SHARED[0]}.lora_A.default.weight"] for lm in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_merged_and_unmerged_agree(base, tmp_path):
    lm = load_lm(base)
    before = logits(lm)
    wrapped = add_lora(lm, LoraOptions(rank=2, heads=True, embeddings=True))
    disturb(lm)
    wrapped.save_pretrained(str(tmp_path), save_embedding_layers=False)
    trained = logits(lm)
    assert not torch.allclose(trained, before, atol=1e-2)
    unmerged, together = (load_adapter(load_lm(base), tmp_path, merge=merge) for merge in (False, True))
    assert torch.equal(logits(unmerged), trained)
    torch.testing.assert_close(logits(together), trained, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(merged(wrapped)), trained, rtol=1e-4, atol=1e-4)
    assert together.state_dict().keys() == load_lm(base).state_dict().keys()


def test_a_checkpoint_holds_the_adapters_alone(base):
    lm, other = load_lm(base), load_lm(base)
    add_lora(lm, LoraOptions(rank=2))
    add_lora(other, LoraOptions(rank=2))
    disturb(lm)
    with only_trained(lm), only_trained(other):
        state = lm.state_dict()
        assert state
        assert all("lora_" in name for name in state)
        other.load_state_dict(state)
        with pytest.raises(RuntimeError, match="Missing"):
            other.load_state_dict(dict(list(state.items())[1:]))
    assert torch.equal(logits(other), logits(lm))
    assert "lm_head.weight" in lm.state_dict()


def test_an_adapter_is_trained_exported_and_used(base, tmp_path):
    data = write_conversations(tmp_path / "data")
    loop = LoopConfig(steps=2, peak_lr=1e-2, warmup_steps=1, bf16=False)
    config = FinetuneConfig(loop=loop, base=str(base), row_positions=64, held_out=0, lora=LoraOptions(rank=2, alpha=4))
    run = tmp_path / "run"
    finetune(config, [data], run)
    export_adapter(run, tmp_path / "adapter")
    export_model(run, tmp_path / "model")
    before = load_lm(base)
    by_adapter = KimiAudio.from_pretrained(base, load_detokenizer=False, device="cpu", adapter=tmp_path / "adapter").lm
    assert not torch.allclose(logits(by_adapter), logits(before), atol=1e-3)
    torch.testing.assert_close(logits(load_lm(tmp_path / "model")), logits(by_adapter), rtol=0.05, atol=0.2)  # bfloat16
    assert torch.equal(load_lm(tmp_path / "model").lm_head.weight, before.lm_head.weight)
    with pytest.raises(ValueError, match="adapters need a trained model"):
        finetune(replace(config, from_scratch=True), [data], tmp_path / "other")


def test_errors_of_loading(base, tmp_path):
    with pytest.raises(ValueError, match="holds no adapter"):
        load_adapter(load_lm(base), tmp_path)
    lm = load_lm(base)
    small = AudioLM(replace(lm.config, hidden_size=32, intermediate_size=48))
    add_lora(small, LoraOptions(rank=2)).save_pretrained(str(tmp_path), save_embedding_layers=False)
    with pytest.raises(ValueError, match="does not fit this model"):
        load_adapter(lm, tmp_path)


def test_a_budget_knows_what_is_frozen(base):
    loop = LoopConfig(steps=1, peak_lr=1e-3)
    whole = FINETUNING.budget(FinetuneConfig(loop=loop, base=str(base)))
    lora = FINETUNING.budget(FinetuneConfig(loop=loop, base=str(base), lora=LoraOptions(rank=2)))
    four_bit = FINETUNING.budget(FinetuneConfig(loop=loop, base=str(base), lora=LoraOptions(rank=2, four_bit=True)))
    assert whole.trained_parameters == whole.parameters
    assert lora.trained_parameters < 0.2 * lora.parameters
    assert lora.optimizer_bytes < 0.2 * whole.optimizer_bytes
    assert four_bit.weights_bytes < lora.weights_bytes
    assert four_bit.trained_parameters == lora.trained_parameters


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_four_bits(base):
    lm = load_lm(base)
    before = logits(lm)
    add_lora(lm, LoraOptions(rank=2, four_bit=True))
    assert lm.model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    assert set(EVERYWHERE) <= adapted(lm)
    near = logits(lm)
    assert not torch.equal(near, before)
    assert torch.nn.functional.cosine_similarity(near.flatten(), before.flatten(), dim=0) > 0.9
    ids = torch.arange(4)[None]
    scores = lm(Inputs(ids, ids, ids < 0, None, ids)).text_logits
    assert scores is not None
    scores.sum().backward()
    gradient = lm.model.layers[0].mlp.up_proj.lora_B.default.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
