"""The process in which files of strangers are decoded: it forks a child with limits for each of them.

A child can read its one file and write to its one socket. What it writes are frames: a header, then bytes. The other
end is ``sandbox``. Shapes: L samples, C channels.
"""

import contextlib
import io
import json
import logging
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kimi_audio.audio import ffmpeg
from kimi_audio.audio.condition import Condition
from kimi_audio.audio.decoding import decode
from kimi_audio.audio.formats import WAV
from kimi_audio.audio.mono import resampled, to_mono
from kimi_audio.audio.sources import Samples, Window

HEADER = struct.Struct("!cII")  # the kind; of a block the rate in Hz; the bytes that follow
BLOCK, WARNING, ERROR, END = b"B", b"W", b"E", b"."  # float32 samples, text, text, nothing
REQUEST_BYTES = 1 << 16
READY = b"+"

Decode = Callable[[Window, Condition], Iterator[Samples]]


def serve(decode: Decode = decode) -> None:
    """Decode files until the other end of the socket on standard input is closed.

    A byte with two descriptors, of the file and of the child's socket, asks for a child, which then reads its request.

    Args:
        decode: yields blocks [L, C] of a file.
    """
    _warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for children
    requests = socket.socket(fileno=0)
    requests.sendall(READY)
    while True:
        byte, descriptors, *_ = socket.recv_fds(requests, 1, 2)
        if not byte:
            return
        if os.fork() == 0:
            requests.close()
            _child(os.fdopen(descriptors[0], "rb"), socket.socket(fileno=descriptors[1]), decode)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _warm_up() -> None:
    """Decode something by all means, which loads all that is loaded late: children cannot open files any more."""
    name, content = "a warm-up", io.BytesIO()
    soundfile.write(content, np.zeros(4096, np.int16), 8000, format="WAV")
    list(resampled(to_mono(decode(Window(content), Condition(name)), name), 16_000))
    if ffmpeg.is_installed():
        list(ffmpeg.decode(Window(content), WAV, Condition(name)))


def _child(file: Any, replies: socket.socket, decode: Decode) -> None:
    request = json.loads(replies.recv(REQUEST_BYTES))
    name: str = request["name"]
    logging.getLogger("kimi_audio").addHandler(_ToParent(replies))
    _limit(**request["limits"])
    with contextlib.suppress(ConnectionError):  # nobody listens any more
        try:
            blocks = to_mono(decode(Window(file), Condition(name, request["damage"])), name)
            for block in resampled(blocks, request["rate_hz"]):
                _send(replies, BLOCK, np.ascontiguousarray(block.array).data.cast("B"), block.rate_hz)
            _send(replies, END)
        except ValueError as error:
            _send(replies, ERROR, _encoded(error))
        except MemoryError:
            _send(replies, ERROR, _encoded(f"{name} takes more memory to decode than is allowed"))
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours, for the log
            _send(replies, WARNING, _encoded(f"decoding {name} failed: {type(error).__name__}: {error}"))


def _limit(cpu_s: float, wall_s: float, memory_bytes: int) -> None:
    """Take from this process what a decoder does not need; the system ends it if it wants more time."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # decoders print
        os.dup2(null, standard)
    os.close(null)
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,  # new processes and threads; root is not bound by it
        resource.RLIMIT_CPU: max(1, round(cpu_s)),
        resource.RLIMIT_NOFILE: 0,  # those that are open stay so
    }
    size = Path("/proc/self/statm")
    if size.exists():  # elsewhere the address space is not limited by the system either
        limits[resource.RLIMIT_AS] = int(size.read_text().split()[0]) * resource.getpagesize() + memory_bytes
    for limited, most in limits.items():
        resource.setrlimit(limited, (most, most))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is doing
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def _send(replies: socket.socket, kind: bytes, content: Any = b"", rate_hz: int = 0) -> None:
    replies.sendall(HEADER.pack(kind, rate_hz, len(content)))
    replies.sendall(content)


def _encoded(text: object) -> bytes:
    return str(text).encode("utf-8", "replace")


class _ToParent(logging.Handler):
    """Tells of what decoders warn."""

    def __init__(self, replies: socket.socket) -> None:
        super().__init__()
        self._replies = replies

    def emit(self, record: logging.LogRecord) -> None:
        """Send a message."""
        _send(self._replies, WARNING, _encoded(record.getMessage()))
