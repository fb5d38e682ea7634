"""Commands that evaluate models. Exit code 0: every sample was scored; 3: some were not, and the report says which."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kimi_audio.cli.command import app, command
from kimi_audio.cli.options import JsonOption, check_files
from kimi_audio.cli.report import Report, err, print_error, status, warn
from kimi_audio.core.numbers import counted

if TYPE_CHECKING:
    from kimi_audio.evals.contract.instruments import Instruments
    from kimi_audio.evals.contract.types import Result
    from kimi_audio.evals.run.backends import Backend
    from kimi_audio.evals.run.evaluate import Watch
    from kimi_audio.evals.run.infer import Advance, InferOptions

INCOMPLETE = 3

evaluation = typer.Typer(help="Evaluate models: ask, score, report.", no_args_is_help=True)
app.add_typer(evaluation, name="eval")


class Output(StrEnum):
    """What a model is to answer with."""

    text = "text"
    both = "both"


DataOption = Annotated[Path, typer.Option("--data", help="Root of the datasets; each has a folder of its name.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of all runs; each model has one in it.")]
TaskNames = Annotated[list[str], typer.Argument(metavar="TASK...", help="Tasks or suites; 'eval list' shows them.")]
DATA, OUT = Path("runs/eval-data"), Path("runs/evals")


@dataclass(frozen=True)
class InstrumentChoice:
    """What answers are measured with, where rules are not enough."""

    judge: Annotated[str | None, typer.Option(help="YAML file with url and model of a judge, or stand-in.")] = None
    ratings: Annotated[list[Path] | None, typer.Option(help="Filled forms of listeners (CSV).")] = None
    recogniser: Annotated[
        str | None, typer.Option(help="Writes speech down: pocketsphinx, faster-whisper:FOLDER, or as --model.")
    ] = None
    speaker: Annotated[
        str | None, typer.Option(help="Compares voices: spectrum, resemblyzer, or an x-vector model.")
    ] = None
    mos: Annotated[str | None, typer.Option(help="Predicts ratings of the sound: utmos, dnsmos or nisqa.")] = None

    def load(self) -> "Instruments":
        """Return the chosen instruments."""
        from kimi_audio.evals.choose import choose_instruments

        ratings = tuple(self.ratings or ())
        check_files(*ratings)
        return choose_instruments(self.judge, ratings, self.recogniser, self.speaker, self.mos)


@dataclass(frozen=True)
class RunChoice:
    """Which samples are asked, how, and by how many processes."""

    model: Annotated[
        str, typer.Option("--model", help="family:name as 'eval list' shows, or nano, a model folder, a hub id.")
    ] = "nano"
    data: DataOption = DATA
    out: OutOption = OUT
    cache: Annotated[Path, typer.Option(help="Answers of all runs, by what they depend on.")] = Path("runs/eval-cache")
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor write it.")] = False
    limit: Annotated[int | None, typer.Option(help="So many samples of each subset, drawn by the seed.")] = None
    samples: Annotated[str | None, typer.Option(help="Only these, ID,ID,...")] = None
    seed: Annotated[int, typer.Option(help="Of the drawn samples and of the model's decoding.")] = 0
    output: Annotated[Output | None, typer.Option(help="text, or both for text and speech; else as in the recipe.")] = (
        None
    )
    recipe: Annotated[Path | None, typer.Option(help="Prompt and decoding (YAML) instead of the tasks' own.")] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Samples that a model gets at once.")] = 1
    devices: Annotated[str | None, typer.Option(help="One process each: cuda:0,cuda:1, or cpu,cpu.")] = None
    workers: Annotated[int | None, typer.Option(min=1, help="Processes, shared out among the devices.")] = None
    timeout_s: Annotated[float | None, typer.Option(help="Of a batch; a process that takes longer is ended.")] = None

    def infer_options(self) -> "InferOptions":
        """Return the choices as the runner takes them."""
        from kimi_audio.evals.contract.prompting import read_recipe
        from kimi_audio.evals.run.infer import InferOptions
        from kimi_audio.evals.run.selection import Selection

        check_files(self.recipe)
        ids = tuple(name for name in (self.samples or "").split(",") if name)
        return InferOptions(
            Selection(self.limit, ids, self.seed),
            read_recipe(self.recipe) if self.recipe else None,
            self.output.value if self.output else None,
            self.batch_size,
            None if self.no_cache else self.cache,
        )

    @contextmanager
    def backend(self) -> "Iterator[Backend]":
        """Give the model, in this process or, if devices or workers are named, in others."""
        from kimi_audio.evals.registry import parse_model
        from kimi_audio.evals.run.backends import LocalBackend
        from kimi_audio.evals.run.workers import WorkerPool

        spec = parse_model(self.model)
        devices = [name or None for name in (self.devices or "").split(",")]
        if self.workers is None and len(devices) == 1 and self.timeout_s is None:
            with status(f"loading {self.model}"):
                model = spec.load(devices[0])
            yield LocalBackend(model)
            return
        count = self.workers or len(devices)
        with status(f"loading {self.model} in {count} processes"):
            pool = WorkerPool(spec, [devices[place % len(devices)] for place in range(count)], self.timeout_s)
        with pool:
            yield pool


@dataclass(frozen=True)
class Elsewhere:
    """What a file of predictions does not say itself."""

    task: Annotated[str | None, typer.Option(help="Of predictions whose lines have no task and no reference.")] = None
    metric: Annotated[
        str | None,
        typer.Option(help="Of lines with references: transcripts, choices, answers, translations, captions."),
    ] = None
    language: Annotated[str | None, typer.Option(help="Of lines that do not state theirs, such as zh.")] = None
    map: Annotated[str | None, typer.Option(help="The file's names of fields: text=pred_text,reference=text.")] = None
    references: Annotated[Path | None, typer.Option(help="File of references (Kaldi's text, or trn).")] = None
    name: Annotated[str | None, typer.Option(help="What to call their model; by default the name of the file.")] = None
    recipe: Annotated[Path | None, typer.Option(help="Their prompt and decoding, if known (YAML).")] = None


# ---------------------------------------------------------------------------------------------------------------------
# Commands


@command(evaluation)
def nano(choice: RunChoice, as_json: JsonOption = False) -> None:
    """Run nano's own suite in minutes on two cores. The model hears its own speech, too.

    It makes its data itself, but for natural voices and people: their recordings are made by recipes/nano first.
    """
    from kimi_audio.evals.registry import all_suites

    if "nano" not in all_suites():
        raise ValueError("nano's own suite is part of the repository and not of the package; run this in a checkout")
    _run(["nano"], choice, Report(as_json), InstrumentChoice(recogniser=choice.model))


@command(evaluation)
def run(
    tasks: TaskNames,
    choice: RunChoice,
    measure: InstrumentChoice,
    infer_only: Annotated[bool, typer.Option("--infer-only", help="Ask, and leave the rest to 'eval score'.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask a model, score its answers and write a report. Started again, it goes on where it was stopped."""
    _run(tasks, choice, Report(as_json), measure, infer_only=infer_only)


