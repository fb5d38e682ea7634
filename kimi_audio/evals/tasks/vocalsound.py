"""VocalSound: which of six sounds a person makes."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import choice_sample, lettered, plain_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset, read_json
from kimi_audio.evals.tasks.scorers import judged_choices

OPTIONS = {  # in the order of the prompt; by the AudioSet label
    "/m/01j3sz": "Laughter",
    "/m/07plz5l": "Sigh",
    "/m/01b_21": "Cough",
    "/m/0dl9sf8": "Throat clearing",
    "/m/01hsr_": "Sneeze",
    "/m/07ppn3j": "Sniff",
}
QUESTION = lettered("Identify the human vocal sound in the audio.", list(OPTIONS.values()))
INDEX = "datafiles/te.json"
LAYOUT = Layout(
    index=(INDEX,),
    by_hand=(
        "unpack vs_release_16k.zip, which https://github.com/YuanGongND/vocalsound links, there, "
        "so that datafiles/te.json and audio_16k exist"
    ),
    downloads=(
        Download(
            "https://www.dropbox.com/s/c5ace70qh1vbyzb/vs_release_16k.zip?dl=1", "vs_release_16k.zip", 3_000_000_000
        ),
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the recordings of the test set; the paths of the list are those of another machine."""
    for row in read_json(folder / INDEX)["data"]:
        name = PurePosixPath(row["wav"]).name
        label = str(row["labels"])
        answer = OPTIONS.get(label, label)
        yield choice_sample(name, folder / "audio_16k" / name, QUESTION, list(OPTIONS.values()), answer)


TASKS = (
    Task(
        "vocalsound",
        "1",
        make_dataset("vocalsound", "https://github.com/YuanGongND/vocalsound, CC BY-SA 4.0", LAYOUT, read),
        judged_choices(),
        plain_recipes(others=prompts.sound_question()),
        "choice of one of six sounds of people",
    ),
)
