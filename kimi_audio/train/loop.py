"""The training loop. It knows no model: a module, a loss function, and batches that follow from the step number.

Because batch and augmentation are functions of the step alone, resuming needs no loader state: the same step always
sees the same batch, and a run that was killed ends in the weights of one that was not.
"""

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from kimi_audio.train.optimizer import Optimizers, build_optimizer

logger = logging.getLogger(__name__)
Batch = TypeVar("Batch")
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast to train."""

    steps: int
    peak_lr: float
    final_lr: float = 0.0
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    bf16: bool = True  # autocast; the weights stay float32
    checkpoint_every_steps: int = 100
    log_every_steps: int = 10
    seed: int = 0
    muon: bool = False  # see ``build_optimizer``


def learning_rate(step: int, config: LoopConfig) -> float:
    """Return the rate of update ``step``: linear warm-up, then a cosine down to ``final_lr``."""
    if step < config.warmup_steps:
        return config.peak_lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.final_lr + (config.peak_lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(
    module: nn.Module,
    loss_of: Callable[[Batch, int], dict[str, Tensor]],
    batch_of: Callable[[int], Batch],
    config: LoopConfig,
    folder: Path,
    evaluate: Callable[[], dict[str, float]] | None = None,
    evaluate_every_steps: int = 0,
) -> None:
    """Train ``module`` in place, resuming from ``folder`` where an earlier run stopped.

    Ctrl-C ends the running step, saves and stops; a second one stops at once and leaves the checkpoint before.

    Args:
        module: holds everything that is trained or that the checkpoint must keep.
        loss_of: (batch, step) to named losses; "loss" is minimised, the others are logged.
        batch_of: the batch of a step.
        config: schedule.
        folder: receives ``checkpoint.pt``, ``log.jsonl`` and ``loop.json``. A resumed run logs the steps behind its
            checkpoint once more.
        evaluate: named scores, logged every ``evaluate_every_steps`` and at the end.
        evaluate_every_steps: 0 means only at the end.

    Raises:
        FloatingPointError: a loss or gradient is not finite; the checkpoint on disk is from before.
        KeyboardInterrupt: after Ctrl-C.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loop.json").write_text(json.dumps(asdict(config), indent=1))
    optimizer = build_optimizer(module, config.peak_lr, config.betas, config.weight_decay, muon=config.muon)
    start = resume(folder, module, optimizer)
    with _Journal(folder, config.steps, start) as journal, _held_interrupt() as interrupted:
        for step in range(start, config.steps):
            started = time.perf_counter()
            values = _update(module, loss_of, batch_of(step), optimizer, step, config)
            done = step + 1
            is_last = done == config.steps
            is_scored = is_last or (evaluate_every_steps > 0 and done % evaluate_every_steps == 0)
            if is_scored or done % config.log_every_steps == 0:
                row = {"step": done, **{name: float(value) for name, value in values.items()}}
                row["step_s"] = time.perf_counter() - started
                if evaluate is not None and is_scored:
                    row |= evaluate()
                journal.write(row)
            journal.advance(done)
            if interrupted.is_set() or is_last or done % config.checkpoint_every_steps == 0:
                save(folder, module, optimizer, done)
            if interrupted.is_set():
                logger.warning("stopped at step %d of %d; the same command goes on from here", done, config.steps)
                raise KeyboardInterrupt


def _update(
    module: nn.Module,
    loss_of: Callable[[Batch, int], dict[str, Tensor]],
    batch: Batch,
    optimizer: Optimizers,
    step: int,
    config: LoopConfig,
) -> dict[str, Tensor | float]:
    """Make one update of the weights and return what can be logged about it."""
    lr = learning_rate(step, config)
    for group in optimizer.param_groups:
        group["lr"] = lr
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    module.train()
    with torch.autocast(parameters[0].device.type, torch.bfloat16, enabled=config.bf16):
        losses = loss_of(batch, step)
    _check_finite("loss", losses["loss"], step)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
    _check_finite("gradient", norm, step)
    optimizer.step()
    return {"lr": lr, "grad_norm": norm, **{name: value.detach() for name, value in losses.items()}}


def _check_finite(name: str, value: Tensor, step: int) -> None:
    if not torch.isfinite(value):
        raise FloatingPointError(f"the {name} of step {step} is not finite; resume with a lower rate")


class _Journal:
    """Rows of numbers for ``log.jsonl``, and a progress bar that shows the last one."""

    def __init__(self, folder: Path, steps: int, start: int):
        self._log = (folder / "log.jsonl").open("a")
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, TextColumn("{task.fields[scores]}"), refresh_per_second=1)
        self._bar = self._progress.add_task(folder.name, total=steps, completed=start, scores="")

    def __enter__(self) -> "_Journal":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()
        self._log.close()

    def write(self, row: dict[str, Any]) -> None:
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()
        scores = " ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("step", "lr"))
        self._progress.update(self._bar, scores=scores)

    def advance(self, done: int) -> None:
        self._progress.update(self._bar, completed=done)


@contextmanager
def _held_interrupt() -> Iterator[threading.Event]:
    """Note the first Ctrl-C instead of raising it, so that the running step ends whole."""
    pressed = threading.Event()
    usual = signal.getsignal(signal.SIGINT)
    # Other threads get no signals; and who set the signal up in another way (ignored, in the background) keeps that.
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield pressed
        return

    def note(_number: int, _frame: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, usual)


def save(folder: Path, module: nn.Module, optimizer: Optimizers, step: int) -> None:
    """Write the checkpoint whole: a full disk or a kill leaves the one before."""
    partial = folder / f"{CHECKPOINT}.partial"
    try:
        torch.save({"step": step, "module": module.state_dict(), "optimizer": optimizer.state_dict()}, partial)
        partial.replace(folder / CHECKPOINT)
    finally:
        partial.unlink(missing_ok=True)  # half a checkpoint only fills the disk


def resume(folder: Path, module: nn.Module, optimizer: Optimizers) -> int:
    """Load the checkpoint of ``folder`` into module and optimizer and return its step; 0 if there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def load_module_state(folder: Path, module: nn.Module) -> None:
    """Load the weights of a run into its module.

    Raises:
        ValueError: the run has no checkpoint.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        raise ValueError(f"{folder} holds no training run")
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["module"])
