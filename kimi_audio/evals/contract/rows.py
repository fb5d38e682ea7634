"""Files of JSON rows that survive kills."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from kimi_audio.core.files import write_whole

logger = logging.getLogger(__name__)

ReadRow: TypeAlias = dict[str, Any]
SURROGATES = "backslashreplace"  # half a character, which UTF-8 cannot hold, becomes a JSON escape


def save_text(path: Path, content: str) -> None:
    """Write a file, whole or not at all."""
    with write_whole(path) as partial:
        partial.write_text(content, encoding="utf-8", errors=SURROGATES)


def save_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file of rows, whole or not at all; ValueError if one holds something that JSON does not."""
    save_text(path, "".join(map(_line, rows)))


def save_values(path: Path, values: Any) -> None:
    """Write a JSON file, whole or not at all."""
    save_text(path, json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


@contextmanager
def appending(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give what appends a row at once. A kill can tear the last row only; opening the file again cuts that off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.truncate(_whole_bytes(path.read_bytes()))

        def append(row: Mapping[str, Any]) -> None:
            file.write(_line(row).encode("utf-8", SURROGATES))
            file.flush()

        yield append


def read_rows(path: Path) -> list[ReadRow]:
    """Return the whole rows of a file, none if there is no file. Damaged rows are told in the log."""
    rows = []
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content[: _whole_bytes(content)].splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.strip():
            logger.warning("%s, line %d is damaged and does not count", path, number)
    return rows


def _whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
