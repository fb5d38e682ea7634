"""Recordings in every format that is read, made by the encoders of libsndfile and FFmpeg."""

import io
import tempfile
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

RATE_HZ = 16_000


def speechlike(duration_s: float = 1.5, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return float32 samples: a gliding tone and a little noise, which no codec takes for silence."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).standard_normal(len(times_s))
    return (0.3 * np.sin(2 * np.pi * (300 + 40 * times_s) * times_s) + 0.01 * noise).astype(np.float32)


def likeness(wav: Tensor, other: Tensor) -> float:
    """Return the correlation of two recordings [L] where they fit best."""
    size = 1 << (len(wav) + len(other)).bit_length()
    products = torch.fft.irfft(torch.fft.rfft(wav, size) * torch.fft.rfft(other, size).conj(), size)
    return float(products.max() / (wav.norm() * other.norm()))


def by_libsndfile(samples: np.ndarray, format: str, subtype: str | None = None, rate_hz: int = RATE_HZ) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
    return file.getvalue()


def by_ffmpeg(
    samples: np.ndarray, container: str, codec: str, rate_hz: int = RATE_HZ, options: dict[str, str] | None = None
) -> bytes:
    """Encode mono samples with PyAV; ``options`` are those of the container."""
    import av

    with (
        tempfile.NamedTemporaryFile() as file,  # some containers are read again when they are finished
        av.open(file.name, "w", format=container, options=options or {}) as output,
    ):
        stream = output.add_stream(codec, rate=rate_hz, layout="mono")
        if codec.startswith("wma"):
            stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(stream.format, "mono", rate_hz, stream.codec_context.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            output.mux(stream.encode(part))
        output.close()
        return file.read()


def film(
    pieces: list[tuple[float, np.ndarray]],
    container: str,
    codec: str,
    picture_s: float = 0.0,
    rate_hz: int = 48_000,
    options: dict[str, str] | None = None,
    start_s: int = 0,
) -> bytes:
    """Encode pieces of mono sound at their times, perhaps beside a picture; time stamps begin with ``start_s``."""
    import av

    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=options or {}) as output,
    ):
        sound: Any = output.add_stream(codec, rate=rate_hz, layout="mono")
        if codec.startswith("wma"):
            sound.bit_rate = 64_000
        size = sound.codec_context.frame_size or 960
        packets: list[Any] = []
        if picture_s:
            picture = output.add_stream("wmv2" if container == "asf" else "mpeg4", rate=5)
            picture.width = picture.height = 32
            for number in range(round(picture_s * 5)):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                frame.pts = number + 5 * start_s
                packets += picture.encode(frame)
            packets += picture.encode(None)
        for begin_s, samples in pieces:
            for place in range(0, len(samples) - size + 1, size):
                array = np.ascontiguousarray(samples[None, place : place + size])
                frame = av.AudioFrame.from_ndarray(array, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = rate_hz, round((begin_s + start_s) * rate_hz) + place
                packets += sound.encode(frame)
        for packet in sorted([*packets, *sound.encode(None)], key=lambda one: float(one.dts * one.time_base)):
            output.mux(packet)
        output.close()
        return file.read()
