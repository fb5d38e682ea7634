"""Home Assistant's protocol, spoken by the unmodified client library."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from serve_fakes import FakeAssistant

pytest.importorskip("wyoming", reason="the package wyoming is not installed")
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeVoice

from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.serve.app import new_services
from kimi_audio.serve.settings import ServeLimits, ServeSettings
from kimi_audio.serve.wyoming_service import handler_of, wyoming_server
from kimi_audio.transcript.timed_text import Segment

Talk = Callable[[AsyncTcpClient], Awaitable[Any]]


def talked(talk: Talk, assistant: FakeAssistant | None = None, limits: ServeLimits | None = None) -> Any:
    """Return what a conversation with a server of its own returns."""

    async def story() -> Any:
        settings = ServeSettings(limits=limits or ServeLimits())
        services = new_services(assistant or FakeAssistant(), "fake", settings)
        server = wyoming_server("tcp://127.0.0.1:0")
        await server.start(handler_of(services))
        port = server._server.sockets[0].getsockname()[1]  # pyright: ignore
        try:
            async with asyncio.timeout(30), AsyncTcpClient("127.0.0.1", port) as client:
                return await talk(client)
        finally:
            await server.stop()
            services.backend.close()

    return asyncio.run(story())


async def said(client: AsyncTcpClient, seconds: float, rate: int = 16_000, width: int = 2, channels: int = 1) -> Any:
    form = {"rate": rate, "width": width, "channels": channels}
    await client.write_event(AudioStart(**form).event())
    tone = (3000 * np.sin(np.arange(int(seconds * rate)) / 20)).astype("<i2").repeat(channels).tobytes()
    for start in range(0, len(tone), 4096):
        await client.write_event(AudioChunk(audio=tone[start : start + 4096], **form).event())
    await client.write_event(AudioStop().event())
    return await client.read_event()


def test_it_tells_what_it_can():
    async def talk(client: AsyncTcpClient) -> Info:
        await client.write_event(Describe().event())
        return Info.from_event(await client.read_event())

    info = talked(talk)
    assert [model.name for model in info.asr[0].models] == ["fake"]
    assert {"Ava", "Ben"} <= {voice.name for voice in info.tts[0].voices}


@pytest.mark.parametrize("form", [{}, {"rate": 48_000, "channels": 2}, {"rate": 8000}])
def test_a_recording_is_written_down_again_and_again(form):
    assistant = FakeAssistant()

    async def talk(client: AsyncTcpClient) -> list[str]:
        texts = []
        for seconds in (1.0, 2.0):
            await client.write_event(Transcribe(transcript_names=["Kitchen"]).event())
            texts.append(Transcript.from_event(await said(client, seconds, **form)).text)
        return texts

    assert talked(talk, assistant) == ["1.0 seconds of sound.", "2.0 seconds of sound."]
    assert assistant.asked[-1][3] == ["Kitchen"]


def test_a_text_is_read_aloud():
    assistant = FakeAssistant()

    async def talk(client: AsyncTcpClient) -> tuple[AudioStart, int]:
        await client.write_event(Synthesize("one two three", SynthesizeVoice(name="Ben")).event())
        start = AudioStart.from_event(await client.read_event())
        count = 0
        while not AudioStop.is_type((event := await client.read_event()).type):
            count += len(AudioChunk.from_event(event).audio) // 2
        return start, count

    start, count = talked(talk, assistant)
    assert (start.rate, start.width, start.channels) == (24_000, 2, 1)
    assert count == 3 * OUTPUT_SAMPLES_PER_TOKEN
    assert assistant.asked[-1] == ("one two three", "Ben", "")


def test_speech_that_is_cut_off_ends_with_an_error():
    class Hoarse(FakeAssistant):
        """Says one word of a text."""

        def _chunks(self, *given: Any) -> Any:
            return super()._chunks(*given[:-1], 1)

    async def talk(client: AsyncTcpClient) -> list[str]:
        await client.write_event(Synthesize("one two three").event())
        types = []
        while event := await client.read_event():
            types.append(event.type)
        return types

    assert talked(talk, Hoarse()) == ["audio-start", "audio-chunk", "error"]


def test_who_does_not_read_is_let_go_and_gives_its_place_back():
    async def story() -> None:
        services = new_services(FakeAssistant(), "fake", ServeSettings(limits=ServeLimits(send_s=0.5)))
        server = wyoming_server("tcp://127.0.0.1:0")
        await server.start(handler_of(services))
        address = server._server.sockets[0].getsockname()  # pyright: ignore
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(address)
            data = json.dumps(Synthesize("a " * 1500).event().data).encode()
            connection.sendall(json.dumps({"type": "synthesize", "data_length": len(data)}).encode() + b"\n" + data)
            async with asyncio.timeout(15):
                while not services.slots.count:
                    await asyncio.sleep(0.01)
                while services.slots.count:
                    await asyncio.sleep(0.01)
        await server.stop()
        services.backend.close()

    asyncio.run(story())


class Endless(FakeAssistant):
    """Never has done with a recording."""

    def write_down(self, passage: Any, timestamps: Any = "segment", **_: Any) -> Any:
        while True:
            time.sleep(0.02)
            yield Segment("more", 0.0, 1.0)


def test_what_nobody_waits_for_is_not_written_down():
    async def story() -> None:
        services = new_services(Endless(), "fake", ServeSettings())
        server = wyoming_server("tcp://127.0.0.1:0")
        await server.start(handler_of(services))
        port = server._server.sockets[0].getsockname()[1]  # pyright: ignore
        async with asyncio.timeout(15):
            client = AsyncTcpClient("127.0.0.1", port)
            await client.connect()
            waiting = asyncio.create_task(said(client, 0.5))
            while not services.slots.count:
                await asyncio.sleep(0.01)
            waiting.cancel()
            await client.disconnect()
            while services.slots.count:
                await asyncio.sleep(0.01)
        await server.stop()
        services.backend.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "wish",
    [
        lambda client: said(client, 0.1, width=4),
        lambda client: said(client, 2.5),
        lambda client: answer(client, Synthesize(" ")),
        lambda client: answer(client, Synthesize("a" * 101)),
        lambda client: answer(client, Synthesize("hello", SynthesizeVoice(name="/etc/passwd"))),
    ],
)
def test_what_cannot_be_done_is_told(wish):
    event = talked(wish, limits=ServeLimits(sound_s=2.0, text_chars=100))
    assert Error.is_type(event.type)
    assert Error.from_event(event).text


async def answer(client: AsyncTcpClient, wish: Any) -> Any:
    await client.write_event(wish.event())
    return await client.read_event()


@pytest.mark.parametrize("line", [b"no json\n", b'{"type": "audio-chunk", "payload_length": 99999999999}\n', b"[]\n"])
def test_who_does_not_speak_the_protocol_is_let_go(line):
    async def talk(client: AsyncTcpClient) -> bytes:
        assert client._writer is not None
        assert client._reader is not None
        client._writer.write(line)
        return await client._reader.read()

    assert talked(talk) == b""
