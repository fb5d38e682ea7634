"""Conversations about sounds made on the spot, for the miniature checkpoint."""

import json
from pathlib import Path

import numpy as np
import soundfile


def record(path: Path, hertz: float, seconds: float) -> str:
    """Write a tone and return its name, as a line of a file beside it mentions it."""
    time_s = np.arange(round(seconds * 16_000)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time_s), 16_000)
    return path.name


def user(kind: str, content: str) -> dict:
    return {"role": "user", "message_type": kind, "content": content}


def said(audio: str, text: str) -> dict:
    return {"role": "assistant", "message_type": "audio-text", "content": [audio, text]}


def write_conversations(folder: Path, copies: int = 2) -> Path:
    """Write a file with recognition, reading aloud and a spoken dialogue of two turns, and its recordings."""
    folder.mkdir(parents=True, exist_ok=True)
    heard = [record(folder / f"heard-{number}.wav", 300 + 100 * number, 0.4) for number in range(3)]
    reply = [record(folder / f"reply-{number}.wav", 500 + 90 * number, 0.5) for number in range(2)]
    asr = [user("text", "Write down:"), user("audio", heard[0])]
    asr.append({"role": "assistant", "message_type": "text", "content": "one two"})
    tts = [user("text", "Say: good day"), said(reply[0], "good day")]
    dialogue = [user("audio", heard[1]), said(reply[0], "hello"), user("audio", heard[2]), said(reply[1], "bye")]
    samples = [("understanding", asr), ("tts", tts), ("speech2speech", dialogue)] * copies
    file = folder / "talk.jsonl"
    lines = [json.dumps({"task_type": task, "conversation": messages}) for task, messages in samples]
    file.write_text("\n".join(lines) + "\n")
    return file
