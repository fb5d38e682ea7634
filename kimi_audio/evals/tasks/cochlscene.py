"""CochlScene: in which of 13 places a recording was made; test and dev."""

from collections.abc import Iterator
from pathlib import Path

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import choice_sample, lettered, plain_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset
from kimi_audio.evals.tasks.scorers import judged_choices

OPTIONS = (  # the folders of the dataset, in small letters
    "bus", "cafe", "car", "crowdedindoor", "elevator", "kitchen", "park", "residentialarea", "restaurant", "restroom",
    "street", "subway", "subwaystation",
)  # fmt: skip
QUESTION = lettered("Identify the acoustic scene in the audio.", OPTIONS)
SUBSETS = {"test": "Test", "dev": "Val"}
LAYOUT = Layout(
    index=tuple(f"CochlScene/{name}" for name in SUBSETS.values()),
    by_hand=(
        "download CochlScene.zip and CochlScene.z01 to .z05 from https://zenodo.org/records/7080122, join them with "
        "'zip -s 0 CochlScene.zip --out full.zip' and unpack that there, so that CochlScene/Test/Bus exists"
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the recordings; their folder is the answer."""
    for subset, name in SUBSETS.items():
        for path in sorted((folder / "CochlScene" / name).glob("*/*.wav")):
            answer = path.parent.name.lower()
            yield choice_sample(f"{subset}/{path.stem}", path, QUESTION, OPTIONS, answer, subset)


TASKS = (
    Task(
        "cochlscene",
        "1",
        make_dataset("cochlscene", "https://zenodo.org/records/7080122, CC BY-SA 3.0", LAYOUT, read),
        judged_choices(),
        plain_recipes(others=prompts.sound_question()),
        "choice of one of 13 places",
    ),
)
