"""KeSpeech: Mandarin and eight of its subdialects, each a subset."""

import re
from collections.abc import Iterator
from pathlib import Path

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.tasks.asking import recognition_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset, read_pairs
from kimi_audio.evals.tasks.scorers import Transcripts

HOME = "Tasks/ASR/test"
NOISE = re.compile(r"<[A-Z_]+>")  # such as <SPOKEN_NOISE>, which nobody says
LAYOUT = Layout(
    index=(f"{HOME}/text", f"{HOME}/wav.scp", f"{HOME}/utt2subdialect"),
    by_hand=(
        "ask for KeSpeech at https://github.com/KeSpeech/KeSpeech and place its Audio and Tasks folders there, "
        "so that Tasks/ASR/test/text and Tasks/ASR/test/wav.scp exist"
    ),
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the recordings, whose paths begin at the folder of the dataset."""
    home = folder / HOME
    files, subdialects = read_pairs(home / "wav.scp"), read_pairs(home / "utt2subdialect")
    for name, text in read_pairs(home / "text").items():
        audio, fault = ((folder / files[name],), "") if name in files else ((), f"wav.scp does not name {name}")
        reference = "".join(NOISE.sub("", text).split())
        yield Sample(name, audio, reference=reference, subset=subdialects.get(name, ""), fault=fault)


TASKS = (
    Task(
        "kespeech",
        "1",
        make_dataset("kespeech", "https://github.com/KeSpeech/KeSpeech, on request", LAYOUT, read),
        Transcripts("zh"),
        recognition_recipes("请把这段语音转录成文本。", "zh"),
        "recognition of Mandarin and its subdialects",
    ),
)
