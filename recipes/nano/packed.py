"""Corpora small enough to be carried to a GPU: ``python -m recipes.nano.packed FOLDER OUT --speech NAME …``.

``FOLDER`` holds the corpora and the folders of recordings. ``OUT`` receives archives that are unpacked into one folder,
first those of speech, then those of the corpora; all sound in them is Opus, about a tenth of FLAC's size.
"""

import argparse
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from rich.progress import track

from recipes.nano.recording import MANIFEST
from recipes.nano.training import GPU_SHARES

SUFFIX = ".ogg"
MOST_PADDING = 4  # times 20 ms of silence
HEARD_BPS = 12_000  # of speech at 16 kHz
SPOKEN_BPS = 40_000  # of the voices that nano speaks in, at 24 kHz: vocoder and flow matching learn from them
COMPLETE = "complete"  # the file behind all others: whoever receives them one by one knows then that he has them
ENTRY_BYTES = 60  # of a name and its like, compressed
PART_BYTES = 56 * 2**20


def kept_opus(path: Path, kept: Path) -> bytes:
    """Return a recording as Ogg Opus, from ``kept`` if it is there, and keep it there."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")  # may be lost with the power: not worth a flush to the disk
        partial.write_bytes(opus(path))
        partial.replace(kept)
    return kept.read_bytes()


def opus(path: Path) -> bytes:
    """Return a recording of one channel as Ogg Opus; its rate is kept."""
    samples, rate_hz = soundfile.read(path, dtype="float32")
    for _ in range(MOST_PADDING):
        content = _encoded(samples, rate_hz)
        try:
            soundfile.info(io.BytesIO(content))
        except soundfile.LibsndfileError:  # takes one in two hundred ends for damage, and needs another end
            samples = np.pad(samples, (0, rate_hz // 50))
        else:
            return content
    raise ValueError(f"{path} makes no Opus that libsndfile reads")


def _encoded(samples: np.ndarray, rate_hz: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=rate_hz, layout="mono")
        stream.bit_rate = HEARD_BPS if rate_hz == 16_000 else SPOKEN_BPS  # pyright: ignore[reportAttributeAccessIssue]
        stream.options = {
            "application": "voip" if rate_hz == 16_000 else "audio",
            "frame_duration": "60",
            "compression_level": "3",
        }
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = rate_hz
        container.mux([*stream.encode(frame), *stream.encode(None)])  # pyright: ignore[reportAttributeAccessIssue]
    return file.getvalue()


def packed_lines(path: Path, root: Path, sounds: set[Path]) -> str:
    """Return a file of conversations with the names of the packed sounds, which are added to ``sounds``."""

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if isinstance(value, dict):
            return {name: renamed(item) for name, item in value.items()}
        if isinstance(value, str) and value.endswith(".flac"):
            sound = Path(os.path.normpath(path.parent / value))
            sounds.add(sound)
            return os.path.relpath(packed_name(sound, root), packed_name(path.parent, root))
        return value

    lines = path.read_text("utf-8").splitlines()
    return "".join(json.dumps(renamed(json.loads(line))) + "\n" for line in lines)


def packed_name(path: Path, root: Path) -> str:
    """Return what a file of the folder is called in the tar files."""
    name = str(path.relative_to(root))
    return name.removesuffix(".flac") + SUFFIX if name.endswith(".flac") else name


def corpora_entries(root: Path, names: Sequence[str], kept: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of files of conversations and of what is heard and said in them."""
    sounds: set[Path] = set()
    for name in names:
        path = root / "corpora" / name
        yield str(path.relative_to(root)), packed_lines(path, root, sounds).encode()
    yield from _sounds(sounds, root, kept)


def speech_entries(root: Path, names: Sequence[str], kept: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of folders of recordings."""
    for name in names:
        manifest = root / name / MANIFEST
        notes = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
        renamed = [{**note, "audio": note["audio"].removesuffix(".flac") + SUFFIX} for note in notes]
        yield f"{name}/{MANIFEST}", "".join(json.dumps(note) + "\n" for note in renamed).encode()
        yield from _sounds({root / name / note["audio"] for note in notes}, root, kept)


def _sounds(paths: set[Path], root: Path, kept: Path) -> Iterator[tuple[str, bytes]]:
    for path in track(sorted(paths), "Opus"):
        name = packed_name(path, root)
        yield name, kept_opus(path, kept / name)


def write_parts(items: Iterator[tuple[str, bytes]], out: Path, kind: str, part_bytes: int, skipped: set[str]) -> None:
    """Write ``KIND-0.tar.gz`` and so on, of about so many bytes each.

    Args:
        items: names and contents.
        out: folder of the parts.
        kind: how they are called.
        part_bytes: of a part.
        skipped: names that are not written again; all that are written are added.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        archive, size, number = None, 0, 0
        for name, content in items:
            if name in skipped:
                continue
            skipped.add(name)
            if archive is None or size > part_bytes:
                stack.close()
                archive = stack.enter_context(tarfile.open(out / f"{kind}-{number}.tar.gz", "w:gz", compresslevel=1))
                size, number = 0, number + 1
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
            size += len(content) + ENTRY_BYTES


def main() -> None:
    """Pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds corpora/ and the folders of recordings")
    parser.add_argument("out", type=Path, help="receives the parts, and what was encoded for the next time in kept/")
    parser.add_argument("--corpora", nargs="*", default=list(GPU_SHARES), help="files of conversations, by name")
    parser.add_argument("--speech", nargs="*", default=[], help="folders of recordings, by name")
    parser.add_argument("--part-bytes", type=int, default=PART_BYTES)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    root, kept, written = arguments.folder.resolve(), arguments.out / "kept", set[str]()
    speech = speech_entries(root, arguments.speech, kept)
    write_parts(speech, arguments.out, "speech", arguments.part_bytes, written)
    corpora = corpora_entries(root, arguments.corpora, kept)
    write_parts(corpora, arguments.out, "corpora", arguments.part_bytes, written)
    (arguments.out / COMPLETE).touch()


if __name__ == "__main__":
    main()
