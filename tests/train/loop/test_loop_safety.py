"""What a training run does not lose, and what it refuses: errors, signals, damaged files, changed settings, a rival."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kimi_audio.train.loop.lock import locked
from kimi_audio.train.loop.loop import LoopConfig, load_module_state, train
from kimi_audio.train.loop.optimizer import build_optimizer
from tests.train.loop.test_loop import CONFIG, Regression, assert_same, batch_of, rows, run, saved_step

# ---------------------------------------------------------------------------------------------------------------------
# Errors and signals


def failing(module: Regression, at_step: int, error: BaseException) -> Callable[[Tensor, int], dict[str, Tensor]]:
    def loss_of(batch: Tensor, step: int) -> dict[str, Tensor]:
        losses = module.loss(batch, step)  # the buffer has moved already
        if step == at_step:
            raise error
        return losses

    return loss_of


@pytest.mark.parametrize("at_step", [0, 4, 5])
def test_an_error_loses_no_step(tmp_path: Path, at_step: int):
    whole = run(tmp_path / "whole")
    module = Regression()
    with pytest.raises(MemoryError):
        train(module, failing(module, at_step, MemoryError()), batch_of, CONFIG, tmp_path / "broken")
    if at_step:
        assert saved_step(tmp_path / "broken") == at_step
    assert_same(run(tmp_path / "broken"), whole)


def test_a_batch_that_cannot_be_made_loses_no_step(tmp_path: Path):
    def unlucky(number: int) -> Tensor:
        if number == 4:
            raise OSError("the disk is gone")
        return batch_of(number)

    with pytest.raises(OSError, match="the disk is gone"):
        run(tmp_path / "broken", batch_of=unlucky)
    assert saved_step(tmp_path / "broken") == 4
    assert_same(run(tmp_path / "broken"), run(tmp_path / "whole"))


def test_an_error_in_the_middle_of_an_update_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usual, calls = torch.optim.AdamW.step, iter(range(4))

    def half(self: torch.optim.AdamW) -> None:
        usual(self)
        if next(calls, None) is None:
            raise MemoryError

    monkeypatch.setattr(torch.optim.AdamW, "step", half)
    with pytest.raises(MemoryError):
        run(tmp_path)
    assert saved_step(tmp_path) == 3


def test_sigterm_ends_the_running_step_then_saves_and_ends_the_process(tmp_path: Path, caplog):
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    module, after = Regression(), []

    def asked(batch: Tensor, step: int) -> dict[str, Tensor]:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            after.append(step)
        return module.loss(batch, step)

    try:
        with pytest.raises(SystemExit) as end:
            train(module, asked, batch_of, CONFIG, tmp_path / "stopped")
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert end.value.code == 143
    assert (after, saved_step(tmp_path / "stopped")) == ([4], 5)
    assert "stopped at step 5 of 8; resume the run" in caplog.text
    assert_same(run(tmp_path / "stopped"), run(tmp_path / "whole"))


# ---------------------------------------------------------------------------------------------------------------------
# Damaged checkpoints


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Change every byte of the first tensor by one bit, which torch reads without a word."""
    content = bytearray(path.read_bytes())
    weight = Regression().layers[0].bias
    state = torch.load(path, weights_only=True)["module"]["layers.0.bias"]
    place = bytes(content).find(state.numpy().tobytes())
    assert place > 0
    for offset in range(4 * weight.numel()):
        content[place + offset] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    torch.save({"step": 8, "module": nn.Linear(2, 2).state_dict(), "optimizer": {}}, path)


def stateless(path: Path) -> None:
    torch.save([1, 2], path)


def of_another_optimizer(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    torch.save(state | {"optimizer": {"0": {"state": {}, "param_groups": []}}}, path)


@pytest.mark.parametrize("damage", [cut, flip, empty, foreign, stateless, of_another_optimizer])
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path: Path, damage: Callable[[Path], None], caplog):
    config = replace(CONFIG, keep_last=3)
    whole = run(tmp_path, config)
    damage(tmp_path / "checkpoint.pt")
    assert_same(run(tmp_path, config), whole)
    assert f"{tmp_path / 'checkpoint.pt'} cannot be used: it" in caplog.text
    assert "its place takes checkpoint-00000006.pt" in caplog.text
    assert sorted(path.name for path in tmp_path.glob("*.pt*")) == [
        "checkpoint-00000003.pt",
        "checkpoint-00000006.pt",
        "checkpoint.pt",
        "checkpoint.pt.damaged",
    ]
    assert saved_step(tmp_path) == 8


