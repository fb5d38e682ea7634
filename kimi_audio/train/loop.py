"""The training loop. It knows no model: a module, a loss function, and batches that follow from their number.

Because a batch and everything random about it are functions of its number alone, resuming needs no state of a loader: a
run that was killed ends, bit for bit, in the weights of one that was not. And because the micro-batches of a step are
numbered through, it does not matter who computes them: one process after the other, or several side by side.

Who wants more than ``train`` finds the schedule and the configuration in ``schedule``, the optimiser in ``optimizer``,
checkpointing and compilation of layers in ``layers``, processes and shards in ``parallel``, and what a run will need in
``budget``.
"""

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial, reduce
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kimi_audio.train.average import WeightAverage
from kimi_audio.train.checkpoints import Checkpoints, load_module_state
from kimi_audio.train.journal import Journal
from kimi_audio.train.layers import economical_layers
from kimi_audio.train.optimizer import build_optimizer
from kimi_audio.train.parallel import Whole, exchange, gathered, rank, split_like, whole_tensor, world_size
from kimi_audio.train.schedule import LoopConfig, learning_rate, staged_freezing

__all__ = ["LoopConfig", "learning_rate", "load_module_state", "train"]

logger = logging.getLogger(__name__)
Batch = TypeVar("Batch")
LossOf = Callable[[Batch, int], Mapping[str, Tensor]]
CountsOf = Callable[[Batch], Mapping[str, float]]


def train(
    module: nn.Module,
    loss_of: LossOf[Batch],
    batch_of: Callable[[int], Batch],
    config: LoopConfig,
    folder: Path,
    evaluate: Callable[[], dict[str, float]] | None = None,
    evaluate_every_steps: int = 0,
    counts_of: CountsOf[Batch] | None = None,
) -> None:
    """Train ``module`` in place, resuming from ``folder`` where an earlier run stopped.

    A step is one update of the weights from ``config.micro_batches`` batches, whose losses are averaged. Where a loss
    is a mean over items, such as tokens, of which batches hold unequal numbers, ``counts_of`` makes the average that of
    one large batch: each named mean is weighed by its count.

    Under ``torchrun`` (see ``parallel.joined``), every process makes every so many of the micro-batches; the folder has
    to be one that all of them see. At the end, the module holds shards only: load the run's checkpoint.

    Ctrl-C ends the running step, saves and stops; a second one stops at once and leaves the checkpoint before.

    Args:
        module: holds everything that is trained or that the checkpoint must keep.
        loss_of: (batch, step) to named losses; "loss" is minimised, the others are logged. Random draws of torch
            follow from the seed and the number of the batch; other randomness has to do so, too.
        batch_of: the batch of a number, counted through the run; with one micro-batch per step, that of a step. A
            batch may have an attribute ``ids``, the names of its items, for error messages.
        config: schedule.
        folder: receives checkpoints, ``log.jsonl`` and ``loop.json``. A resumed run logs the steps behind its
            checkpoint once more.
        evaluate: named scores, logged every ``evaluate_every_steps`` and at the end. Every process calls it, alike.
        evaluate_every_steps: 0 means only at the end.
        counts_of: the number of items that a named loss of a batch is the mean of. Then the sum of the losses that it
            names is minimised instead of "loss". A mean over no items has to be finite, such as 0.

    Raises:
        FloatingPointError: a loss or gradient is not finite; the checkpoint on disk is from before.
        KeyboardInterrupt: after Ctrl-C.
        OSError: a checkpoint could not be written; the one before is kept.
        ValueError: the configuration does not fit the module, the scores or the number of processes.
    """
    if config.micro_batches % world_size():
        raise ValueError(
            f"{world_size()} processes cannot share {config.micro_batches} micro-batches per step evenly; "
            f"set micro_batches to a multiple of {world_size()}"
        )
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "loop.json").write_text(json.dumps(asdict(config), indent=1))
    run = _Run(module, config, folder)
    start = run.resume()
    with ExitStack() as stack:
        freeze = stack.enter_context(staged_freezing(module, config))
        stack.enter_context(
            economical_layers(module, checkpointed=config.checkpoint_layers, compile_backend=config.compile_backend)
        )
        journal = stack.enter_context(
            Journal(folder, config.steps, start, tensorboard=config.tensorboard, active=rank() == 0)
        )
        interrupted = stack.enter_context(_held_interrupt())
        for step in range(start, config.steps):
            started = time.perf_counter()
            freeze(step)
            numbers = range(config.micro_batches * step + rank(), config.micro_batches * (step + 1), world_size())
            batches = [(number, batch_of(number)) for number in numbers]
            values = run.update(step, loss_of, batches, counts_of)
            done = step + 1
            is_last = done == config.steps
            is_scored = is_last or (evaluate_every_steps > 0 and done % evaluate_every_steps == 0)
            if is_scored or done % config.log_every_steps == 0:
                row = {"step": done, **values, "step_s": time.perf_counter() - started}
                if evaluate is not None and is_scored:
                    row |= run.score(done, evaluate)
                journal.write(row)
            journal.advance(done)
            is_stopped = any(exchange(interrupted.is_set()))
            if is_stopped or is_last or done % config.checkpoint_every_steps == 0:
                run.save(done)
            if is_stopped:
                if rank() == 0:
                    logger.warning("stopped at step %d of %d; the same command goes on from here", done, config.steps)
                raise KeyboardInterrupt
    run.finish()


