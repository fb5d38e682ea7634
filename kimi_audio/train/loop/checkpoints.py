"""The checkpoints of a run: the newest ones and the best one, written whole or not at all, and read only if whole.

The container that torch writes holds a CRC-32 of every tensor, which its reader does not look at: here it is compared.
"""

import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kimi_audio.core.files import write_whole

CHECKPOINT = "checkpoint.pt"  # the newest; older ones carry their step in the name
BEST = "best.pt"
_DAMAGED = ".damaged"  # behind the name of what could not be used

logger = logging.getLogger(__name__)
State = dict[str, Any]
Check = Callable[[State], None]


class Checkpoints:
    """The checkpoints of one folder.

    Args:
        folder: where they are.
        keep_last: how many, the newest of all.
    """

    def __init__(self, folder: Path, keep_last: int):
        self.folder, self.keep_last = folder, keep_last
        self.newest_step: int | None = None

    def exist(self) -> bool:
        """Tell whether there are any."""
        return bool(_newest_first(self.folder))

    def find(self, check: Check) -> Path | None:
        """Return the newest checkpoint that is whole and passes ``check``, or None if there are none at all.

        Newer ones that cannot be used are named in the log and set aside. What a killed process left half written is
        deleted: no other one may be at work in the folder.

        Raises:
            ValueError: there are checkpoints, and none can be used.
        """
        for partial in (path for name in (CHECKPOINT, BEST) for path in self.folder.glob(f".{Path(name).stem}-*.pt")):
            partial.unlink()
        path, damaged = _usable(_newest_first(self.folder), check)
        for other in damaged:
            other.rename(other.with_name(other.name + _DAMAGED))
        return path

    def load(self, path: Path) -> State:
        """Return a checkpoint that was found, its tensors mapped from disk."""
        state = _read(path)
        self.newest_step = state["step"]
        return state

    def save(self, state: State) -> None:
        """Write a checkpoint; its "step" is the number of steps that are done.

        Raises:
            OSError: it could not be written; the one before is still there.
        """
        newest = self.folder / CHECKPOINT

        def make_room() -> None:
            if self.keep_last > 1 and newest.exists():
                newest.rename(self.folder / f"checkpoint-{self.newest_step:08d}.pt")

        self._write(state, CHECKPOINT, make_room)
        self.newest_step = state["step"]
        for path in _newest_first(self.folder)[self.keep_last :]:
            path.unlink()

    def save_best(self, state: State) -> None:
        """Write the best weights; errors as for ``save``."""
        self._write(state, BEST)

    def describe_newest(self) -> str:
        """Say what a run that stops now goes on from."""
        if self.newest_step is None:
            return "there is no checkpoint yet"
        return f"the checkpoint of step {self.newest_step} is kept"

    def _write(self, state: State, name: str, when_written: Callable[[], None] = lambda: None) -> None:
        try:
            with write_whole(self.folder / name) as partial:
                with partial.open("wb") as file:
                    torch.save(state, file)
                when_written()
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            reason = next((e for e in (error, error.__context__) if isinstance(e, OSError)), error)
            raise OSError(
                f"{self.folder / name} of step {state['step']} was not written ({str(reason).splitlines()[0]}); "
                f"{self.describe_newest()}; make room and resume the run"
            ) from error


def load_module_state(folder: Path, module: nn.Module, *, best: bool = False) -> None:
    """Load the weights of a run into its module: their average where the run has one.

    Args:
        folder: of the run.
        module: as it was trained.
        best: take the weights with the best score instead of the newest ones.

    Raises:
        ValueError: the run has no such checkpoint, or none that is whole and fits the module.
    """
    paths = [path for path in (folder / BEST,) if path.exists()] if best else _newest_first(folder)
    path, _ = _usable(paths, lambda state: check_fits(state["module"], module))
    if path is None:
        raise ValueError(f"{folder} holds no {'best weights' if best else 'training run'}")
    state = _read(path)
    module.load_state_dict(state["module"])
    if "average" in state:
        module.load_state_dict(state["average"], strict=False)


def check_fits(state: Mapping[str, Any], module: nn.Module) -> None:
    """Check that tensors are those of a module.

    Raises:
        ValueError: they are not.
    """
    expected = module.state_dict()
    for name in (*expected, *state):
        found, wanted = (tensors[name].shape if name in tensors else None for tensors in (state, expected))
        if found != wanted:
            shapes = [f"of shape {tuple(shape)}" if shape is not None else "missing" for shape in (found, wanted)]
            raise ValueError(f"it belongs to another model: {name} is {shapes[0]} in it, and {shapes[1]} in this one")


def _newest_first(folder: Path) -> list[Path]:
    # A run that was killed between its two renamings has only older ones.
    older = sorted(folder.glob("checkpoint-*.pt"), reverse=True)
    return [path for path in (folder / CHECKPOINT, *older) if path.exists()]


def _usable(paths: list[Path], check: Check) -> tuple[Path | None, list[Path]]:
    """Return the first of several checkpoints that can be used, and those before it."""
    reasons = []
    for number, path in enumerate(paths):
        try:
            _verify(path)
            check(_read(path))
        except ValueError as error:
            reasons.append(f"{path} cannot be used: {error}")
            continue
        for reason in reasons:
            logger.warning("%s; its place takes %s", reason, path.name)
        return path, paths[:number]
    if reasons:
        raise ValueError(f"{reasons[0]}; there is no other checkpoint that could take its place")
    return None, []


def _verify(path: Path) -> None:
    """Compare all that a checkpoint holds with its checksums."""
    try:
        with zipfile.ZipFile(path) as container:
            broken = container.testzip()
    except Exception as error:  # damaged numbers in a header end in errors of many kinds
        raise ValueError(f"it is damaged or cut off ({_first_line(error)})") from error
    if broken is not None:
        raise ValueError(f"it is damaged: the checksum of {broken} is another one")


def _read(path: Path) -> State:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of torch, its container and its unpickler
        raise ValueError(f"it holds no state of a run ({_first_line(error)})") from error
    if (
        not isinstance(state, dict)
        or not isinstance(state.get("step"), int)
        or not isinstance(state.get("module"), dict)
    ):
        raise ValueError("it holds no state of a run")
    return state


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
