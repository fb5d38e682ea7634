"""Who may use the server: keys, short-lived secrets for browsers, and which web pages' scripts may come."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.settings import LOOPBACK, ServeSettings

MIN_SECRET_S, DEFAULT_SECRET_S, MAX_SECRET_S = 10, 600, 7200
MAX_SECRETS = 10_000
MAX_SECRETS_CHARS = 10_000_000  # of all configurations that sessions with them begin with
SECRET_PREFIX = "ek_"  # noqa: S105 - it says what follows
KEY_PROTOCOL = "openai-insecure-api-key."  # browsers cannot set headers of WebSockets
PUBLIC_PATHS = ("/livez", "/readyz", "/")
PUBLIC_FOLDERS = ("/web/",)


class Keys:
    """The keys of a server and the secrets that were made from them."""

    def __init__(self, keys: Iterable[str], clock: Callable[[], float] = time.time) -> None:
        self._digests = [_digest(key) for key in keys]
        self._secrets: dict[bytes, tuple[float, str]] = {}  # when they expire, and what they are for, as JSON
        self._clock = clock

    @property
    def are_needed(self) -> bool:
        """Whether there are any keys."""
        return bool(self._digests)

    def knows(self, token: str, *, secrets_too: bool) -> bool:
        """Tell whether a token is a key, or, where those do, a secret that has not expired; in constant time."""
        digest = _digest(token)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches) or (secrets_too and self._secrets.get(digest, (0.0, ""))[0] > self._clock())

    def session_of(self, token: str) -> dict[str, Any]:
        """Return the configuration that sessions with a secret begin with."""
        return json.loads(self._secrets.get(_digest(token), (0.0, "{}"))[1])

    def new_secret(self, lifetime_s: int, session: dict[str, Any]) -> tuple[str, int]:
        """Return a secret for a browser and the second of the epoch at which it expires."""
        now = self._clock()
        self._secrets = {digest: kept for digest, kept in self._secrets.items() if kept[0] > now}
        written = json.dumps(session)
        chars = len(written) + sum(len(kept) for _, kept in self._secrets.values())
        if len(self._secrets) >= MAX_SECRETS or chars > MAX_SECRETS_CHARS:
            raise ApiError("There are too many client secrets; wait until some expire.", 429, retry_after_s=60)
        secret, expires_at = SECRET_PREFIX + secrets.token_urlsafe(32), int(now) + lifetime_s
        self._secrets[_digest(secret)] = expires_at, written
        return secret, expires_at


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Gate:
    """Lets through what is allowed: every path but a few is closed to those without a key, where there are keys."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, keys: Keys) -> None:
        self.app, self.settings, self.keys = app, settings, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a WebSocket."""
        if scope["type"] in ("http", "websocket"):
            try:
                self._check(scope)
            except ApiError as error:
                await error.response()(scope, receive, send)  # a WebSocket is answered before it is accepted
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.keys.are_needed and _split(f"//{host}").hostname not in LOOPBACK:
            # A page elsewhere may let its own name point to this machine; without keys nothing else would stop it.
            raise ApiError(f"This server answers to localhost, not to {host[:100]!r}.", 403, code="wrong_host")
        origin = headers.get("origin")
        if origin is not None and origin not in self.settings.origins and _split(origin).netloc != host:
            raise ApiError(
                f"Scripts of pages from {origin[:100]!r} may not use this server; allow them with --origin.",
                403,
                code="wrong_origin",
            )
        path = scope["path"]
        if not self.keys.are_needed or path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS):
            return
        if scope["type"] == "http" and scope["method"] == "OPTIONS":  # a browser asks without its key
            return
        token = bearer_token(headers)
        is_realtime = path.startswith("/v1/realtime") and path != "/v1/realtime/client_secrets"
        if token is None or not self.keys.knows(token, secrets_too=is_realtime):
            what = "The API key is missing" if token is None else "The API key is wrong or has expired"
            raise ApiError(f"{what}; send it as 'Authorization: Bearer KEY'.", 401, code="invalid_api_key")


def _split(address: str) -> SplitResult:
    """Return the parts of an address that somebody sent; of what is none, nothing."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def bearer_token(headers: Headers) -> str | None:
    """Return the key of a request, from its header or from the subprotocols that a browser offers."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_PROTOCOL):
            return protocol.strip().removeprefix(KEY_PROTOCOL)
    return None
