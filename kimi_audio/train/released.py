"""The sizes of the released models, for whoever plans a run before a model is there."""

from pathlib import Path

from kimi_audio.checkpoint import find_model, load_acoustic_config, load_lm_config
from kimi_audio.core.config import EncoderConfig, LMConfig

RELEASED = ("moonshotai/Kimi-Audio-7B", "moonshotai/Kimi-Audio-7B-Instruct")
LM = LMConfig(
    vocab_size=168_448,
    hidden_size=3584,
    intermediate_size=18_944,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    rms_norm_eps=1e-6,
    rope_theta=1_000_000.0,
    max_positions=8192,
    num_audio_layers=6,
    branch_layer_index=21,
    audio_offset=152_064,
    adaptor_input_size=5120,
    pad_id=152_063,
)
ACOUSTIC = EncoderConfig(num_mel_bins=128, hidden_size=1280, num_layers=32, num_heads=20, ffn_size=5120)


def is_released(base: str) -> bool:
    """Tell whether a name is that of a released model on the hub."""
    return base in RELEASED and not Path(base).exists()


def sizes_of(base: str) -> tuple[LMConfig, EncoderConfig]:
    """Return the sizes of LLM and acoustic encoder; for released models without looking anywhere.

    Raises:
        ValueError, ConnectionError: see ``find_model``.
    """
    if is_released(base):
        return LM, ACOUSTIC
    folder = find_model(base, with_weights=False)
    return load_lm_config(folder), load_acoustic_config(folder)
