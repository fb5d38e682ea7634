"""What a training run says while it runs: a log of numbers for programs and TensorBoard, and lines for people."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from kimi_audio.core.numbers import without_nan

LOG = "log.jsonl"
# Told after every step of the first process: the steps done, those of the whole run, and what was logged, if anything.
Watch = Callable[[int, int, Mapping[str, Any] | None], None]

logger = logging.getLogger(__name__)


class Journal:
    """Rows of numbers, passed on to who watches.

    Args:
        folder: receives ``log.jsonl`` and, under ``tensorboard``, what TensorBoard shows.
        steps: of the whole run.
        start: steps that are done already.
        watch: see ``Watch``.
        tensorboard: write for TensorBoard, too.
        active: False says nothing, for all processes but the first.

    Raises:
        ValueError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, steps: int, start: int, watch: Watch, *, tensorboard: bool, active: bool):
        self._active, self._steps, self._watch = active, steps, watch
        if not active:
            return
        self._board = _summary_writer(folder, start) if tensorboard else None
        self._log = (folder / LOG).open("a")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._active:
            self._log.close()
            if self._board is not None:
                self._board.close()

    def step(self, done: int, row: Mapping[str, Any] | None) -> None:
        """Note that a step is done, and what is to be logged about it."""
        if not self._active:
            return
        if row is not None:
            self._log.write(json.dumps(without_nan({"step": done, **row})) + "\n")
            self._log.flush()
            if self._board is not None:
                for name, value in numbers(row).items():
                    self._board.add_scalar(name, value, done)
                self._board.flush()
        self._watch(done, self._steps, row)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return what can be drawn as a curve."""
    return {name: value for name, value in row.items() if isinstance(value, float | int)}


def scores(row: Mapping[str, Any]) -> str:
    """Return the numbers of a row in short, the loss first, without those that nobody watches."""
    shown = {"loss": 0.0, **numbers(row)} if "loss" in row else numbers(row)
    return " ".join(f"{name} {value:.4g}" for name, value in shown.items() if name not in ("lr", "step_s"))


class Lines:
    """Watches a run in the log: one line for each row, with the time that is left.

    Args:
        name: of the run.
    """

    def __init__(self, name: str):
        self.name = name
        self._began: tuple[int, float] | None = None

    def __call__(self, done: int, steps: int, row: Mapping[str, Any] | None) -> None:
        """Log a row; the first step, which is slower than the others, is not counted on."""
        now_s = time.monotonic()
        if self._began is None:
            self._began = done, now_s
        if row is None:
            return
        first, began_s = self._began
        left = ""
        if done > first:
            left_s = (now_s - began_s) / (done - first) * (steps - done)
            left = f", {timedelta(seconds=round(left_s))} left"
        logger.info("%s: step %d of %d%s: %s", self.name, done, steps, left, scores(row))


def _summary_writer(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("TensorBoard is missing: install kimi-audio[train], or leave tensorboard off") from None
    # What an earlier run showed behind its checkpoint is taken back.
    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)
