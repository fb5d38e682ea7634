"""Models made of other models: their mean, and the fork of their LLMs."""

import pytest
import torch

from kimi_audio.checkpoint import load_acoustic, load_lm
from kimi_audio.core.config import LMConfig
from kimi_audio.core.random import generator_of
from kimi_audio.core.sequence import SequenceBuilder, pack
from kimi_audio.lm.model import AudioLM
from recipes.nano.fork import forked
from recipes.nano.mean import main, mean
from recipes.nano.model_folder import save_encoder, save_with_llm

BLANK, PAD = 70, 79
ROWS = [[SequenceBuilder(BLANK).add([80, 81, 82, 83], [1, 2, 3, 4]).build()]]


def tiny(seed: int = 0, **changes: int) -> AudioLM:
    """Return a tiny LLM of drawn weights."""
    lm = AudioLM(LMConfig.tiny(**changes))
    lm.reset_parameters(generator_of(seed, 0))
    return lm


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_is_so_far_from_the_first_to_the_second(share):
    first, found = tiny(), mean(tiny(), tiny(1), share).state_dict()
    others = tiny(1).state_dict()
    for name, tensor in first.state_dict().items():
        assert torch.allclose(found[name], (1 - share) * tensor + share * others[name], atol=1e-6)


def test_what_has_no_mean_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, not 2"):
        mean(tiny(), tiny(1), 2.0)
    with pytest.raises(ValueError, match="different sizes"):
        mean(tiny(), tiny(num_layers=3), 0.5)


@torch.no_grad()
def test_the_mean_of_two_folders_has_that_of_their_encoders(reference, tmp_path, monkeypatch):
    first, second, out = reference / "checkpoint", tmp_path / "second", tmp_path / "mean"
    lm, encoder = load_lm(first), load_acoustic(first)
    save_with_llm(second, first, lm)
    encoder.conv1.weight += 1
    save_encoder(second, encoder)
    monkeypatch.setattr("sys.argv", ["mean", str(first), str(second), "--share", "0.25", "--out", str(out)])
    main()
    found, before = load_acoustic(out).state_dict(), load_acoustic(first).state_dict()
    assert torch.allclose(found["conv1.weight"], before["conv1.weight"] + 0.25, atol=1e-6)
    assert torch.equal(found["conv2.weight"], before["conv2.weight"])
    assert torch.equal(load_lm(out).lm_head.weight, lm.lm_head.weight)


@torch.no_grad()
def test_a_fork_of_one_model_is_the_same_function():
    model = tiny(num_layers=4, branch_layer_index=2, num_audio_layers=2)
    found = forked(model, model)
    assert (found.config.branch_layer_index, found.config.num_audio_layers) == (0, 4)
    before, after = (one(pack(ROWS, PAD)) for one in (model, found))
    assert torch.equal(after.text_logits, before.text_logits)
    assert torch.equal(after.audio_logits, before.audio_logits)


@torch.no_grad()
def test_a_fork_writes_as_the_one_and_has_the_branch_of_the_other():
    sizes = {"num_layers": 4, "branch_layer_index": 2}
    hears, speaks = tiny(**sizes), tiny(1, **sizes)
    found = forked(hears, speaks)
    assert torch.equal(found(pack(ROWS, PAD)).text_logits, hears(pack(ROWS, PAD)).text_logits)
    own, others = found.state_dict(), speaks.state_dict()
    assert torch.equal(own["model.mimo_layers.1.mlp.up_proj.weight"], others["model.layers.2.mlp.up_proj.weight"])
    assert torch.equal(own["model.mimo_layers.2.mlp.up_proj.weight"], others["model.mimo_layers.0.mlp.up_proj.weight"])
    assert torch.equal(own["mimo_output.weight"], others["mimo_output.weight"])
    with pytest.raises(ValueError, match="different sizes"):
        forked(hears, tiny(num_layers=3))


def test_a_folder_gets_another_llm(reference, tmp_path):
    folder = reference / "checkpoint"  # whose LLM is in shards
    larger = forked(load_lm(folder), load_lm(folder))
    save_with_llm(tmp_path / "model", folder, larger)
    found = load_lm(tmp_path / "model")
    assert found.config == larger.config
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in larger.state_dict().items())
    assert (tmp_path / "model" / "vocoder" / "config.json").exists()
    with pytest.raises(FileExistsError, match="name of a new folder"):
        save_with_llm(tmp_path / "model", folder, larger)
