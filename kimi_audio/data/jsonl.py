"""Files of one JSON object per line, read lazily, and what can be wrong with a line."""

import json
import logging
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

_LOGGED = 10  # problems; reports have all
Progress = Callable[[int, int], None]  # lines done, lines in all


class BadSampleError(ValueError):
    """A sample that cannot be learned, for one or several reasons."""

    def __init__(self, reasons: Iterable[str]):
        self.reasons = tuple(reasons)
        super().__init__("; ".join(self.reasons))


@dataclass(frozen=True)
class Problem:
    """Why a line was left out; lines count from 1."""

    line: int
    reason: str


@dataclass(frozen=True)
class LineReport:
    """Which lines of a file are good; one with problems is counted in ``num_skipped`` and nowhere else."""

    path: Path
    num_lines: int
    problems: tuple[Problem, ...]
    lines: np.ndarray  # [K] int64, the good lines, from 1

    @property
    def num_valid(self) -> int:
        """Number of lines that can be learned."""
        return len(self.lines)

    @property
    def num_skipped(self) -> int:
        """Number of lines that cannot."""
        return self.num_lines - self.num_valid

    def log(self) -> None:
        """Log that lines are left out, with the first reasons."""
        if self.problems:
            first = "".join(f"\n  line {problem.line}: {problem.reason}" for problem in self.problems[:_LOGGED])
            logger.warning("%s: %d of %d lines are left out:%s", self.path, self.num_skipped, self.num_lines, first)

    def require_good_lines(self) -> None:
        """Raise ValueError if there is nothing that can be learned."""
        if not self.num_valid:
            first = self.problems[0]
            raise ValueError(f"{self.path} holds no sample that can be learned; line {first.line}: {first.reason}")

    def summary(self) -> dict[str, Any]:
        """Return all numbers and problems as plain values, for JSON."""
        return {
            "path": str(self.path),
            "lines": self.num_lines,
            "valid": self.num_valid,
            "skipped": self.num_skipped,
            "problems": [{"line": problem.line, "reason": problem.reason} for problem in self.problems],
        }


def parse_object(line: str | bytes) -> Mapping[str, Any]:
    """Read a line that holds one dictionary.

    Raises:
        BadSampleError: it does not.
    """
    if not line.strip():
        raise BadSampleError(["the line is empty"])
    try:
        values = json.loads(line)
    except UnicodeDecodeError:
        raise BadSampleError(["the line is not UTF-8"]) from None
    except json.JSONDecodeError as error:
        raise BadSampleError([f"the line is not JSON: {error.msg} at character {error.pos + 1}"]) from None
    except RecursionError:
        raise BadSampleError(["the line is not JSON that can be read: it is nested too deeply"]) from None
    if not isinstance(values, Mapping):
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
        ends = array("q", [0])
        with self.path.open("rb") as lines:
            for line in lines:
                ends.append(ends[-1] + len(line))
        self._ends = np.frombuffer(ends, np.int64)  # [lines + 1] bytes
        if not len(self):
            raise ValueError(f"{path} is empty")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def line(self, index: int) -> bytes:
        """Return one line.

        Raises:
            ValueError: the file has changed since it was opened.
        """
        index = range(len(self))[index]
        begin, end = self._ends[index : index + 2].tolist()
        with self.path.open("rb") as file:
            if file.seek(0, 2) != self._ends[-1]:
                raise ValueError(f"{self.path} has changed since it was opened; start again")
            file.seek(begin)
            return file.read(end - begin)
