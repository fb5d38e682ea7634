"""LibriSpeech: read books, English; test-clean and test-other."""

from collections.abc import Iterator
from pathlib import Path

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.tasks.asking import recognition_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset, read_pairs
from kimi_audio.evals.tasks.scorers import Transcripts

SUBSETS = ("test-clean", "test-other")
LAYOUT = Layout(
    index=tuple(f"LibriSpeech/{subset}/*/*/*.trans.txt" for subset in SUBSETS),
    by_hand=(
        "unpack test-clean.tar.gz and test-other.tar.gz from https://www.openslr.org/12 there, "
        "so that LibriSpeech/test-clean/1089/134686/1089-134686.trans.txt exists"
    ),
    downloads=(
        Download(
            "https://www.openslr.org/resources/12/test-clean.tar.gz",
            "test-clean.tar.gz",
            400_000_000,
            "sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
        ),
        Download(
            "https://www.openslr.org/resources/12/test-other.tar.gz",
            "test-other.tar.gz",
            400_000_000,
            "sha256:d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
        ),
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the utterances, whose transcripts stand in one file per chapter."""
    for subset in SUBSETS:
        for transcripts in sorted((folder / "LibriSpeech" / subset).glob("*/*/*.trans.txt")):
            for name, text in read_pairs(transcripts).items():
                yield Sample(name, (transcripts.parent / f"{name}.flac",), reference=text, subset=subset)


TASKS = (
    Task(
        "librispeech",
        "1",
        make_dataset("librispeech", "https://www.openslr.org/12, CC BY 4.0", LAYOUT, read),
        Transcripts("en"),
        recognition_recipes("Please transcribe the spoken content into written text.", "en"),
        "recognition of read English",
    ),
)
