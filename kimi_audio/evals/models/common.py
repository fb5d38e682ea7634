"""What the adapters share."""

import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from kimi_audio.audio.io import decode_audio
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.contract.types import Options


def check_decoding(family: str, options: Options, known: Iterable[str]) -> None:
    """Raise ValueError if the decoding has an option that the adapter does not pass on."""
    names = sorted(known)
    if unknown := sorted(set(options.decoding) - set(names)):
        raise ValueError(f"{family} has no decoding option {unknown[0]!r}; it has {', '.join(names) or 'none'}")


def wav_bytes(clip: Clip) -> bytes:
    """Return a recording as 16-bit WAV, mono, at its own rate: what everybody reads."""
    samples = decode_audio(clip)
    array = np.asarray(samples.array)
    file = io.BytesIO()
    soundfile.write(file, array if array.ndim == 1 else array.mean(axis=1), samples.rate_hz, "PCM_16", format="WAV")
    return file.getvalue()


@cache
def presets(kind: str) -> dict[str, dict[str, Any]]:
    """Return the rows of ``presets.yaml`` of a kind, by name."""
    return yaml.safe_load(Path(__file__).with_name("presets.yaml").read_text("utf-8"))[kind]
