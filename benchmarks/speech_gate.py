"""Which sounds pass the gates before the LLM? ``python -m benchmarks.speech_gate [--recordings FOLDER]``, minutes.

Every sound is cut into the pieces in which nano transcribes, and the gates are asked about each. Speech is that of
espeak-ng and flite, whispered and not, and of all recordings below the given folder, as it is, at a tenth and at a
hundredth of full scale, and with white noise at 10 dB. A recording is kept if one of its pieces is.
"""

import argparse
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kimi_audio.audio.io import load_audio
from kimi_audio.audio.speech_gate import changes_like_speech, vad_hears_speech, vad_is_installed
from kimi_audio.core.units import INPUT_RATE_HZ

SECONDS = 5
SENTENCES = (
    *("Yes.", "Seven.", "What is the capital of France?", "Please turn off the light in the kitchen."),
    *("She sells sea shells by the sea shore.", "The quick brown fox jumps over the lazy dog and runs away."),
)
ENGLISH = [("espeak-ng", voice) for voice in ("en-us", "en-us+f3", "en-us+m5", "en-us+whisper", "en-us+whisperf")]
VOICES = [*ENGLISH, ("flite", "slt"), ("flite", "rms"), ("flite", "kal16")]
Sounds = list[Tensor]


def noise(shape: float, generator: torch.Generator) -> Tensor:
    """Return noise [L] whose power falls with frequency to the power of ``shape``: 0 is white, 1 pink, 2 brown."""
    spectrum = torch.fft.rfft(torch.randn(SECONDS * INPUT_RATE_HZ, generator=generator))
    spectrum[1:] /= torch.arange(1, len(spectrum)).float() ** (shape / 2)
    wav = torch.fft.irfft(spectrum)
    return wav / wav.abs().max()


def hum(base_hz: float, harmonics: int, generator: torch.Generator) -> Tensor:
    """Return mains hum [L]: a tone and its harmonics of random strength."""
    time = torch.arange(SECONDS * INPUT_RATE_HZ) / INPUT_RATE_HZ
    strength = torch.rand(harmonics, generator=generator) / torch.arange(1, harmonics + 1)
    wav = sum(s * torch.sin(2 * math.pi * base_hz * k * time) for k, s in enumerate(strength.tolist(), 1))
    assert isinstance(wav, Tensor)
    return wav / wav.abs().max()


def clicks(per_s: float, ring_hz: float, generator: torch.Generator) -> Tensor:
    """Return clicks [L] at random moments, bare or ringing for a few milliseconds."""
    wav = torch.zeros(SECONDS * INPUT_RATE_HZ)
    time = torch.arange(400) / INPUT_RATE_HZ
    shape = torch.exp(-time / 0.004) * torch.cos(2 * math.pi * ring_hz * time) if ring_hz else torch.ones(1)
    for place in torch.randint(len(wav) - 400, (int(per_s * SECONDS),), generator=generator).tolist():
        wav[place : place + len(shape)] += shape
    return wav / wav.abs().max()


def sounds_without_speech() -> Iterator[tuple[str, Sounds]]:
    """Yield what is not to be written down, at several levels."""
    generator = torch.Generator().manual_seed(0)
    levels = (1.0, 0.1, 0.01, 0.001)
    length = SECONDS * INPUT_RATE_HZ
    fade = torch.linspace(0, 1, length)
    yield "silence, one value", [torch.full((length,), value) for value in (0.0, 1e-4, 0.5)]
    yield "last bits", [torch.randint(-n, n + 1, (length,), generator=generator) / 32768 for n in (1, 1, 2, 4)]
    for name, shape in (("white", 0), ("pink", 1), ("brown", 2)):
        yield f"{name} noise", [noise(shape, generator) * level for level in levels for _ in range(2)]
        yield f"{name} noise, fading in", [noise(shape, generator) * level * fade for level in levels for _ in range(2)]
    for base in (50, 60):
        harmonics = (1, 3, 10, 40)
        yield f"hum of {base} Hz", [hum(base, n, generator) * level for level in levels for n in harmonics]
        noisy = [hum(base, n, generator) * 0.1 + noise(0, generator) * 0.02 for n in harmonics for _ in range(4)]
        yield f"hum of {base} Hz in noise", noisy
    for per_s in (0.4, 2, 10):
        rings = (0, 0, 0, 800, 1500, 3000)
        yield f"{per_s} clicks per second", [clicks(per_s, ring, generator) * n for n in (0.9, 0.1) for ring in rings]


def spoken() -> Iterator[tuple[str, Sounds]]:
    """Yield synthetic speech by voice."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "speech.wav")
        for program, voice in VOICES:
            said = []
            for sentence in SENTENCES:
                words = {"espeak-ng": ["-v", voice, "-w", path, sentence]}.get(
                    program, ["-voice", voice, "-t", sentence, "-o", path]
                )
                subprocess.run([program, *words], check=True, capture_output=True)  # noqa: S603 (our own words)
                said.append(load_audio(path, INPUT_RATE_HZ))
            yield f"{program} {voice}", said


def with_noise(wav: Tensor, snr_db: float) -> Tensor:
    """Return speech [L] with white noise."""
    noise = torch.randn(len(wav), generator=torch.Generator().manual_seed(len(wav)))
    return wav + noise * wav.square().mean().sqrt() * 10 ** (-snr_db / 20)


def in_16_bits(wav: Tensor) -> Tensor:
    """Return what is left of quiet speech [L] in a file of 16 bits."""
    return (wav * 32768).round() / 32768


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda wav: wav,
    "× 0.1": lambda wav: in_16_bits(0.1 * wav),
    "× 0.01": lambda wav: in_16_bits(0.01 * wav),
    "noise at 10 dB": lambda wav: with_noise(wav, 10),
    "noise at 10 dB, × 0.01": lambda wav: 0.01 * with_noise(wav, 10),
}


def passes(gate: Callable[[Tensor], bool], wav: Tensor) -> bool:
    """Tell whether a piece of a recording passes."""
    return any(gate(piece) for piece in wav.split(SECONDS * INPUT_RATE_HZ))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=Path, help="folder of real recordings of speech")
    parser.add_argument("--every", type=int, default=1, help="take each n-th of them")
    arguments = parser.parse_args()
    gates = {"plain": changes_like_speech} | ({"silero": vad_hears_speech} if vad_is_installed() else {})
    table = Table("sound", "number", *(f"{name} gate" for name in gates), "both", box=None, padding=(0, 3, 0, 0))

    def add(name: str, sounds: Sounds) -> None:
        found = [[passes(gate, wav) for gate in gates.values()] for wav in sounds]
        shares = [sum(column) for column in (*zip(*found, strict=True), [all(row) for row in found])]
        table.add_row(name, str(len(sounds)), *map(str, shares))

    for name, sounds in sounds_without_speech():
        add(name, sounds)
    groups = list(spoken())
    if arguments.recordings:
        files = sorted(arguments.recordings.rglob("*.*"))
        files = [file for file in files if file.suffix in (".wav", ".opus", ".flac", ".mp3")][:: arguments.every]
        folders = sorted({file.parent for file in files})
        groups += [
            (
                str(folder.relative_to(arguments.recordings)),
                [load_audio(f, INPUT_RATE_HZ) for f in files if f.parent == folder],
            )
            for folder in folders
        ]
    for name, sounds in groups:
        for change, changed in CHANGES.items():
            add(f"{name}, {change}", [changed(wav) for wav in sounds])
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
