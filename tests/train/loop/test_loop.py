"""The training loop: its schedule, and what is left after every way to stop."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kimi_audio.train.loop.loop import LoopConfig, learning_rate, load_module_state, train

CONFIG = LoopConfig(steps=8, peak_lr=0.05, warmup_steps=2, checkpoint_every_steps=3, log_every_steps=2)


class Killed(BaseException):
    """Stands in for a process that ends at once, without a chance to save."""


@dataclass(frozen=True)
class Named:
    """A batch whose items have names."""

    values: Tensor
    ids: list[str]


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
# Micro-batches, randomness, memory


def unequal(number: int) -> Tensor:
    return torch.randn(2 + 4 * (number % 3), 3, generator=torch.Generator().manual_seed(number))


def test_micro_batches_with_unequal_counts_equal_one_large_batch(tmp_path: Path):
    def means_of(module: Regression, batch: Tensor) -> dict[str, Tensor]:
        error = (module.layers(batch)[:, 0] - batch.sum(1)).square()
        near = batch[:, 0].abs() < 1
        none = error.new_zeros(())
        return {
            "near": error[near].mean() if near.any() else none,
            "far": 0.3 * error[~near].mean() if not near.all() else none,
        }

    def counts_of(batch: Tensor) -> dict[str, float]:
        near = int((batch[:, 0].abs() < 1).sum())
        return {"near": near, "far": len(batch) - near}

    config = replace(CONFIG, bf16=False, log_every_steps=1)
    small, large, unweighed = Regression(), Regression(), Regression()
    train(
        small,
        lambda batch, _: means_of(small, batch),
        unequal,
        replace(config, micro_batches=3),
        tmp_path / "small",
        counts_of=counts_of,
    )
    whole = [torch.cat([unequal(3 * step + part) for part in range(3)]) for step in range(CONFIG.steps)]
    train(
        large,
        lambda batch, _: means_of(large, batch),
        whole.__getitem__,
        config,
        tmp_path / "large",
        counts_of=counts_of,
    )
    train(
        unweighed,
        lambda batch, _: {"loss": sum(means_of(unweighed, batch).values()), **means_of(unweighed, batch)},
        unequal,
        replace(config, micro_batches=3),
        tmp_path / "unweighed",
    )
    folders, names = ("small", "large", "unweighed"), ("loss", "near", "far", "grad_norm")
    counted, expected, plain = ([[row[name] for name in names] for row in rows(tmp_path / run)] for run in folders)
    for one, other in zip(counted, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert max(abs(one[0] - other[0]) for one, other in zip(plain, expected, strict=True)) > 0.05
    for one, other in zip(small.parameters(), large.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_without_counts_micro_batches_are_averaged(tmp_path: Path):
    config = replace(CONFIG, micro_batches=2, log_every_steps=1, peak_lr=0.0)
    module = run(tmp_path, config)
    losses = [float(module.loss(batch_of(number), 0)["loss"].detach()) for number in range(2 * CONFIG.steps)]
    expected = [sum(pair) / 2 for pair in zip(losses[::2], losses[1::2], strict=True)]
    assert [row["loss"] for row in rows(tmp_path)] == pytest.approx(expected, rel=1e-2)
    assert rows(tmp_path)[0]["mean"] == pytest.approx(float(batch_of(0).mean() + batch_of(1).mean()) / 2)


def test_random_draws_follow_from_the_seed_and_the_number_and_leave_no_trace(tmp_path: Path):
    def draws(folder: Path, config: LoopConfig) -> list[float]:
        module, drawn = Regression(), []

        def loss_of(batch: Tensor, step: int) -> dict[str, Tensor]:
            drawn.append(float(torch.rand(())))
            return module.loss(batch, step)

        train(module, loss_of, batch_of, config, folder)
        return drawn

    first = draws(tmp_path / "first", replace(CONFIG, micro_batches=2))
    state = torch.get_rng_state()  # building the module has set it
    again = draws(tmp_path / "again", replace(CONFIG, steps=16))
    other = draws(tmp_path / "other", replace(CONFIG, steps=16, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(first)) == 16
    assert first == again  # the sixteen micro-batches are numbered through
    assert not set(first) & set(other)


class Layered(nn.Module):
    """Two layers with dropout, which count how often they run."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
        self.layers = nn.ModuleList([layer, nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))])
        self.calls = 0
        for one in self.layers:
            one[0].register_forward_hook(lambda *_: setattr(self, "calls", self.calls + 1))

    def loss(self, batch: Tensor, _step: int) -> dict[str, Tensor]:
        x = batch
        for layer in self.layers:
            x = layer(x)
        return {"loss": (x - 1).square().mean()}


