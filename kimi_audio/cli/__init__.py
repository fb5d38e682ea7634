"""The command line: the only place that parses arguments and prints.

Results go to stdout, progress and errors to stderr. Torch and the model are imported when a command needs them, so that
``--help`` and mistakes in the arguments answer at once.
"""

import os

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

SPINS = "1000"  # a few microseconds


def main() -> None:
    """Run the command line."""
    _wait_asleep()
    app()


def _wait_asleep() -> None:
    """Let torch's threads wait for each other asleep, unless the user has said how; read when torch is loaded.

    They turn in circles otherwise. Where another program has one of the cores, each of the thousand small steps of a
    reply then lasts as long as that program's turn: what takes a second took half a minute.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
