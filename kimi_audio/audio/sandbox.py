"""Files of strangers, decoded in a process of their own within limits.

A decoder that crashes, hangs or is fed a bomb costs one clear error, and the next file is served. The children are
forked from a process that has the decoders loaded and nothing else (``decoder_process``), so a file takes some
milliseconds more than at home. What a child sends is counted while it comes, and believed no more than the file.
"""

import io
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np

from kimi_audio.audio.condition import Damage
from kimi_audio.audio.decoder_process import BLOCK, END, ERROR, HEADER, READY, WARNING
from kimi_audio.audio.formats import AAC, AIFF, AMR, ASF, CAF, FLAC, MATROSKA, MP3, MP4, OGG, WAV, Format, recognise
from kimi_audio.audio.mono import to_mono
from kimi_audio.audio.sources import Samples, check_rate

logger = logging.getLogger(__name__)

MAX_FRAME_BYTES = 16 << 20  # of samples; blocks have about 1 MB
MAX_TEXT_BYTES = 4096
CHILDREN_AT_ONCE = 4
START_S = 60.0
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
PROGRAM = "from kimi_audio.audio.decoder_process import serve; serve()"


@dataclass(frozen=True)
class Limits:
    """What one file may cost."""

    file_bytes: int = 100 << 20
    sound_s: float = 1800.0
    sound_bytes: int = 512 << 20  # of float32 samples
    memory_bytes: int = 512 << 20  # of the decoder
    cpu_s: float = 30.0
    wall_s: float = 60.0
    formats: tuple[Format, ...] = (WAV, FLAC, OGG, MP3, MP4, MATROSKA, AAC, AMR, ASF, CAF, AIFF)


def decode_untrusted(
    content: bytes,
    limits: Limits | None = None,
    *,
    rate_hz: int | None = None,
    name: str = "the given audio",
    damage: Damage = "cut",
) -> Samples:
    """Return the sound of a file from a stranger: mono float32 samples [L], finite and of ordinary level.

    Args:
        content: the bytes of the file.
        limits: what it may cost.
        rate_hz: the wanted rate, by default that of the file.
        name: what the file is called in messages.
        damage: see ``load_audio``.

    Raises:
        ValueError: it is no sound that can be read, damaged, in a format that is not allowed, or beyond a limit; or its
            decoder crashed. One sentence, for the stranger to read.
        RuntimeError: the process that decodes cannot be started.
    """
    return _shared().decode(content, limits or Limits(), rate_hz, name, damage)


@cache
def _shared() -> "Sandbox":
    return Sandbox()


class Sandbox:
    """A process that decodes, started when it is first needed; several threads may use it.

    Args:
        program: what it runs.
    """

    def __init__(self, program: str = PROGRAM) -> None:
        self._program = program
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(CHILDREN_AT_ONCE)

    def decode(self, content: bytes, limits: Limits, rate_hz: int | None, name: str, damage: Damage) -> Samples:
        """See ``decode_untrusted``."""
        _check(content, limits, name)
        with tempfile.TemporaryFile() as file, self._places:
            file.write(content)
            file.seek(0)
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    self._request(file, theirs)
                costs = {"cpu_s": limits.cpu_s, "wall_s": limits.wall_s, "memory_bytes": limits.memory_bytes}
                request = {"name": name, "damage": damage, "rate_hz": rate_hz, "limits": costs}
                return _collected(_Child(ours, json.dumps(request), limits.wall_s, name).blocks(), limits, name)

    def start(self) -> None:
        """Start the process now, so that the first file does not wait for it.

        Raises:
            RuntimeError: it cannot be started.
        """
        with self._lock:
            self._started()

    def close(self) -> None:
        """End the process; children finish their files. The next file starts another one."""
        with self._lock:
            if self._process is not None:
                self._process.end()
            self._process = None

    def _request(self, file: BinaryIO, replies: socket.socket) -> None:
        descriptors = [file.fileno(), replies.fileno()]
        with self._lock:
            try:
                socket.send_fds(self._started().requests, [READY], descriptors)
            except ConnectionError:
                logger.warning("the process that decodes has ended; another one is started")
                self._process = None
                socket.send_fds(self._started().requests, [READY], descriptors)

    def _started(self) -> "_Process":
        self._process = self._process or _Process(self._program)
        return self._process


