"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: what is said in a recording."""

import math
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import FormData, UploadFile

from kimi_audio.audio.sources import Samples
from kimi_audio.chat import Message
from kimi_audio.core.words import is_ideographic
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.serve.http_errors import ApiError, unsupported
from kimi_audio.serve.presence import while_there
from kimi_audio.serve.scheduler import all_of
from kimi_audio.serve.services import Services, services_of
from kimi_audio.serve.sounds import decoded, seconds_of
from kimi_audio.serve.streaming import event, event_stream
from kimi_audio.transcript.subtitles import to_srt, to_vtt
from kimi_audio.transcript.timed_text import Segment, Timestamps, joined, separator

router = APIRouter()

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
MAX_FIELDS = 128
MAX_KEYWORDS = 100
TRANSLATE = "Please translate the spoken content into English."
_FIELD_BYTES = 64 << 10
_TRUE = ("true", "True", "1")


@dataclass(frozen=True)
class TranscriptionRequest:
    """The fields of a form that matter; others are passed over."""

    content: bytes
    response_format: str
    stream: bool
    granularities: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    task: Literal["transcribe", "translate"] = "transcribe"

    @property
    def timestamps(self) -> Timestamps:
        """Whether the times of words are needed: to be told, or to cut captions between them."""
        return "word" if "word" in self.granularities or self.response_format in ("srt", "vtt") else "segment"


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
        stream = _choice(form, "stream", (*_TRUE, "false", "False", "0"), "false") in _TRUE
        granularities = _list(form, "timestamp_granularities")
        if wrong := [one for one in granularities if one not in ("word", "segment")]:
            raise unsupported("timestamp_granularities", wrong[0], "word, segment")
        if granularities and format != "verbose_json":
            raise unsupported("response_format", format, "verbose_json, where timestamp_granularities are asked for")
        keywords = _list(form, "keywords")
        if len(keywords) > MAX_KEYWORDS:
            raise ApiError(f"There are more than {MAX_KEYWORDS} keywords.", code="invalid_value", param="keywords")
        return TranscriptionRequest(await file.read(), format, stream, granularities, keywords)


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


def _list(form: FormData, name: str) -> tuple[str, ...]:
    """Return all values of a field; some clients write brackets behind its name, others do not."""
    values = [*form.getlist(name), *form.getlist(f"{name}[]")]
    return tuple(value for value in values if isinstance(value, str) and value.strip())


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
        return await event_stream(request, _events(services, asked))
    sound, segments = await while_there(request, _written(services, asked))
    return _answer(asked, sound, segments)


@router.post("/v1/audio/translations", response_model=None)
async def translations(request: Request) -> Response:
    """Write down in English what is said, as far as the model was taught to translate."""
    services = services_of(request)
    asked = replace(await read_form(request), granularities=(), task="translate")
    sound, segments = await while_there(request, _translated(services, asked))
    return _answer(asked, sound, segments)


async def _written(services: Services, asked: TranscriptionRequest) -> tuple[Samples, list[Segment]]:
    async with services.slots.place():
        sound = await services.backend.call(decoded, asked.content, services.limits)
        return sound, await all_of(services.backend.transcript(sound, asked.timestamps, asked.keywords))


async def _translated(services: Services, asked: TranscriptionRequest) -> tuple[Samples, list[Segment]]:
    async with services.slots.place():
        sound = await services.backend.call(decoded, asked.content, services.limits)
        options: GenerationOptions = services.backend.assistant.default_options("text")
        messages = [Message("user", "text", TRANSLATE), Message("user", "audio", sound)]
        text = "".join(chunk.text for chunk in await all_of(services.backend.reply(messages, options)))
        return sound, [Segment(text, 0.0, seconds_of(sound))]


async def _events(services: Services, asked: TranscriptionRequest) -> AsyncIterator[bytes]:
    async with services.slots.place():
        sound = await services.backend.call(decoded, asked.content, services.limits)
        text = ""
        async with aclosing(services.backend.transcript(sound, "segment", asked.keywords)) as segments:  # pyright: ignore
            async for segment in segments:
                delta = separator(text, segment.text) + segment.text
                text += delta
                yield event({"type": "transcript.text.delta", "delta": delta})
        yield event({"type": "transcript.text.done", "text": text})  # its usage would be in tokens, not in seconds


def _answer(asked: TranscriptionRequest, sound: Samples, segments: list[Segment]) -> Response:
    text = joined(segment.text for segment in segments)
    match asked.response_format:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt":
            return PlainTextResponse(to_srt(segments))
        case "vtt":
            return PlainTextResponse(to_vtt(segments), media_type="text/vtt")
        case "verbose_json":
            return JSONResponse(_verbose(asked, sound, segments, text))
    return JSONResponse({"text": text, "usage": usage_of(sound)})


def _verbose(asked: TranscriptionRequest, sound: Samples, segments: list[Segment], text: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "task": asked.task,
        "language": "english" if asked.task == "translate" else _language(text),
        "duration": round(seconds_of(sound), 3),
        "text": text,
        "usage": usage_of(sound),
    }
    if "segment" in asked.granularities or not asked.granularities:
        values["segments"] = [_segment(number, segment) for number, segment in enumerate(segments)]
    if "word" in asked.granularities:
        values["words"] = [
            {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for segment in segments
            for word in segment.words
        ]
    return values


def _language(text: str) -> str:
    return "chinese" if any(map(is_ideographic, text)) else "english"


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """Return a segment in OpenAI's form; of what Whisper tells of itself nothing is known, so those fields are 0."""
    unknown = {"seek": 0, "tokens": [], "temperature": 0.0}
    unknown |= {"avg_logprob": 0.0, "compression_ratio": 0.0, "no_speech_prob": 0.0}
    times = {"start": round(segment.start_s, 3), "end": round(segment.end_s, 3)}
    return {"id": number, "text": segment.text} | times | unknown


def usage_of(sound: Samples) -> dict[str, Any]:
    """Return what a transcription took."""
    return {"type": "duration", "seconds": math.ceil(seconds_of(sound))}
