"""The encoder that nano hears with: that of a Whisper, given windows as long as the sound."""

from dataclasses import replace

from kimi_audio.checkpoint import find_transformers, load_whisper, read_config
from kimi_audio.core.config import EncoderConfig
from kimi_audio.tokenizer.acoustic import AcousticEncoder


def bare_encoder(whisper: str) -> AcousticEncoder:
    """Return the encoder of a Whisper of transformers without the silence that fills windows up to 30 s.

    Args:
        whisper: a folder or a hub id, such as ``openai/whisper-tiny.en``.

    Raises:
        ValueError, ConnectionError: it cannot be found, or is no Whisper.
    """
    folder = find_transformers(whisper)
    config = read_config(EncoderConfig, folder / "config.json")
    return load_whisper(folder, config=replace(config, pad_windows=False))
