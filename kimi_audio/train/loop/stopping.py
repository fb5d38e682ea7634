"""Ctrl-C and SIGTERM while a run is at work: the running step ends whole, and the run is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

# Who set a signal up in another way (ignored, in the background) keeps that.
_USUAL: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@dataclass
class Stop:
    """The signal that asks the run to stop, 0 for none."""

    signal: int = 0


@contextmanager
def held_signals() -> Iterator[Stop]:
    """Note the first Ctrl-C or SIGTERM (of Slurm, Kubernetes, a spot machine) instead of obeying it.

    The second one does what it usually does.
    """
    stop = Stop()
    held = [number for number, usual in _USUAL.items() if signal.getsignal(number) == usual]
    # Other threads get no signals.
    if threading.current_thread() is not threading.main_thread():
        held = []

    def note(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        signal.signal(number, _USUAL[number])

    for number in held:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number in held:
            signal.signal(number, _USUAL[number])


def obey(number: int) -> None:
    """Do what a signal asks for: raise KeyboardInterrupt, or end the process with the usual exit code."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
