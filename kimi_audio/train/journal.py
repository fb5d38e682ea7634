"""What a training run says while it runs: a log of numbers for programs and TensorBoard, a progress bar for people."""

import json
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG = "log.jsonl"


class Journal:
    """Rows of numbers, and a progress bar with the time left that shows the last one.

    Args:
        folder: receives ``log.jsonl`` and, under ``tensorboard``, what TensorBoard shows.
        steps: of the whole run.
        start: steps that are done already.
        tensorboard: write for TensorBoard, too.
        active: False says nothing, for all processes but the first.

    Raises:
        ValueError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, steps: int, start: int, *, tensorboard: bool, active: bool):
        self._active = active
        if not active:
            return
        self._board = _summary_writer(folder, start) if tensorboard else None
        self._log = (folder / LOG).open("a")
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        scores = TextColumn("{task.fields[scores]}")
        self._progress = Progress(*columns, TimeRemainingColumn(), scores, refresh_per_second=1)
        self._bar = self._progress.add_task(folder.name, total=steps, completed=start, scores="")

    def __enter__(self) -> "Journal":
        if self._active:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._active:
            self._progress.stop()
            self._log.close()
            if self._board is not None:
                self._board.close()

    def write(self, row: dict[str, Any]) -> None:
        """Log one row; "step" says how many steps are done."""
        if not self._active:
            return
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()
        numbers = {name: value for name, value in row.items() if name != "step" and isinstance(value, float | int)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, row["step"])
            self._board.flush()
        scores = " ".join(f"{name} {value:.4g}" for name, value in numbers.items() if name != "lr")
        self._progress.update(self._bar, scores=scores)

    def advance(self, done: int) -> None:
        """Move the progress bar."""
        if self._active:
            self._progress.update(self._bar, completed=done)


def _summary_writer(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("TensorBoard is missing: install kimi-audio[train], or leave tensorboard off") from None
    # What an earlier run showed behind its checkpoint is taken back.
    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)
