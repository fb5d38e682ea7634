"""Who may begin a Realtime session now, and with what: the same over WebSocket and WebRTC."""

import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kimi_audio.serve.client_events import described
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.services import Services
from kimi_audio.serve.session_checks import check_config
from kimi_audio.serve.session_config import SessionConfig
from kimi_audio.serve.session_step import Refused
from kimi_audio.serve.session_store import KeptSession

logger = logging.getLogger(__name__)

RETRY_S = 5


@dataclass(frozen=True)
class Admitted:
    """What a session begins with."""

    id: str
    config: SessionConfig
    kept: KeptSession | None = None

    @property
    def fits_tracks(self) -> bool:
        """Whether its sound has the format that is made into that of the tracks of WebRTC."""
        audio = self.config.audio
        return audio.input.format.type == audio.output.format.type == "audio/pcm"


async def admitted(
    services: Services, token: str | None, wanted: dict[str, Any], session_id: str | None = None
) -> Admitted:
    """Return what a session begins with; it is to be opened before anything is waited for.

    Args:
        services: of the server.
        token: of the client; what its secret was made for, holds unless ``wanted`` changes it.
        wanted: changes of the configuration.
        session_id: of a conversation that is to go on.

    Raises:
        ApiError: the server is full or not ready, or cannot do what is wanted.
    """
    _check_room(services)
    given = usable_config(services, services.keys.session_of(token or ""), wanted)
    if session_id is None:
        return Admitted(f"sess_{secrets.token_hex(16)}", given)
    kept = await _kept(services, session_id)
    _check_room(services)  # the server may be about to stop by now
    return Admitted(session_id, usable_config(services, kept.config), kept)


def _check_room(services: Services) -> None:
    if services.is_ready and services.has_room:
        return
    services.metrics.sessions_refused.inc()
    what = "full" if services.is_ready else "not ready"
    raise ApiError(f"The server is {what}; try again later.", 503, code="session_limit_reached", retry_after_s=RETRY_S)


def usable_config(services: Services, *changes: Mapping[str, Any]) -> SessionConfig:
    """Return the configuration of a session after some changes of the default.

    Raises:
        ApiError: it is none, or one that this server cannot follow.
    """
    config = SessionConfig()
    try:
        for one in (*changes, {"model": services.model_name}):
            config = config.updated(dict(one))
        check_config(config, services.rules)
    except ValidationError as error:
        raise ApiError(*described(error), code="invalid_value", param="session") from None
    except Refused as refused:
        raise ApiError(str(refused), code=refused.code, param=refused.param) from None
    return config


async def _kept(services: Services, session_id: str) -> KeptSession:
    """Return a conversation that is to go on."""
    is_id = re.fullmatch(r"sess_[0-9a-f]{32}", session_id)
    is_open, content = services.holds(session_id), None
    if is_id and not is_open:
        with services.reserved(session_id):
            content = await services.store.load(session_id)
    try:
        if content is not None:
            return KeptSession.from_bytes(content)
    except ValueError:
        logger.warning("a kept session cannot be read")
    code = "session_in_use" if is_open else "session_not_found"
    raise ApiError(f"The session {session_id[:50]!r} cannot be taken up again.", code=code, param="session")
