"""Kimi-Audio: a model that hears, speaks and converses.

The names below are the public surface; they are imported when first used, because torch takes a second.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kimi_audio.answers import Answer, StreamChunk
    from kimi_audio.assistant import KimiAudio
    from kimi_audio.audio.io import load_audio, save_audio
    from kimi_audio.chat import Message
    from kimi_audio.lm.rules import GenerationOptions
    from kimi_audio.lm.sampling import SamplingOptions
    from kimi_audio.voice import Voice

__all__ = [
    "Answer",
    "GenerationOptions",
    "KimiAudio",
    "Message",
    "SamplingOptions",
    "StreamChunk",
    "Voice",
    "load_audio",
    "save_audio",
]

_HOMES = {
    "Answer": "answers",
    "GenerationOptions": "lm.rules",
    "KimiAudio": "assistant",
    "Message": "chat",
    "SamplingOptions": "lm.sampling",
    "StreamChunk": "answers",
    "Voice": "voice",
    "load_audio": "audio.io",
    "save_audio": "audio.io",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("kimi-audio")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
