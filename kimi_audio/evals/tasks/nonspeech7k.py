"""Nonspeech7k: which of seven sounds a person makes."""

from collections.abc import Iterator
from pathlib import Path

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import choice_sample, lettered, plain_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset, read_csv
from kimi_audio.evals.tasks.scorers import judged_choices

OPTIONS = ("Breath", "Cough", "Cry", "Laugh", "Scream", "Sneeze", "Yawn")
CLASSES = {"crying": "Cry", "screaming": "Scream"}  # where the dataset uses another word than the prompt
QUESTION = lettered("Identify the human vocal sound in the audio.", OPTIONS)
INDEX = "metadata of test set.csv"
LAYOUT = Layout(
    index=(INDEX,),
    by_hand=(
        f"place '{INDEX}' of https://zenodo.org/records/6967442 there and unpack test.zip beside it, so that the "
        "folder test exists"
    ),
    downloads=(
        Download("https://zenodo.org/records/6967442/files/test.zip", "test.zip", 1_000_000_000),
        Download("https://zenodo.org/records/6967442/files/metadata%20of%20test%20set.csv", INDEX, 10_000_000),
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the recordings of the test set."""
    for row in read_csv(folder / INDEX, ("Filename", "Classname")):
        name, label = row["Filename"], row["Classname"].strip()
        answer = CLASSES.get(label.lower(), label.capitalize())
        yield choice_sample(name, folder / "test" / name, QUESTION, OPTIONS, answer)


TASKS = (
    Task(
        "nonspeech7k",
        "1",
        make_dataset("nonspeech7k", "https://zenodo.org/records/6967442, CC BY-NC-SA 4.0", LAYOUT, read),
        judged_choices(),
        plain_recipes(others=prompts.sound_question()),
        "choice of one of seven sounds of people",
    ),
)
