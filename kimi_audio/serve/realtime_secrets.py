"""``POST /v1/realtime/client_secrets``: short-lived keys for browsers, which must not have the real one."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from kimi_audio.serve.auth import DEFAULT_SECRET_S, MAX_SECRET_S, MIN_SECRET_S
from kimi_audio.serve.client_events import from_beta
from kimi_audio.serve.json_route import JsonRoute
from kimi_audio.serve.realtime_admission import usable_config
from kimi_audio.serve.services import services_of

router = APIRouter(route_class=JsonRoute)


class ExpiresAfter(BaseModel):
    """How long a secret is good for."""

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=DEFAULT_SECRET_S, ge=MIN_SECRET_S, le=MAX_SECRET_S)


class SecretRequest(BaseModel):
    """What sessions with the secret begin with."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] = Field(default_factory=dict)


@router.post("/v1/realtime/client_secrets", response_model=None)
async def client_secrets(asked: SecretRequest, request: Request) -> JSONResponse:
    """Return a secret."""
    services = services_of(request)
    changes = from_beta({"session": asked.session})["session"]
    config = usable_config(services, changes)
    secret, expires_at = services.keys.new_secret(asked.expires_after.seconds, config.model_dump())
    session = {"id": "sess_none", "object": "realtime.session", "expires_at": expires_at} | config.wire()
    return JSONResponse({"value": secret, "expires_at": expires_at, "session": session})