class _Process:
    """The process from which children are forked.

    Of the environment, where secrets may be, it gets what finds libraries alone. It survives Ctrl-C, as the caller may,
    and ends when the caller does.
    """

    def __init__(self, program: str) -> None:
        self.requests, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in LIBRARY_PATHS if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", program],
                stdin=theirs.fileno(),
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        self.requests.settimeout(START_S)
        try:
            is_ready = self.requests.recv(1) == READY
        except OSError:
            is_ready = False
        if not is_ready:
            self.end()
            raise RuntimeError("the process that decodes audio does not start; its own error is on stderr")

    def end(self) -> None:
        """Let it end."""
        self.requests.close()
        try:
            self._popen.wait(1.0)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def _check(content: bytes, limits: Limits, name: str) -> None:
    if len(content) > limits.file_bytes:
        raise ValueError(f"{name} has {len(content):,} bytes; at most {limits.file_bytes:,} are taken")
    if not content:
        raise ValueError(f"{name} is empty")
    if recognise(io.BytesIO(content)) not in limits.formats:
        readable = ", ".join(format.name for format in limits.formats)
        raise ValueError(f"{name} is not audio in a format that is taken ({readable})")


class _Child:
    """What a child sends: blocks of samples, and how it went."""

    def __init__(self, replies: socket.socket, request: str, wall_s: float, name: str) -> None:
        self._replies, self._name, self._wall_s = replies, name, wall_s
        self._deadline_s = time.monotonic() + wall_s
        replies.sendall(request.encode())

    def blocks(self) -> Iterator[Samples]:
        """Yield blocks [L]; what a child sends may be anything, if its decoder was taken over."""
        while True:
            kind, rate_hz, size = HEADER.unpack(self._receive(HEADER.size))
            if size > (MAX_FRAME_BYTES if kind == BLOCK else MAX_TEXT_BYTES):
                raise self._crash()
            content = self._receive(size)
            if kind == BLOCK and size % 4 == 0:
                yield Samples(np.frombuffer(content, np.float32), check_rate(rate_hz, self._name))
            elif kind == WARNING:
                logger.warning("%s", content.decode("utf-8", "replace"))
            elif kind == ERROR:
                raise ValueError(content.decode("utf-8", "replace"))
            elif kind == END:
                return
            else:
                raise self._crash()

    def _receive(self, size: int) -> bytearray:
        content = bytearray(size)
        view = memoryview(content)
        while view:
            self._replies.settimeout(max(1e-3, self._deadline_s - time.monotonic()))
            try:
                count = self._replies.recv_into(view)
            except TimeoutError:
                raise ValueError(f"{self._name} took more than {self._wall_s:g} s to decode") from None
            except ConnectionError:
                count = 0
            if not count:
                raise self._crash()
            view = view[count:]
        return content

    def _crash(self) -> ValueError:
        return ValueError(
            f"{self._name} cannot be decoded: its decoder crashed or took too much time; the file is damaged or was "
            "made to do that"
        )


def _collected(blocks: Iterator[Samples], limits: Limits, name: str) -> Samples:
    """Join blocks [L], as long as they are within the limits."""
    buffer, rate_hz, sound_s = bytearray(), 0, 0.0
    for block in blocks:
        array = np.asarray(block.array)
        rate_hz, sound_s = block.rate_hz, sound_s + len(array) / block.rate_hz
        if sound_s > limits.sound_s or len(buffer) + array.nbytes > limits.sound_bytes:
            raise ValueError(
                f"{name} is too long: at most {limits.sound_s:g} s, or {limits.sound_bytes:,} bytes of samples, "
                "are taken"
            )
        buffer += array.data.cast("B")
    checked = to_mono(iter([Samples(np.frombuffer(buffer, np.float32)[:, None], rate_hz)]), name)
    return next(checked)
