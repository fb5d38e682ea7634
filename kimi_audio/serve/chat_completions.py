"""``POST /v1/chat/completions``: conversations of text and sound, answered in text or in text and speech."""

import base64
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

import torch
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from kimi_audio.answers import Answer, StreamChunk, Usage
from kimi_audio.chat import Message
from kimi_audio.lm.rules import FinishReason, GenerationOptions
from kimi_audio.lm.sampling import SamplingOptions
from kimi_audio.serve.encodings import encoder_of, to_pcm16, wav_header
from kimi_audio.serve.http_errors import ApiError, unsupported
from kimi_audio.serve.json_route import JsonRoute
from kimi_audio.serve.presence import while_there
from kimi_audio.serve.request_fields import Seed
from kimi_audio.serve.scheduler import all_of
from kimi_audio.serve.services import Services, services_of
from kimi_audio.serve.sounds import decoded, from_base64
from kimi_audio.serve.spoken_answers import AUDIO_LIFE_S
from kimi_audio.serve.streaming import event, event_stream

router = APIRouter(route_class=JsonRoute)

_FINISH: dict[FinishReason, str] = {"stop": "stop", "length": "length", "loop": "length", "cancelled": "stop"}


class AudioOptions(BaseModel):
    """How the answer is to sound."""

    voice: str | dict[str, Any] | None = None
    format: str = "wav"


class StreamOptions(BaseModel):
    """What is sent beside the answer while it is streamed."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The fields of a request that matter; others are passed over. None, or null, is the default."""

    messages: list[dict[str, Any]] = Field(min_length=1, max_length=1000)
    model: str | None = None
    modalities: list[Literal["text", "audio"]] | None = Field(default=None, min_length=1)
    audio: AudioOptions | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: Seed | None = None
    n: Literal[1] | None = None

    @property
    def is_spoken(self) -> bool:
        """Whether the answer is to be heard."""
        return "audio" in (self.modalities or ())


@router.post("/v1/chat/completions", response_model=None)
async def chat_completions(asked: ChatRequest, request: Request) -> Response:
    """Answer a conversation."""
    services = services_of(request)
    completion = Completion(services, asked)
    if asked.stream:
        return await event_stream(request, completion.events())
    return JSONResponse(await while_there(request, completion.whole()))


