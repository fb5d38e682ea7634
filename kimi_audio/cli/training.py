"""Commands that prepare data, train, and make models of what was trained."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from kimi_audio.cli.command import app, command
from kimi_audio.cli.options import DeviceOption, JsonOption, ModelOption, Quantize, check_files
from kimi_audio.cli.recipes import find_recipe, with_changes
from kimi_audio.cli.report import Report, err, log_to_stderr, status
from kimi_audio.core.numbers import counted

if TYPE_CHECKING:
    from kimi_audio.core.lines import Problem
    from kimi_audio.train.loop.budget import Budget
    from kimi_audio.train.loop.journal import Watch

SHOWN_PROBLEMS = 20  # --json has all
SHOWN_CHARACTERS = 500  # of a problem, which may name what a line holds

prepare = typer.Typer(help="Check and encode data to learn from.", no_args_is_help=True)
app.add_typer(prepare, name="prepare")

DataFile = Annotated[Path, typer.Argument(metavar="FILE", help="Conversations or documents (JSONL).")]


@command(prepare)
def validate(
    file: DataFile,
    *,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Trust the headers of recordings: fast, finds no broken samples.")
    ] = False,
    max_positions: Annotated[int | None, typer.Option(help="Longest sequence; by default the model's context.")] = None,
    model: ModelOption = "nano",
    as_json: JsonOption = False,
) -> None:
    """Check every line of a file as training would read it; exit code 1 if a line would be left out.

    What was found is kept beside the file, and training leaves out the same lines.
    """
    _check_local(file)
    from kimi_audio.checkpoint import find_model
    from kimi_audio.data.checked import check_file
    from kimi_audio.data.survey import Survey

    report = Report(as_json)
    folder = find_model(model, with_weights=False)
    with _progress(f"checking {file.name}") as advance:
        found = check_file(file, folder, decode=not headers_only, again=True, progress=advance)
    if max_positions is not None:
        found = found.limited(max_positions)
    if isinstance(found, Survey):
        sizes = f"{found.text_tokens:,} text and {found.audio_tokens:,} audio tokens"
    else:
        sizes = f"{found.learned_text_tokens:,} text and {found.learned_audio_tokens:,} audio tokens to predict"
    _show_problems(report, found.problems)
    report.line(
        f"{found.num_valid} of {found.num_lines} lines can be learned: {found.audio_hours:.2f} hours of audio, {sizes}"
    )
    report.result(found.summary())
    if found.problems:
        raise typer.Exit(1)


@command(prepare)
def tokens(
    file: DataFile,
    *,
    out: Annotated[Path | None, typer.Option("--out", help="By default FILE with the ending .tokens.")] = None,
    model: ModelOption = "nano",
    device: DeviceOption = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each on one core: they encode or, for a GPU, load.")
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Encode every recording of a file once, for training; what is there already is not encoded again."""
    _check_local(file)
    from kimi_audio.data.encoding import encode_file, tokens_folder
    from kimi_audio.devices import find_device
    from kimi_audio.train.runs import find_base, load_encoder

    report = Report(as_json)
    folder = out or tokens_folder(file)
    encoder = load_encoder(find_base(model), find_device(device))
    with _progress(f"encoding {file.name}") as advance:
        done = encode_file(file, encoder, folder, workers=workers, progress=advance)
    _show_problems(report, done.problems)
    encoded = f"{counted(done.num_encoded, 'recording')} encoded ({done.encoded_s:.1f} s)"
    report.line(f"{folder}: {encoded}, {done.num_found} known")
    problems = [{"line": problem.line, "reason": problem.reason} for problem in done.problems]
    counts = {"encoded": done.num_encoded, "found": done.num_found, "encoded_s": done.encoded_s}
    report.result({"tokens": str(folder), **counts, "problems": problems})
    if done.problems:
        raise typer.Exit(1)


@command(prepare)
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of ms-swift, ShareGPT, LLaMA-Factory or OpenAI.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="By default conversations.jsonl in the folder of FILE.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the samples of another trainer's file as conversations; exit code 1 if one could not be converted."""
    _check_local(file)
    from kimi_audio.data.foreign import convert_file

    report = Report(as_json)
    target = out or file.with_name("conversations.jsonl")
    if target.exists() and not overwrite:
        raise ValueError(f"{target} is there already; give another name with --out, or --overwrite")
    with err.status(f"converting {file.name}"):
        done = convert_file(file, target)
    _show_problems(report, done.problems, "sample")
    report.line(f"{target}: {done.num_converted} of {counted(done.num_samples, 'sample')}")
    problems = [{"sample": problem.line, "reason": problem.reason} for problem in done.problems]
    counts = {"samples": done.num_samples, "converted": done.num_converted}
    report.result({"conversations": str(target), **counts, "problems": problems})
    if done.problems:
        raise typer.Exit(1)


