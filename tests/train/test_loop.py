"""The training loop: its schedule, and what is left after every way to stop."""

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kimi_audio.train import loop as loop_module
from kimi_audio.train.loop import LoopConfig, learning_rate, load_module_state, train

CONFIG = LoopConfig(steps=8, peak_lr=0.05, warmup_steps=2, checkpoint_every_steps=3, log_every_steps=2)


class Killed(Exception):
    """Stands in for a process that ends at once."""


class Regression(nn.Module):
    """A small network with a buffer that every forward pass moves, as a codebook's averages do."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
        self.register_buffer("seen", torch.zeros(3))

    def loss(self, batch: Tensor, _step: int) -> dict[str, Tensor]:
        self.seen.mul_(0.9).add_(batch.mean(0))
        error = (self.layers(batch)[:, 0] - batch.sum(1)).square().mean()
        return {"loss": error, "mean": batch.mean()}


def batch_of(step: int) -> Tensor:
    return torch.randn(16, 3, generator=torch.Generator().manual_seed(step))


def run(folder: Path, config: LoopConfig = CONFIG, **options) -> Regression:
    module = Regression()
    train(module, options.pop("loss_of", module.loss), options.pop("batch_of", batch_of), config, folder, **options)
    return module


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def saved_step(folder: Path) -> int:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["step"]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


# ---------------------------------------------------------------------------------------------------------------------
# Schedule and log


@given(st.integers(0, 20), st.integers(1, 200))
def test_rate_rises_straight_then_falls_to_the_last(warmup_steps: int, more_steps: int):
    config = LoopConfig(steps=warmup_steps + more_steps, peak_lr=1.0, final_lr=0.1, warmup_steps=warmup_steps)
    rates = [learning_rate(step, config) for step in range(config.steps + 1)]
    assert rates[:warmup_steps] == pytest.approx([(step + 1) / warmup_steps for step in range(warmup_steps)])
    assert rates[warmup_steps] == 1.0
    assert rates[warmup_steps:] == sorted(rates[warmup_steps:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert learning_rate(10 * config.steps, config) == pytest.approx(0.1)


def test_the_middle_of_the_cosine_is_the_middle_of_both_rates():
    config = LoopConfig(steps=30, peak_lr=1.0, final_lr=0.2, warmup_steps=10)
    assert learning_rate(20, config) == pytest.approx(0.6)
    assert learning_rate(15, config) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi / 4)))


def test_the_optimizer_follows_the_schedule_and_spares_biases_from_decay(tmp_path: Path):
    """Without a gradient, only decay moves a weight: by the factor 1 - rate * decay in every step."""
    config = LoopConfig(steps=5, peak_lr=0.5, final_lr=0.1, warmup_steps=2, weight_decay=0.3)
    module = Regression()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    train(module, lambda batch, step: {"loss": 0.0 * module.layers(batch).sum()}, batch_of, config, tmp_path)
    factor = math.prod(1 - learning_rate(step, config) * 0.3 for step in range(5))
    torch.testing.assert_close(module.layers[0].weight, before["layers.0.weight"] * factor)
    assert torch.equal(module.layers[0].bias, before["layers.0.bias"])


def test_it_learns_and_logs(tmp_path: Path):
    config = LoopConfig(steps=120, peak_lr=0.05, warmup_steps=2, log_every_steps=40)
    run(tmp_path, config)
    log = rows(tmp_path)
    assert [row["step"] for row in log] == [40, 80, 120]
    assert log[-1]["loss"] < 0.3 * log[0]["loss"]
    assert log[-1]["lr"] == learning_rate(119, config)
    assert log[-1]["mean"] == pytest.approx(float(batch_of(119).mean()))
    assert json.loads((tmp_path / "loop.json").read_text())["peak_lr"] == 0.05


def test_scores_are_logged_when_due_and_at_the_end(tmp_path: Path):
    calls = []

    def evaluate() -> dict[str, float]:
        calls.append(1)
        return {"score": len(calls)}

    run(tmp_path, evaluate=evaluate, evaluate_every_steps=3)
    scored = {row["step"]: row["score"] for row in rows(tmp_path) if "score" in row}
    assert scored == {3: 1, 6: 2, 8: 3}


def test_scoring_in_another_mode_changes_no_training(tmp_path: Path):
    modes = []
    module = Regression()

    def loss_of(batch: Tensor, step: int) -> dict[str, Tensor]:
        modes.append(module.training)
        return module.loss(batch, step)

    def evaluate() -> dict[str, float]:
        module.eval()
        return {}

    train(module, loss_of, batch_of, CONFIG, tmp_path, evaluate, 2)
    assert modes == [True] * CONFIG.steps


# ---------------------------------------------------------------------------------------------------------------------
# Stopping and going on


@pytest.mark.parametrize("kill_at", range(CONFIG.steps))
@pytest.mark.parametrize("changes", [{}, {"bf16": False}, {"muon": True}], ids=str)
def test_a_killed_run_ends_in_the_weights_of_one_that_was_not(tmp_path: Path, kill_at: int, changes: dict[str, bool]):
    config = replace(CONFIG, **changes)  # pyright: ignore[reportArgumentType]
    whole = run(tmp_path / "whole", config)
    module = Regression()

    def dying(batch: Tensor, step: int) -> dict[str, Tensor]:
        losses = module.loss(batch, step)  # the buffer has moved already
        if step == kill_at:
            raise Killed
        return losses

    with pytest.raises(Killed):
        train(module, dying, batch_of, config, tmp_path / "killed")
    asked = []
    resumed = run(tmp_path / "killed", config, batch_of=lambda step: asked.append(step) or batch_of(step))
    assert_same(resumed, whole)
    assert asked[0] == kill_at // 3 * 3  # behind the last checkpoint


def test_a_finished_run_is_left_alone(tmp_path: Path):
    whole = run(tmp_path)

    def never(step: int) -> Tensor:
        raise AssertionError(f"step {step} was done before")

    assert_same(run(tmp_path, batch_of=never), whole)


@pytest.mark.parametrize("press_at", [0, 4, CONFIG.steps - 1])
def test_ctrl_c_ends_the_running_step_then_saves_and_stops(tmp_path: Path, press_at: int):
    whole = run(tmp_path / "whole")
    module = Regression()
    after = []

    def pressed(batch: Tensor, step: int) -> dict[str, Tensor]:
        losses = module.loss(batch, step)
        if step == press_at:
            os.kill(os.getpid(), signal.SIGINT)
            after.append(step)
        return losses

    with pytest.raises(KeyboardInterrupt):
        train(module, pressed, batch_of, CONFIG, tmp_path / "stopped")
    assert after == [press_at]
    assert saved_step(tmp_path / "stopped") == press_at + 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(run(tmp_path / "stopped"), whole)


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_checkpoint_before(tmp_path: Path):
    module = Regression()
    after = []

    def pressed_twice(batch: Tensor, step: int) -> dict[str, Tensor]:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            after.append(step)
        return module.loss(batch, step)

    with pytest.raises(KeyboardInterrupt):
        train(module, pressed_twice, batch_of, CONFIG, tmp_path)
    assert not after
    assert saved_step(tmp_path) == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path):
    """Shells start background jobs with it ignored, so that Ctrl-C in front does not end them."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run(tmp_path, batch_of=lambda step: os.kill(os.getpid(), signal.SIGINT) or batch_of(step))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)
    assert saved_step(tmp_path) == CONFIG.steps


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_a_value_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path: Path, fault: str):
    module = Regression()

    def failing(batch: Tensor, step: int) -> dict[str, Tensor]:
        loss = module.loss(batch, step)["loss"]
        if step == 5:  # the step of a checkpoint
            # The root of zero is finite, its gradient is not.
            loss = loss * torch.inf if fault == "loss" else loss + (0 * loss).sqrt()
        return {"loss": loss}

    with pytest.raises(FloatingPointError, match=f"the {fault} of step 5 is not finite; resume with a lower rate"):
        train(module, failing, batch_of, CONFIG, tmp_path)
    assert saved_step(tmp_path) == 3
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert_same(run(tmp_path), run(tmp_path / "whole"))


def test_a_full_disk_leaves_the_last_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usual = torch.save

    def failing(state: dict, path: Path) -> None:
        if state["step"] == 6:
            path.write_bytes(b"half")
            raise OSError("No space left on device")
        usual(state, path)

    monkeypatch.setattr(loop_module.torch, "save", failing)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "full")
    monkeypatch.undo()
    assert saved_step(tmp_path / "full") == 3
    assert not list((tmp_path / "full").glob("*.partial"))
    assert_same(run(tmp_path / "full"), run(tmp_path / "whole"))


def test_weights_of_a_run_are_loaded_and_a_missing_run_is_named(tmp_path: Path):
    trained, other = run(tmp_path / "run"), Regression()
    load_module_state(tmp_path / "run", other)
    assert_same(other, trained)
    with pytest.raises(ValueError, match="nowhere holds no training run"):
        load_module_state(tmp_path / "nowhere", other)
