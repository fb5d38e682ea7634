"""Where autocast computes in bfloat16."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kimi_audio.nn import precision
from kimi_audio.nn.precision import autocast, computes_bf16
from kimi_audio.train.loop.loop import LoopConfig, train

CONFIG = LoopConfig(steps=2, peak_lr=0.1, log_every_steps=1)
FLOAT32 = "this CPU has no bf16 instructions, so training computes in float32"


@pytest.fixture(params=[False, True], ids=["without", "with"])
def has_bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Be a CPU without and with bf16 instructions."""
    for place in ("kimi_audio.nn.precision", "kimi_audio.train.loop.loop"):
        monkeypatch.setattr(f"{place}.computes_bf16", lambda _device_type: request.param)
    return request.param


@pytest.mark.parametrize("wanted", [False, True])
def test_autocast_is_on_where_it_is_wanted_and_computed(has_bf16: bool, wanted: bool):
    x = torch.ones(2, 2)
    with autocast("cpu", wanted):
        assert (x @ x).dtype == (torch.bfloat16 if wanted and has_bf16 else torch.float32)
    with autocast(torch.device("cpu"), wanted, cache_enabled=False):
        assert not torch.is_autocast_cache_enabled()


def test_training_computes_in_what_the_device_computes_and_says_so_once(
    has_bf16: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    module, seen = nn.Linear(2, 1), []

    def loss_of(batch: Tensor, _step: int) -> dict[str, Tensor]:
        y = module(batch)
        seen.append(y.dtype)
        return {"loss": y.float().square().mean()}

    train(module, loss_of, lambda _: torch.ones(3, 2), CONFIG, tmp_path)
    assert seen == [torch.bfloat16 if has_bf16 else torch.float32] * 2
    assert [record.message for record in caplog.records].count(FLOAT32) == (0 if has_bf16 else 1)


def test_the_cpu_is_asked_and_a_build_without_an_answer_has_no_bf16(monkeypatch: pytest.MonkeyPatch):
    ask = computes_bf16.__wrapped__
    assert ask("cpu") == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert ask("mps")  # a machine without one plans for one
    monkeypatch.setattr(precision.torch.backends.mkldnn, "is_available", lambda: False)
    assert not ask("cpu")
