"""``POST /v1/realtime/calls``: conversations over WebRTC, as browsers hold them."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.datastructures import UploadFile

from kimi_audio.serve.auth import bearer_token
from kimi_audio.serve.client_events import from_beta
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.realtime_admission import admitted
from kimi_audio.serve.services import services_of
from kimi_audio.serve.strict_json import read_json

router = APIRouter()

PATH = "/v1/realtime/calls"
SDP = "application/sdp"


@router.post(PATH, response_model=None)
async def calls(request: Request) -> Response:
    """Begin a call: an offer in SDP is answered by one."""
    try:
        from kimi_audio.serve.webrtc_call import WebRtcCall
    except ModuleNotFoundError as error:
        raise ApiError(
            f"WebRTC needs {error.name}; the operator installs it with: pip install 'kimi-audio[webrtc]'.",
            501,
            code="webrtc_not_installed",
        ) from None
    services = services_of(request)
    offer, wanted = await _read(request, services.limits.sdp_bytes)
    given = await admitted(services, bearer_token(request.headers), wanted, request.query_params.get("session"))
    if not given.fits_tracks:
        raise ApiError("Over WebRTC sound is in the format of the tracks; leave it at audio/pcm.", param="session")
    call = WebRtcCall(services, given)
    answer = await call.answer(offer)
    return PlainTextResponse(answer, 201, {"Location": f"{PATH}/{call.id}"}, SDP)


@router.post(PATH + "/{call_id}/hangup", response_model=None)
async def hang_up(call_id: str, request: Request) -> Response:
    """End a call."""
    call = services_of(request).calls.get(call_id)
    if call is None:
        raise ApiError(f"There is no call {call_id[:50]!r}.", 404, code="call_not_found", param="call_id")
    await call.hang_up()
    return Response()


async def _read(request: Request, most_bytes: int) -> tuple[str, dict[str, Any]]:
    """Return the offer, and the configuration that came with it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == SDP:
        content = bytearray()
        async for piece in request.stream():
            content += piece
            _check_size("sdp", content, most_bytes)
        return _text("sdp", content), {}
    if kind != "multipart/form-data":
        raise ApiError(f"The request must be {SDP}, or a form with the fields sdp and session.", 415, param="sdp")
    async with request.form(max_files=2, max_fields=2, max_part_size=most_bytes) as form:
        parts = {name: await _part(name, form.get(name), most_bytes) for name in ("sdp", "session")}
    if not parts["sdp"]:
        raise ApiError("The field 'sdp' with an offer is missing.", code="invalid_sdp", param="sdp")
    try:
        session = read_json(parts["session"] or "{}")
    except ValueError as error:
        raise ApiError(f"The field 'session' is not JSON: {error}.", code="invalid_json", param="session") from None
    if not isinstance(session, dict):
        raise ApiError("The field 'session' must be an object.", code="invalid_value", param="session")
    return parts["sdp"], from_beta({"session": session})["session"]


async def _part(name: str, value: UploadFile | str | None, most_bytes: int) -> str:
    if isinstance(value, UploadFile):
        content = await value.read(most_bytes + 1)
        _check_size(name, content, most_bytes)
        return _text(name, content)
    return value or ""


def _check_size(name: str, content: bytes | bytearray, most_bytes: int) -> None:
    if len(content) > most_bytes:
        raise ApiError(f"{name} holds more than {most_bytes / 2**10:g} KiB.", 413, code="too_large", param=name)


def _text(name: str, content: bytes | bytearray) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ApiError(f"{name} is not UTF-8.", code="invalid_value", param=name) from None
