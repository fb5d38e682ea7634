"""ClothoAQA: short questions about sounds, answered by yes, no or one word; test and dev.

The lists without contradicting answers, which the authors of MWAFM made, are what published scores use.
"""

from collections.abc import Iterator
from pathlib import Path

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset, read_csv
from kimi_audio.evals.tasks.scorers import judged_answers

LISTS = {"test": "clotho_aqa_test_clean.csv", "dev": "clotho_aqa_val_clean.csv"}
LAYOUT = Layout(
    index=tuple(LISTS.values()),
    by_hand=(
        "unpack audio_files.zip from https://zenodo.org/records/6473207 there, and place "
        "metadata/clotho_aqa_test_clean.csv and metadata/clotho_aqa_val_clean.csv of "
        "https://github.com/GeWu-Lab/MWAFM beside the folder audio_files"
    ),
    downloads=(
        Download("https://zenodo.org/records/6473207/files/audio_files.zip", "audio_files.zip", 4_000_000_000),
        *(
            Download(f"https://raw.githubusercontent.com/GeWu-Lab/MWAFM/HEAD/metadata/{name}", name, 10_000_000)
            for name in LISTS.values()
        ),
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the questions; a recording has several."""
    for subset, name in LISTS.items():
        if not (folder / name).exists():
            continue
        rows = read_csv(folder / name, ("file_name", "QuestionText", "answer"))
        for number, row in enumerate(rows):
            audio = (folder / "audio_files" / row["file_name"],)
            yield Sample(f"{subset}/{number:05d}", audio, row["QuestionText"], row["answer"], subset)


TASKS = (
    Task(
        "clothoaqa",
        "1",
        make_dataset("clothoaqa", "https://zenodo.org/records/6473207, MIT", LAYOUT, read),
        judged_answers(),
        plain_recipes(others=prompts.sound_question()),
        "short answers to questions about sounds; published scores are a judge's",
    ),
)
