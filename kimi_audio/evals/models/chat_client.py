"""Requests to chat completions of the OpenAI type: for models that are evaluated, and for judges.

A request ends at its deadline and its limit of bytes, whatever the server does. Errors that may pass are tried again. A
server that has failed several times in a row, or refuses the key or the model, is not asked any more. The key is read
from a named environment variable when a request is made and kept nowhere.
"""

import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, TypeVar

from kimi_audio.evals.contract.keys import one_line
from kimi_audio.evals.contract.prompting import check_fields, known_fields, read_fields
from kimi_audio.evals.models.common import deadline

PATIENCE = 5  # failures in a row, of all requests, before no more is asked
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # may be different next time
BUSY = {409, 425, 429}  # the server is there, and will have time
REFUSING = {401, 403, 404}  # mean the key or the model, and so all requests
MAX_WAIT_S = 60.0
MAX_REPLY_BYTES = 64 << 20  # minutes of speech
MAX_LINE_BYTES = 16 << 20  # of a stream
MAX_REASON = 300  # characters of a complaint that are kept
Read = TypeVar("Read")
Kind = TypeVar("Kind", bound="Endpoint")


class EndpointError(RuntimeError):
    """The endpoint refused, or its answer makes no sense; asking again would not help."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take key and question to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass
class ServerReply:
    """What a server sends, until its deadline and its limit of bytes."""

    response: HTTPResponse
    started_s: float
    timeout_s: float
    _taken: int = 0

    @property
    def is_stream(self) -> bool:
        """Tell whether it comes as events."""
        return self.response.headers.get_content_type() == "text/event-stream"

    def json(self) -> Mapping[str, Any]:
        """Return the JSON object of a whole reply; errors as for ``lines``, and EndpointError if it is none."""
        parts = []
        while part := self._checked(self.response.read1(1 << 16)):
            parts.append(part)
        return as_object(b"".join(parts))

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of a stream.

        Raises:
            TimeoutError: the deadline is over.
            EndpointError: the limit of bytes is exceeded.
        """
        while line := self._checked(self.response.readline(MAX_LINE_BYTES)):
            yield line

    def _checked(self, part: bytes) -> bytes:
        self._taken += len(part)
        if self._taken > MAX_REPLY_BYTES:
            raise EndpointError(f"the endpoint sent more than {MAX_REPLY_BYTES >> 20} MB")
        if time.perf_counter() - self.started_s > self.timeout_s:
            raise TimeoutError(f"no end of the answer within {self.timeout_s:g} s")
        return part


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how to ask; the fields of a YAML file, for models and for judges."""

    model: str  # best with its date: gpt-4o-mini-2024-07-18
    url: str = "https://api.openai.com/v1"  # up to /chat/completions
    key_env: str = ""  # name of the environment variable that holds the key; empty for servers without one
    timeout_s: float = 120.0  # of one attempt, from the first byte sent to the last one read
    retries: int = 4  # after connection errors, time-outs, 429 and 5xx
    backoff_s: float = 1.0  # before the second attempt; doubles after each, unless the endpoint says how long to wait
    concurrency: int = 4  # requests at the same time

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError(f"the address of an endpoint must begin with http:// or https://, not {self.url!r}")
        if self.concurrency < 1 or self.retries < 0 or self.timeout_s <= 0 or self.backoff_s < 0:
            raise ValueError("concurrency must be at least 1, timeout_s positive, retries and backoff_s not negative")


def read_endpoint(path: Path, kind: type[Kind], what: str, needs: Iterable[str]) -> Kind:
    """Read a YAML file with the fields of a kind of endpoint.

    Args:
        path: of the file.
        kind: the class of the endpoint.
        what: what the file describes, for messages.
        needs: fields that it must have.

    Raises:
        ValueError: it is not there, is no YAML, or has wrong fields.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}; it is to describe the {what}")
    values = read_fields(path)
    if values is None or not set(needs) <= set(values):
        raise ValueError(f"{path} describes no {what}: it needs {' and '.join(needs)}")
    check_fields(values, known_fields(kind), str(path), f"; a {what} has")
    return kind(**values)


