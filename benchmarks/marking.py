"""How surely the mark of generated speech is found after codecs, and how often it is found where it is not.

    python -m benchmarks.marking FOLDER    # of unmarked speech: sound files; needs ffmpeg

The recordings are joined and cut into clips. Each is marked, sent through every codec, and looked at from an odd sample
on. False alarms are counted in the same clips without the mark, by the real pattern and, so that there are enough of
them to count, by patterns that nobody writes.
"""

import argparse
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from torch import Tensor

from kimi_audio.audio import marking
from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import OUTPUT_RATE_HZ

CODECS = {  # how ffmpeg writes and reads a file
    "nothing": (),
    "MP3 64 kbit/s": ("a.mp3", "-b:a", "64k"),
    "Opus 24 kbit/s": ("a.opus", "-c:a", "libopus", "-b:a", "24k"),
    "µ-law 8 kHz": ("a.wav", "-ar", "8000", "-c:a", "pcm_mulaw"),
    "to 44.1 kHz and to 16 kHz": ("a.wav", "-ar", "44100", "-c:a", "pcm_s16le"),
}
ODD_SAMPLES = 1237
OTHER_KEYS = range(1000, 1050)


def through(wav: Tensor, codec: str) -> Tensor:
    """Return a sound [L] at 24 kHz as it comes out of a codec, at 8 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.wav"
        soundfile.write(source, wav.numpy(), OUTPUT_RATE_HZ, "PCM_16")
        if CODECS[codec]:
            name, *options = CODECS[codec]
            target = Path(folder) / name
            _ffmpeg("-i", source, *options, target)
            if name == "a.wav" and "44100" in options:
                _ffmpeg("-i", target, "-ar", "16000", Path(folder) / "b.wav")
                target = Path(folder) / "b.wav"
            source = target
        return load_audio(source, marking.DETECTION_RATE_HZ)


def _ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *map(str, arguments)], check=True)  # noqa: S603, S607


def clips(folder: Path, seconds: float) -> list[Tensor]:
    """Return the recordings of a folder [L] at 24 kHz, joined and cut."""
    files = sorted(file for file in folder.iterdir() if file.suffix in (".wav", ".flac", ".ogg", ".mp3"))
    whole = torch.cat([load_audio(file, OUTPUT_RATE_HZ) for file in files])
    length = int(seconds * OUTPUT_RATE_HZ)
    return list(whole[: len(whole) // length * length].split(length))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[3.0, 5.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    say = partial(Console(highlight=False).print, soft_wrap=True)
    say("| clips of | after | found | score: least, median | false alarms | by other patterns |")
    say("|---|---|---|---|---|---|")
    for seconds in arguments.seconds:
        hosts = clips(arguments.folder, seconds)
        began_s = time.process_time()
        written = [marking.marked(wav) for wav in hosts]
        cost_s = time.process_time() - began_s
        for codec in CODECS:
            scores = np.array([marking.detect(through(wav, codec)[ODD_SAMPLES // 3 :]).score for wav in written])
            plain = [through(wav, codec)[ODD_SAMPLES // 3 :] for wav in hosts]
            alarms = sum(marking.detect(wav).is_marked for wav in plain)
            others = np.concatenate([marking.scores(wav, OTHER_KEYS) for wav in plain])
            say(
                f"| {seconds:g} s | {codec} | {np.mean(scores >= marking.THRESHOLD):.1%} of {len(scores)} "
                f"| {scores.min():.1f}, {np.median(scores):.1f} | {alarms} of {len(plain)} "
                f"| {np.sum(others >= marking.THRESHOLD)} of {len(others)} (highest {others.max():.1f}) |"
            )
        noise = torch.cat(hosts) - torch.cat(written)
        snr_db = 10 * torch.log10(torch.cat(hosts).square().sum() / noise.square().sum())
        say(f"\nsound to mark: {snr_db:.1f} dB; {1000 * cost_s / len(hosts) / seconds:.2f} ms to mark a second\n")


if __name__ == "__main__":
    main()
