"""The application: its parts put together, warmed up when it starts, drained when it stops."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from kimi_audio.audio.sources import Samples
from kimi_audio.chat import Message
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.serve import (
    chat_completions,
    health,
    http_errors,
    realtime,
    realtime_secrets,
    speech,
    transcriptions,
    web_page,
    webrtc,
)
from kimi_audio.serve.auth import Gate, Keys
from kimi_audio.serve.backend import ModelBackend, Stages, Threads
from kimi_audio.serve.instance import EncodeJob, Job, SpeakJob, ThinkJob, VoiceJob
from kimi_audio.serve.limits import BodyLimit, Slots
from kimi_audio.serve.local_instance import Assistant, LocalInstance
from kimi_audio.serve.metrics import Metrics
from kimi_audio.serve.requests import RequestRecord
from kimi_audio.serve.scheduler import Patience, Scheduler
from kimi_audio.serve.services import Services
from kimi_audio.serve.session_store import MemoryStore, RedisStore
from kimi_audio.serve.settings import ServeSettings
from kimi_audio.serve.voice_registry import Voices

_PROBE_TOKENS = 40  # 3.2 s of speech


def create_app(assistant: Assistant, model_name: str, settings: ServeSettings | None = None) -> FastAPI:
    """Return the server as an ASGI application.

    Args:
        assistant: the model, with its detokenizer.
        model_name: what clients see.
        settings: limits, keys, and so on.
    """
    settings = settings or ServeSettings()
    limits, services = settings.limits, new_services(assistant, model_name, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.backend.start()
        services.is_open = True
        yield
        services.is_open = False
        await services.hang_up()
        services.backend.close()

    app = FastAPI(
        title="kimi-audio", docs_url=None, redoc_url=None, lifespan=lifespan, responses=http_errors.DOCUMENTED
    )
    app.state.services = services
    http_errors.add_handlers(app)
    for module in (web_page, health, transcriptions, speech, chat_completions, realtime, webrtc, realtime_secrets):
        app.include_router(module.router)
    web_page.mount_files(app)
    # The last one added is the first one asked.
    app.add_middleware(BodyLimit, most_bytes=limits.body_bytes, stall_s=limits.handshake_s)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Location"],
        )
    app.add_middleware(Gate, settings=settings, keys=services.keys)
    app.add_middleware(RequestRecord, metrics=services.metrics)
    return app


def new_services(assistant: Assistant, model_name: str, settings: ServeSettings) -> Services:
    """Return what the routes share; arguments as for ``create_app``."""
    limits, metrics = settings.limits, Metrics()
    return Services(
        settings,
        model_name,
        _backend(assistant, settings, metrics),
        Voices(tuple(assistant.settings.voices), settings.voices),
        Keys(settings.api_keys),
        Slots(limits.requests, limits.waiting),
        RedisStore(settings.redis, limits.history_s)
        if settings.redis
        else MemoryStore(limits.history_s, limits.memory_bytes),
        metrics=metrics,
    )


def _backend(assistant: Assistant, settings: ServeSettings, metrics: Metrics) -> ModelBackend:
    limits, unused = settings.limits, [assistant]
    # A conversation hears, writes down and speaks at the same time.
    jobs = limits.requests + 3 * limits.sessions
    patience = Patience(limits.stall_s, max(limits.reply_s, limits.sound_s))  # to hear may take as long as to speak

    def shared(_: int) -> LocalInstance:
        return LocalInstance(assistant)

    def with_own_engine(_: int) -> LocalInstance:
        return LocalInstance(unused.pop() if unused else assistant.with_own_engine())

    def stage(name: str, make: Callable[[int], LocalInstance], *probe: Job) -> Scheduler:
        return Scheduler(name, make, settings.instances, jobs, probe, patience, metrics)

    brief = replace(assistant.default_options("both"), max_new_tokens=24)
    stages = Stages(
        hearing=stage("hearing", shared, EncodeJob(Samples(np.zeros(INPUT_RATE_HZ, np.float32), INPUT_RATE_HZ))),
        thinking=stage("thinking", with_own_engine, ThinkJob([Message("user", "text", "hello")], brief)),
        speaking=stage("speaking", shared, VoiceJob(), *_brief_speech(assistant)),
    )
    return ModelBackend(assistant, stages, Threads(limits.requests + limits.sessions))


def _brief_speech(assistant: Assistant) -> list[SpeakJob]:
    """Return the chunks of a usual reply: CPUs compile for the length of each, which the first one would wait for."""
    cutting = assistant.code_chunks()
    chunks = [chunk for n in range(_PROBE_TOKENS) for chunk in cutting.push(0, is_final=n == _PROBE_TOKENS - 1)]
    return [SpeakJob("probe", codes, is_final) for codes, is_final in chunks]