def trained_layers(folder: Path, config: LoopConfig) -> Layered:
    module = Layered()
    train(module, module.loss, batch_of, config, folder)
    return module


def test_checkpointed_layers_run_twice_and_learn_the_same(tmp_path: Path):
    plain = trained_layers(tmp_path / "plain", CONFIG)
    checkpointed = trained_layers(tmp_path / "checkpointed", replace(CONFIG, checkpoint_layers=True))
    assert (plain.calls, checkpointed.calls) == (2 * CONFIG.steps, 4 * CONFIG.steps)
    assert_same(checkpointed, plain)
    checkpointed.loss(batch_of(0), 0)["loss"].backward()
    assert checkpointed.calls == 4 * CONFIG.steps + 2  # nothing of it is left


@pytest.mark.parametrize("checkpointed", [False, True])
def test_every_layer_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpointed: bool):
    compiled = []

    def compile_with(function: Callable[..., Tensor], *, backend: str) -> Callable[..., Tensor]:
        compiled.append(backend)
        return lambda x: function(x) + 1

    monkeypatch.setattr(torch, "compile", compile_with)
    config = replace(CONFIG, compile_backend="inductor", checkpoint_layers=checkpointed)
    module = trained_layers(tmp_path / "compiled", config)
    assert compiled == ["inductor"] * 2
    assert module.state_dict().keys() == Layered().state_dict().keys()
    monkeypatch.undo()
    plain = trained_layers(tmp_path / "plain", CONFIG)
    assert not torch.equal(plain.layers[0][0].weight, module.layers[0][0].weight)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointed", [False, True])
def test_compiled_layers_learn_the_same(tmp_path: Path, checkpointed: bool):
    config = replace(CONFIG, bf16=False)
    plain = trained_layers(tmp_path / "plain", config)
    economical = replace(config, compile_backend="aot_eager", checkpoint_layers=checkpointed)
    compiled = trained_layers(tmp_path / "compiled", economical)
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


# ---------------------------------------------------------------------------------------------------------------------
# Parts: an average, frozen for a while, with rates of their own