@dataclass
class ChatClient:
    """Asks one endpoint; threads may share it."""

    endpoint: Endpoint
    sleep: Callable[[float], None] = time.sleep
    _failures: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def key(self) -> str:
        """Return the key.

        Raises:
            ValueError: the variable that is to hold it is not set.
        """
        if not self.endpoint.key_env:
            return ""
        key = os.environ.get(self.endpoint.key_env, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError(
                f"the environment variable {self.endpoint.key_env} holds no key for {self.endpoint.url}; set it"
            )
        return key

    def ask(self, body: Mapping[str, Any], read: Callable[[ServerReply], Read]) -> Read:
        """Send a request and return what ``read`` makes of the reply; failures that may pass are tried again.

        Raises:
            EndpointError: it is refused, attempts are used up, or the server is not asked any more; without the key.
            ValueError: there is no key.
        """
        key = self.key()
        try:
            return self._ask(body, read, key)
        except EndpointError as error:
            reason = one_line(error).removeprefix("EndpointError: ")  # some endpoints repeat the key
            raise EndpointError((reason.replace(key, "***") if key else reason)[:MAX_REASON]) from None

    def _ask(self, body: Mapping[str, Any], read: Callable[[ServerReply], Read], key: str) -> Read:
        reason, asked_to_wait_s = "", None
        for attempt in range(self.endpoint.retries + 1):
            if self._failures >= PATIENCE:
                failed = f"{self.endpoint.url} failed {PATIENCE} times in a row and is not asked any more"
                raise EndpointError(f"{failed}; try again later {reason}")
            if attempt:
                backoff_s = self.endpoint.backoff_s * 2 ** (attempt - 1)
                self.sleep(min(MAX_WAIT_S, backoff_s if asked_to_wait_s is None else asked_to_wait_s))
            try:
                found = self._ask_once(body, read, key)
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"HTTP {error.code}: {_complaint(error)}"
                if error.code not in PASSING:
                    self._count(failed=error.code in REFUSING)
                    raise EndpointError(reason) from None
                asked_to_wait_s = _seconds(error.headers.get("Retry-After"))
                self._count(failed=error.code not in BUSY and asked_to_wait_s is None)
            except (OSError, HTTPException) as error:  # no connection, time-out, broken off
                reason, asked_to_wait_s = one_line(error), None
                self._count(failed=True)
            else:
                self._count(failed=False)
                return found
        raise EndpointError(f"gave up after {self.endpoint.retries + 1} attempts: {reason}")

    def _ask_once(self, body: Mapping[str, Any], read: Callable[[ServerReply], Read], key: str) -> Read:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        url, timeout_s = self.endpoint.url.rstrip("/") + "/chat/completions", self.endpoint.timeout_s
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - checked
        started_s = time.perf_counter()
        with _cut_after(timeout_s) as opener, opener.open(request, timeout=timeout_s) as response:
            return read(ServerReply(response, started_s, timeout_s))

    def _count(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0


@contextmanager
def _cut_after(seconds: float) -> Iterator[urllib.request.OpenerDirector]:
    """Give what opens connections that are cut when the time is over: a time-out alone is begun anew by each byte."""
    sockets: list[socket.socket] = []

    def cut() -> None:
        for connection in sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed

    class Http(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class Https(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.append(self.sock)

    class HttpHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(Http, req)

    class HttpsHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(Https, req)

    with deadline(seconds, cut):
        yield urllib.request.build_opener(_NoRedirects, HttpHandler, HttpsHandler)


def as_object(data: bytes) -> Mapping[str, Any]:
    """Read a JSON object; EndpointError if it is none."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise EndpointError(f"the endpoint sent no JSON: {data[:MAX_REASON].decode(errors='replace')}")
    return values


def message_of(complaint: Any) -> str:
    """Return what a complaint says, in one line."""
    message = complaint.get("message", complaint) if isinstance(complaint, dict) else complaint
    return " ".join(str(message)[: 10 * MAX_REASON].split())


def _complaint(error: urllib.error.HTTPError) -> str:
    """Return what the endpoint says about an error, in one line."""
    try:
        body = error.read(64 * 1024)
    except (OSError, HTTPException):
        return error.reason
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body.decode(errors="replace").split()) or str(error.reason)
    return message_of(values.get("error", values) if isinstance(values, dict) else values)


def _seconds(header: str | None) -> float | None:
    """Return the seconds of a Retry-After; None if it is missing or a date."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
