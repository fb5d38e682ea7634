"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: what is said in a recording."""

import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import FormData, UploadFile

from kimi_audio.audio.sources import Samples
from kimi_audio.serve.backend import all_of
from kimi_audio.serve.http_errors import ApiError, unsupported
from kimi_audio.serve.services import Services, services_of
from kimi_audio.serve.sounds import decoded, seconds_of
from kimi_audio.serve.streaming import event, event_stream

router = APIRouter()

FORMATS = ("json", "text")
MAX_FIELDS = 64
_FIELD_BYTES = 64 << 10


@dataclass(frozen=True)
class TranscriptionRequest:
    """The fields of a form that matter."""

    content: bytes
    response_format: str
    stream: bool


async def read_form(request: Request) -> TranscriptionRequest:
    """Read the form of a request.

    Raises:
        ApiError: fields are missing, or ask for what there is not.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ApiError("The request must be a form: multipart/form-data with the field 'file'.")
    async with request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=_FIELD_BYTES) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError("The field 'file' with a recording is missing.", code="missing_file", param="file")
        format = _choice(form, "response_format", FORMATS, "json")
        temperature = _text(form, "temperature") or "0"
        if not re.fullmatch(r"0(\.\d*)?|1(\.0*)?|\.\d+", temperature):
            raise unsupported("temperature", temperature, "numbers from 0 to 1")
        stream = _choice(form, "stream", ("true", "false", "True", "False", "1", "0"), "false") in ("true", "True", "1")
        return TranscriptionRequest(await file.read(), format, stream)


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


def _choice(form: FormData, name: str, choices: tuple[str, ...], default: str) -> str:
    value = _text(form, name) or default
    if value not in choices:
        raise unsupported(name, value, ", ".join(choices))
    return value


@router.post("/v1/audio/transcriptions", response_model=None)
async def transcriptions(request: Request) -> Response:
    """Write down what is said."""
    services = services_of(request)
    asked = await read_form(request)
    if asked.stream:
        return await event_stream(_events(services, asked))
    async with services.slots.place():
        sound = await services.backend.call(decoded, asked.content, services.limits)
        text = "".join(await all_of(services.backend.transcript(sound)))
    if asked.response_format == "text":
        return PlainTextResponse(text + "\n")
    return JSONResponse({"text": text, "usage": usage_of(sound)})


async def _events(services: Services, asked: TranscriptionRequest) -> AsyncIterator[bytes]:
    async with services.slots.place():
        sound = await services.backend.call(decoded, asked.content, services.limits)
        parts = []
        async for part in services.backend.transcript(sound):
            parts.append(part)
            yield event({"type": "transcript.text.delta", "delta": part})
        yield event({"type": "transcript.text.done", "text": "".join(parts), "usage": usage_of(sound)})


def usage_of(sound: Samples) -> dict[str, Any]:
    """Return what a transcription took."""
    return {"type": "duration", "seconds": math.ceil(seconds_of(sound))}