@command(evaluation)
def score(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a run, or a file of predictions.")],
    measure: InstrumentChoice,
    elsewhere: Elsewhere,
    data: DataOption = DATA,
    out: OutOption = OUT,
    as_json: JsonOption = False,
) -> None:
    """Score answers that are there already; neither asks a model nor needs the recordings.

    Predictions from elsewhere are lines of JSON with id and text, and either a reference or the name of a task. Files
    of the Evalkit, NeMo, ms-swift, lmms-eval, Kaldi and sclite, and tables are read, too.
    """
    check_files(path, elsewhere.recipe, elsewhere.references)
    from kimi_audio.evals.run.evaluate import rescore

    report, instruments = Report(as_json), measure.load()
    with _progress() as watch:
        if path.is_dir():
            folder, results = path, rescore(path, instruments, watch)
        else:
            folder, results = _score_elsewhere(path, elsewhere, data, out, instruments, watch)
        done = _shown(results, report)
    _finish(done, folder, report)


@command(evaluation)
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of one run or of several.")] = OUT,
    as_json: JsonOption = False,
) -> None:
    """Write all results in a folder as Markdown, JSON, CSV and one HTML page."""
    _write_report(folder, Report(as_json))


@command(evaluation)
def form(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of runs with spoken replies.")],
    page: Annotated[Path, typer.Option("--out", help="Page to rate on; it saves ratings.csv.")] = Path("form.html"),
    seed: Annotated[int, typer.Option(help="Of the order of the replies.")] = 0,
) -> None:
    """Write a form on which listeners rate spoken replies, without names; then 'eval score DIR --ratings FILE'."""
    from kimi_audio.evals.report.form import write_form

    check_files(*folders)
    runs = [path.parent for folder in folders for path in sorted(folder.rglob("speech-conversation/run.json"))]
    with _extra():
        Report(as_json=False).text(f"{write_form(runs, page, seed)} replies to rate: {page}")


