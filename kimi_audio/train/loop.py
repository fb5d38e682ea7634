"""The training loop. It knows no model: a module, a loss function, and batches that follow from the step number.

Because batch and augmentation are functions of the step alone, resuming needs no loader state: the same step always
sees the same batch, and a run that was killed ends in the weights of one that was not.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

logger = logging.getLogger(__name__)
Batch = TypeVar("Batch")


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

    Args:
        module: holds everything that is trained or that the checkpoint must keep.
        loss_of: (batch, step) to named losses; "loss" is minimised, the others are logged.
        batch_of: the batch of a step.
        config: schedule.
        folder: receives ``checkpoint.pt``, ``log.jsonl`` and ``loop.json``.
        evaluate: named scores, logged every ``evaluate_every_steps`` and at the end.
        evaluate_every_steps: 0 means only at the end.

    Raises:
        FloatingPointError: the loss is not finite; the checkpoint on disk is from before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loop.json").write_text(json.dumps(asdict(config), indent=1))
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = _adamw(parameters, config)
    start = resume(folder, module, optimizer)
    device_type = parameters[0].device.type
    log = (folder / "log.jsonl").open("a")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    step = start
    with log, Progress(*columns, TextColumn("{task.fields[scores]}"), refresh_per_second=1) as progress:
        bar = progress.add_task(folder.name, total=config.steps, completed=start, scores="")
        try:
            for step in range(start, config.steps):
                started = time.perf_counter()
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, config)
                module.train()
                batch = batch_of(step)
                with torch.autocast(device_type, torch.bfloat16, enabled=config.bf16):
                    losses = loss_of(batch, step)
                if not torch.isfinite(losses["loss"]):
                    raise FloatingPointError(f"the loss of step {step} is not finite; resume with a lower rate")
                optimizer.zero_grad(set_to_none=True)
                losses["loss"].backward()
                norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
                optimizer.step()
                done = step + 1
                if done % config.log_every_steps == 0 or done == config.steps:
                    row: dict[str, Any] = {
                        "step": done,
                        "lr": learning_rate(step, config),
                        "grad_norm": float(norm),
                    }
                    row |= {name: float(value.detach()) for name, value in losses.items()}
                    row["step_s"] = time.perf_counter() - started
                    due = evaluate_every_steps and done % evaluate_every_steps == 0
                    if evaluate is not None and (due or done == config.steps):
                        row |= evaluate()
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    progress.update(
                        bar,
                        scores=" ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("step", "lr")),
                    )
                progress.update(bar, completed=done)
                if done % config.checkpoint_every_steps == 0 or done == config.steps:
                    save(folder, module, optimizer, done)
        except KeyboardInterrupt:
            save(folder, module, optimizer, step)
            logger.warning("stopped at step %d of %d; the same command goes on from here", step, config.steps)
            raise


def _adamw(parameters: list[nn.Parameter], config: LoopConfig) -> torch.optim.AdamW:
    # Decay pulls matrices to zero; for gains, biases and position tables that has no good reason.
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.peak_lr, betas=config.betas)


def save(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write the checkpoint whole: a full disk or a kill leaves the one before."""
    partial = folder / "checkpoint.pt.partial"
    torch.save({"step": step, "module": module.state_dict(), "optimizer": optimizer.state_dict()}, partial)
    partial.replace(folder / "checkpoint.pt")


def resume(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint of ``folder`` into module and optimizer and return its step; 0 if there is none."""
    path = folder / "checkpoint.pt"
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
    path = folder / "checkpoint.pt"
    if not path.exists():
        raise ValueError(f"{folder} holds no training run")
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["module"])
