"""Models that need a vendor's repository and environment: another process, asked in lines of JSON.

    subprocess:glm-4-voice /envs/glm/bin/python serve_glm.py --weights /models/glm-4-voice-9b

is a vendor and the command that serves it; ``vendor_worker.py`` is the process's side, to be copied. In lines:

    to it    {"type": "hello", "protocol": 1, "device": "cuda:0" or null}
    from it  {"type": "hello", "protocol": 1, "name": "glm-4-voice-9b", "revision": "eb00ce9", "family": ""}
    to it    {"type": "request", "id": "7", "text": "...", "audio": ["/path.wav"], "output": "text" or "both",
              "system": "", "decoding": {"temperature": 0.2}, "seed": 1234}
    from it  {"type": "reply", "id": "7", "text": "...", "speech": "/path.wav" or null, "finish_reason": "stop",
              "first_text_s": 0.4, "first_sound_s": null}
    or       {"type": "error", "id": "7", "message": "the audio is too long"}

Only text is needed in a reply. Times are seconds since the request. An option of the decoding that the model does not
have is to be answered with an error. Lines on its output that are no message are passed over, since libraries print;
its error output is kept, and its last line is told when it dies. The end of its input is its end. A process that dies
or takes too long is ended with all its children, the sample has failed, and the next one starts it again.
"""

import json
import logging
import os
import shlex
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Timer
from typing import IO, Any

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.keys import Clip, one_line
from kimi_audio.evals.contract.types import EvalSample, Options, Prediction
from kimi_audio.evals.models.common import presets, wav_bytes
from kimi_audio.evals.models.vendor_worker import PROTOCOL

logger = logging.getLogger(__name__)

MAX_DEATHS = 5  # in a row; then the process is not started any more
MAX_LINE = 1 << 20  # bytes
MAX_REASON = 300


@dataclass(frozen=True)
class Vendor:
    """A model of others, and what a user has to do; ``presets.yaml`` has those that are known to us."""

    family: str
    repository: str
    weights: str
    devices: str
    start_timeout_s: float = 1800.0  # until its hello: it loads its weights
    timeout_s: float = 300.0  # of one sample

    def instructions(self) -> str:
        """Return what to do, in a few lines."""
        return (
            f"{self.family} runs in an environment of its own: clone {self.repository}, install what it asks for, "
            f"fetch {self.weights}, copy kimi_audio/evals/models/vendor_worker.py beside it, and write a script whose "
            f"answer() calls the vendor's inference ({self.devices}). Then name its command: "
            f"--model 'subprocess:{self.family} /path/to/env/bin/python /path/to/serve.py'"
        )


VENDORS = {family: Vendor(family, **row) for family, row in presets("processes").items()}


def load(name: str, device: str | None) -> "SubprocessModel":
    """Start the process of "PRESET COMMAND ..." and wait for its hello.

    Raises:
        ValueError: there is no such preset or no command; says what to do.
        RuntimeError: the process cannot be started, or ends or stays silent before its hello.
    """
    family, *command = shlex.split(name) or [""]
    vendor = VENDORS.get(family)
    if vendor is None:
        raise ValueError(f"{family!r} is none of {', '.join(VENDORS)}; write 'subprocess:other COMMAND ...'")
    if not command:
        raise ValueError(vendor.instructions())
    return SubprocessModel(vendor, command, device)


class ProcessError(RuntimeError):
    """The process died, was too slow, or broke the protocol."""


