"""The training loop. It knows no model: a module, a loss function, and batches that follow from their number.

Because a batch and everything random about it are functions of its number alone, resuming needs no state of a loader: a
run that was killed ends, bit for bit, in the weights of one that was not. And because the micro-batches of a step are
numbered through, it does not matter who computes them: one process after the other, or several side by side.

Who wants more than ``train`` finds the schedule and the configuration in ``schedule``, the optimiser in ``optimizer``,
checkpointing and compilation of layers in ``layers``, processes and shards in ``parallel``, and what a run will need in
``budget``.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial, reduce
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kimi_audio.core.numbers import counted
from kimi_audio.nn.precision import autocast, computes_bf16
from kimi_audio.train.loop.average import WeightAverage
from kimi_audio.train.loop.changes import check_schedule, note_schedule
from kimi_audio.train.loop.checkpoints import Checkpoints, check_fits, load_module_state
from kimi_audio.train.loop.journal import Journal, Lines, Watch
from kimi_audio.train.loop.layers import economical_layers
from kimi_audio.train.loop.lock import locked
from kimi_audio.train.loop.optimizer import build_optimizer
from kimi_audio.train.loop.parallel import (
    Whole,
    exchange,
    first_process,
    gathered,
    rank,
    split_like,
    whole_tensor,
    world_size,
)
from kimi_audio.train.loop.schedule import LoopConfig, learning_rate, staged_freezing
from kimi_audio.train.loop.stopping import held_signals, obey

__all__ = ["LoopConfig", "learning_rate", "load_module_state", "train"]

logger = logging.getLogger(__name__)
Batch = TypeVar("Batch")
LossOf = Callable[[Batch, int], Mapping[str, Tensor]]
CountsOf = Callable[[Batch], Mapping[str, float]]
LeftOut = Callable[[str, Exception], None]


def train(
    module: nn.Module,
    loss_of: LossOf[Batch],
    batch_of: Callable[[int], Batch],
    config: LoopConfig,
    folder: Path,
    evaluate: Callable[[], dict[str, float]] | None = None,
    evaluate_every_steps: int = 0,
    counts_of: CountsOf[Batch] | None = None,
    watch: Watch | None = None,
    left_out: LeftOut | None = None,
) -> int:
    """Train ``module`` in place, resuming from ``folder`` where an earlier run stopped.

    A step is one update of the weights from ``config.micro_batches`` batches, whose losses are averaged. Where a loss
    is a mean over items, such as tokens, of which batches hold unequal numbers, ``counts_of`` makes the average that of
    one large batch: each named mean is weighed by its count.

    Under ``torchrun`` (see ``parallel.joined``), every process makes every so many of the micro-batches; the folder has
    to be one that all of them see. At the end, the module holds shards only: load the run's checkpoint.

    Ctrl-C and SIGTERM end the running step, save and stop; a second one stops at once and leaves the checkpoint before.
    An error saves what was learned before it: of several processes, only where all of them can know of it, which is the
    case for batches that cannot be made.

    Args:
        module: holds everything that is trained or that the checkpoint must keep.
        loss_of: (batch, step) to named losses; "loss" is minimised, the others are logged. Random draws of torch
            follow from the seed and the number of the batch; other randomness has to do so, too.
        batch_of: the batch of a number, counted through the run; with one micro-batch per step, that of a step. A
            batch may have an attribute ``ids``, the names of its items, for error messages, and one ``broken``, the
            names of the items that it lacks, each with a reason.
        config: schedule.
        folder: receives checkpoints, ``log.jsonl`` and ``loop.json``. A resumed run logs the steps behind its
            checkpoint once more.
        evaluate: named scores, logged every ``evaluate_every_steps`` and at the end. Every process calls it, alike.
        evaluate_every_steps: 0 means only at the end.
        counts_of: the number of items that a named loss of a batch is the mean of. Then the sum of the losses that it
            names is minimised instead of "loss". A mean over no items has to be finite, such as 0.
        watch: told after every step; by default, what is logged is a line of the log of Python, too.
        left_out: told in every process of the items that the batches of all processes lack; may raise, alike in all, to
            stop the run.

    Returns:
        The number of steps that were made, those of earlier runs in the folder included.

    Raises:
        FloatingPointError: a loss or gradient is not finite; the checkpoint on disk is from before.
        KeyboardInterrupt: after Ctrl-C.
        SystemExit: after SIGTERM.
        OSError: a checkpoint could not be written; the one before is kept.
        ValueError: the configuration does not fit the module, the scores, the number of processes or the run that it is
            to go on with; another process is at work in the folder; or none of its checkpoints can be used.
    """
    check_shares(config, world_size())
    with ExitStack() as stack:
        stack.enter_context(locked(folder))
        run = _Run(module, config, folder)
        start = done = run.resume()
        if config.bf16 and not computes_bf16(run.device.type) and rank() == 0:
            logger.info("this %s has no bf16 instructions, so training computes in float32", run.device.type.upper())
        freeze = stack.enter_context(staged_freezing(module, config))
        stack.enter_context(
            economical_layers(module, checkpointed=config.checkpoint_layers, compile_backend=config.compile_backend)
        )
        watch = Lines(folder.name) if watch is None else watch
        journal = stack.enter_context(
            Journal(folder, config.steps, start, watch, tensorboard=config.tensorboard, active=rank() == 0)
        )
        stop = stack.enter_context(held_signals())
        stack.enter_context(run.saved_on_errors())
        for step in range(start, config.steps):
            if run.is_patient_no_more():
                break
            started = time.perf_counter()
            freeze(step)
            numbers = range(config.micro_batches * step + rank(), config.micro_batches * (step + 1), world_size())
            values = run.update(step, loss_of, run.fetch(numbers, batch_of, left_out), counts_of)
            done = step + 1
            is_last = done == config.steps
            is_scored = is_last or (evaluate_every_steps > 0 and done % evaluate_every_steps == 0)
            row = None
            if is_scored or done % config.log_every_steps == 0:
                row = {**values, "step_s": time.perf_counter() - started}
                if evaluate is not None and is_scored:
                    row |= run.score(done, evaluate)
            journal.step(done, row)
            asked = max(exchange(stop.signal))
            is_last |= run.is_patient_no_more()
            if asked or is_last or done % config.checkpoint_every_steps == 0:
                run.save(done)
            if asked:
                if rank() == 0:
                    logger.warning("stopped at step %d of %d; resume the run to go on from here", done, config.steps)
                obey(asked)
    run.finish()
    return done


def check_shares(config: LoopConfig, processes: int) -> None:
    """Check that processes can share the micro-batches of a step.

    Raises:
        ValueError: they cannot.
    """
    if config.micro_batches % processes:
        raise ValueError(
            f"{processes} processes cannot share {config.micro_batches} micro-batches per step evenly; "
            f"set loop.micro_batches to a multiple of {processes}"
        )


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
        self.worse = 0  # evaluations since the best one
        self.checkpoints = Checkpoints(folder, config.keep_last)
        self._done: int | None = None  # steps that the weights have seen, None while they change

    # -----------------------------------------------------------------------------------------------------------------
    # One update

    def fetch(
        self, numbers: Sequence[int], batch_of: Callable[[int], Batch], left_out: LeftOut | None = None
    ) -> list[tuple[int, Batch]]:
        """Return the numbered micro-batches of this process; if one process has none, all save and stop.

        What the batches of any process lack, ``left_out`` is told in all of them.
        """
        batches, problem = [], None
        try:
            batches = [(number, batch_of(number)) for number in numbers]
        except Exception as error:  # noqa: BLE001 - is raised below
            problem = error
        broken = [item for _, batch in batches for item in getattr(batch, "broken", ())]
        parts = exchange((None if problem is None else str(problem), broken))
        words = next((words for words, _ in parts if words is not None), None)
        try:
            for name, reason in (item for _, items in parts for item in items):
                if left_out is not None:
                    left_out(name, ValueError(reason))
        except Exception as error:  # noqa: BLE001 - is raised below
            problem = error if problem is None else problem
        if words is None and problem is None:
            return batches
        self._rescue()
        raise ValueError(words) if problem is None else problem

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
        with _kept_on_errors(self.module):
            named, shares = [], self._shares(batches, counts_of)
            for turn, ((number, batch), share) in enumerate(zip(batches, shares, strict=True), 1):
                self.whole.share_gradients(not self.config.reduce_once or turn == len(batches))
                with _seeded(self.config.seed, number, self.device):
                    named.append(self._backward(partial(loss_of, batch, step), share))
            losses = self._shared(_numbers(named), shares)
        broken = [
            name
            for (number, batch), values in zip(batches, losses, strict=True)
            if not math.isfinite(values["loss"])
            for name in _names(number, batch)
        ]
        parts = exchange((reduce(_added, losses), broken))
        self._stop_if("loss", step, [name for _, names in parts for name in names])
        norm = float(whole_tensor(nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)))
        if not math.isfinite(norm):  # in all processes
            names = [name for numbered in batches for name in _names(*numbered)]
            self._stop_if("gradient", step, [name for names in exchange(names) for name in names])
        self._done = None
        self.optimizer.step()
        if self.average is not None:
            self.average.update(step)
        self._done = step + 1
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

    def _shared(
        self, losses: Sequence[Mapping[str, float]], shares: Sequence[Mapping[str, float]]
    ) -> list[dict[str, float]]:
        """Return what each micro-batch adds to the losses of the step; "loss" is a share already."""
        return [
            {
                name: value if name == "loss" else value * share.get(name, 1 / self.config.micro_batches)
                for name, value in values.items()
            }
            for values, share in zip(losses, shares, strict=True)
        ]

    def _backward(
        self, losses_of: Callable[[], Mapping[str, Tensor]], shares: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Add the gradients of one micro-batch; return its losses, "loss" being its share of what is minimised."""

        def forward() -> tuple[Tensor, dict[str, Tensor]]:
            # A cache of cast weights would keep what checkpointing is there to forget.
            cached = not self.config.checkpoint_layers
            with autocast(self.device, self.config.bf16, cache_enabled=cached):
                losses = losses_of()
            loss = sum((losses[name] * share for name, share in shares.items() if name in losses), self.whole.touch())
            assert isinstance(loss, Tensor), f"loss_of returns none of {', '.join(shares)}"
            return loss, {**{name: value.detach() for name, value in losses.items()}, "loss": loss.detach()}

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
        """Go on from the newest usable checkpoint of the folder; return how many steps are done."""
        folder = self.checkpoints.folder
        path = first_process(self._begin)
        state = None if path is None else self.checkpoints.load(path)
        done = 0 if state is None else state["step"]
        if len(set(exchange(done))) > 1:
            raise ValueError(f"{folder} is not the same folder for all processes; use a shared one")
        if state is not None:
            self.module.load_state_dict(split_like(state["module"], self.module.state_dict()))
            self.optimizer.load_state_dict(state["optimizer"])
            if self._is_same_score(state):
                self.best, self.worse = state.get("best"), state.get("worse", 0)
        if self.config.ema_decay is not None:
            self.average = WeightAverage(self.module, self.config.ema_decay)
            if state is not None and "average" in state:
                self.average.load(split_like(state["average"], self.average.weights))
        self._done = done
        return done

    def _begin(self) -> Path | None:
        folder = self.checkpoints.folder
        if self.checkpoints.exist():
            check_schedule(folder, self.config)
        path = self.checkpoints.find(self._check)
        note_schedule(folder, self.config)
        return path

    def _check(self, state: dict[str, Any]) -> None:
        check_fits(state["module"], self.module)
        if not isinstance(state.get("optimizer"), dict):
            raise ValueError("it holds no optimiser")
        self.optimizer.check(state["optimizer"])

    def save(self, done: int) -> None:
        """Write the checkpoint of ``done`` steps."""
        state = {"step": done, "module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        state |= {**self._best_state(), "worse": self.worse, **self._average_state()}
        self._write(self.checkpoints.save, state)
        self.checkpoints.newest_step = done

    @contextmanager
    def saved_on_errors(self) -> Iterator[None]:
        """Save what was learned before an error, in one process; several do not know of each other's errors."""
        try:
            yield
        except FloatingPointError:
            raise  # the weights from before may be on their way there
        except Exception:
            if world_size() == 1:
                self._rescue()
            raise

    def _rescue(self) -> None:
        done = self._done
        if done is None or done == (self.checkpoints.newest_step or 0):
            return
        try:
            self.save(done)
        except OSError as error:
            logger.warning("%s", error)
        else:
            if rank() == 0:
                logger.warning("an error ends the run; what was learned in %s is saved", counted(done, "step"))

    def is_patient_no_more(self) -> bool:
        """Tell whether too many evaluations in a row were worse than the best one."""
        return self.config.patience is not None and self.worse >= self.config.patience

    def score(self, done: int, evaluate: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Return the scores of the weights, of their average if there is one, and keep them if they are the best."""
        with nullcontext() if self.average is None else self.average.in_use():
            scores = exchange(self.whole(evaluate))[0]
            self.whole.release()
        name = self.config.best_score
        if name is None:
            return scores
        if name not in scores:
            raise ValueError(f"the evaluation has no score {name!r}; it has {', '.join(scores) or 'none'}")
        sign = -1 if self.config.best_is_highest else 1
        self.worse += 1
        is_better = self.best is None or sign * scores[name] < sign * self.best
        if is_better and math.isfinite(scores[name]):
            self.best, self.worse = scores[name], 0
            state = {"step": done, "module": self.module.state_dict(), **self._best_state(), **self._average_state()}
            self._write(self.checkpoints.save_best, state)
        return scores

    def _best_state(self) -> dict[str, Any]:
        """Return the best score, and which score it is: numbers of another one are not to be compared with it."""
        return {"best": self.best, "best_score": self.config.best_score, "best_is_highest": self.config.best_is_highest}

    def _is_same_score(self, state: Mapping[str, Any]) -> bool:
        """Tell whether what was best in a checkpoint is a score of this run; older ones do not say which it is."""
        wanted = self._best_state()
        return all(state.get(name, wanted[name]) == wanted[name] for name in ("best_score", "best_is_highest"))

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
def _kept_on_errors(module: nn.Module) -> Iterator[None]:
    """Take back what an update that fails in the middle did to buffers, such as the averages of a codebook."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    except Exception:
        for name, buffer in module.named_buffers():
            if name in before:
                buffer.copy_(before[name])
        raise


@contextmanager
def _seeded(seed: int, number: int, device: torch.device) -> Iterator[None]:
    """Let torch's random draws follow from the seed and the number of a micro-batch, and leave no trace."""
    mixed = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0]
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
        torch.manual_seed(int(mixed))
        yield


def _numbers(named: Sequence[Mapping[str, Tensor]]) -> list[dict[str, float]]:
    """Return the values of scalars, for all of which the host waits once."""
    flat = torch.stack([value.float() for values in named for value in values.values()]).tolist()
    return [{name: flat.pop(0) for name in values} for values in named]


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _names(number: int, batch: Any) -> list[str]:
    """Return the names of the items of a micro-batch, or its number where they have none."""
    ids = getattr(batch, "ids", None)
    return [f"micro-batch {number}"] if ids is None else [str(name) for name in ids]
