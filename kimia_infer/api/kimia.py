"""The class under its official address: ``from kimia_infer.api.kimia import KimiAudio``."""

from kimi_audio.assistant import KimiAudio

__all__ = ["KimiAudio"]
