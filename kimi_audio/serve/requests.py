"""What every request gets: a number, headers that keep browsers careful, a line in the log, and its count and time."""

import logging
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kimi_audio.serve.metrics import Metrics

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob:; "
        "worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RequestRecord:
    """Numbers, protects, counts and logs every request. Neither queries nor bodies nor headers are logged."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number, start_s, status = f"req_{secrets.token_hex(8)}", time.monotonic(), 500
        scope.setdefault("state", {})["request_id"] = number

        async def recorded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = number
                for name, value in HEADERS.items():
                    headers[name] = value
                # The files of the page are asked for again each time: old and new ones do not go together.
                headers["Cache-Control"] = "no-store" if scope["path"].startswith("/v1") else "no-cache"
            await send(message)

        try:
            await self.app(scope, receive, recorded)
        finally:
            took_s = time.monotonic() - start_s
            path = getattr(scope.get("route"), "path", "other")  # as declared: what a client writes is not a label
            self.metrics.request_done(scope["method"], path, status, took_s)
            facts = {"request_id": number, "method": scope["method"], "path": path, "status": status}
            logger.info("request", extra={"facts": facts | {"took_ms": round(1000 * took_s)}})
