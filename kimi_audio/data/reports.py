"""What is known of a file of samples before anything is learned from it."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from kimi_audio.core.lines import Problem

logger = logging.getLogger(__name__)

_LOGGED = 10  # problems; reports have all
Progress = Callable[[int, int], None]  # lines done, lines in all


@dataclass(frozen=True)
class LineReport(ABC):
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

    @abstractmethod
    def limited(self, max_positions: int) -> Self:
        """Return the report without what is longer."""

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
