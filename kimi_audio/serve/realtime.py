"""``/v1/realtime`` over WebSocket, and the end of conversations that were kept."""

import json
from typing import Any

from fastapi import APIRouter, Request, WebSocket
from fastapi.responses import JSONResponse

from kimi_audio.serve.auth import bearer_token
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.realtime_admission import admitted
from kimi_audio.serve.realtime_session import RealtimeSession
from kimi_audio.serve.realtime_transport import TOO_SLOW
from kimi_audio.serve.services import services_of

router = APIRouter()

PROTOCOL = "realtime"
TRY_LATER = 1013


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """Hold a conversation."""
    services = services_of(socket)
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
    wanted: dict[str, Any] = {}
    if socket.query_params.get("intent") == "transcription":
        wanted["type"] = "transcription"
    try:
        given = await admitted(services, bearer_token(socket.headers), wanted, socket.query_params.get("session"))
    except ApiError as error:
        await _refuse(socket, error)
        return
    session = RealtimeSession(socket, services, given)
    with services.open_session(session):
        await session.run()


@router.delete("/v1/realtime/sessions/{session_id}", response_model=None)
async def delete_session(session_id: str, request: Request) -> JSONResponse:
    """Forget what is kept of a conversation whose connection has ended."""
    services = services_of(request)
    if services.holds(session_id):
        raise ApiError("The session goes on; close its connection first.", 409, code="session_in_use", param="session")
    with services.reserved(session_id):
        was_kept = await services.store.delete(session_id)
    if not was_kept:
        raise ApiError("There is no such session.", 404, code="session_not_found", param="session")
    return JSONResponse({"id": session_id, "object": "realtime.session.deleted", "deleted": True})


async def _refuse(socket: WebSocket, refusal: ApiError) -> None:
    error = refusal.envelope()["error"] | {"type": "server_error", "event_id": None}
    await socket.send_text(json.dumps({"type": "error", "event_id": "event_0", "error": error}))
    await socket.close(TRY_LATER if refusal.retry_after_s else TOO_SLOW, refusal.code)
