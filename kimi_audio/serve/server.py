"""The process: it listens, tells its address when it is ready, and drains when it is told to stop."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import socket

import uvicorn
from fastapi import FastAPI

from kimi_audio.serve.punctual import PunctualHttp
from kimi_audio.serve.services import Services
from kimi_audio.serve.settings import ServeSettings

logger = logging.getLogger(__name__)

ACCEPT_WAIT_S = 2  # for connections that do nothing, once their work is done
PING_S = 20.0


class Server(uvicorn.Server):
    """Uvicorn that lets running work finish before it closes connections."""

    def __init__(self, config: uvicorn.Config, services: Services, on_ready: Callable[[str], object]) -> None:
        super().__init__(config)
        self._services, self._on_ready = services, on_ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen; the application is warm by then."""
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            scheme = "https" if self.config.is_ssl else "http"
            host = self.config.host
            self._on_ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/")

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Take nothing new, let replies under way finish, and close."""
        if not self.force_exit:
            await self._services.drain()
        await super().shutdown(sockets)


def make_server(
    app: FastAPI,
    settings: ServeSettings,
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
    on_ready: Callable[[str], object] = logger.info,
) -> Server:
    """Return a server, whose ``run`` serves until it is told to stop by SIGINT or SIGTERM.

    Args:
        app: from ``create_app``.
        settings: the same as there.
        certificate: for https, a file in PEM form.
        private_key: of the certificate.
        on_ready: is called with the address once requests are taken.
    """
    limits = settings.limits
    config = uvicorn.Config(
        app,
        settings.host,
        settings.port,
        http=partial(  # pyright: ignore[reportArgumentType] - it is called
            PunctualHttp, handshake_s=limits.handshake_s, send_s=limits.send_s
        ),
        log_config=None,
        access_log=False,  # paths may hold what is nobody's business; we log ours
        ws="websockets-sansio",
        ws_max_size=limits.frame_bytes,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        server_header=False,
        timeout_graceful_shutdown=ACCEPT_WAIT_S,
        h11_max_incomplete_event_size=64 << 10,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )
    return Server(config, app.state.services, on_ready)
