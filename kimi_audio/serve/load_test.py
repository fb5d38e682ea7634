"""Scripted conversations against any Realtime address, many at once, and how long their parts take.

A client speaks a recording in real time, waits for the answer, plays it in its mind, and speaks again. Time counts from
the end of the speech in the recording to the first sound; a gap is a moment at which playback had nothing left.
"""

import asyncio
import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kimi_audio.audio.io import load_audio
from kimi_audio.audio.speech_gate import speech_like_frames

RATE_HZ = 24_000
FRAME_S = 0.04
SILENCE_S = 2.0  # after a recording: the server has to notice that it is over
GIVE_UP_S = 60.0


@dataclass(frozen=True)
class Exchange:
    """What came of one question."""

    client: int
    first_sound_s: float | None  # from the end of speech; None: there was none
    answer_s: float = 0.0  # of sound
    gaps_s: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Script:
    """What every client does."""

    recordings: Sequence[Path]
    turns: int = 3
    silence_ms: int = 300
    is_transcribed: bool = False  # what the clients say is written down for them, as the page wants it


async def run(address: str, script: Script, clients: int, api_key: str = "") -> list[Exchange]:
    """Hold some conversations at once.

    Args:
        address: of the server, such as ``ws://127.0.0.1:8000/v1/realtime?model=nano``.
        script: what is said.
        clients: how many conversations.
        api_key: if the server needs one.
    """
    sounds = [_pcm(path) for path in script.recordings]
    work = [_converse(address, script, sounds, number, api_key) for number in range(clients)]
    return [turn for turns in await asyncio.gather(*work) for turn in turns]


def _pcm(path: Path) -> tuple[bytes, float]:
    """Return the samples of a recording and when its speech ends."""
    wav = load_audio(path, RATE_HZ)
    spoken = np.flatnonzero(speech_like_frames(load_audio(path, 16_000)).numpy())
    end_s = len(wav) / RATE_HZ if not len(spoken) else min(len(wav) / RATE_HZ, (int(spoken[-1]) + 2) * 0.016)
    return (wav.numpy().clip(-1, 1) * 32767).astype("<i2").tobytes(), end_s


def _said_again(sound: bytes, number: int) -> bytes:
    """Return a recording a little quieter, by its number: what a model has written down, it need not write again."""
    return (np.frombuffer(sound, "<i2") * (1 - number % 200 / 1000)).astype("<i2").tobytes()


async def _converse(
    address: str, script: Script, sounds: list[tuple[bytes, float]], number: int, api_key: str
) -> list[Exchange]:
    from websockets.asyncio.client import connect

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    turns = []
    try:
        async with connect(address, additional_headers=headers, max_size=None) as socket:
            vad = {"type": "server_vad", "silence_duration_ms": script.silence_ms, "interrupt_response": False}
            transcription = {"model": "whisper-1"} if script.is_transcribed else None
            session = {"type": "realtime", "audio": {"input": {"turn_detection": vad, "transcription": transcription}}}
            await socket.send(json.dumps({"type": "session.update", "session": session}))
            await asyncio.sleep(FRAME_S * number % 1.0)  # not all in the same moment
            for turn in range(script.turns):
                sound, end_s = sounds[(number + turn) % len(sounds)]
                turns.append(await _one_turn(socket, _said_again(sound, number + 37 * turn), end_s, number))
    except Exception as error:  # noqa: BLE001 - a client that fails is a result, too
        turns.append(Exchange(number, None, error=f"{type(error).__name__}: {error}"))
    return turns


async def _one_turn(socket: Any, sound: bytes, end_s: float, number: int) -> Exchange:
    began_s = time.monotonic()
    speaking = asyncio.create_task(_speak(socket, sound, began_s))
    first_s, played_until_s, answer_s, gaps_s = None, 0.0, 0.0, 0.0
    try:
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                event = json.loads(await socket.recv())
                now_s = time.monotonic()
                if event["type"] == "response.output_audio.delta":
                    seconds = len(base64.b64decode(event["delta"])) / 2 / RATE_HZ
                    first_s = now_s if first_s is None else first_s
                    gaps_s += max(0.0, now_s - played_until_s) if answer_s else 0.0
                    played_until_s, answer_s = max(now_s, played_until_s) + seconds, answer_s + seconds
                elif event["type"] == "response.done":
                    break
                elif event["type"] == "error":
                    return Exchange(number, None, error=event["error"]["message"])
    except TimeoutError:
        return Exchange(number, None, error=f"no answer within {GIVE_UP_S:g} s")
    finally:
        speaking.cancel()
    await asyncio.sleep(max(0.0, played_until_s - time.monotonic()))
    return Exchange(number, None if first_s is None else first_s - began_s - end_s, answer_s, gaps_s)


async def _speak(socket: Any, sound: bytes, began_s: float) -> None:
    """Send a recording and some silence, frame by frame, as a microphone would."""
    sound += bytes(round(SILENCE_S * RATE_HZ) * 2)
    size = round(FRAME_S * RATE_HZ) * 2
    for place, start in enumerate(range(0, len(sound), size)):
        await asyncio.sleep(max(0.0, began_s + place * FRAME_S - time.monotonic()))
        audio = base64.b64encode(sound[start : start + size]).decode()
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


@dataclass(frozen=True)
class Summary:
    """The figures of one number of clients."""

    clients: int
    turns: int
    failed: int
    first_sound_p50_s: float
    first_sound_p95_s: float
    turns_with_gaps: int

    @classmethod
    def of(cls, clients: int, turns: Sequence[Exchange]) -> "Summary":
        """Sum up."""
        times = [turn.first_sound_s for turn in turns if turn.first_sound_s is not None]
        p50, p95 = np.percentile(times, [50, 95]) if times else (float("nan"), float("nan"))
        failed = sum(turn.first_sound_s is None for turn in turns)
        return cls(clients, len(turns), failed, float(p50), float(p95), sum(turn.gaps_s > 0.02 for turn in turns))
