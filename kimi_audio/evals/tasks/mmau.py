"""MMAU test-mini: multiple choice about music, sound and speech, 1,000 questions."""

from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import choice_sample, plain_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset, read_json
from kimi_audio.evals.tasks.scorers import judged_choices

INDEX = "mmau-test-mini.json"
LAYOUT = Layout(
    index=(INDEX,),
    by_hand=(
        "place mmau-test-mini.json and the unpacked test-mini-audios folder of https://github.com/Sakshi113/MMAU there"
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the questions, with their options on one line."""
    for row in read_json(folder / INDEX):
        options = row["choices"]
        shown = " ".join(f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
        question = f"{row['question']}\n{shown}"
        yield choice_sample(row["id"], folder / row["audio_id"], question, options, row["answer"], row["task"])


TASKS = (
    Task(
        "mmau",
        "1",
        make_dataset("mmau", "https://github.com/Sakshi113/MMAU, Apache 2.0", LAYOUT, read),
        judged_choices(),
        plain_recipes(others=prompts.speech_question()),
        "multiple choice about music, sound and speech",
    ),
)