@command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="Such as sft, lora or pretrain, see kimi_audio/recipes/; or FILE.py:NAME.")
    ],
    *,
    data: Annotated[list[Path], typer.Option("--data", help="JSONL; may be given several times.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    tokens: Annotated[
        Path | None, typer.Option(help='From "prepare tokens"; by default the folder beside each data file.')
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the run would need.")] = False,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="For --dry-run: GPUs that share the work; by default this machine.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a field, such as loop.steps=500.")
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the audio LLM; with several GPUs: torchrun --nproc-per-node N -m kimi_audio.cli train ..."""
    _check_local(*data, tokens, out=out)
    config = with_changes(find_recipe(recipe)(), changes or [])
    from kimi_audio.devices import find_device
    from kimi_audio.train.loop.parallel import is_first
    from kimi_audio.train.released import is_released
    from kimi_audio.train.stage import run_stage
    from kimi_audio.train.stages import stage_of

    stage = stage_of(config)
    report = Report(as_json)
    if dry_run:
        # The released models are for GPUs, wherever a run is planned.
        on_gpu = gpus is not None or (device is None and is_released(config.base))
        on_gpu = on_gpu or find_device(device).type != "cpu"
        _show_budget(report, stage.budget(config, processes=gpus or 1, on_gpu=on_gpu), on_gpu=on_gpu)
        return
    log_to_stderr(logging.INFO if is_first() else logging.ERROR)
    with ExitStack() as stack:
        watch = stack.enter_context(_bar(out.name)) if err.is_terminal and is_first() else None
        stack.enter_context(_told_how_to_go_on(out))
        place = find_device(device).type
        outcome = run_stage(stage, config, data, out, tokens=tokens, resume=resume, device=place, watch=watch)
    if not is_first():
        return
    if outcome.left_out:
        report.line(f"{counted(len(outcome.left_out), 'sample')} left out that could not be read")
    report.line(f"trained; make a model of it with: kimi-audio export {out} --out FOLDER")
    left_out = [{"sample": name, "reason": reason} for name, reason in outcome.left_out.items()]
    report.result({"run": str(out), "steps": outcome.steps, "left_out": left_out})


@command()
def export(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder to be made.")],
    best: Annotated[bool, typer.Option("--best", help="The weights with the best score, not the newest.")] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="Only the adapter, in peft's format.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Matrices at 8 bits, for small models.")] = False,
    quantize: Annotated[Quantize | None, typer.Option(help="Matrices of the LLM as they are held in memory.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model folder of a training run, adapters merged, the other components copied from its base."""
    from kimi_audio.train.export import export_adapter, export_model

    report = Report(as_json)
    with status(f"writing {out}"):
        if adapter:
            export_adapter(run, out, best=best)
        else:
            format_ = None if quantize in (None, Quantize.none) else quantize.value
            export_model(run, out, best=best, int8=int8, quantize=format_)
    option = "adapter" if adapter else "model"
    report.line(f"{out}: {option} of {run}")
    report.result({option: str(out), "run": str(run)})


# ---------------------------------------------------------------------------------------------------------------------
# Printing


def _check_local(*files: Path | None, out: Path | None = None) -> None:
    """Find addresses, which would be taken for paths, and missing files before long work."""
    from kimi_audio.data.places import refuse_address

    for file in (*files, out):
        if file is not None:
            refuse_address(str(file))
    check_files(*files)


def _show_budget(report: Report, needed: "Budget", *, on_gpu: bool) -> None:
    from dataclasses import asdict

    report.line(f"on {'GPUs' if on_gpu else 'the CPU'}\n{needed.report()}")
    totals = {"tokens_per_step": needed.tokens_per_step, "total_bytes": needed.total_bytes, "on_gpu": on_gpu}
    report.result(asdict(needed) | totals)


@contextmanager
def _told_how_to_go_on(run: Path) -> Iterator[None]:
    """Say, when a run is stopped, how it goes on."""
    from kimi_audio.train.loop.parallel import is_first
    from kimi_audio.train.runs import RUN

    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if is_first() and (run / RUN).exists():
            err.print("the same command goes on from here with --resume", markup=False)
        raise


@contextmanager
def _bar(name: str) -> "Iterator[Watch]":
    """Show a progress bar with the time left on stderr; yield what moves it."""
    from kimi_audio.train.loop.journal import scores

    shown = TextColumn(
        "{task.fields[scores]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
    )
    columns = TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, shown, console=err, refresh_per_second=2, expand=True) as progress:
        bar = progress.add_task(name, total=None, scores="")

        def watch(done: int, steps: int, row: Mapping[str, Any] | None) -> None:
            progress.update(bar, completed=done, total=steps)
            if row is not None:
                progress.update(bar, scores=scores(row))

        yield watch


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr; yield what moves it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _show_problems(report: Report, problems: "Sequence[Problem]", what: str = "line") -> None:
    for problem in problems[:SHOWN_PROBLEMS]:
        report.line(f"{what} {problem.line}: {problem.reason[:SHOWN_CHARACTERS]}")
    if len(problems) > SHOWN_PROBLEMS:
        report.line(f"and {len(problems) - SHOWN_PROBLEMS} more; --json shows all")
