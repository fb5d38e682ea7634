"""``POST /v1/audio/speech``: a text read aloud, sent while it is made."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field
from torch import Tensor

from kimi_audio.answers import StreamChunk, Usage
from kimi_audio.serve.encodings import Encoder, encoder_of
from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.json_route import JsonRoute
from kimi_audio.serve.request_fields import Seed
from kimi_audio.serve.services import Services, services_of
from kimi_audio.serve.streaming import begun, event, event_stream
from kimi_audio.serve.tempo import at_speed, marked

router = APIRouter(route_class=JsonRoute)


class SpeechRequest(BaseModel):
    """The fields of a request that matter; others are passed over. None, or null, is the default."""

    input: str = Field(min_length=1)
    voice: str | dict[str, Any] | None = None
    model: str | None = None
    instructions: str | None = Field(None, max_length=4096)
    response_format: str | None = None
    speed: float | None = Field(None, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] | None = None
    seed: Seed | None = None  # the same one gives the same speech; not in OpenAI's interface


@router.post("/v1/audio/speech", response_model=None)
async def speech(asked: SpeechRequest, request: Request) -> Response:
    """Read a text aloud."""
    services = services_of(request)
    most = services.limits.text_chars
    if len(asked.input) > most:
        raise ApiError(
            f"The text has {len(asked.input)} characters; at most {most} are read aloud in one request.",
            code="string_above_max_length",
            param="input",
        )
    if not asked.input.strip():
        raise ApiError("The text holds nothing to read aloud.", code="empty_string", param="input")
    voice = services.voices.find(asked.voice)
    media_type, encoder = encoder_of(asked.response_format or "mp3")
    reading = Reading(services, asked, voice)
    if asked.stream_format == "sse":
        return await event_stream(request, reading.events(encoder))
    return StreamingResponse(await begun(request, reading.parts(encoder)), media_type=media_type)


class Reading:
    """One text that is read aloud."""

    def __init__(self, services: Services, asked: SpeechRequest, voice: str | Path | None) -> None:
        self._services, self._asked, self._voice = services, asked, voice
        self._usage: Usage | None = None

    async def parts(self, encoder: Encoder) -> AsyncIterator[bytes]:
        """Yield the sound as a file, piece by piece."""
        async with self._services.slots.place():
            marker = self._services.new_marker()
            async for wav in marked(at_speed(self._sounds(), self._asked.speed or 1.0), marker):
                if part := encoder.push(wav):
                    yield part
            if part := encoder.finish():
                yield part

    async def events(self, encoder: Encoder) -> AsyncIterator[bytes]:
        """Yield the sound as events."""
        async for part in self.parts(encoder):
            yield event({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode()})
        yield event({"type": "speech.audio.done", "usage": _usage(self._usage)})

    async def _sounds(self) -> AsyncIterator[Tensor]:
        asked = self._asked
        chunks = self._services.backend.speech(
            asked.input, voice=self._voice, instructions=asked.instructions or "", seed=asked.seed
        )
        async with aclosing(chunks) as open_chunks:  # pyright: ignore[reportArgumentType] - it is a generator
            async for chunk in open_chunks:
                self._take(chunk)
                if len(chunk.audio):
                    yield chunk.audio

    def _take(self, chunk: StreamChunk) -> None:
        self._usage = chunk.usage or self._usage


def _usage(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    given = usage.prompt_text_tokens + usage.prompt_audio_tokens
    return {
        "input_tokens": given,
        "output_tokens": usage.audio_tokens,
        "total_tokens": given + usage.audio_tokens,
    }
