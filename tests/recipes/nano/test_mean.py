"""LLMs made of other LLMs: their mean, and larger ones that say the same."""

import pytest
import torch

from kimi_audio.checkpoint import load_lm
from kimi_audio.core.config import LMConfig
from kimi_audio.core.random import generator_of
from kimi_audio.core.sequence import SequenceBuilder, pack
from kimi_audio.lm.model import AudioLM
from recipes.nano.grow import LAST_PRODUCTS, grown
from recipes.nano.mean import mean
from recipes.nano.model_folder import save_with_llm

BLANK, PAD = 70, 79


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


@torch.no_grad()
def test_another_text_leaves_the_codes_as_they_are():
    first, second = tiny(num_layers=4, branch_layer_index=1), tiny(1, num_layers=4, branch_layer_index=1)
    rows = [[SequenceBuilder(BLANK).add([80, 81, 82, 83], [1, 2, 3, 4]).build()]]
    before, others = first(pack(rows, PAD)), second.state_dict()
    mixed = mean(first, second, 1.0, text_only=True)
    after = mixed(pack(rows, PAD))
    assert torch.equal(after.audio_logits, before.audio_logits)
    taken = {
        name for name, tensor in mixed.state_dict().items() if torch.equal(tensor, others[name]) and tensor.std() > 0
    }
    assert {name.rpartition(".layers.")[2].partition(".")[0] for name in taken if "model.layers" in name} == {"2", "3"}
    assert "lm_head.weight" in taken


def test_what_has_no_mean_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, not 2"):
        mean(tiny(), tiny(1), 2.0)
    with pytest.raises(ValueError, match="different sizes"):
        mean(tiny(), tiny(num_layers=3), 0.5)


@pytest.mark.parametrize("layers", [1, 4])
@torch.no_grad()
def test_a_grown_model_says_the_same_and_has_what_can_learn(layers):
    small = tiny(num_layers=4, branch_layer_index=1)
    large = grown(small, layers)
    rows = [[SequenceBuilder(BLANK).add([80, 81, 82, 83], [1, 2, 3, 4]).build()]]
    before, after = small(pack(rows, PAD)), large(pack(rows, PAD))
    assert torch.equal(after.text_logits, before.text_logits)
    assert torch.equal(after.audio_logits, before.audio_logits)
    weights = large.state_dict()
    zeros = [name for name, tensor in weights.items() if name.endswith(LAST_PRODUCTS) and not tensor.any()]
    assert len(zeros) == 2 * layers
    assert large.config.num_layers == 4 + layers
    assert all(int(name.split(".")[2]) > small.config.branch_layer_index for name in zeros)


def test_without_layers_for_text_alone_there_is_no_place():
    with pytest.raises(ValueError, match="cannot be added to the 0"):
        grown(tiny(num_layers=1, branch_layer_index=0), 2)
    with pytest.raises(ValueError, match="0 layers"):
        grown(tiny(num_layers=2, branch_layer_index=0), 0)


def test_a_folder_gets_another_llm(reference, tmp_path):
    folder = reference / "checkpoint"  # whose LLM is in shards
    larger = grown(load_lm(folder), 2)
    save_with_llm(tmp_path / "model", folder, larger)
    found = load_lm(tmp_path / "model")
    assert found.config == larger.config
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in larger.state_dict().items())
    assert (tmp_path / "model" / "vocoder" / "config.json").exists()
    with pytest.raises(FileExistsError, match="name of a new folder"):
        save_with_llm(tmp_path / "model", folder, larger)
