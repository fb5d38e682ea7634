"""``/livez``, ``/readyz``, ``/metrics`` and ``/v1/models``: what the server is, and whether it can work."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.services import Services, services_of

router = APIRouter()


@router.get("/livez")
async def livez() -> PlainTextResponse:
    """Answer while the process lives."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", response_model=None)
async def readyz(request: Request) -> Response:
    """Tell whether new work is taken."""
    is_ready = services_of(request).is_ready
    return PlainTextResponse("ready\n" if is_ready else "not ready\n", 200 if is_ready else 503)


@router.get("/metrics", response_model=None)
async def read_metrics(request: Request) -> Response:
    """Return counts and times for Prometheus."""
    services = services_of(request)
    metrics = services.metrics
    metrics.tasks.set(len(asyncio.all_tasks()))
    metrics.kept_turns.set(services.backend.kept_bytes)
    metrics.kept_conversations.set(services.store.num_bytes)
    return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/models", response_model=None)
async def models(request: Request) -> Response:
    """List the model. Requests may name any: this one answers."""
    return JSONResponse({"object": "list", "data": [_card(services_of(request))]})


@router.get("/v1/models/{name:path}", response_model=None)
async def model(name: str, request: Request) -> Response:
    """Describe the model."""
    services = services_of(request)
    if name != services.model_name:
        raise ApiError(
            f"The model {name[:100]!r} does not exist; this server has {services.model_name!r}.",
            404,
            code="model_not_found",
            param="model",
        )
    return JSONResponse(_card(services))


def _card(services: Services) -> dict[str, Any]:
    return {
        "id": services.model_name,
        "object": "model",
        "created": 0,
        "owned_by": "kimi-audio",
        "voices": services.voices.names,
    }
