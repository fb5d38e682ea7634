"""A split of a speech corpus on disk: one JSON line per utterance beside one file of raw 16-bit samples.

asr/manifest.jsonl       text, transcript, voice and place of every utterance
asr/audio-16000.i16      all samples at 16 kHz, little endian, one utterance after the other
asr/audio-24000.i16      the same at 24 kHz where the split has it; every offset and length is 3/2 of the above
asr/.completed           written last
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np

from kimi_audio.core.files import json_text
from kimi_audio.core.units import INPUT_RATE_HZ, exact_div

MANIFEST = "manifest.jsonl"
COMPLETED = ".completed"


@dataclass(frozen=True)
class Utterance:
    """One spoken text; ``offset_samples`` and ``length_samples`` are even and count samples of 16 kHz."""

    id: str
    text: str
    transcript: str
    kind: str  # "sentence", or the kind of question or reply
    voice: str
    offset_samples: int
    length_samples: int
    answer: str | None = None  # the reply, where the text is a question
    key: str | None = None  # of the question, see QAItem
    language: str | None = None  # None is English
    style: str | None = None  # None is neutral

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return self.length_samples / INPUT_RATE_HZ


def read_manifest(path: Path) -> Iterator[Utterance]:
    """Read the lines that ``SplitWriter`` wrote.

    Raises:
        ValueError: a line is not an utterance.
    """
    names = {item.name for item in fields(Utterance)}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                values = json.loads(line)
                utterance = Utterance(**values)
            except (json.JSONDecodeError, TypeError):
                raise ValueError(f"{path}, line {number}: not an utterance with {', '.join(sorted(names))}") from None
            yield utterance


def audio_name(rate_hz: int) -> str:
    """Return the file name of the samples at one rate."""
    return f"audio-{rate_hz}.i16"


class Split:
    """A finished split, its sound mapped from disk."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / COMPLETED).exists():
            raise ValueError(f"{self.folder} is not a finished corpus split; build it first")
        self.utterances = list(read_manifest(self.folder / MANIFEST))
        self._pack = cache(lambda rate_hz: np.memmap(self.folder / audio_name(rate_hz), dtype="<i2", mode="r"))

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def duration_s(self) -> float:
        """Seconds of sound of all utterances."""
        return sum(utterance.duration_s for utterance in self.utterances)

    def samples(self, utterance: Utterance, rate_hz: int = INPUT_RATE_HZ) -> np.ndarray:
        """Return float32 samples in [-1, 1) of one utterance."""
        start = exact_div(utterance.offset_samples * rate_hz, INPUT_RATE_HZ)
        length = exact_div(utterance.length_samples * rate_hz, INPUT_RATE_HZ)
        return self._pack(rate_hz)[start : start + length].astype(np.float32) / 32768


class SplitWriter:
    """Appends utterances to a split; opened again after a crash it goes on behind the last whole utterance."""

    def __init__(self, folder: Path, rates_hz: tuple[int, ...]) -> None:
        self.folder, self.rates_hz = folder, rates_hz
        folder.mkdir(parents=True, exist_ok=True)
        self.done, self._end_samples = self._recover()
        self._manifest = (folder / MANIFEST).open("a", encoding="utf-8")
        self._packs = {rate_hz: (folder / audio_name(rate_hz)).open("ab") for rate_hz in rates_hz}

    def _recover(self) -> tuple[int, int]:
        path = self.folder / MANIFEST
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):
            os.truncate(path, path.stat().st_size - len(lines.pop()))
        last = Utterance(**json.loads(lines[-1])) if lines else None
        end_samples = last.offset_samples + last.length_samples if last else 0
        for rate_hz in self.rates_hz:
            pack = self.folder / audio_name(rate_hz)
            pack.touch()
            os.truncate(pack, 2 * exact_div(end_samples * rate_hz, INPUT_RATE_HZ))
        return len(lines), end_samples

    def add(self, samples: dict[int, np.ndarray], **values: object) -> None:
        """Append one utterance: float samples by rate, and the fields of ``Utterance`` except its place."""
        length = len(samples[INPUT_RATE_HZ]) // 2 * 2
        for rate_hz, pack in self._packs.items():
            count = exact_div(length * rate_hz, INPUT_RATE_HZ)
            pack.write(_to_int16(samples[rate_hz], count).tobytes())
            pack.flush()  # before the manifest names it
        utterance = Utterance(offset_samples=self._end_samples, length_samples=length, **values)  # pyright: ignore
        values = {name: value for name, value in asdict(utterance).items() if value is not None}
        self._manifest.write(json_text(values) + "\n")
        self._manifest.flush()
        self._end_samples += length
        self.done += 1

    def close(self, completed: bool) -> None:
        """Close the files; ``completed`` marks the split as whole."""
        for file in (self._manifest, *self._packs.values()):
            file.close()
        if completed:
            temporary = self.folder / (COMPLETED + ".tmp")
            temporary.write_text(f"{self.done} utterances\n")
            temporary.rename(self.folder / COMPLETED)


def _to_int16(samples: np.ndarray, count: int) -> np.ndarray:
    padded = np.zeros(count, np.float32)
    padded[: len(samples)] = samples[:count]
    return np.clip(np.rint(padded * 32768), -32768, 32767).astype("<i2")
