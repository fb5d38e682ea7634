"""Is there speech in a piece of sound at all? A model of speech writes words for silence, hum and noise, too.

Two gates answer. The plain one looks at level and flatness: speech rises in several bands of the spectrum above what is
always there, is not as flat as noise or a click, and lasts. It needs no network, but lets other sounds that change
pass. The gate of the silero-vad library (extra ``vad``) knows speech itself. A piece is heard if both let it pass.
Thresholds come from a table of measurements (docs/LOG.md, ``python -m benchmarks.speech_gate``).
Shapes: L samples at 16 kHz, T frames of 32 ms every 16 ms, F bins of 31 Hz, B bands.
"""

import importlib.util
import itertools
import warnings
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kimi_audio.core.units import INPUT_RATE_HZ

FRAME_SAMPLES = 512
HOP_SAMPLES = FRAME_SAMPLES // 2
SILENT_POWER = 1e-10  # -100 dB of full scale, about the last bit of 16
RISE_DB = 9.0  # of a band above its own floor
RISEN_BANDS = 3
FLATTEST = 0.58  # beside the average spectrum of the piece: steady sounds and clicks have 0.67 to 1, words up to 0.52
SHORTEST_FRAMES = 5  # in a row, 100 ms
VAD_LEAST = 0.15  # probability in some window; whispers reach 0.2 or more, noise that swells 0.13
VAD_LOUDEST = 0.3  # of full scale, to which quiet recordings are raised for it


def holds_speech(wav: Tensor) -> bool:
    """Tell whether there may be speech in wav [L], by all gates that are installed."""
    return changes_like_speech(wav) and (not vad_is_installed() or vad_hears_speech(wav))


def speech_span(wav: Tensor) -> tuple[int, int]:
    """Return the samples between which there may be speech in wav [L]; all of them where no gate tells more."""
    if vad_is_installed():
        window, hop, speaks = FRAME_SAMPLES, FRAME_SAMPLES, vad_probabilities(wav) > VAD_LEAST
    else:
        window, hop, speaks = FRAME_SAMPLES, HOP_SAMPLES, speech_like_frames(wav)
    frames = speaks.nonzero()[:, 0].tolist()
    return (frames[0] * hop, min(len(wav), frames[-1] * hop + window)) if frames else (0, len(wav))


def changes_like_speech(wav: Tensor) -> bool:
    """Tell whether something that is neither flat nor steady nor short rises in wav [L] above its background."""
    frames = speech_like_frames(wav)
    return bool((frames.unfold(0, SHORTEST_FRAMES, 1).sum(1) >= SHORTEST_FRAMES).any()) if len(frames) else False


def speech_like_frames(wav: Tensor) -> Tensor:
    """Return for every frame [T] whether it rises and is not flat; nothing for less than the shortest speech."""
    least = FRAME_SAMPLES + (SHORTEST_FRAMES - 1) * HOP_SAMPLES
    if len(wav) < least:
        return torch.zeros(0, dtype=torch.bool)
    window = torch.hann_window(FRAME_SAMPLES)
    spectra = torch.fft.rfft(wav.float().cpu().unfold(0, FRAME_SAMPLES, HOP_SAMPLES) * window)
    power = spectra.abs().square() / window.square().sum() / FRAME_SAMPLES  # [T, F]
    bands = torch.stack([power[:, begin:end].sum(1) for begin, end in _bands()], 1) + SILENT_POWER  # [T, B]
    floor = bands.quantile(0.1, dim=0)
    risen = (10 * (bands / floor).log10() > RISE_DB).sum(1) >= RISEN_BANDS
    heard = power[:, _bands()[0][0] : _bands()[-1][1]] + 1e-14
    heard = heard / heard.mean(0)  # what always has one colour becomes flat
    flatness = heard.log().mean(1).exp() / heard.mean(1)
    return risen & (flatness < FLATTEST)


@cache
def _bands() -> tuple[tuple[int, int], ...]:
    """Return the first and the last bin + 1 of bands between 150 and 5,000 Hz, at least 5 bins wide."""
    edges_hz = (150, 310, 470, 630, 800, 1000, 1250, 1550, 1900, 2300, 2800, 3400, 4100, 5000)
    bins = [round(hz * FRAME_SAMPLES / INPUT_RATE_HZ) for hz in edges_hz]
    return tuple(itertools.pairwise(bins))


@cache
def vad_is_installed() -> bool:
    """Tell whether the library silero-vad is there."""
    return importlib.util.find_spec("silero_vad") is not None


def vad_hears_speech(wav: Tensor) -> bool:
    """Tell whether the network of silero-vad hears speech in wav [L], at whatever level."""
    return bool((vad_probabilities(wav) > VAD_LEAST).any())


@torch.no_grad()
def vad_probabilities(wav: Tensor) -> Tensor:
    """Return the probability of speech in every window of 32 ms [T]."""
    wav = F.pad(wav.float().cpu(), (0, max(0, FRAME_SAMPLES - len(wav))))
    loudest = float(wav.abs().max())
    if not loudest:
        return torch.zeros(0)
    network = vad_network()
    network.reset_states()
    return network.audio_forward(wav * (VAD_LOUDEST / loudest), sr=INPUT_RATE_HZ)[0]


@cache
def vad_network() -> torch.jit.ScriptModule:
    """Return the network, loaded from a file: importing the library would set the number of torch's threads."""
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(Path(spec.origin).parent / "data" / "silero_vad.jit", map_location="cpu").eval()
