"""The files of a report: results as Markdown, CSV, JSON and one HTML page."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kimi_audio.evals.contract.rows import save_text
from kimi_audio.evals.contract.types import POLICY, Result
from kimi_audio.evals.metrics.sclite import sclite_text
from kimi_audio.evals.report.page import results_page
from kimi_audio.evals.report.tables import (
    EXPLANATION,
    SPEED_HEAD,
    SPEEDS,
    AverageRow,
    ScoreRow,
    aim_text,
    alignments_of,
    average_rows,
    collect,
    counts_text,
    interval_text,
    number,
    published_text,
    recipe_text,
    score_rows,
    speed_rows,
    speeds_of,
)


def write_report(folder: Path) -> list[Path]:
    """Write ``report.md``, ``report.json``, ``report.csv`` and ``report.html`` about all results in a folder.

    Beside each result that has alignments, they are written as ``alignments.txt``, as sclite writes them.

    Raises:
        ValueError: there are no results.
        ModuleNotFoundError: the page needs the eval extra; the other files are written before.
    """
    entries = collect(folder)
    results = [entry.result for entry in entries]
    for entry in entries:
        alignments = alignments_of(entry.folder.read_outcomes())
        if text := "\n".join(sclite_text(steps, id_) for id_, steps in alignments.items()):
            save_text(entry.folder.alignments, text)
    paths = []
    averages = average_rows(entries)
    contents = {"md": to_markdown(results, averages), "json": to_json(results, averages), "csv": to_csv(results)}
    for suffix, content in contents.items():
        paths.append(folder / f"report.{suffix}")
        save_text(paths[-1], content)
    page = folder / "report.html"
    save_text(page, results_page(entries, page))
    return [*paths, page]


def to_markdown(results: Sequence[Result], averages: Sequence[AverageRow] = ()) -> str:
    """Return the scores as tables, the policy, and what went wrong."""
    head = ("task", "subset", "metric", "model", "score", "95 % interval", "samples", "answered only", "pessimistic")
    more = ("counts", "recipe", "published", "aim")
    lines = ["# Evaluation", "", _line(*head, *more), _line(*["---"] * (len(head) + len(more)))]
    for row in score_rows(results):
        score, result = row.score, row.result
        cells = [result.task, score.subset or "all", score.metric, result.model]
        cells += [f"{number(score.value)} {score.unit}", interval_text(score), str(score.samples)]
        cells += [number(score.answered), number(score.pessimistic), counts_text(row.counts), recipe_text(result)]
        lines.append(_line(*cells, published_text(row), aim_text(row)))
    lines += [
        _line(result.task, "", "", result.model, "not run", "", "0", "", "", result.error, "", "", "")
        for result in results
        if result.error
    ]
    if averages:
        lines += ["", "## Averages", "", _line("average", "model", "samples", "score", "published", "defined by")]
        lines.append(_line(*["---"] * 6))
        for average in averages:
            published = ", ".join(f"{model} {value:.2f}" for model, value in average.published.items())
            cells = (average.name, average.model, average.selection, number(average.value))
            lines.append(_line(*cells, published, average.source))
    if speeds := speed_rows(results):
        lines += ["", "## Speed", "", EXPLANATION, "", _line("task", "model", *SPEED_HEAD), _line(*["---"] * 8)]
        lines += [_line(row.task, row.model, *map(number, row.numbers.values())) for row in speeds]
    sources = {row.published.source for row in score_rows(results) if row.published}
    lines += ["", f"**How samples are counted.** {POLICY}", ""]
    lines += [f"Published numbers: {source}." for source in sorted(sources)]
    lines += ["", "## What the numbers depend on", ""]
    for result in results:
        versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        lines.append(
            f"- {_cell(result.task)} version {_cell(result.task_version)}, {_cell(result.model)} revision "
            f"{_cell(result.revision)}, recipe {result.fingerprint}, seed {result.seed}, {_cell(result.selection)}; "
            f"{_cell(versions)}; code {result.git_hash}, {result.created}"
        )
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """Return text that cannot break a table or become markup."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())


def to_csv(results: Sequence[Result]) -> str:
    """Return one row per score, for spreadsheets; published numbers have a row each, too."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in score_rows(results):
        writer.writerow(_harmless(_csv_row(row)))
        if row.published:
            for model, value in row.published.values.items():
                known = {"task": row.result.task, "subset": row.score.subset, "metric": row.published.metric}
                writer.writerow(_harmless(known | {"model": model, "value": value, "source": row.published.source}))
    for result in results:
        if result.error:
            row = {"task": result.task, "model": result.model, "source": f"not run: {result.error}"}
            writer.writerow(_harmless(row))
    return buffer.getvalue()


def _harmless(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with a quote before texts that a spreadsheet would take for a formula."""
    return {
        name: f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for name, value in row.items()
    }


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SCORE = ("subset", "metric", "value", "low", "high", "unit", "samples", "answered", "pessimistic")
_COUNTS = ("total", "scored", "failed", "unscored", "skipped", "empty")
_RESULT = ("seed", "selection", "revision", "versions", "git_hash")
_COLUMNS = (
    *("task", "subset", "metric", "model", *_SCORE[2:], *_COUNTS, "aim", "is_met"),
    *(*SPEEDS, "output", "recipe", *_RESULT, "source"),
)


def _csv_row(row: ScoreRow) -> dict[str, Any]:
    result = row.result
    values = {name: getattr(result, name) for name in ("task", "model", *_RESULT)}
    values |= {name: getattr(row.score, name) for name in _SCORE}
    values |= {name: getattr(row.counts, name) for name in _COUNTS} | speeds_of(result)
    return values | {
        "aim": row.aim,
        "is_met": row.is_met,
        "output": result.recipe.output,
        "recipe": result.fingerprint,
        "versions": json.dumps(dict(result.versions), ensure_ascii=False),
        "source": "measured",
    }


def to_json(results: Sequence[Result], averages: Sequence[AverageRow] = ()) -> str:
    """Return everything that the results hold, the averages, and the published numbers and aims beside them."""
    rows = [asdict(row.published) for row in score_rows(results) if row.published]
    published = list({json.dumps(row, sort_keys=True): row for row in rows}.values())
    document = {
        "results": [asdict(result) for result in results],
        "averages": [asdict(row) for row in averages],
        "published": published,
        "aims": [_aim_values(row) for row in score_rows(results) if row.aim is not None],
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _aim_values(row: ScoreRow) -> dict[str, Any]:
    known = {"task": row.result.task, "subset": row.score.subset, "metric": row.score.metric, "model": row.result.model}
    return known | {"value": row.score.value, "aim": row.aim, "is_met": row.is_met}
