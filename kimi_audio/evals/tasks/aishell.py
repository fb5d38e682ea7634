"""AISHELL-1 and AISHELL-2: read Mandarin; of the latter the test set that was recorded with iOS telephones."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.tasks.asking import recognition_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset, read_pairs
from kimi_audio.evals.tasks.scorers import Transcripts

FIRST_TEST_SPEAKER = "S0764"
PROMPT = "请把这段语音转录成文本。"


def unpack_speakers(folder: Path) -> None:
    """Unpack the recordings of the test speakers, which come as archives inside the archive."""
    for archive in sorted((folder / "data_aishell" / "wav").glob("S*.tar.gz")):
        unpacked = archive.parent / "test" / archive.name.removesuffix(".tar.gz")
        if archive.name >= FIRST_TEST_SPEAKER and not unpacked.exists():
            with tarfile.open(archive) as file:
                members = [member for member in file if "test" in Path(member.name).parts]
                file.extractall(archive.parent, members, filter="data")


LAYOUT_1 = Layout(
    index=("data_aishell/transcript/aishell_transcript_v0.8.txt",),
    by_hand=(
        "unpack data_aishell.tgz from https://www.openslr.org/33 there, and in data_aishell/wav the archives of the "
        "speakers, so that data_aishell/wav/test/S0764 exists"
    ),
    downloads=(
        Download(
            "https://www.openslr.org/resources/33/data_aishell.tgz",
            "data_aishell.tgz",
            17_000_000_000,
            "md5:2f494334227864a8a8fec932999db9d8",
        ),
    ),
    convert=unpack_speakers,
)
LAYOUT_2 = Layout(
    index=("iOS/test/trans.txt",),
    by_hand=(
        "ask for AISHELL-DEV-TEST-SET at https://www.aishelltech.com/aishell_2 and place its iOS folder there, "
        "so that iOS/test/trans.txt, iOS/test/wav.scp and iOS/test/wav exist"
    ),
)


def read_1(folder: Path) -> Iterator[Sample]:
    """Yield the recordings of the test speakers, with transcripts without spaces."""
    texts = read_pairs(folder / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt")
    recordings = sorted((folder / "data_aishell" / "wav" / "test").glob("*/*.wav"))
    if not recordings:
        raise ValueError(f"aishell-1 has no recordings in {folder}; {LAYOUT_1.by_hand}")
    for path in recordings:
        if path.stem in texts:  # a few recordings were never transcribed
            yield Sample(path.stem, (path,), reference="".join(texts[path.stem].split()))


def read_2(folder: Path) -> Iterator[Sample]:
    """Yield the transcribed recordings."""
    home = folder / "iOS" / "test"
    files = read_pairs(home / "wav.scp")
    for name, text in read_pairs(home / "trans.txt").items():
        audio, fault = ((home / files[name],), "") if name in files else ((), f"wav.scp does not name {name}")
        yield Sample(name, audio, reference="".join(text.split()), subset="ios", fault=fault)


TASKS = (
    Task(
        "aishell-1",
        "1",
        make_dataset("aishell-1", "https://www.openslr.org/33, Apache 2.0", LAYOUT_1, read_1),
        Transcripts("zh"),
        recognition_recipes(PROMPT, "zh"),
        "recognition of read Mandarin",
    ),
    Task(
        "aishell-2",
        "1",
        make_dataset("aishell-2", "https://www.aishelltech.com/aishell_2, on request", LAYOUT_2, read_2),
        Transcripts("zh"),
        recognition_recipes(PROMPT, "zh"),
        "recognition of read Mandarin, recorded with telephones",
    ),
)
