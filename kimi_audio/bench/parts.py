"""What the parts of a model cost, each alone."""

from collections.abc import Sequence

import torch
from torch import nn

from kimi_audio.bench.machine import seconds
from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Inputs
from kimi_audio.core.units import MEL_FRAMES_PER_TOKEN
from kimi_audio.detokenizer.policy import TOKEN_S
from kimi_audio.detokenizer.stream import Call, Detokenizer
from kimi_audio.lm.cache import KVCache, Stretch, Stretches, token_bytes
from kimi_audio.lm.captured import Steps, with_steps
from kimi_audio.lm.engine import LanguageModel
from kimi_audio.lm.model import AudioLM

PREFILL_POSITIONS = 200
CONTEXTS = 250, 1000, 4000  # positions
BATCHES = 1, 2, 4, 8, 16, 32, 64  # requests
BATCH_POSITIONS = 250  # known of each
CONTEXT_CHUNKS = 2  # whole chunks that the measured one continues


def fill(cache: KVCache, config: LMConfig, length: int, device: torch.device, dtype: torch.dtype) -> KVCache:
    """Return an empty cache as if so many positions had been computed."""
    draw = torch.Generator(device).manual_seed(length)
    shape = 2, config.num_kv_heads, length, config.head_size
    for layer in range(config.num_layers + config.num_audio_layers):
        keys, values = torch.randn(shape, generator=draw, device=device).to(dtype)
        cache.update(layer, 0, keys, values)
    return cache


def decode(lm: LanguageModel, caches: Sequence[tuple[KVCache, int]], new: int = 1) -> torch.Tensor:
    """Compute the next positions of several requests, each with its cache and what it holds; return the likeliest."""
    audio = torch.arange(new * len(caches), device=lm.device)[None] % lm.config.audio_offset
    positions = torch.cat([torch.arange(length, length + new, device=lm.device) for _, length in caches])[None]
    stretches = Stretches(tuple(Stretch(cache, length, new) for cache, length in caches))
    output = lm(Inputs(audio, audio, audio < 0, None, positions), stretches)
    assert output.text_logits is not None
    assert output.audio_logits is not None
    return output.text_logits.argmax(-1) + output.audio_logits.argmax(-1)


def step_bytes(lm: AudioLM, positions: int, requests: int = 1) -> int:
    """Return what a step has to read: all matrices but the rows of the embedding, and the caches."""
    config = lm.config
    unread = [lm.model.embed_tokens, lm.model.vq_adaptor]
    weights = _bytes_of(lm) - sum(map(_bytes_of, unread))
    layers = config.num_layers + config.num_audio_layers
    return weights + requests * positions * token_bytes(config, layers, lm.dtype)


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@torch.inference_mode()
def lm_costs(lm: AudioLM, steps: Steps, bandwidth: float, repeats: int) -> dict[str, object]:
    """Return the cost of a prompt, of steps at several lengths, and of many requests at once.

    Args:
        lm: on its device.
        steps: how they are made.
        bandwidth: what the device reads in bytes per second.
        repeats: of each measurement.
    """
    config, device = lm.config, lm.device
    model, new_cache = with_steps(lm, steps)
    prompt = min(PREFILL_POSITIONS, config.max_positions // 2)
    prefill_s = seconds(lambda: decode(lm, [(KVCache(), 0)], prompt), device, repeats)
    lengths = []
    for length in (length for length in CONTEXTS if length < config.max_positions):
        cache = fill(new_cache(), config, length, device, lm.dtype)
        step_s = seconds(lambda cache=cache, length=length: decode(model, [(cache, length)]), device, repeats)
        cache.close()
        rate = step_bytes(lm, length) / step_s
        lengths.append({"positions": length, "step_s": step_s, "bytes_per_s": rate, "share": rate / bandwidth})
    batches = []
    known = min(BATCH_POSITIONS, config.max_positions // 2)
    caches = [(fill(new_cache(), config, known, device, lm.dtype), known) for _ in range(max(BATCHES))]
    for size in BATCHES:
        step_s = seconds(lambda size=size: decode(model, caches[:size]), device, repeats)
        batches.append({"requests": size, "step_s": step_s, "tokens_per_s": size / step_s})
    return {
        "weights_bytes": _bytes_of(lm),
        "prefill_positions": prompt,
        "prefill_s": prefill_s,
        "steps": lengths,
        "batches": batches,
    }


@torch.inference_mode()
def detokenizer_costs(detokenizer: Detokenizer, repeats: int) -> dict[str, object]:
    """Return seconds per second of sound: of a whole chunk in a stream, and of the vocoder alone."""
    tokens, plan = detokenizer.plan.chunk_tokens, detokenizer.plan
    draw = torch.Generator().manual_seed(0)
    codes = [position % detokenizer.flow_config.dit.num_codes for position in range(tokens)]
    state = detokenizer.init_state()
    for _ in range(CONTEXT_CHUNKS):
        _, state = detokenizer.decode_chunk(codes, state, False, draw)
    chunk_s = seconds(lambda: detokenizer.decode_chunks([Call(codes, state, False, draw)]), detokenizer.device, repeats)
    frames = tokens * MEL_FRAMES_PER_TOKEN
    mel = torch.randn(1, frames, detokenizer.vocoder_config.num_mels, generator=draw).to(detokenizer.device)
    vocoder_s = seconds(lambda: detokenizer.vocoder(mel), detokenizer.device, repeats)
    sound_s = tokens * TOKEN_S
    return {
        "chunk_tokens": tokens,
        "solver": plan.solver,
        "evaluations": (plan.ode_steps - 1) * (1 if plan.guidance_scale == 1 else 2),
        "real_time_factor": chunk_s / sound_s,
        "vocoder_real_time_factor": vocoder_s / sound_s,
    }
