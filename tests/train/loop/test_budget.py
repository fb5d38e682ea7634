"""What a run is said to need, against what it needs."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Inputs
from kimi_audio.lm.model import AudioLM
from kimi_audio.train.loop.budget import training_budget
from kimi_audio.train.loop.layers import economical_layers
from kimi_audio.train.loop.loop import LoopConfig

CONFIG = LoopConfig(steps=10, peak_lr=1e-3, bf16=False, micro_batches=4)
LM = LMConfig.tiny(
    vocab_size=300,
    audio_offset=200,
    hidden_size=64,
    intermediate_size=176,
    num_heads=4,
    num_kv_heads=2,
    num_layers=4,
    num_audio_layers=2,
    branch_layer_index=1,
    adaptor_input_size=32,
)


class Stack(nn.Module):
    """6 * 100 weights and 6 * 10 biases in layers, of which the last is frozen, and 50 outside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(10, 10) for _ in range(6))
        self.head = nn.Linear(10, 5, bias=False)
        self.register_buffer("mean", torch.zeros(7))
        self.layers[5].requires_grad_(False)


def on_meta(module: type[nn.Module], *arguments: object) -> nn.Module:
    with torch.device("meta"):
        return module(*arguments)


def test_what_one_process_keeps_is_counted():
    budget = training_budget(on_meta(Stack), CONFIG, tokens_per_micro_batch=1000)
    assert (budget.parameters, budget.trained_parameters) == (710, 600)
    assert budget.weights_bytes == 4 * 710 + 4 * 7
    assert budget.gradients_bytes == 4 * 600
    assert budget.optimizer_bytes == 8 * 600
    assert (budget.average_bytes, budget.gathered_bytes) == (0, 0)
    assert budget.tokens_per_step == 4000


def test_muon_has_one_moment_and_the_average_a_copy():
    budget = training_budget(on_meta(Stack), replace(CONFIG, muon=True, ema_decay=0.99), 1000)
    assert budget.optimizer_bytes == 8 * 100 + 4 * 500
    assert budget.average_bytes == 4 * 600


def test_processes_share_all_but_what_is_gathered():
    config = replace(CONFIG, sharded_layers=("layers",))
    alone, shared = (training_budget(on_meta(Stack), config, 1000, processes=n) for n in (1, 2))
    assert shared.gradients_bytes == alone.gradients_bytes // 2
    assert shared.optimizer_bytes == alone.optimizer_bytes // 2
    assert shared.gathered_bytes == 4 * (50 + 2 * 50) + 4 * (3 * 110 + 2 * 110)  # the head, and layers one by one
    assert shared.total_bytes < alone.total_bytes
    once = training_budget(on_meta(Stack), replace(config, reduce_once=True), 1000, processes=2)
    assert once.gathered_bytes == shared.gathered_bytes + 4 * 550  # of five layers; the sixth has no gradients
    one_each = replace(config, reduce_once=True, micro_batches=2)
    assert training_budget(on_meta(Stack), one_each, 1000, processes=2).gathered_bytes == shared.gathered_bytes
    whole = training_budget(on_meta(Stack), CONFIG, 1000, processes=2)
    assert whole.gathered_bytes == 4 * (710 + 2 * 600)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_estimate_of_activations_is_near_what_is_remembered(bf16: bool, checkpointed: bool):
    config = replace(CONFIG, bf16=bf16, checkpoint_layers=checkpointed)
    estimate = training_budget(on_meta(AudioLM, LM), config, 2 * 200, on_gpu=True).activations_bytes
    model = AudioLM(LM)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    remembered: dict[int, int] = {}
    kept: list[Tensor] = []  # alive, so that no memory is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            remembered[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    ids = torch.zeros(2, 200, dtype=torch.long)
    inputs = Inputs(ids, ids, ids > 0, None, torch.arange(200).expand(2, -1))
    with (
        economical_layers(model, checkpointed=checkpointed, compile_backend=None),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=not checkpointed),
    ):
        model(inputs)
    if checkpointed:  # and one layer, while it is computed again
        assert estimate > sum(remembered.values())
    else:
        assert 0.5 < estimate / sum(remembered.values()) < 2


@pytest.mark.parametrize("has_bf16", [False, True])
def test_bf16_is_counted_where_it_will_be_computed(has_bf16: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kimi_audio.train.loop.budget.computes_bf16", lambda _device_type: has_bf16)

    def activations(bf16: bool, *, on_gpu: bool) -> int:
        config = replace(CONFIG, bf16=bf16)
        return training_budget(on_meta(Stack), config, 1000, on_gpu=on_gpu).activations_bytes

    half, single = activations(True, on_gpu=True), activations(False, on_gpu=True)
    assert half < single
    assert activations(True, on_gpu=False) == (half if has_bf16 else single)


def test_the_report_can_be_read():
    config = replace(CONFIG, sharded_layers=("layers",))
    report = training_budget(on_meta(Stack), config, 1000, processes=8).report()
    assert "710, of which 600 are trained" in report
    assert "4,000: 4 x 1,000" in report
    assert "an estimate" in report
    assert all(len(line) < 100 for line in report.splitlines())


def test_a_configuration_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"no trained parameter begins with 'adaptor\.'; there are layers\.0, "):
        training_budget(on_meta(Stack), replace(CONFIG, rates={"adaptor.": 0.1}), 1000)