@command(evaluation)
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another run.")],
    page: Annotated[Path, typer.Option("--out", help="Page with both runs side by side.")] = Path("comparison.html"),
    as_json: JsonOption = False,
) -> None:
    """Compare two runs on the same samples, and tell whether chance explains the difference."""
    from kimi_audio.evals.contract.rows import save_text
    from kimi_audio.evals.report import comparison
    from kimi_audio.evals.report.page import comparison_page
    from kimi_audio.evals.report.tables import collect

    check_files(a, b)
    report = Report(as_json)
    pairs, only_one = comparison.pair_entries(collect(a), collect(b))
    differences = comparison.compare(pairs)
    for row in differences:
        text = f"{row.task} {row.subset or 'all'}, {row.metric}: {row.a:.2f} and {row.b:.2f} {row.unit}"
        interval = f"{row.low:+.2f} to {row.high:+.2f}"
        p_value = row.p_value if row.adjusted_p is None else row.adjusted_p
        report.text(f"{text}; B - A {row.difference:+.2f} ({interval}), p {p_value:.4f}: {row.verdict}")
        report.result(asdict(row) | {"verdict": row.verdict})
    for note in (f"{pair.a.result.task} differs in {note}" for pair in pairs for note in pair.notes):
        report.text(note)
    if only_one:
        report.text(f"in one run only: {', '.join(only_one)}")
    if left_out := comparison.not_compared(pairs):
        report.text(f"not compared, as their task is not installed: {', '.join(left_out)}")
    if empty := comparison.too_few(pairs, differences):
        reason = "fewer than two samples have a number of the same metric in both runs"
        report.text(f"nothing to compare in {', '.join(empty)}: {reason}")
    with _extra():
        save_text(page, comparison_page(pairs, differences, only_one, (str(a), str(b)), page))
    report.text(f"page: {page}")


@command(evaluation)
def prepare(
    names: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Datasets or tasks.")],
    data: DataOption = DATA,
) -> None:
    """Download datasets and check them, or explain what to place where; exit code 1 if one is not ready."""
    from kimi_audio.evals.registry import find_datasets

    report, all_ready = Report(as_json=False), True
    for dataset in find_datasets(names):
        folder = data / dataset.name
        try:
            dataset.prepare(folder)
        except (OSError, ValueError) as error:
            print_error(error)
            all_ready = False
        else:
            report.text(f"{dataset.name}: {folder}")
    if not all_ready:
        raise typer.Exit(1)


def _list(as_json: JsonOption = False) -> None:
    """Show tasks, suites and families of models."""
    from kimi_audio.evals.registry import all_suites, all_tasks, families

    report = Report(as_json)
    for task in all_tasks().values():
        metrics = [metric.name for metric in task.scorer.metrics]
        report.field(task.name, f"{task.description} [{', '.join(metrics)}]", width=32)
        values = {"task": task.name, "version": task.version, "dataset": task.dataset.name, "metrics": metrics}
        report.result(values | {"description": task.description, "source": task.dataset.source})
    for suite in all_suites().values():
        report.field(f"{suite.name} (suite)", f"{suite.description} {', '.join(suite.tasks)}".strip(), width=32)
        report.result({"suite": suite.name, "tasks": suite.tasks, "averages": [item.name for item in suite.averages]})
    for family, module in families().items():
        report.field(f"{family}:... (model)", module, width=32)
        report.result({"family": family, "module": module})


_list.__name__ = "list"  # the function may not have the name of a type that the annotations above need
command(evaluation)(_list)


# ---------------------------------------------------------------------------------------------------------------------
# Work


