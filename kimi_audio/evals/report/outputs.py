"""The files of a report."""

from pathlib import Path

from kimi_audio.evals.contract.rows import save_text
from kimi_audio.evals.metrics.sclite import sclite_text
from kimi_audio.evals.report.page import results_page
from kimi_audio.evals.report.tables import alignments_of, collect, to_csv, to_json, to_markdown


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
    for name, make in (("report.md", to_markdown), ("report.json", to_json), ("report.csv", to_csv)):
        save_text(folder / name, make(results))
        paths.append(folder / name)
    page = folder / "report.html"
    save_text(page, results_page(entries, page))
    return [*paths, page]
