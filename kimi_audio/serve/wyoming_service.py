"""Home Assistant's protocol, Wyoming: recordings are written down, texts are read aloud. It knows no keys.

Shapes: L samples.
"""

import asyncio
import logging
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np
import soxr
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.server import AsyncEventHandler, AsyncServer
from wyoming.tts import Synthesize

from kimi_audio.audio.sources import Samples
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.serve.encodings import to_pcm16
from kimi_audio.serve.http_errors import ApiError, failure
from kimi_audio.serve.presence import unless
from kimi_audio.serve.scheduler import all_of
from kimi_audio.serve.services import Services
from kimi_audio.serve.tempo import marked
from kimi_audio.transcript.timed_text import joined

logger = logging.getLogger(__name__)

EVENT_BYTES = 1 << 20
RATES_HZ = range(8000, 192_001)
LANGUAGES = ["en", "zh"]
_LOOK_S = 0.1


def wyoming_server(uri: str) -> AsyncServer:
    """Return a server for ``tcp://HOST:PORT``; ``start`` takes ``handler_of``."""
    return AsyncServer.from_uri(uri)


def handler_of(services: Services) -> "partial[WyomingClient]":
    """Return what makes the handler of one connection."""
    return partial(WyomingClient, services)


class _BoundedReader:
    """A stream of which no more is read at once than an event may have, and which is not waited for without end."""

    def __init__(self, reader: asyncio.StreamReader, idle_s: float) -> None:
        self._reader, self._idle_s = reader, idle_s

    async def readline(self) -> bytes:
        async with asyncio.timeout(self._idle_s):
            return await self._reader.readline()

    async def readexactly(self, count: int) -> bytes:
        if not 0 <= count <= EVENT_BYTES:
            raise ValueError(f"an event has at most {EVENT_BYTES} bytes")
        async with asyncio.timeout(self._idle_s):
            return await self._reader.readexactly(count)

    async def left(self) -> None:
        """Wait until the client has left and nothing of it is to be read any more."""
        while not self._reader.at_eof():
            await asyncio.sleep(_LOOK_S)

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class WyomingClient(AsyncEventHandler):
    """One connection."""

    def __init__(self, services: Services, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._bounded = _BoundedReader(reader, services.limits.idle_s)
        bounded: Any = self._bounded
        super().__init__(bounded, writer)
        self._services = services
        self._sound = _Recording(services.limits.sound_s)
        self._hotwords: list[str] = []

    async def run(self) -> None:
        """Serve until the client leaves, says nothing any more, or does not speak the protocol."""
        try:
            await super().run()
        except (TimeoutError, ValueError, KeyError, TypeError, AttributeError, asyncio.IncompleteReadError, OSError):
            logger.info("a Wyoming client was let go")

    async def write_event(self, event: Event) -> None:
        """Send an event; a client that does not read is let go.

        Raises:
            OSError: it does not read, or has left.
        """
        try:
            async with asyncio.timeout(self._services.limits.send_s):
                await super().write_event(event)
        except TimeoutError:
            self.writer.transport.abort()  # to close it would wait for the client to read the rest
            raise

    async def handle_event(self, event: Event) -> bool:
        """Do what the client wants; an error is told, and ends the connection."""
        try:
            await self._handle(event)
        except (TimeoutError, ConnectionError):
            raise  # there is nobody to tell
        except Exception as error:  # noqa: BLE001 - told to the client
            told = failure(error)
            await self.write_event(Error(told.message, told.code).event())
            return False
        return True

    async def _handle(self, event: Event) -> None:
        if Describe.is_type(event.type):
            await self.write_event(_info(self._services).event())
        elif Ping.is_type(event.type):
            await self.write_event(Pong(Ping.from_event(event).text).event())
        elif Transcribe.is_type(event.type):
            asked = Transcribe.from_event(event)
            self._hotwords = [*(asked.transcript_names or []), *(asked.transcript_terms or [])]
        elif AudioStart.is_type(event.type):
            self._sound.clear()
        elif AudioChunk.is_type(event.type):
            self._sound.add(AudioChunk.from_event(event))
        elif AudioStop.is_type(event.type):
            await self._transcribe()
        elif Synthesize.is_type(event.type):
            await self._synthesize(Synthesize.from_event(event))

    async def _transcribe(self) -> None:
        sound, hotwords, self._hotwords = self._sound.take(), self._hotwords, []
        text = ""
        if sound is not None:
            text = await unless(self._bounded.left(), self._written(sound, hotwords))
        await self.write_event(Transcript(text).event())

    async def _written(self, sound: Samples, hotwords: list[str]) -> str:
        async with self._services.slots.place():
            segments = await all_of(self._services.backend.transcript(sound, hotwords=hotwords))
        return joined(segment.text for segment in segments)

    async def _synthesize(self, asked: Synthesize) -> None:
        services, most = self._services, self._services.limits.text_chars
        text = asked.text.strip()
        if not text or len(text) > most:
            raise ApiError(f"A text to read aloud has between 1 and {most} characters.", code="invalid_value")
        voice = services.voices.find(asked.voice.name if asked.voice else None)
        form: dict[str, Any] = {"rate": OUTPUT_RATE_HZ, "width": 2, "channels": 1}
        async with services.slots.place(), aclosing(services.backend.speech(text, voice=voice)) as chunks:  # pyright: ignore
            await self.write_event(AudioStart(**form).event())
            async for wav in marked((chunk.audio async for chunk in chunks), services.new_marker()):
                if len(wav):
                    await self.write_event(AudioChunk(audio=to_pcm16(wav), **form).event())
            await self.write_event(AudioStop().event())


class _Recording:
    """What a client sends, as one channel at 16 kHz."""

    def __init__(self, most_s: float) -> None:
        self._most = int(most_s * INPUT_RATE_HZ)
        self.clear()

    def clear(self) -> None:
        self._parts: list[np.ndarray] = []
        self._length = 0
        self._form: tuple[int, int] | None = None
        self._resample: soxr.ResampleStream | None = None

    def add(self, chunk: AudioChunk) -> None:
        """Take a piece.

        Raises:
            ApiError: it is none that can be used, or too much.
        """
        form = chunk.rate, chunk.channels
        if chunk.width != 2 or chunk.rate not in RATES_HZ or not 1 <= chunk.channels <= 8:
            raise ApiError("Sound has 16 bits, 8 to 192 kHz and at most 8 channels.", code="invalid_audio")
        if self._resample is None:
            self._form = form
            self._resample = soxr.ResampleStream(chunk.rate, INPUT_RATE_HZ, 1, dtype="float32")
        if form != self._form or len(chunk.audio) % (2 * chunk.channels):
            raise ApiError("The sound changes its form or ends within a sample.", code="invalid_audio")
        samples = np.frombuffer(chunk.audio, "<i2").reshape(-1, chunk.channels).mean(1, dtype=np.float32) / 32768
        self._keep(self._resample.resample_chunk(samples))

    def _keep(self, part: np.ndarray) -> None:
        self._length += len(part)
        if self._length > self._most:
            raise ApiError(f"A recording lasts at most {self._most // INPUT_RATE_HZ} s.", code="invalid_audio")
        self._parts.append(part)

    def take(self) -> Samples | None:
        """Return all of it, if there is anything, and begin anew."""
        if self._resample is not None:
            self._keep(self._resample.resample_chunk(np.zeros(0, np.float32), last=True))
        array = np.concatenate(self._parts) if self._parts else np.zeros(0, np.float32)
        self.clear()
        return Samples(array, INPUT_RATE_HZ) if len(array) else None


def _info(services: Services) -> Info:
    by = Attribution("kimi-audio", "https://arxiv.org/abs/2504.18425")
    common: dict[str, Any] = {"attribution": by, "installed": True, "version": None}
    name = services.model_name
    model = AsrModel(name=name, description=f"{name}: speech to text", languages=LANGUAGES, **common)
    voices = [
        TtsVoice(name=voice, description=f"the voice {voice}", languages=LANGUAGES, **common)
        for voice in services.voices.names
    ]
    about: dict[str, Any] = {"name": "kimi-audio", "description": "an audio foundation model"} | common
    return Info(asr=[AsrProgram(models=[model], **about)], tts=[TtsProgram(voices=voices, **about)])