def test_the_average_is_scored_saved_and_left_in_the_module(tmp_path: Path):
    config = replace(CONFIG, ema_decay=0.6, warmup_steps=0)
    module, weights, scored = Regression(), [], []

    def seen(step: int) -> Tensor:
        weights.append(module.layers[0].weight.detach().clone())  # before the step
        return batch_of(step)

    def evaluate() -> dict[str, float]:
        scored.append(module.layers[0].weight.detach().clone())
        return {}

    train(module, module.loss, seen, config, tmp_path, evaluate)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    weights.append(state["module"]["layers.0.weight"])
    average = weights[0]
    for step, weight in enumerate(weights[1:]):
        keep = min(0.6, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * weight
    torch.testing.assert_close(state["average"]["layers.0.weight"], average)
    assert not torch.equal(average, weights[-1])
    exported = Regression()
    load_module_state(tmp_path, exported)
    for weight in (*scored, module.layers[0].weight, exported.layers[0].weight):
        assert torch.equal(weight, state["average"]["layers.0.weight"])
    assert torch.equal(exported.seen, state["module"]["seen"])


def test_a_run_from_before_there_was_an_average_goes_on_with_one(tmp_path: Path):
    run(tmp_path, replace(CONFIG, steps=6))
    run(tmp_path, replace(CONFIG, ema_decay=0.6))
    assert "average" in torch.load(tmp_path / "checkpoint.pt", weights_only=True)


def test_a_frozen_part_rests_for_its_share_of_the_steps(tmp_path: Path):
    module, first, last = Regression(), [], []

    def seen(step: int) -> Tensor:
        first.append(module.layers[0].weight.detach().clone())
        last.append(module.layers[2].weight.detach().clone())
        return batch_of(step)

    train(module, module.loss, seen, replace(CONFIG, frozen={"layers.0.": 0.5}), tmp_path)
    moved = [not torch.equal(*pair) for pair in pairwise(first)]
    assert moved == [False] * 4 + [True] * 3
    assert not torch.equal(last[0], last[1])
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_part_has_its_own_rate(tmp_path: Path):
    """Without a gradient, only decay moves a weight: by the factor 1 - rate * decay in every step."""
    config = LoopConfig(
        steps=5, peak_lr=0.5, warmup_steps=2, weight_decay=0.3, rates={"layers.0.": 0.1, "layers.2.": 0}
    )
    module = Regression()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    train(module, lambda batch, step: {"loss": 0.0 * module.layers(batch).sum()}, batch_of, config, tmp_path)
    factor = math.prod(1 - 0.1 * learning_rate(step, config) * 0.3 for step in range(5))
    torch.testing.assert_close(module.layers[0].weight, before["layers.0.weight"] * factor)
    assert torch.equal(module.layers[2].weight, before["layers.2.weight"])


@pytest.mark.parametrize("changes", [{"frozen": {"encoder.": 0.2}}, {"rates": {"encoder.": 0.2}}], ids=str)
def test_an_unknown_part_is_refused(tmp_path: Path, changes: dict[str, dict[str, float]]):
    with pytest.raises(
        ValueError, match=r"no trained parameter begins with 'encoder\.'; there are layers\.0, layers\.2"
    ):
        run(tmp_path, replace(CONFIG, **changes))  # pyright: ignore[reportArgumentType]


def test_an_unknown_list_of_layers_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="there is no list of layers 'blocks'; there are none"):
        run(tmp_path, replace(CONFIG, sharded_layers=("blocks",)))


# ---------------------------------------------------------------------------------------------------------------------
# What is kept


def test_the_newest_checkpoints_are_kept(tmp_path: Path):
    run(tmp_path, replace(CONFIG, checkpoint_every_steps=2, keep_last=3))
    kept = {path.name: torch.load(path, weights_only=True)["step"] for path in tmp_path.glob("*.pt")}
    assert kept == {"checkpoint.pt": 8, "checkpoint-00000006.pt": 6, "checkpoint-00000004.pt": 4}


def test_a_run_that_was_killed_between_two_renamings_goes_on(tmp_path: Path):
    config = replace(CONFIG, keep_last=2)
    whole = run(tmp_path, config)
    (tmp_path / "checkpoint.pt").unlink()  # the one of step 6 is left
    assert_same(run(tmp_path, config), whole)
    (tmp_path / "checkpoint.pt").unlink()
    load_module_state(tmp_path, Regression())


