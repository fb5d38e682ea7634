"""The command line: the only place that parses arguments and prints.

Results go to stdout, progress and errors to stderr. Torch and the model are imported when a command needs them, so that
``--help`` and mistakes in the arguments answer at once.
"""

from kimi_audio.cli import (  # noqa: F401 - each file registers its commands, in the order of --help
    benchmarking,
    evaluation,
    inference,
    info,
    serving,
    training,
)
from kimi_audio.cli.command import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    app()