class Completion:
    """One answer."""

    def __init__(self, services: Services, asked: ChatRequest) -> None:
        self._services, self._asked = services, asked
        self._audio, self._marker = asked.audio or AudioOptions(), services.new_marker()
        self._voice = services.voices.recording(_voice_name(services, self._audio))
        if asked.is_spoken and asked.stream and self._audio.format != "pcm16":
            raise unsupported("audio.format", self._audio.format, "'pcm16' when stream=true")
        if asked.is_spoken and self._audio.format != "pcm16":
            encoder_of(self._audio.format, "audio.format")
        self._id, self._audio_id = f"chatcmpl-{secrets.token_hex(12)}", f"audio_{secrets.token_hex(12)}"
        self._created = int(time.time())

    async def whole(self) -> dict[str, Any]:
        """Return the answer at once."""
        async with self._services.slots.place():
            chunks = await all_of(await self._chunks())
        answer = Answer.of(chunks)
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if self._asked.is_spoken:
            sound = torch.zeros(0) if answer.audio is None else answer.audio
            data = base64.b64encode(self._file(self._marked(sound, is_final=True))).decode()
            expires_at = self._keep(answer)
            audio = {"id": self._audio_id, "data": data, "transcript": answer.text, "expires_at": expires_at}
            message |= {"content": None, "audio": audio}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[answer.finish_reason]}
        return self._head("chat.completion") | {"choices": [choice], "usage": _usage(chunks[-1].usage)}

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the answer while it is made."""
        async with self._services.slots.place():
            chunks: list[StreamChunk] = []
            yield self._delta({"role": "assistant", "content": "" if not self._asked.is_spoken else None})
            async with aclosing(await self._chunks()) as made:  # pyright: ignore[reportArgumentType] - a generator
                async for chunk in made:
                    chunks.append(chunk)
                    if delta := self._delta_of(chunk):
                        yield self._delta(delta)
            answer = Answer.of(chunks)
            if self._asked.is_spoken:
                yield self._delta({"audio": {"id": self._audio_id, "expires_at": self._keep(answer)}})
            yield self._delta({}, _FINISH[answer.finish_reason])
            if self._asked.stream_options and self._asked.stream_options.include_usage:
                yield event(self._head("chat.completion.chunk") | {"choices": [], "usage": _usage(chunks[-1].usage)})
            yield b"data: [DONE]\n\n"

    def _delta_of(self, chunk: StreamChunk) -> dict[str, Any]:
        if not self._asked.is_spoken:
            return {"content": chunk.text} if chunk.text else {}
        audio: dict[str, Any] = {"transcript": chunk.text} if chunk.text else {}
        sound = self._marked(chunk.audio, is_final=chunk.is_final)
        if len(sound):
            audio["data"] = base64.b64encode(to_pcm16(sound)).decode()
        return {"audio": {"id": self._audio_id} | audio} if audio else {}

    def _delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event(self._head("chat.completion.chunk") | {"choices": [choice]})

    def _head(self, object: str) -> dict[str, Any]:
        return {"id": self._id, "object": object, "created": self._created, "model": self._services.model_name}

    async def _chunks(self) -> AsyncIterator[StreamChunk]:
        asked, backend = self._asked, self._services.backend
        messages = await backend.call(self._messages)
        options: GenerationOptions = backend.assistant.default_options("both" if asked.is_spoken else "text")
        if asked.temperature:
            text = options.text
            drawn = SamplingOptions(asked.temperature, 0, text.repetition_penalty, text.repetition_window)
            options = options.with_text(drawn)
        most = asked.max_completion_tokens or asked.max_tokens
        return backend.reply(messages, replace(options, max_new_tokens=most), self._voice, asked.seed)

    def _messages(self) -> list[Message]:
        """Return the conversation for the model; sounds are decoded, so this takes a while."""
        reader = _Reader(self._services)
        return [message for values in self._asked.messages for message in reader.read(values)]

    def _keep(self, answer: Answer) -> int:
        expires_at = self._created + AUDIO_LIFE_S
        self._services.spoken_answers.keep(self._audio_id, answer.message(), expires_at)
        return expires_at

    def _marked(self, sound: torch.Tensor, *, is_final: bool) -> torch.Tensor:
        """Return the next part of the answer with the mark, if there is to be one."""
        return sound if self._marker is None else self._marker.push(sound, is_final=is_final)

    def _file(self, sound: torch.Tensor) -> bytes:
        """Return the sound in the format asked for; a WAV file whose end is known has its length in the header."""
        if self._audio.format in ("pcm16", "wav"):
            samples = to_pcm16(sound)
            return samples if self._audio.format == "pcm16" else wav_header(len(samples)) + samples
        _, encoder = encoder_of(self._audio.format, "audio.format")
        return encoder.push(sound) + encoder.finish()


def _voice_name(services: Services, audio: AudioOptions) -> str:
    voice = audio.voice.get("id") if isinstance(audio.voice, dict) else audio.voice
    services.voices.find(voice, "audio.voice")
    return str(voice or "default")


class _Reader:
    """Reads the messages of one request, within the limits of all of them together."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._chars, self._sounds = services.limits.chat_chars, services.limits.sounds

    def read(self, values: dict[str, Any]) -> list[Message]:
        """Return one of OpenAI's messages as ours, one for each of its parts."""
        role = {"developer": "system"}.get(str(values.get("role")), values.get("role"))
        if role not in ("system", "user", "assistant"):
            raise unsupported("role", role, "system, developer, user, assistant")
        if role == "assistant" and isinstance(values.get("audio"), dict):
            return [self._services.spoken_answers.find(str(values["audio"].get("id")))]
        content = values.get("content")
        if isinstance(content, str):
            return [self._text(role, content)] if content else []
        if not isinstance(content, list):
            raise ApiError("The content of a message is a text or a list of parts.", code="invalid_value")
        return [self._part(role, part) for part in content]

    def _part(self, role: str, part: Any) -> Message:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            return self._text(role, part["text"])
        if kind == "input_audio" and role == "user" and isinstance(part.get("input_audio"), dict):
            return self._sound(part["input_audio"].get("data"))
        raise unsupported("content", kind, "text, and input_audio of the user; addresses of files are not opened")

    def _text(self, role: str, text: str) -> Message:
        self._chars -= len(text)
        if self._chars < 0:
            most = self._services.limits.chat_chars
            raise ApiError(f"The conversation has more than {most:,} characters.", code="string_above_max_length")
        return Message(role, "text", text)

    def _sound(self, data: Any) -> Message:
        self._sounds -= 1
        if self._sounds < 0:
            raise ApiError(f"There are more than {self._services.limits.sounds} recordings.", code="too_many_audios")
        if not isinstance(data, str):
            raise ApiError("input_audio holds base64 in its field data.", code="invalid_value", param="input_audio")
        limits = self._services.limits
        return Message("user", "audio", decoded(from_base64(data, limits.body_bytes, "input_audio"), limits))


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    given, made = usage.prompt_text_tokens + usage.prompt_audio_tokens, usage.text_tokens + usage.audio_tokens
    heard = {"audio_tokens": usage.prompt_audio_tokens, "cached_tokens": min(usage.cached_tokens, given)}
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": heard | {"text_tokens": usage.prompt_text_tokens},
        "completion_tokens_details": {"text_tokens": usage.text_tokens, "audio_tokens": usage.audio_tokens},
    }
