"""Commands that prepare data, train, and make models of what was trained."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kimi_audio.cli.command import app, command
from kimi_audio.cli.options import DeviceOption, JsonOption, ModelOption, check_files
from kimi_audio.cli.recipes import find_recipe, with_changes
from kimi_audio.cli.report import Report, err

if TYPE_CHECKING:
    from kimi_audio.core.lines import Problem
    from kimi_audio.train.budget import Budget

SHOWN_PROBLEMS = 20  # --json has all

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
    """Check every line of a file as training would read it; exit code 1 if a line would be left out."""
    check_files(file)
    from kimi_audio.checkpoint import find_model, load_lm_config
    from kimi_audio.data.documents import holds_documents
    from kimi_audio.data.survey import survey_file
    from kimi_audio.data.validation import validate_file
    from kimi_audio.tokenizer.text import TextTokenizer

    report = Report(as_json)
    folder = find_model(model, with_weights=False)
    config, tokenizer = load_lm_config(folder), TextTokenizer.load(folder)
    limit, decode = max_positions or config.max_positions, not headers_only
    with _progress(f"checking {file.name}") as advance:
        if holds_documents(file):
            found = survey_file(file, tokenizer, limit, decode=decode, progress=advance)
            sizes = f"{found.text_tokens:,} text and {found.audio_tokens:,} audio tokens"
        else:
            found = validate_file(file, config, tokenizer, max_positions=limit, decode=decode, progress=advance)
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
    as_json: JsonOption = False,
) -> None:
    """Encode every recording of a file once, for training; what is there already is not encoded again."""
    check_files(file)
    from kimi_audio.assistant import find_device
    from kimi_audio.checkpoint import find_model
    from kimi_audio.data.encoding import encode_file
    from kimi_audio.train.runs import load_encoder

    report = Report(as_json)
    folder = out or tokens_folder(file)
    encoder = load_encoder(find_model(model, with_detokenizer=False), find_device(device))
    with _progress(f"encoding {file.name}") as advance:
        done = encode_file(file, encoder, folder, progress=advance)
    _show_problems(report, done.problems)
    report.line(f"{folder}: {done.num_encoded} recordings encoded ({done.encoded_s:.1f} s), {done.num_found} known")
    problems = [{"line": problem.line, "reason": problem.reason} for problem in done.problems]
    counts = {"encoded": done.num_encoded, "found": done.num_found, "encoded_s": done.encoded_s}
    report.result({"tokens": str(folder), **counts, "problems": problems})
    if done.problems:
        raise typer.Exit(1)


@command(prepare)
def corpus(
    out: Annotated[Path, typer.Option("--out", help="Folder of the corpus.")] = Path("runs/corpus"),
    seed: Annotated[int, typer.Option(help="The same seed gives the same corpus.")] = 0,
    workers: Annotated[int, typer.Option(help="Speech engines at once.")] = 2,
    tasks: Annotated[
        bool,
        typer.Option("--tasks", help="Also the other tasks: Mandarin, dialogues, sounds, styles, voices."),
    ] = False,
) -> None:
    """Generate the texts and speech that nano learns from; needs the engines of "make speech-tools", resumes."""
    from kimi_audio.data import corpus, task_corpus

    corpus.build(out, seed=seed, workers=workers)
    if tasks:
        task_corpus.build_tasks(out, seed=seed, workers=workers)


@command()
def train(
    recipe: Annotated[str, typer.Argument(help="A name in recipes/, such as sft or pretrain, or FILE.py:NAME.")],
    *,
    data: Annotated[list[Path], typer.Option("--data", help="JSONL; may be given several times.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    tokens: Annotated[
        Path | None, typer.Option(help='From "prepare tokens"; by default the folder beside a single data file.')
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the run would need.")] = False,
    gpus: Annotated[int, typer.Option(help="For --dry-run: processes that share the work.")] = 1,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a field, such as loop.steps=500.")
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the audio LLM; with several GPUs: torchrun --nproc-per-node N -m kimi_audio.cli train ..."""
    check_files(*data, tokens)
    config = with_changes(find_recipe(recipe)(), changes or [])
    from dataclasses import asdict

    from kimi_audio.assistant import find_device

    budget, run = _stage(config)
    report = Report(as_json)
    if dry_run:
        needed = budget(config, processes=gpus)
        totals = {"tokens_per_step": needed.tokens_per_step, "total_bytes": needed.total_bytes}
        report.line(needed.report())
        report.result(asdict(needed) | totals)
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if tokens is None and len(data) == 1 and tokens_folder(data[0]).exists():
        tokens = tokens_folder(data[0])
    run(config, data, out, tokens=tokens, resume=resume, device=find_device(device).type)
    report.line(f"trained; make a model of it with: kimi-audio export {out} --out FOLDER")
    report.result({"run": str(out), "steps": config.loop.steps})


@command()
def export(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder to be made.")],
    best: Annotated[bool, typer.Option("--best", help="The weights with the best score, not the newest.")] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="Only the adapter, in peft's format.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Matrices at 8 bits, for small models.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a model folder of a training run, adapters merged, the other components copied from its base."""
    from kimi_audio.train.export import export_adapter, export_model

    report = Report(as_json)
    with err.status(f"writing {out}"):
        if adapter:
            export_adapter(run, out, best=best)
        else:
            export_model(run, out, best=best, int8=int8)
    option = "adapter" if adapter else "model"
    report.line(f"{out}: {option} of {run}")
    report.result({option: str(out), "run": str(run)})


def _stage(config: object) -> "tuple[Callable[..., Budget], Callable[..., None]]":
    """Return what tells what a run needs, and what runs it, by the kind of its configuration."""
    from kimi_audio.train import pretrain, sft

    if isinstance(config, pretrain.PretrainConfig):
        return pretrain.budget, pretrain.pretrain
    return sft.budget, sft.finetune


# ---------------------------------------------------------------------------------------------------------------------
# Printing


def tokens_folder(file: Path) -> Path:
    """Return where the tokens of a file of conversations are by default."""
    return file.with_suffix(".tokens")


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr; yield what moves it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _show_problems(report: Report, problems: "tuple[Problem, ...]") -> None:
    for problem in problems[:SHOWN_PROBLEMS]:
        report.line(f"line {problem.line}: {problem.reason}")
    if len(problems) > SHOWN_PROBLEMS:
        report.line(f"and {len(problems) - SHOWN_PROBLEMS} more; --json shows all")