@pytest.mark.parametrize(("is_highest", "best_step"), [(False, 4), (True, 6)])
def test_the_best_weights_are_kept(tmp_path: Path, is_highest: bool, best_step: int):
    scores, weights = iter([3.0, 1.0, 5.0, 2.0]), []
    module = Regression()

    def evaluate() -> dict[str, float]:
        weights.append(module.layers[0].weight.detach().clone())
        return {"score": next(scores)}

    config = replace(CONFIG, best_score="score", best_is_highest=is_highest)
    train(module, module.loss, batch_of, config, tmp_path, evaluate, 2)
    best = Regression()
    load_module_state(tmp_path, best, best=True)
    assert torch.equal(best.layers[0].weight, weights[best_step // 2 - 1])
    state = torch.load(tmp_path / "best.pt", weights_only=True)
    assert (state["step"], state["best"]) == (best_step, 5.0 if is_highest else 1.0)


def test_a_resumed_run_knows_what_was_best(tmp_path: Path):
    config = replace(CONFIG, best_score="score")
    run(tmp_path, replace(config, steps=4), evaluate=lambda: {"score": 1.0})
    run(tmp_path, config, evaluate=lambda: {"score": 2.0})
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 4


@pytest.mark.parametrize("changes", [{"best_score": "loss"}, {"best_is_highest": True}])
def test_what_was_best_by_another_score_is_not_compared(tmp_path: Path, changes: dict, caplog):
    config = replace(CONFIG, best_score="score", patience=2)
    run(tmp_path, replace(config, steps=4), evaluate=lambda: {"score": 1.0, "loss": 3.0})
    run(tmp_path, replace(config, **changes), evaluate=lambda: {"score": 0.5, "loss": 2.0})
    state = torch.load(tmp_path / "best.pt", weights_only=True)
    assert state["step"] == CONFIG.steps
    assert state["best"] == (0.5 if "best_is_highest" in changes else 2.0)
    assert f"the run goes on with loop.{next(iter(changes))}=" in caplog.text


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path):
    scores = iter([math.nan, 2.0])
    run(
        tmp_path,
        replace(CONFIG, best_score="score", steps=4),
        evaluate=lambda: {"score": next(scores)},
        evaluate_every_steps=2,
    )
    assert torch.load(tmp_path / "best.pt", weights_only=True)["best"] == 2.0


def test_a_score_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="the evaluation has no score 'wer'; it has score"):
        run(tmp_path, replace(CONFIG, best_score="wer"), evaluate=lambda: {"score": 1.0})
    with pytest.raises(ValueError, match="holds no best weights"):
        load_module_state(tmp_path, Regression(), best=True)


def test_tensorboard_shows_the_log(tmp_path: Path):
    pytest.importorskip("tensorboard")
    run(tmp_path, replace(CONFIG, tensorboard=True))
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"grad_norm" in events.read_bytes()


def test_tensorboard_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"install kimi-audio\[train\]"):
        run(tmp_path, replace(CONFIG, tensorboard=True))


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


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal; who runs the tests in the background may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_ctrl_c")
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


@pytest.mark.usefixtures("usual_ctrl_c")
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

    with pytest.raises(FloatingPointError, match=f"the {fault} of step 5 is not finite, with micro-batch 5; .* step 3"):
        train(module, failing, batch_of, CONFIG, tmp_path)
    assert saved_step(tmp_path) == 3
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert_same(run(tmp_path), run(tmp_path / "whole"))


def test_a_batch_that_is_not_finite_is_named_by_its_items(tmp_path: Path):
    module = Regression()

    def named(number: int) -> Named:
        values = batch_of(number)
        return Named(values * torch.nan if number == 7 else values, [f"item-{number}-{row}" for row in range(2)])

    with pytest.raises(
        FloatingPointError, match="loss of step 3 is not finite, with item-7-0, item-7-1; the checkpoint of"
    ):
        train(
            module,
            lambda batch, step: module.loss(batch.values, step),
            named,
            replace(CONFIG, micro_batches=2),
            tmp_path,
        )


@pytest.mark.parametrize("raised", [OSError, RuntimeError])
def test_a_full_disk_leaves_the_last_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
):
    usual = torch.save

    def failing(state: dict, file: IO[bytes]) -> None:
        if state["step"] == 6:
            file.write(b"half")
            try:
                raise OSError("No space left on device")
            except OSError:
                if raised is OSError:
                    raise
                raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904 torch's own, with a cause it does not name
        usual(state, file)

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(
        OSError, match=r"step 6 was not written \(No space left on device\); the checkpoint of step 3 is"
    ):
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
