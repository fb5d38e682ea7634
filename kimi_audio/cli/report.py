"""What the command line prints: results on stdout, progress and errors on stderr.

All text of users and models goes through ``visible``, and results are written without rich, which takes its width from
the environment and brackets for markup.
"""

import io
import json
import logging
import sys
import unicodedata
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text

from kimi_audio.core.numbers import without_nan

err = Console(highlight=False, soft_wrap=True, stderr=True, markup=False, emoji=False)

_STEERING = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, and other ends of lines
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # would show text in another order


def visible(text: str) -> str:
    """Return text that cannot steer a terminal: without control characters but the ends of lines and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        for char in text
        if char in "\n\t" or (unicodedata.category(char) not in _STEERING and char not in _TURNING)
    )


def bear_any_text() -> None:
    """Let stdout and stderr replace what their encoding lacks, instead of ending a command in the middle."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


class _ToStderr(logging.Handler):
    """Prints the log, which has names of files in it, without disturbing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(Text(visible(self.format(record))))


def log_to_stderr(level: int = logging.WARNING) -> None:
    """Print the log from a level on, where nobody has said yet how."""
    logging.basicConfig(format="%(message)s", handlers=[_ToStderr()])
    logging.getLogger().setLevel(level)


def status(text: str) -> Status:
    """Return a sign on stderr that something is being done, for a ``with`` statement."""
    return err.status(Text(visible(text)))


@dataclass(frozen=True)
class Report:
    """Prints for people, as things become known, or one JSON object per result."""

    as_json: bool

    def result(self, values: dict[str, Any]) -> None:
        """Print a result, for programs: in ASCII, which passes everywhere; null for what is not finite."""
        if self.as_json:
            typer.echo(json.dumps(without_nan(values)))

    def line(self, text: str, style: str | None = None) -> None:
        """Print a line of ours, which may be ``bold`` or ``dim``."""
        self._print(text, "\n", style)

    def text(self, text: str, end: str = "\n") -> None:
        """Print what a model says, without control characters."""
        self._print(text, end)

    def field(self, name: str, text: str, end: str = "\n", width: int = 8) -> None:
        """Print a name, filled up to a width, and what it stands for."""
        if name:
            self._print(f"  {name:<{width}} ", "", "dim")
        self.text(text, end)

    def _print(self, text: str, end: str, style: str | None = None) -> None:
        if not self.as_json:
            styled = typer.style(visible(text), **{style: True}) if style else visible(text)
            typer.echo(styled + end, nl=False)

    def components(self, parts: list[dict[str, Any]]) -> None:
        """Print the sizes of the networks and their sum."""
        total = {name: sum(part[name] for part in parts) for name in ("parameters", "file_bytes")}
        self.line(f"{'component':<20}{'parameters':>16}{'on disk':>14}", style="bold")
        for part in [*parts, {"name": "together"} | total]:
            self.line(f"{part['name']:<20}{part['parameters']:>16,}{part['file_bytes'] / 1e6:>11,.1f} MB")


def warn(text: str, style: str | None = None) -> None:
    """Print a line on stderr, which may be ``red``."""
    typer.secho(visible(text), fg=style, err=True)


def print_error(error: BaseException) -> None:
    """Print one line."""
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    warn(f"error: {reason}", style="red")
