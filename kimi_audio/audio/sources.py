"""Where sound comes from: a path, a pipe, bytes, an open file or an array. Shapes: L samples."""

import io
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

if TYPE_CHECKING:  # a process that only decodes does not need torch
    from torch import Tensor

MIN_RATE_HZ, MAX_RATE_HZ = 100, 10_000_000  # beyond, a rate is a mistake, and resampling from it a trap
MAX_PIPE_BYTES = 4 << 30
IN_MEMORY_BYTES = 64 << 20  # of a pipe; what is beyond goes to a temporary file
WRITER_WAIT_S = 10.0  # for somebody to begin writing to a named pipe


@dataclass(frozen=True)
class Samples:
    """Sound in memory: ``array`` [L] or [L, channels] (or [channels, L] with few channels) at ``rate_hz``."""

    array: "np.ndarray | Tensor"
    rate_hz: int


Bytes: TypeAlias = bytes | bytearray | memoryview
BinaryFile: TypeAlias = BinaryIO | io.RawIOBase
AudioSource: TypeAlias = str | os.PathLike[str] | Bytes | BinaryIO | Samples | tuple["np.ndarray | Tensor", int]


class Window(io.RawIOBase):
    """A part of a binary file as a file of its own, without a name: decoders guess wrongly from names."""

    def __init__(self, file: BinaryFile, start: int = 0, end: int | None = None) -> None:
        super().__init__()
        self._file, self._start = file, start
        self._end = file.seek(0, io.SEEK_END) if end is None else end
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read in any order."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer as much as there is."""
        wanted = max(0, min(len(buffer), len(self) - self._position))
        self._file.seek(self._start + self._position)
        content = self._file.read(wanted) or b""
        memoryview(buffer).cast("B")[: len(content)] = content
        self._position += len(content)
        return len(content)

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self._end - self._start


def name_of(source: AudioSource) -> str:
    """Return what a source is called in messages."""
    if isinstance(source, Samples | tuple):
        return "the given array"
    if isinstance(source, Bytes):
        return "the given audio"
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return str(name) if isinstance(name, str | os.PathLike) else "the given file"


@contextmanager
def opened(source: AudioSource) -> Iterator[Window]:
    """Open anything but an array as a binary file that can seek; a pipe is read to its end first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is nothing that can be read, it is empty, or the pipe holds too much.
    """
    name = name_of(source)
    with _binary_file(source, name) as file:
        window = Window(file)
        if not len(window):
            raise ValueError(f"{name} is empty")
        yield window


def _binary_file(source: AudioSource, name: str) -> BinaryIO:
    if isinstance(source, Bytes):
        return io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        return path.open("rb") if is_regular(path) else _read_pipe(path)
    if hasattr(source, "read"):
        assert not isinstance(source, Samples | tuple)
        return _spooled(source.read, name)
    raise ValueError(
        f"audio must be a path, bytes, a binary file or samples with their rate, not {type(source).__name__}"
    )


def is_regular(path: Path) -> bool:
    """Tell a regular file from a pipe.

    Raises:
        ValueError: it is neither.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder, not an audio file")
    if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
        raise ValueError(f"{path} is a device, not an audio file")
    return stat.S_ISREG(mode)


def _read_pipe(path: Path) -> BinaryIO:
    """Read a named pipe, or one that the shell made, without waiting for ever for somebody to write."""
    # Without O_NONBLOCK opening would wait; with it, a pipe that nobody has opened for writing seems to be at its end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as pipe:
        deadline_s = time.monotonic() + WRITER_WAIT_S
        first: bytes | None = b""
        while first == b"" and time.monotonic() < deadline_s:
            first = pipe.read(1)  # None: somebody writes, but nothing has arrived yet
            time.sleep(0 if first is None or first else 0.02)
        if first == b"":
            raise ValueError(f"{path} is a pipe to which nobody writes")
        os.set_blocking(descriptor, True)
        return _spooled(pipe.read, str(path), first or b"")


def _spooled(read: Callable[[int], Any], name: str, first: bytes = b"") -> BinaryIO:
    """Read what may not seek into memory, or into a temporary file if it is long."""
    spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
    spool.write(first)
    while chunk := read(1 << 20):
        if not isinstance(chunk, bytes):
            raise ValueError('the given file is open as text; open it in binary mode ("rb")')
        if spool.tell() + len(chunk) > MAX_PIPE_BYTES:
            raise ValueError(f"{name} brings more than {MAX_PIPE_BYTES >> 30} GiB; write it to a file first")
        spool.write(chunk)
    return spool  # pyright: ignore[reportReturnType] - it has all methods of a binary file


def check_rate(rate_hz: object, name: str = "the given array") -> int:
    """Return a sample rate.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(rate_hz, Integral) or isinstance(rate_hz, bool) or int(rate_hz) <= 0:
        raise ValueError(f"the sample rate must be a positive whole number of Hz, not {rate_hz!r}")
    if not MIN_RATE_HZ <= int(rate_hz) <= MAX_RATE_HZ:
        raise ValueError(f"{name} has a sample rate of {rate_hz} Hz; from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are taken")
    return int(rate_hz)