class _Run(Generic[Batch]):
    """All that changes while a module is trained."""

    def __init__(self, module: nn.Module, config: LoopConfig, folder: Path):
        self.module, self.config = module, config
        self.device = next(module.parameters()).device
        self.whole = Whole(module, config.sharded_layers)
        self.optimizer = build_optimizer(
            module, config.peak_lr, config.betas, config.weight_decay, muon=config.muon, rates=config.rates
        )
        self.average: WeightAverage | None = None
        self.best: float | None = None
        self.checkpoints = Checkpoints(folder, config.keep_last)

    # -----------------------------------------------------------------------------------------------------------------
    # One update

    def update(
        self,
        step: int,
        loss_of: LossOf[Batch],
        batches: Sequence[tuple[int, Batch]],
        counts_of: CountsOf[Batch] | None,
    ) -> dict[str, float]:
        """Update the weights with this process's numbered micro-batches; return what can be logged about it."""
        lr = learning_rate(step, self.config)
        self.optimizer.set_rate(lr)
        self.optimizer.zero_grad()
        self.module.train()
        values: dict[str, float] = {}
        broken: list[str] = []
        for (number, batch), shares in zip(batches, self._shares(batches, counts_of), strict=True):
            with _seeded(self.config.seed, number, self.device):
                named = self._backward(partial(loss_of, batch, step), shares)
            values = _added(values, named)
            if not math.isfinite(named["loss"]):
                broken += _names(number, batch)
        parts = exchange((values, broken))
        self._stop_if("loss", step, [name for _, names in parts for name in names])
        norm = float(whole_tensor(nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)))
        if not math.isfinite(norm):  # in all processes
            names = [name for numbered in batches for name in _names(*numbered)]
            self._stop_if("gradient", step, [name for names in exchange(names) for name in names])
        self.optimizer.step()
        if self.average is not None:
            self.average.update(step)
        return {"lr": lr, "grad_norm": norm, **reduce(_added, (values for values, _ in parts))}

    def _shares(
        self, batches: Sequence[tuple[int, Batch]], counts_of: CountsOf[Batch] | None
    ) -> list[dict[str, float]]:
        """Return for each micro-batch how much each of its losses counts; over all processes, the shares add to 1."""
        if counts_of is None:
            return [{"loss": 1 / self.config.micro_batches}] * len(batches)
        counts = [{name: float(count) for name, count in counts_of(batch).items()} for _, batch in batches]
        totals = reduce(_added, exchange(reduce(_added, counts)))
        return [{name: count.get(name, 0.0) / max(totals[name], 1e-9) for name in totals} for count in counts]

    def _backward(self, losses_of: Callable[[], Mapping[str, Tensor]], shares: Mapping[str, float]) -> dict[str, float]:
        """Add the gradients of one micro-batch; return its part of the losses, "loss" being what was minimised."""

        def forward() -> tuple[Tensor, dict[str, float]]:
            # A cache of cast weights would keep what checkpointing is there to forget.
            cached = not self.config.checkpoint_layers
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16, cache_enabled=cached):
                losses = losses_of()
            loss = sum((losses[name] * share for name, share in shares.items() if name in losses), self.whole.touch())
            assert isinstance(loss, Tensor), f"loss_of returns none of {', '.join(shares)}"
            named = {
                name: float(value.detach()) * shares.get(name, 1 / self.config.micro_batches)
                for name, value in losses.items()
            }
            return loss, {**named, "loss": float(loss.detach())}

        loss, named = self.whole(forward)
        (loss * world_size()).backward()  # FSDP averages over the processes; the shares want a sum
        return named

    def _stop_if(self, name: str, step: int, broken: Sequence[str]) -> None:
        if broken:
            raise FloatingPointError(
                f"the {name} of step {step} is not finite, with {', '.join(broken)}; "
                f"{self.checkpoints.describe_newest()}; resume with a lower rate, or without what is broken"
            )

    # -----------------------------------------------------------------------------------------------------------------
    # What is kept

    def resume(self) -> int:
        """Go on from the newest checkpoint of the folder; return how many steps are done."""
        state = self.checkpoints.load()
        done = 0 if state is None else state["step"]
        if len(set(exchange(done))) > 1:
            raise ValueError(f"{self.checkpoints.folder} is not the same folder for all processes; use a shared one")
        if state is not None:
            self.module.load_state_dict(split_like(state["module"], self.module.state_dict()))
            self.optimizer.load_state_dict(state["optimizer"])
            self.best = state.get("best")
        if self.config.ema_decay is not None:
            self.average = WeightAverage(self.module, self.config.ema_decay)
            if state is not None and "average" in state:
                self.average.load(split_like(state["average"], self.average.weights))
        return done

    def save(self, done: int) -> None:
        """Write the checkpoint of ``done`` steps."""
        state = {"step": done, "module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {"best": self.best} | self._average_state()
        self._write(self.checkpoints.save, state)
        self.checkpoints.newest_step = done

    def score(self, done: int, evaluate: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Return the scores of the weights, of their average if there is one, and keep them if they are the best."""
        with nullcontext() if self.average is None else self.average.in_use():
            scores = exchange(self.whole(evaluate))[0]
            self.whole.release()
        name = self.config.best_score
        if name is None:
            return scores
        if name not in scores:
            raise ValueError(f"the evaluation has no score {name!r}; it has {', '.join(scores)}")
        sign = -1 if self.config.best_is_highest else 1
        if self.best is None or sign * scores[name] < sign * self.best:
            self.best = scores[name]
            state = {"step": done, "module": self.module.state_dict(), "best": self.best, **self._average_state()}
            self._write(self.checkpoints.save_best, state)
        return scores

    def finish(self) -> None:
        """Leave the average of the weights in the module, if there is one."""
        if self.average is not None:
            self.average.swap()

    def _average_state(self) -> dict[str, Any]:
        return {} if self.average is None else {"average": self.average.weights}

    def _write(self, write: Callable[[dict[str, Any]], None], state: dict[str, Any]) -> None:
        whole = gathered(state)
        problem = None
        if rank() == 0:
            try:
                write(whole)
            except OSError as error:
                problem = error
        problem = exchange(problem)[0]
        if problem is not None:
            raise problem


@contextmanager
def _seeded(seed: int, number: int, device: torch.device) -> Iterator[None]:
    """Let torch's random draws follow from the seed and the number of a micro-batch, and leave no trace."""
    mixed = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        torch.manual_seed(int(mixed))
        yield


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _names(number: int, batch: Any) -> list[str]:
    """Return the names of the items of a micro-batch, or its number where they have none."""
    ids = getattr(batch, "ids", None)
    return [f"micro-batch {number}"] if ids is None else [str(name) for name in ids]


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
