"""A small assistant that answers at once, and a real server in front of it."""

import io
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import torch

from kimi_audio.answers import StreamChunk, Usage
from kimi_audio.audio.io import load_audio
from kimi_audio.chat import Message
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_SAMPLES_PER_TOKEN, tokens_in_audio
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.serve.app import create_app
from kimi_audio.serve.server import Server, make_server
from kimi_audio.serve.services import Services
from kimi_audio.serve.settings import ServeSettings
from kimi_audio.transcript.timed_text import Segment, Word

READ = "Read: "


@dataclass
class FakeAssistant:
    """Hears how long a sound is, and says what it was told to say, one word and one code a chunk."""

    says: Any = "it is three."  # or what makes it from the messages
    pause_s: float = 0.0  # before every chunk
    asked: list[Any] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)  # what turns were heard after, while they were spoken
    finished: list[int] = field(default_factory=list)  # tokens of these turns
    stopped: threading.Event = field(default_factory=threading.Event)  # a reply was given up
    settings: Any = field(default_factory=lambda: SimpleNamespace(voices=("Ava", "Ben")))

    kept_bytes = 1234

    def with_own_engine(self) -> Any:
        return self

    def encode_audio(self, source: Any, most_tokens: int | None = None) -> AudioTokens:
        if isinstance(source, AudioTokens):
            return source
        count = tokens_in_audio(len(load_audio(source, INPUT_RATE_HZ)))
        return AudioTokens(torch.arange(count) % 7, torch.zeros(count, 4))

    def hear(self, history: None = None, *, rate_hz: int = INPUT_RATE_HZ) -> Any:
        pieces: list[np.ndarray] = []

        def finish() -> AudioTokens:
            tokens = self.encode_audio((np.concatenate(pieces), rate_hz))
            self.finished.append(len(tokens.codes))
            return tokens

        return SimpleNamespace(push=pieces.append, finish=finish, final_tokens=0)

    def prefill(self, messages: Any, output_type: Any) -> Any:
        self.heard.append((list(messages), output_type))
        return SimpleNamespace(reply=lambda: None)

    context_tokens: int = 1000

    def count_tokens(self, messages: Any, output_type: Any = "both") -> int:
        return sum(len(message.content.codes) if message.message_type == "audio" else 10 for message in messages)

    def reading_options(self) -> GenerationOptions:
        return GenerationOptions("both")

    def default_options(self, output_type: Any) -> GenerationOptions:
        return GenerationOptions(output_type, beams=2)

    def think(
        self, messages: Any, options: GenerationOptions, *, cancelled: Any = None, **rest: Any
    ) -> Iterator[StreamChunk]:
        text = messages[-1].content if messages else ""
        if isinstance(text, str) and text.startswith(READ):
            return self._chunks(text.removeprefix(READ), "both", cancelled, None)
        self.asked.append(list(messages))
        text = self.says(messages) if callable(self.says) else self.says
        return self._chunks(text, options.output_type, cancelled, options.max_new_tokens)

    def reading(self, text: str, voice: Any = None, instructions: str = "") -> tuple[list[Message], Any]:
        self.asked.append((text, voice, instructions))
        return [Message("user", "text", READ + text)], voice

    def code_chunks(self) -> Any:
        def push(code: int | None, is_final: bool) -> list[tuple[list[int], bool]]:
            return [([] if code is None else [code], is_final)]

        return SimpleNamespace(push=push, may_begin=lambda *_: True)

    def begin_speech(self, voice: Any = None, seed: int | None = None) -> Any:
        return SimpleNamespace(render=lambda codes, _: torch.full((len(codes) * OUTPUT_SAMPLES_PER_TOKEN,), 0.25))

    def passages(self, source: Any) -> Iterator[Any]:
        yield SimpleNamespace(pieces=(None,), seconds=len(load_audio(source, INPUT_RATE_HZ)) / INPUT_RATE_HZ)

    def write_down(
        self, passage: Any, timestamps: Any = "segment", *, hotwords: Any = (), cancelled: Any = None
    ) -> Iterator[Any]:
        seconds = passage.seconds
        self.asked.append(("transcript", seconds, timestamps, list(hotwords)))
        for number, text in enumerate((f"{seconds:.1f} seconds", "of sound.")):
            begin_s, end_s = number * seconds / 2, (number + 1) * seconds / 2
            words = (Word(text.split()[-1], begin_s, end_s),) if timestamps == "word" else ()
            yield Segment(text, begin_s, end_s, words)

    def _chunks(self, *given: Any) -> Iterator[StreamChunk]:
        try:
            yield from self._words(*given)
        except GeneratorExit:
            self.stopped.set()
            raise

    def _words(self, text: str, output_type: str, cancelled: Any, most: int | None) -> Iterator[StreamChunk]:
        words = text.split(" ")
        speaks = output_type == "both"
        for number, word in enumerate(words):
            time.sleep(self.pause_s)
            if cancelled is not None and cancelled():
                self.stopped.set()
                yield StreamChunk("", torch.zeros(0), True, "cancelled", (), Usage(3, 5, 2, number, number * speaks))
                return
            if most is not None and number >= most:
                yield StreamChunk("", torch.zeros(0), True, "length", (), Usage(3, 5, 2, number, number * speaks))
                return
            yield StreamChunk(
                word if not number else " " + word, torch.zeros(0), False, None, (number % 7,) if speaks else ()
            )
        yield StreamChunk("", torch.zeros(0), True, "stop", (), Usage(3, 5, 2, len(words), len(words) * speaks))


class Address(str):
    """``127.0.0.1:PORT``, and the parts of the server there."""

    services: Services
    server: Server


@contextmanager
def running(
    assistant: Any, settings: ServeSettings | None = None, model_name: str = "fake", **options: Any
) -> Iterator[Address]:
    """Serve on a free port; options as for ``make_server``."""
    settings = replace(settings or ServeSettings(), port=0)
    app = create_app(assistant, model_name, settings)
    ready: queue.SimpleQueue[str] = queue.SimpleQueue()
    server = make_server(app, settings, on_ready=ready.put, **options)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    address = Address(ready.get(timeout=60).split("/")[2])
    address.services, address.server = app.state.services, server
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def wav_file(seconds: float, rate_hz: int = 16_000) -> bytes:
    """Return a tone as a wav file."""
    memory = io.BytesIO()
    soundfile.write(memory, 0.3 * np.sin(np.arange(int(seconds * rate_hz)) / 20), rate_hz, format="WAV")
    return memory.getvalue()
