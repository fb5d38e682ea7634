"""The whole measurement, of a model or of a shape."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kimi_audio import checkpoint
from kimi_audio.assistant import KimiAudio
from kimi_audio.audio.io import load_audio
from kimi_audio.bench.machine import describe, peak_bytes, read_bytes_per_s
from kimi_audio.bench.parts import detokenizer_costs, lm_costs
from kimi_audio.bench.shapes import SHAPES, random_detokenizer, random_encoders, random_lm
from kimi_audio.bench.talk import RandomModel, Talk, replies_of, summary
from kimi_audio.core.quantized import FORMATS, Format
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.lm.captured import Steps
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.quantize import quantize_lm
from kimi_audio.nn.precision import computes_bf16

Results = dict[str, Any]


def formats_for(device: torch.device) -> list[str]:
    """Return the formats of the LLM that make sense on a device."""
    plain = ["float32"] if device.type == "cpu" else []
    return [*plain, *(["bfloat16"] if computes_bf16(device.type) else []), *FORMATS]


def check_formats(names: Sequence[str]) -> None:
    """Check that the formats exist.

    Raises:
        ValueError: one does not.
    """
    known = ["float32", "bfloat16", *FORMATS]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no format {unknown[0]!r:.60}; use {', '.join(known)}")


def measure_shape(
    name: str,
    device: torch.device,
    formats: Sequence[str],
    steps: Steps,
    repeats: int,
    tell: Callable[[str], object],
) -> Results:
    """Return what random weights of a shape cost; see ``SHAPES``."""
    shape = SHAPES[name]

    def build(dtype: torch.dtype, quantize: Format | None) -> AudioLM:
        lm = random_lm(shape, device, dtype)
        return lm if quantize is None else quantize_lm(lm, quantize)

    results, lm = _measured_lms(build, device, formats, steps, repeats, tell)
    tell("detokenizer")
    detokenizer = random_detokenizer(shape, device, _dtype(device))
    results["detokenizer"] = detokenizer_costs(detokenizer, repeats)
    tell("replies")
    model = RandomModel(*random_encoders(shape, device, _dtype(device)), lm, detokenizer, steps)
    results["talk"] = summary(model.replies(repeats)) | {"lm": formats[-1]}
    return {"model": f"random {name}"} | describe(device) | results | {"peak_bytes": peak_bytes(device)}


def measure_model(
    path: str,
    device: torch.device,
    formats: Sequence[str],
    steps: Steps,
    repeats: int,
    questions: Sequence[Path],
    tell: Callable[[str], object],
) -> Results:
    """Return what a model costs, answering recorded questions."""
    folder = checkpoint.find_model(path)

    def build(dtype: torch.dtype, quantize: Format | None) -> AudioLM:
        return checkpoint.load_lm(folder, device, dtype, quantize)

    results, _ = _measured_lms(build, device, formats, steps, repeats, tell)
    tell("detokenizer")
    begin = time.perf_counter()
    model = KimiAudio(path, device=device, steps=steps)
    results["load_s"] = time.perf_counter() - begin
    assert model.detokenizer is not None
    results["detokenizer"] = detokenizer_costs(model.detokenizer, repeats)
    tell("replies")
    sounds = [load_audio(question, INPUT_RATE_HZ) for question in questions]
    talks: list[Talk] = replies_of(model, sounds)
    results["talk"] = summary(talks) | {"lm": str(model.lm.dtype).removeprefix("torch.")}
    return {"model": path} | describe(device) | results | {"peak_bytes": peak_bytes(device)}


def _measured_lms(
    build: Callable[[torch.dtype, Format | None], AudioLM],
    device: torch.device,
    formats: Sequence[str],
    steps: Steps,
    repeats: int,
    tell: Callable[[str], object],
) -> tuple[Results, AudioLM]:
    """Measure the LLM in one format after the other, of which one is held at a time; return the last one, too."""
    check_formats(formats)
    bandwidth = read_bytes_per_s(device)
    lms: dict[str, Any] = {}
    lm = None
    for name in formats:
        tell(f"LLM in {name}")
        lm = None  # its memory goes before the next one's comes
        begin = time.perf_counter()
        lm = build(*_kinds(name, device))
        made_s = time.perf_counter() - begin
        lms[name] = {"made_s": made_s} | lm_costs(lm, steps, bandwidth, repeats)
    if lm is None:
        raise ValueError("name at least one format")
    return {"steps": steps, "read_bytes_per_s": bandwidth, "lm": lms}, lm


def _kinds(name: str, device: torch.device) -> tuple[torch.dtype, Format | None]:
    for quantized in FORMATS:
        if name == quantized:
            return _dtype(device), quantized
    return getattr(torch, name), None


def _dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" else torch.bfloat16
