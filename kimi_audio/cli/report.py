"""What the command line prints: results on stdout, progress and errors on stderr."""

import json
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


@dataclass(frozen=True)
class Report:
    """Prints for people, as things become known, or one JSON object per result."""

    as_json: bool

    def result(self, values: dict[str, Any]) -> None:
        """Print a result, for programs."""
        if self.as_json:
            out.print(json.dumps(values, ensure_ascii=False), markup=False, emoji=False)

    def line(self, text: str, style: str | None = None) -> None:
        """Print a line of ours."""
        if not self.as_json:
            out.print(text, style=style, markup=False, emoji=False)

    def text(self, text: str, end: str = "\n") -> None:
        """Print what a model says, without control characters."""
        if not self.as_json:
            visible = "".join(char for char in text if char.isprintable() or char in "\n\t")
            out.print(visible, end=end, markup=False, emoji=False)

    def field(self, name: str, text: str, end: str = "\n", width: int = 8) -> None:
        """Print a name, filled up to a width, and what it stands for."""
        if name and not self.as_json:
            out.print(f"  {name:<{width}} ", end="", style="dim", markup=False)
        self.text(text, end)

    def components(self, parts: list[dict[str, Any]]) -> None:
        """Print the sizes of the networks and their sum."""
        if self.as_json:
            return
        table = Table("component", "parameters", "on disk", box=None, padding=(0, 3, 0, 0))
        total = {name: sum(part[name] for part in parts) for name in ("parameters", "file_bytes")}
        for part in [*parts, {"name": "together"} | total]:
            table.add_row(part["name"], f"{part['parameters']:,}", f"{part['file_bytes'] / 1e6:,.1f} MB")
        out.print(table)


def print_error(error: BaseException) -> None:
    """Print one line."""
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    err.print(f"error: {reason}", style="red", markup=False, emoji=False)
