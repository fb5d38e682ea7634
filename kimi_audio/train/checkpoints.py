"""The checkpoints of a run: the newest ones and the best one, written whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

CHECKPOINT = "checkpoint.pt"  # the newest; older ones carry their step in the name
BEST = "best.pt"


class Checkpoints:
    """The checkpoints of one folder.

    Args:
        folder: where they are.
        keep_last: how many, the newest of all.
    """

    def __init__(self, folder: Path, keep_last: int):
        self.folder, self.keep_last = folder, keep_last
        self.newest_step: int | None = None

    def load(self) -> dict[str, Any] | None:
        """Return the newest checkpoint, its tensors mapped from disk, or None if there is none."""
        path = _newest(self.folder)
        if path is None:
            return None
        state = _read(path)
        self.newest_step = state["step"]
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; its "step" is the number of steps that are done.

        Raises:
            OSError: it could not be written; the one before is still there.
        """
        partial = self._write(state, CHECKPOINT)
        newest = self.folder / CHECKPOINT
        if self.keep_last > 1 and newest.exists():
            newest.rename(self.folder / f"checkpoint-{self.newest_step:08d}.pt")
        partial.replace(newest)
        self.newest_step = state["step"]
        for path in _older(self.folder)[self.keep_last - 1 :]:
            path.unlink()

    def save_best(self, state: dict[str, Any]) -> None:
        """Write the best weights; errors as for ``save``."""
        self._write(state, BEST).replace(self.folder / BEST)

    def describe_newest(self) -> str:
        """Say what a run that stops now goes on from."""
        if self.newest_step is None:
            return "there is no checkpoint yet"
        return f"the checkpoint of step {self.newest_step} is kept"

    def _write(self, state: dict[str, Any], name: str) -> Path:
        partial = self.folder / f"{name}.partial"
        try:
            with partial.open("wb") as file:
                torch.save(state, file)
            return partial
        except BaseException as error:
            partial.unlink(missing_ok=True)  # half a checkpoint only fills the disk
            if not isinstance(error, OSError | RuntimeError):  # torch reports a full disk as RuntimeError
                raise
            reason = next((e for e in (error, error.__context__) if isinstance(e, OSError)), error)
            raise OSError(
                f"{self.folder / name} of step {state['step']} was not written ({str(reason).splitlines()[0]}); "
                f"{self.describe_newest()}; make room and give the same command again"
            ) from error


def load_module_state(folder: Path, module: nn.Module, *, best: bool = False) -> None:
    """Load the weights of a run into its module: their average where the run has one.

    Args:
        folder: of the run.
        module: as it was trained.
        best: take the weights with the best score instead of the newest ones.

    Raises:
        ValueError: the run has no such checkpoint.
    """
    path = folder / BEST if best else _newest(folder)
    if path is None or not path.exists():
        raise ValueError(f"{folder} holds no {'best weights' if best else 'training run'}")
    state = _read(path)
    module.load_state_dict(state["module"])
    if "average" in state:
        module.load_state_dict(state["average"], strict=False)


def _older(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def _newest(folder: Path) -> Path | None:
    # A run that was killed between its two renamings has only older ones.
    return next((path for path in (folder / CHECKPOINT, *_older(folder)) if path.exists()), None)


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
