r"""Files of lines that users bring, read lazily, and what can be wrong with a line.

A line ends with ``\n`` and with nothing else: U+2028 and its like are characters of a text. The last line needs no end.
A byte order mark tells UTF-16 and UTF-32 from UTF-8, and is no part of the first line. A line that cannot be read is a
``BadSampleError`` of its own and costs no other line anything.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK_BYTES = 1 << 20
# Byte order mark, encoding, and type of a unit. That of UTF-32 begins like that of UTF-16 and goes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "u1"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "<u4"),
    (codecs.BOM_UTF32_BE, "utf-32-be", ">u4"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "<u2"),
    (codecs.BOM_UTF16_BE, "utf-16-be", ">u2"),
    (b"", "utf-8", "u1"),
)


class BadSampleError(ValueError):
    """A sample that cannot be used, for one or several reasons."""

    def __init__(self, reasons: Iterable[str]):
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons))


@dataclass(frozen=True)
class Problem:
    """Why a line was left out; lines count from 1."""

    line: int
    reason: str


def parse_object(line: str) -> dict[str, Any]:
    """Read a line that holds one dictionary.

    Raises:
        BadSampleError: it does not.
    """
    if not line.strip():
        raise BadSampleError(["the line is empty"])
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadSampleError([f"the line is not JSON: {error.msg} at character {error.pos + 1}"]) from None
    except RecursionError:
        raise BadSampleError(["the line is not JSON that can be read: it is nested too deeply"]) from None
    except ValueError as error:  # a number of thousands of digits
        raise BadSampleError([f"the line is not JSON that can be read: {error}"]) from None
    if not isinstance(values, dict):
        raise BadSampleError([f"a sample must be a dictionary, not {type(values).__name__}"])
    return values


class JsonLines:
    """The lines of a file; only their places are in memory.

    It holds no open file, so that processes can share it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no line.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        with self.path.open("rb") as file:
            start = file.read(4)
        mark, self.encoding, unit = next(row for row in _MARKS if start.startswith(row[0]))
        self._ends = _line_ends(self.path, len(mark), np.dtype(unit))  # [lines + 1] bytes
        if not len(self):
            raise ValueError(f"{path} is empty")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def line(self, index: int) -> str:
        """Return one line.

        Raises:
            BadSampleError: it is not text in the encoding of the file.
            ValueError: the file has changed since it was opened.
        """
        index = range(len(self))[index]
        begin, end = self._ends[index : index + 2].tolist()
        with self.path.open("rb") as file:
            if file.seek(0, 2) != self._ends[-1]:
                raise ValueError(f"{self.path} has changed since it was opened; start again")
            file.seek(begin)
            return self._decoded(file.read(end - begin))

    def all_lines(self) -> Iterator[tuple[int, str | BadSampleError]]:
        """Yield number, from 1, and text of all lines, or what is wrong with them."""
        with self.path.open("rb") as file:
            file.seek(self._ends[0])
            for number, size in enumerate(np.diff(self._ends).tolist(), 1):
                try:
                    yield number, self._decoded(file.read(size))
                except BadSampleError as error:
                    yield number, error

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode(self.encoding)
        except UnicodeDecodeError:
            raise BadSampleError([f"the line is not {self.encoding.upper()}; save the file as UTF-8"]) from None


def read_objects(path: str | Path) -> tuple[dict[int, dict[str, Any]], list[Problem]]:
    """Return the dictionaries of a small file by their lines, and the lines that are none; empty ones do not count.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no line.
    """
    rows: dict[int, dict[str, Any]] = {}
    problems = []
    for number, line in JsonLines(path).all_lines():
        try:
            if isinstance(line, BadSampleError):
                raise line
            if line.strip():
                rows[number] = parse_object(line)
        except BadSampleError as error:
            problems.append(Problem(number, str(error)))
    return rows, problems


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a small text file, without their ends and without empty ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no line, or one that is not text.
    """
    lines = []
    for number, line in JsonLines(path).all_lines():
        if isinstance(line, BadSampleError):
            raise ValueError(f"{path}, line {number}: {line}")
        if line.strip():
            lines.append(line.rstrip("\r\n"))
    return lines


def _line_ends(path: Path, begin: int, unit: np.dtype[Any]) -> np.ndarray:
    """Return where the first line begins and where each line ends, int64 [lines + 1] in bytes."""
    ends, place = [np.array([begin])], begin
    with path.open("rb") as file:
        file.seek(begin)
        while block := file.read(_BLOCK_BYTES):
            units = np.frombuffer(block, unit, len(block) // unit.itemsize)
            ends.append(place + (np.flatnonzero(units == ord("\n")) + 1) * unit.itemsize)
            place += len(block)
    found = np.concatenate(ends)
    return found if found[-1] == place else np.append(found, place)
