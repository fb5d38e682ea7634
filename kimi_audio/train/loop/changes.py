"""What may change between a run and its continuation: settings that decide what is learned next may not."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kimi_audio.core.files import read_json, write_json
from kimi_audio.train.loop.schedule import LoopConfig

LOOP = "loop.json"  # in the folder of a run: the schedule
# These decide which samples come when, what is drawn, or what the numbers in the optimiser mean.
_FIXED = ("seed", "micro_batches", "muon", "betas", "weight_decay", "rates")
# These change what is learned from here on, as a user may want.
_TOLD = (
    "steps",
    "peak_lr",
    "final_lr",
    "warmup_steps",
    "clip_norm",
    "bf16",
    "ema_decay",
    "frozen",
    "best_score",
    "best_is_highest",
)

logger = logging.getLogger(__name__)


def check_schedule(folder: Path, config: LoopConfig, *, tell: bool = True) -> None:
    """Compare the schedule of a continuation with that of the run before; what may change is logged if ``tell`` is set.

    Raises:
        ValueError: something changed that may not.
    """
    if not (folder / LOOP).exists():
        return
    known = read_json(folder / LOOP)
    wanted = _plain(config)
    changed = {name: known[name] for name, value in wanted.items() if name in known and known[name] != value}
    if refused := [name for name in _FIXED if name in changed]:
        name = refused[0]
        raise ValueError(
            f"the run in {folder} was begun with loop.{name}={changed[name]}, not {wanted[name]}, and cannot go on "
            f"as if nothing had changed; resume with what {folder / LOOP} says, or give another folder"
        )
    for name in _TOLD:
        if tell and name in changed:
            logger.warning("the run goes on with loop.%s=%s; it was %s before", name, wanted[name], changed[name])


def note_schedule(folder: Path, config: LoopConfig) -> None:
    """Write the schedule into the folder of a run."""
    write_json(folder / LOOP, _plain(config))


def _plain(config: LoopConfig) -> dict[str, Any]:
    return {name: _as_json(value) for name, value in asdict(config).items()}


def _as_json(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
