"""TUT Acoustic Scenes 2017, the evaluation set: in which of 15 places a recording was made."""

from collections.abc import Iterator
from pathlib import Path

from kimi_audio.core.lines import read_lines
from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import choice_sample, lettered, plain_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset
from kimi_audio.evals.tasks.scorers import judged_choices

OPTIONS = (
    "beach", "bus", "cafe or restaurant", "car", "city center", "forest path", "grocery store", "home", "library",
    "metro station", "office", "park", "residential area", "train", "tram",
)  # fmt: skip
LABELS = {option.replace(" ", "_"): option for option in OPTIONS} | {"cafe/restaurant": "cafe or restaurant"}
QUESTION = lettered("Identify the acoustic scene in the audio.", OPTIONS)
NAME = "TUT-acoustic-scenes-2017-evaluation"
RECORD = "https://zenodo.org/records/1040168"
CHECKSUMS = {
    "meta": "md5:e006cfec14a49dd79a6ab8f8d5b1c5e6",
    "audio.1": "md5:5d97dea8461baec8027ae4a0c2b18d4b",
    "audio.2": "md5:4085ef5fa286f2169074993a4e405953",
    "audio.3": "md5:cac432579e7cf2dff0aec7aaed248956",
    "audio.4": "md5:664bf09c3d24bd26c6b587f1d709de36",
}
LAYOUT = Layout(
    index=(f"{NAME}/meta.txt",),
    by_hand=f"unpack the meta and audio archives of {RECORD} there, so that {NAME}/meta.txt and {NAME}/audio exist",
    downloads=tuple(
        Download(f"{RECORD}/files/{NAME}.{part}.zip", f"{NAME}.{part}.zip", 1_200_000_000, checksum)
        for part, checksum in reversed(CHECKSUMS.items())  # the list comes last: with it the dataset counts as there
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the recordings; a line holds the file and the scene."""
    for line in read_lines(folder / NAME / "meta.txt"):
        file, label = line.split("\t")[:2] if "\t" in line else line.split()[:2]
        answer = LABELS.get(label.strip(), label)
        yield choice_sample(file, folder / NAME / file, QUESTION, OPTIONS, answer)


TASKS = (
    Task(
        "tut2017",
        "1",
        make_dataset("tut2017", f"{RECORD}, for research", LAYOUT, read),
        judged_choices(),
        plain_recipes(others=prompts.sound_question()),
        "choice of one of 15 places",
    ),
)
