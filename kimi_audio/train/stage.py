"""A stage of training the audio LLM: what fine-tuning and pre-training do alike, and what each of them says itself."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from kimi_audio.checkpoint import load_lm_config
from kimi_audio.core.sequence import Batch
from kimi_audio.data.encoding import AudioEncoder, StoredEncoder
from kimi_audio.data.mixture import Mixture
from kimi_audio.data.reports import LineReport
from kimi_audio.train.left_out import LeftOut
from kimi_audio.train.loop.budget import Budget
from kimi_audio.train.loop.journal import Watch
from kimi_audio.train.loop.lock import locked
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.loop.parallel import first_process, joined, world_size
from kimi_audio.train.losses import LMLoss
from kimi_audio.train.runs import (
    LabelledBatch,
    Outcome,
    check_best_score,
    check_loading,
    check_run,
    find_base,
    log_epochs,
    note_run,
    open_encoders,
    run_facts,
    train_rows,
)
from kimi_audio.train.scores import Scored


class _StageConfig(Protocol):
    """What the configurations of all stages have."""

    @property
    def loop(self) -> LoopConfig: ...
    @property
    def base(self) -> str: ...
    @property
    def row_positions(self) -> int | None: ...
    @property
    def max_left_out(self) -> float: ...
    @property
    def evaluate_every_steps(self) -> int: ...


class _Scores(Protocol):
    """Scores a model on what it does not learn from."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def scored(self) -> Iterator[Scored]: ...
    def __call__(self) -> dict[str, float]: ...


Config = TypeVar("Config", bound=_StageConfig)
Report = TypeVar("Report", bound=LineReport)


@dataclass(frozen=True)
class Opened(Generic[Report]):
    """What a run begins with: its model and its files, which have been checked."""

    base: Path
    device: torch.device
    reports: Sequence[Report]  # of the lines that fit into the rows
    encoders: Sequence[AudioEncoder | StoredEncoder]  # one for each file
    limit_positions: int  # of a row
    left_out: LeftOut
    stack: ExitStack  # of what ends with the run


@dataclass(frozen=True)
class Prepared:
    """What is trained on what."""

    module: nn.Module
    loss_of: Callable[[LabelledBatch], LMLoss]
    mixture: Mixture
    size: str  # of the data, for people
    scores: _Scores | None
    hide: Callable[[Batch, int], Batch] | None = None  # what the model sees of the batch of a number
    audio_weight: float = 1.0  # of ``LMLoss.audio``
    heard_weight: float = 0.0  # of ``LMLoss.heard``


class Stage(Protocol[Config, Report]):
    """One way of training the audio LLM."""

    def check_processes(self, config: Config, processes: int) -> None:
        """Raise ValueError if so many processes cannot share a run."""
        ...

    def facts(self, config: Config) -> Mapping[str, Any]:
        """Return the values that a run cannot change on its way."""
        ...

    def codes_alone(self, config: Config) -> bool:
        """Tell whether prepared features are not used."""
        ...

    def reports(self, config: Config, folder: Path, data: Sequence[Path], base: Path) -> list[Report]:
        """Return which lines of the files are good, see ``open_reports``."""
        ...

    def fitted(self, config: Config, reports: Sequence[Report]) -> Config:
        """Return the configuration with what follows from the data."""
        ...

    def prepare(self, config: Config, opened: Opened[Report]) -> Prepared:
        """Return what is trained on what."""
        ...

    def budget(self, config: Config, *, processes: int = 1, on_gpu: bool = False) -> Budget:
        """Return what a run will need, from the sizes alone.

        Raises:
            ValueError: so many processes cannot share the run, or the configuration does not fit the model.
        """
        ...


def run_stage(
    stage: Stage[Config, Report],
    config: Config,
    data: Sequence[Path],
    folder: Path,
    *,
    tokens: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    watch: Watch | None = None,
) -> Outcome:
    """Train the audio LLM; under ``torchrun``, in all processes together.

    Args:
        stage: fine-tuning or pre-training.
        config: what and how.
        data: JSONL files of conversations or documents.
        folder: of the run.
        tokens: prepared codes and features of the recordings of all files; by default, what lies beside each file. What
            is not prepared is computed when it is needed.
        resume: go on where the run in ``folder`` stopped, or begin it.
        device: its type, such as "cuda".
        watch: see ``loop.train``.

    Raises:
        ValueError: files or settings do not fit, ``folder`` holds a run that is not to be resumed, or too many samples
            cannot be read.
        FloatingPointError, KeyboardInterrupt, SystemExit, OSError: see ``loop.train``.
    """
    with joined(device) as place, locked(folder), ExitStack() as stack:
        stage.check_processes(config, world_size())
        base = find_base(config.base)
        facts = run_facts(stage.facts(config), base, data)
        check_run(folder, facts, base, config.loop, resume=resume)
        reports = stage.reports(config, folder, data, base)
        config = stage.fitted(config, reports)
        assert config.row_positions is not None
        limit_positions = min(config.row_positions, load_lm_config(base).max_positions)
        usable = [_usable(report, limit_positions) for report in reports]
        left_out = LeftOut(usable, config.max_left_out, folder)
        encoders = open_encoders(base, place, data, tokens, codes_alone=stage.codes_alone(config))
        check_loading(config.loop, place, encoders)
        gc.collect()  # tokenizers that nobody needs
        prepared = stage.prepare(config, Opened(base, place, usable, encoders, limit_positions, left_out, stack))
        if left_out.broken:
            held_out = () if prepared.scores is None else prepared.scores.scored
            left_out.try_again([*prepared.mixture.named(left_out.broken), *((one.name, one.build) for one in held_out)])
        log_epochs(prepared.mixture, config.loop, prepared.size)
        if prepared.scores is not None:
            check_best_score(config.loop, prepared.scores.names)
        first_process(lambda: note_run(folder, facts, reports))
        steps = train_rows(
            prepared.module,
            prepared.loss_of,
            prepared.mixture,
            hide=prepared.hide,
            audio_weight=prepared.audio_weight,
            heard_weight=prepared.heard_weight,
            loop=config.loop,
            folder=folder,
            scores=prepared.scores,
            evaluate_every_steps=config.evaluate_every_steps,
            device=place,
            watch=watch,
        )
        return Outcome(steps, left_out.broken)


def _usable(report: Report, limit_positions: int) -> Report:
    """Return what fits into the rows; the rest is logged.

    Raises:
        ValueError: nothing does.
    """
    report = report.limited(limit_positions)
    report.log()
    report.require_good_lines()
    return report
