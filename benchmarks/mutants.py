"""Do the tests notice broken code? ``make mutants``, some minutes on one core.

Each mutant of ``mutants.yaml`` breaks one line of the core in a copy of the project, and the tests that are named
beside it run there. A mutant that no test notices ends the run with exit code 1: a test is missing, or accepts too
much.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from rich.console import Console

ROOT = Path(__file__).parent.parent
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "runs", "dist", "build")


@dataclass(frozen=True)
class Mutant:
    """One line of the core, how it is broken, and the files of tests that are to notice."""

    name: str
    file: str
    line: str
    broken: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Break the line in the copy of the project at ``root``.

        Raises:
            ValueError: the line is not there once, because the code has changed.
        """
        path = root / self.file
        code = path.read_text("utf-8")
        if code.count(self.line) != 1:
            raise ValueError(f"{self.file} has {code.count(self.line)} lines {self.line!r}; correct mutants.yaml")
        path.write_text(code.replace(self.line, self.broken), "utf-8")


def read_mutants() -> list[Mutant]:
    """Read ``mutants.yaml``."""
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return [Mutant(**row | {"tests": tuple(row["tests"])}) for row in rows]


def failures(root: Path, tests: tuple[str, ...]) -> list[str]:
    """Return the names of the tests in the copy at ``root`` that fail.

    Raises:
        RuntimeError: the tests did not run.
    """
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return re.findall(r"^(?:FAILED|ERROR) \S*?::(\S+)", done.stdout, re.MULTILINE)


def main() -> int:
    """Break line after line, and tell which tests notice."""
    console = Console(width=120)
    mutants = read_mutants()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(ROOT, root, ignore=NOT_COPIED, dirs_exist_ok=True)
        if broken := failures(root, tuple(sorted({test for mutant in mutants for test in mutant.tests}))):
            console.print(f"these tests fail as it is: {', '.join(broken)}", markup=False)
            return 1
        survived = 0
        for mutant in mutants:
            sound = (root / mutant.file).read_bytes()
            mutant.apply(root)
            noticed = failures(root, mutant.tests)
            (root / mutant.file).write_bytes(sound)
            survived += not noticed
            seen = ", ".join(noticed[:3]) + (f" and {len(noticed) - 3} more" if len(noticed) > 3 else "")
            console.print(f"{mutant.name}: {seen or 'NOT NOTICED'}", markup=False, highlight=False)
    console.print(f"{len(mutants) - survived} of {len(mutants)} mutants were noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
