"""Fleurs: read sentences of Wikipedia; the test sets of Mandarin (zh) and American English (en)."""

from collections.abc import Iterator
from pathlib import Path

from kimi_audio.core.lines import read_lines
from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset
from kimi_audio.evals.tasks.scorers import Transcripts

FOLDERS = {"zh": "cmn_hans_cn", "en": "en_us"}
PROMPTS = {"zh": "请将这段语音转写成文字。", "en": "Please transcribe this audio."}
# Columns without a head: id of the sentence, file, as written, transcription, letters, samples, gender.
FILE, TRANSCRIPTION, COLUMNS = 1, 3, 7


def _downloads(name: str) -> tuple[Download, ...]:
    return (
        Download(f"hub://google/fleurs/data/{name}/audio/test.tar.gz", f"{name}/audio/test.tar.gz", 1_000_000_000),
        Download(f"hub://google/fleurs/data/{name}/test.tsv", f"{name}/test.tsv", 10_000_000),
    )


LAYOUT = Layout(
    index=tuple(f"{name}/test.tsv" for name in FOLDERS.values()),
    by_hand=(
        "copy data/cmn_hans_cn and data/en_us of the hub's dataset google/fleurs there and unpack audio/test.tar.gz in "
        "both, so that en_us/test.tsv and en_us/audio/test/*.wav exist"
    ),
    downloads=tuple(download for name in FOLDERS.values() for download in _downloads(name)),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the recordings. A sentence is read by several people, so the file is the name."""
    for language, name in FOLDERS.items():
        table = folder / name / "test.tsv"
        lines = read_lines(table) if table.exists() else []
        for number, line in enumerate(lines, 1):
            cells = line.split("\t")
            if len(cells) != COLUMNS:
                raise ValueError(f"{table}, line {number} has {len(cells)} columns, not {COLUMNS}")
            yield Sample(
                f"{language}/{Path(cells[FILE]).stem}",
                (folder / name / "audio" / "test" / cells[FILE],),
                PROMPTS[language],
                cells[TRANSCRIPTION],
                language,
                {"language": language},
            )


TASKS = (
    Task(
        "fleurs",
        "1",
        make_dataset("fleurs", "https://huggingface.co/datasets/google/fleurs, CC BY 4.0", LAYOUT, read),
        Transcripts("zh", "en"),
        plain_recipes(),
        "recognition of read Mandarin and English",
    ),
)
