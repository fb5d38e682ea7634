"""Alignments as text, in the layout of NIST's sclite."""

import unicodedata
from collections.abc import Sequence

from kimi_audio.evals.metrics.error_rate import AlignedStep, count_steps

_LETTERS = {"equal": "", "substitute": "S", "delete": "D", "insert": "I"}


def sclite_text(alignment: Sequence[AlignedStep], row_id: str, width: int = 120) -> str:
    """Return the counts and the aligned rows of one utterance.

    Errors are in capitals, gaps are stars; the columns hold for wide (Chinese) characters, too. Lines are wrapped
    at ``width`` columns; a longer token has a line of its own.
    """
    errors = count_steps(alignment)
    counts = f"{errors.hits} {errors.substitutions} {errors.deletions} {errors.insertions}"
    lines = [f"id: ({row_id})", f"Scores: (#C #S #D #I) {counts}"]
    columns = [_column(*step) for step in alignment]
    for block in _blocks(columns, width - len("Eval: ")) or [[("", "", "")]]:
        rows = zip(("REF:  ", "HYP:  ", "Eval: "), zip(*block, strict=True), strict=True)
        lines += [(name + " ".join(cells)).rstrip() for name, cells in rows]
    return "\n".join(lines) + "\n"


def _column(operation: str, reference: str, prediction: str) -> tuple[str, str, str]:
    """Return the three cells of one step, equally wide."""
    if operation != "equal":
        reference, prediction = reference.upper(), prediction.upper()
    width = max(_columns(reference), _columns(prediction), 1)
    cells = [text + " " * (width - _columns(text)) if text else "*" * width for text in (reference, prediction)]
    return cells[0], cells[1], _LETTERS[operation].ljust(width)


def _blocks(columns: Sequence[tuple[str, str, str]], width: int) -> list[list[tuple[str, str, str]]]:
    """Cut the columns into lines of at most ``width``."""
    blocks: list[list[tuple[str, str, str]]] = []
    used = 0
    for column in columns:
        size = _columns(column[0]) + 1
        if not blocks or used + size > width + 1:
            blocks.append([])
            used = 0
        blocks[-1].append(column)
        used += size
    return blocks


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