def _run(
    names: list[str], choice: RunChoice, report: Report, measure: InstrumentChoice, *, infer_only: bool = False
) -> None:
    from kimi_audio.evals.registry import equip, find_tasks
    from kimi_audio.evals.run.evaluate import evaluate, run_folder

    tasks = equip(find_tasks(names), measure.load())
    options = choice.infer_options()
    with choice.backend() as backend, _progress() as watch:
        folder = run_folder(choice.out, backend, options)
        results = evaluate(tasks, choice.data, backend, folder, options, watch, only_infer=infer_only)
        results = _shown(results, report)
    if infer_only:
        report.text(f"answers: {folder}")
        if results:
            raise typer.Exit(INCOMPLETE)
        return
    _finish(results, folder, report)


def _score_elsewhere(
    path: Path, elsewhere: Elsewhere, data: Path, out: Path, instruments: "Instruments", watch: "Watch"
) -> "tuple[Path, list[Result]]":
    from kimi_audio.evals.contract.prompting import read_recipe
    from kimi_audio.evals.registry import equip
    from kimi_audio.evals.run.evaluate import score_predictions
    from kimi_audio.evals.run.predictions import parse_map, read_predictions
    from kimi_audio.evals.run.recorded import tasks_of

    file = read_predictions(path, parse_map(elsewhere.map or ""), elsewhere.references)
    tasks = equip(tasks_of(file, elsewhere.task, elsewhere.metric, elsewhere.language or ""), instruments)
    if file.problems:
        warn(file.lost)
    recipe = read_recipe(elsewhere.recipe) if elsewhere.recipe else None
    folder, results, remarks = score_predictions(file, elsewhere.name or path.stem, tasks, data, out, recipe, watch)
    for remark in remarks:
        warn(remark)
    return folder, results


def _shown(results: "Iterable[Result]", report: Report) -> "list[Result]":
    """Print the results as they come, and return them."""
    from kimi_audio.evals.report import tables

    done = []
    for result in results:
        done.append(result)
        report.result(asdict(result))
        if result.error:
            report.text(f"{result.task}: not run: {result.error}")
        for row in tables.score_rows([result]):
            score = row.score
            text = f"{result.task} {score.subset or 'all'}, {score.metric}: {tables.number(score.value)} {score.unit}"
            text += f" (95 %: {tables.interval_text(score)}); {tables.counts_text(row.counts)}"
            published = tables.published_text(row)
            aim = tables.aim_text(row)
            text += f"; recipe {tables.recipe_text(result)}" + (f"; published {published}" if published else "")
            report.text(text + (f"; aim {aim}" if aim else ""))
        _warn_of_few(result)
    return done


def _warn_of_few(result: "Result") -> None:
    """Say which numbers have no interval: the samples tell too little of others."""
    unsure = [score for score in result.scores if score.value is not None and score.low is None]
    if unsure:
        names = ", ".join(dict.fromkeys(score.metric for score in unsure))
        fewest = min(score.samples for score in unsure)
        few = f"{counted(fewest, 'sample')} {'is' if fewest == 1 else 'are'} too few"
        warn(f"{result.task}: no 95 % interval of {names}: {few}, or too alike, to tell of others")


def _finish(results: "list[Result]", folder: Path, report: Report) -> None:
    _write_report(folder, report)
    if not all(result.is_complete for result in results):
        warn("some samples were not scored; the report lists them", style="red")
        raise typer.Exit(INCOMPLETE)


def _write_report(folder: Path, report: Report) -> None:
    from kimi_audio.evals.report.outputs import write_report

    check_files(folder)
    with _extra():
        paths = write_report(folder)
    report.text(f"report: {', '.join(str(path) for path in paths)}")


@contextmanager
def _extra() -> Iterator[None]:
    """Turn a missing library into an error of one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from None


@contextmanager
def _progress() -> "Iterator[Watch]":
    """Give what shows the progress of each step, with the time left."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bars = Progress(*columns, console=err, refresh_per_second=2, transient=True)

    def watch(step: str) -> "Advance":
        bars.start()
        bar = bars.add_task(step, total=None)
        return lambda done, total: bars.update(bar, completed=done, total=total)

    try:
        yield watch
    finally:
        if bars.live.is_started:  # else an error before the first step would get an empty line
            bars.stop()