class SubprocessModel:
    """A process under the contract of evaluations."""

    def __init__(self, vendor: Vendor, command: Sequence[str], device: str | None = None) -> None:
        self.vendor, self.command, self.device = vendor, list(command), device
        self.deaths = 0  # in a row
        self._process: _Process | None = None
        hello = self._started().hello
        self.name, self.revision = str(hello.get("name", vendor.family)), str(hello.get("revision", "not stated"))
        self.family = str(hello.get("family") or vendor.family)

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        """Answer one sample after the other; what happens to one is in its prediction."""
        with tempfile.TemporaryDirectory() as folder:
            return [self._answer(sample, options, Path(folder)) for sample in samples]

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.end()
        self._process = None

    def _answer(self, sample: EvalSample, options: Options, folder: Path) -> Prediction:
        try:
            message = _request(sample, options, folder)
            return _prediction(self._ask(message))
        except (ProcessError, ValueError, OSError) as error:
            return Prediction(error=one_line(error)[:MAX_REASON])

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        process = self._started()
        started = time.perf_counter()
        try:
            reply = process.ask(message, self.vendor.timeout_s)
        except ProcessError as error:
            logger.warning("%s: %s", self.name, error)
            self.deaths += 1
            self.close()
            raise
        self.deaths = 0
        return reply | {"total_s": time.perf_counter() - started}

    def _started(self) -> "_Process":
        """Return the running process; ProcessError if it does not start, or has died too often."""
        if self._process and self._process.is_alive():
            return self._process
        self.close()
        if self.deaths >= MAX_DEATHS:
            raise ProcessError(f"it died {self.deaths} times in a row and is not started again")
        process = _Process(self.command)
        hello = {"type": "hello", "protocol": PROTOCOL, "device": self.device}
        try:
            process.hello = process.ask(hello, self.vendor.start_timeout_s)
        except BaseException as error:
            self.deaths += isinstance(error, ProcessError)
            process.end()
            raise
        if process.hello.get("protocol") != PROTOCOL:
            process.end()
            raise ProcessError(f"it speaks protocol {process.hello.get('protocol')}, not {PROTOCOL}")
        self._process = process
        return process


class _Process:
    """A process group and its pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self.hello: dict[str, Any] = {}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            # A session of its own: it can be ended with its children, and Ctrl-C reaches us first.
            self._process = subprocess.Popen(  # noqa: S603 - named by the user
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True
            )
        except OSError as error:
            raise ProcessError(f"{command[0]} cannot be started: {error.strerror}") from None
        self.end = weakref.finalize(self, _end, self._process)  # at the latest when this program ends

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a message and return what answers it; ProcessError if nothing does."""
        with self._deadline(timeout_s) as is_late:
            with suppress(OSError):  # it has died; the end of its output follows
                _pipe(self._process.stdin).write(json.dumps(message).encode() + b"\n")
                _pipe(self._process.stdin).flush()
            for answer in self._messages():
                kind, same = answer.get("type"), answer.get("id") == message.get("id")
                if kind == "error" and same:
                    raise ValueError(str(answer.get("message", "no reason given")))
                if kind == ("hello" if message["type"] == "hello" else "reply") and same:
                    return answer
        if is_late.is_set():
            raise ProcessError(f"no answer within {timeout_s:g} s")
        raise ProcessError(f"the process died{self._last_words()}")

    @contextmanager
    def _deadline(self, timeout_s: float) -> Iterator[Event]:
        """End the process when the time is over: then reading and writing end, too."""
        is_late = Event()

        def end() -> None:
            is_late.set()
            _kill(self._process)

        timer = Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield is_late
        finally:
            timer.cancel()

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield what is a message, until the output ends."""
        while line := _pipe(self._process.stdout).readline(MAX_LINE):
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict):
                yield message

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4096))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        code = self._process.returncode
        return (f" (exit code {code})" if code is not None else "") + (f": {lines[-1]}" if lines else "")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: "subprocess.Popen[bytes]") -> None:
    _kill(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            _pipe(pipe).close()


def _request(sample: EvalSample, options: Options, folder: Path) -> dict[str, Any]:
    return {
        "type": "request",
        "id": sample.id,
        "text": sample.text,
        "audio": [str(_as_file(clip, folder / f"{place}.wav")) for place, clip in enumerate(sample.audio)],
        "output": options.output,
        "system": options.system,
        "decoding": dict(options.decoding),
        "seed": options.seed_of(sample),
    }


def _as_file(clip: Clip, path: Path) -> Path:
    if not isinstance(clip, Samples):
        return clip.resolve()
    path.write_bytes(wav_bytes(clip))
    return path


def _prediction(reply: Mapping[str, Any]) -> Prediction:
    """Return what a reply says; ValueError if a field is of the wrong kind."""
    text, speech = reply.get("text", ""), reply.get("speech")
    if not isinstance(text, str) or not isinstance(speech, str | None):
        raise ValueError("its reply is malformed: text is a string, speech the path of a file or null")
    times: dict[str, Any] = {name: reply.get(name) for name in ("total_s", "first_text_s", "first_sound_s")}
    if not all(isinstance(value, float | int | None) for value in times.values()):
        raise ValueError("its reply is malformed: times are numbers of seconds or null")
    reason = str(reply.get("finish_reason") or "")
    return Prediction(text, Path(speech) if speech else None, finish_reason=reason, **times)
