"""Common Voice: sentences read by volunteers; the test set of each language that is there.

A language is a folder of its code, such as ``en`` or ``zh-CN``, as a release of any version holds it.
"""

from collections.abc import Iterator
from pathlib import Path

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.metrics.languages import language_code
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset, read_csv
from kimi_audio.evals.tasks.scorers import Transcripts

LAYOUT = Layout(
    index=("*/test.tsv",),
    by_hand=(
        "download a release from https://commonvoice.mozilla.org/datasets (it wants an account), unpack it and place "
        "the folders of the languages there, so that en/test.tsv and en/clips exist"
    ),
)
PROMPTS = {"zh": "请将这段语音转写成文字。"}
ANY_OTHER = "Please transcribe the spoken content into written text."


def read(folder: Path) -> Iterator[Sample]:
    """Yield the recordings of all languages."""
    for table in sorted(folder.glob("*/test.tsv")):
        language = table.parent.name
        for row in read_csv(table, ("path", "sentence"), "\t"):
            yield Sample(
                f"{language}/{Path(row['path']).stem}",
                (table.parent / "clips" / row["path"],),
                PROMPTS.get(language_code(language), ANY_OTHER),
                row["sentence"],
                language,
                {"language": language},
            )


TASKS = (
    Task(
        "common-voice",
        "1",
        make_dataset("common-voice", "https://commonvoice.mozilla.org/datasets, CC0", LAYOUT, read),
        Transcripts("en", "zh", "yue", "other"),
        plain_recipes(),
        "recognition of read sentences in any language; look at each on its own",
    ),
)