@pytest.mark.parametrize("damage", [cut, flip, foreign])
def test_a_run_without_a_usable_checkpoint_does_not_begin_again(tmp_path: Path, damage: Callable[[Path], None]):
    config = replace(CONFIG, keep_last=1)
    run(tmp_path, config)
    damage(tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for use in (lambda: run(tmp_path, config), lambda: load_module_state(tmp_path, Regression())):
        with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be used: it .*; there is no other") as error:
            use()
        assert "\n" not in str(error.value)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_export_takes_the_checkpoint_before_a_damaged_one_and_leaves_both(tmp_path: Path):
    run(tmp_path, replace(CONFIG, steps=6))
    six = Regression()
    load_module_state(tmp_path, six)
    run(tmp_path)
    flip(tmp_path / "checkpoint.pt")
    loaded = Regression()
    load_module_state(tmp_path, loaded)
    assert_same(loaded, six)
    assert (tmp_path / "checkpoint.pt").exists()


def test_what_a_killed_process_left_half_written_is_deleted(tmp_path: Path):
    (tmp_path / ".checkpoint-0123456789abcdef.pt").write_bytes(b"half")
    run(tmp_path)
    assert not list(tmp_path.glob(".*.pt"))


# ---------------------------------------------------------------------------------------------------------------------
# Changed settings, and a rival


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"micro_batches": 2}, {"muon": True}, {"weight_decay": 0.5}, {"rates": {"layers.": 0.5}}]
)
def test_a_run_does_not_go_on_with_other_settings(tmp_path: Path, changes: dict):
    run(tmp_path)
    (name,) = changes
    with pytest.raises(ValueError, match=rf"was begun with loop\.{name}="):
        run(tmp_path, replace(CONFIG, steps=12, **changes))
    run(tmp_path, replace(CONFIG, steps=12))  # the refused attempt left no trace


def test_what_may_change_is_said(tmp_path: Path, caplog):
    run(tmp_path)
    run(tmp_path, replace(CONFIG, steps=12, peak_lr=0.01, log_every_steps=1))
    assert "goes on with loop.steps=12; it was 8 before" in caplog.text
    assert "goes on with loop.peak_lr=0.01; it was 0.05 before" in caplog.text
    assert "log_every" not in caplog.text


def hold(folder: Path, ready, done) -> None:
    with locked(folder):
        ready.set()
        done.wait(60)


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path):
    fork = multiprocessing.get_context("fork")
    ready, done = fork.Event(), fork.Event()
    rival = fork.Process(target=hold, args=(tmp_path / "run", ready, done))
    rival.start()
    assert ready.wait(60)
    with pytest.raises(ValueError, match="another process is training in"):
        run(tmp_path / "run")
    assert not (tmp_path / "run" / "loop.json").exists()
    done.set()
    rival.join()
    with locked(tmp_path / "run"):  # whoever holds it may train
        run(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("clip_norm", 0.0),
        ("clip_norm", -1.0),
        ("checkpoint_every_steps", 0),
        ("log_every_steps", 0),
        ("micro_batches", 0),
        ("keep_last", 0),
        ("peak_lr", float("nan")),
        ("peak_lr", -1.0),
        ("final_lr", float("inf")),
        ("warmup_steps", -1),
        ("betas", (0.9, 1.0)),
        ("weight_decay", -0.1),
        ("ema_decay", 1.0),
        ("seed", -1),
        ("frozen", {"layers.": 1.5}),
        ("rates", {"layers.": -1.0}),
        ("patience", 0),
        ("patience", 3),  # without a score
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, value: object):
    with pytest.raises(ValueError, match=rf"loop\.{name}.* (must be|waits for)"):
        LoopConfig(**({"steps": 1, "peak_lr": 0.1} | {name: value}))  # pyright: ignore[reportArgumentType]


def test_gradients_may_be_left_unclipped():
    assert LoopConfig(steps=1, peak_lr=0.1, clip_norm=float("inf")).clip_norm > 1


# ---------------------------------------------------------------------------------------------------------------------
# An early end, decay, lines


def test_a_run_ends_early_when_scores_get_no_better(tmp_path: Path):
    scores = iter([3.0, 1.0, 5.0, 2.0])
    config = replace(CONFIG, best_score="score", patience=2, steps=100)

    def trained(score_of: Callable[[], float]) -> int:
        module = Regression()
        return train(module, module.loss, batch_of, config, tmp_path, lambda: {"score": score_of()}, 2)

    assert trained(lambda: next(scores)) == saved_step(tmp_path) == 8
    assert trained(lambda: 0.0) == saved_step(tmp_path) == 8  # it has ended


def test_position_tables_do_not_decay():
    module = nn.Module()
    for name in ("embed_positions", "embed_tokens"):
        setattr(module, name, nn.Embedding(4, 3))
    module.positions = nn.Parameter(torch.zeros(4, 3))
    groups = build_optimizer(module, 0.1, (0.9, 0.99), 0.3, muon=False).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in module.named_parameters()} == {
        "positions": 0.0,
        "embed_positions.weight": 0.0,
        "embed_tokens.weight": 0.3,
    }


def test_every_logged_row_is_a_line_with_the_time_left(tmp_path: Path, caplog):
    with caplog.at_level(logging.INFO):
        run(tmp_path / "mine")
    lines = [record.message for record in caplog.records if record.message.startswith("mine: step")]
    assert [line.split(":")[1] for line in lines[:1]] == [" step 2 of 8, 0"]
    assert lines[-1].startswith("mine: step 8 of 8, 0:00:00 left: loss ")


def test_who_watches_is_told_every_step(tmp_path: Path):
    seen = []
    run(tmp_path, watch=lambda done, steps, row: seen.append((done, steps, row is not None)))
    assert seen == [(step, 8, step % 2 == 0) for step in range(1, 9)]
    assert [row["step"] for row in rows(tmp_path)] == [2, 4, 6, 8]
