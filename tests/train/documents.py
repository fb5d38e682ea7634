"""Documents about sounds made on the spot: those of docs/PRETRAINING.md."""

import json
import re
from pathlib import Path

from tests.train.conversations import record

DOCUMENT = Path(__file__).parents[2] / "docs" / "PRETRAINING.md"


def write_documents(folder: Path, copies: int = 2) -> Path:
    """Write the documents of the manual, several times, and their recordings."""
    folder.mkdir(parents=True, exist_ok=True)
    record(folder / "talk.wav", 400, 2.0)
    record(folder / "street.wav", 300, 0.5)
    record(folder / "steps.wav", 700, 0.33)
    (lines,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    file = folder / "documents.jsonl"
    file.write_text(lines * copies)
    return file


def write_lines(folder: Path, *values: object) -> Path:
    file = folder / "lines.jsonl"
    file.write_text("".join(json.dumps(value) + "\n" for value in values))
    return file
