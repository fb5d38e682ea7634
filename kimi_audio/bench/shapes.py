"""Models of random weights: what a size costs can be measured without its checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from kimi_audio.core.config import DiTConfig, EncoderConfig, FlowConfig, LMConfig, SemanticConfig, VocoderConfig
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.stream import Detokenizer
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.empty import build_empty
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Shape:
    """The sizes of a whole model."""

    lm: LMConfig
    semantic: SemanticConfig
    acoustic: EncoderConfig
    flow: FlowConfig
    vocoder: VocoderConfig


_QWEN: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "max_positions": 8192,
    "num_audio_layers": 6,
    "adaptor_input_size": 5120,
}
HALF_BILLION = LMConfig(
    **_QWEN,
    vocab_size=24_576,
    audio_offset=8192,
    pad_id=8191,
    hidden_size=896,
    intermediate_size=4864,
    num_layers=24,
    num_heads=14,
    num_kv_heads=2,
    branch_layer_index=17,
)
RELEASED_LM = LMConfig(
    **_QWEN,
    vocab_size=168_448,
    audio_offset=152_064,
    pad_id=152_063,
    hidden_size=3584,
    intermediate_size=18_944,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    branch_layer_index=21,
)


def _whisper(size: int, layers: int, heads: int) -> dict[str, Any]:
    return {"num_mel_bins": 128, "hidden_size": size, "num_layers": layers, "num_heads": heads, "ffn_size": 4 * size}


def _shape(lm: LMConfig, encoders: tuple[int, int, int], dit: tuple[int, int, int], vocoder_channels: int) -> Shape:
    """Return a shape whose encoders and DiT have so many channels, layers and heads."""
    hidden, layers, heads = encoders
    whisper = _whisper(hidden, layers, heads)
    semantic = SemanticConfig(**whisper, num_used_layers=layers // 2, num_codes=lm.num_codes, block_frames=200)
    channels, depth, dit_heads = dit
    network = DiTConfig(
        num_mel_bins=80,
        num_codes=lm.num_codes,
        hidden_size=channels,
        num_layers=depth,
        num_heads=dit_heads,
        mlp_ratio=4.0,
    )
    vocoder = VocoderConfig(
        num_mels=80,
        n_fft=1024,
        win_size=1024,
        fmin=0,
        fmax=None,
        upsample_initial_channel=vocoder_channels,
        upsample_rates=(5, 2, 2, 2, 2, 3, 2),
        upsample_kernel_sizes=(9, 4, 4, 4, 4, 5, 4),
        resblock_kernel_sizes=(3, 5, 7, 11),
        resblock_dilation_sizes=((1, 3, 5),) * 4,
    )
    lm = replace(lm, adaptor_input_size=4 * hidden)
    return Shape(lm, semantic, EncoderConfig(**whisper), FlowConfig(dit=network), vocoder)


SHAPES = {
    "tiny": _shape(LMConfig.tiny(), (16, 2, 2), (16, 1, 2), 128),
    "0.5b": _shape(HALF_BILLION, (768, 12, 12), (512, 8, 8), 512),
    "7b": _shape(RELEASED_LM, (1280, 32, 20), (2304, 16, 18), 2048),
}


def random_module(build: Callable[[], Module], device: torch.device, dtype: torch.dtype) -> Module:
    """Return a network of random weights, made where and as they are to be: no other copy is ever held."""
    module = build_empty(build).to(dtype).to_empty(device=device)
    draw = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dim() > 1:
                tensor.normal_(0.0, 0.02, generator=draw)
            else:
                tensor.fill_(0.5)
    return module.requires_grad_(False).eval()


def random_lm(shape: Shape, device: torch.device, dtype: torch.dtype) -> AudioLM:
    """Return the LLM of a shape."""
    return random_module(lambda: AudioLM(shape.lm), device, dtype)


def random_encoders(
    shape: Shape, device: torch.device, dtype: torch.dtype
) -> tuple[SemanticTokenizer, AcousticEncoder]:
    """Return the encoders of a shape."""
    semantic = random_module(lambda: SemanticTokenizer(shape.semantic), device, torch.float32)
    return semantic, random_module(lambda: AcousticEncoder(shape.acoustic), device, dtype)


def random_detokenizer(shape: Shape, device: torch.device, dtype: torch.dtype) -> Detokenizer:
    """Return the detokenizer of a shape."""
    dit = random_module(lambda: DiT(shape.flow.dit), device, dtype)
    vocoder = random_module(lambda: BigVGAN(shape.vocoder), device, torch.float32)
    return Detokenizer(dit, vocoder, shape.flow, shape.vocoder)
