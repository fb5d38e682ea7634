"""MELD: the emotion of a sentence of a television series.

The recordings come as films; ``prepare`` takes their sound out with ffmpeg. What lasts more than 30 s (wrong cuts) is
no part of the test set, as in published scores.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

from kimi_audio.evals.contract.types import Sample, Task
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import choice_sample, lettered, plain_recipes
from kimi_audio.evals.tasks.datasets import Download, Layout, make_dataset, read_csv, unpack
from kimi_audio.evals.tasks.scorers import judged_choices

OPTIONS = ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")
QUESTION = lettered("Identify the predominant emotion in this speech.", OPTIONS)
INDEX = "MELD.Raw/test_sent_emo.csv"
FILM_LIMIT_S = 300  # to take the sound of a film of some seconds
FILMS = "MELD.Raw/output_repeated_splits_test"
MAX_S = 30
COLUMNS = ("Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")


def take_sound(folder: Path) -> None:
    """Write the sound of each film to ``audio/`` at 16 kHz; ValueError if that cannot be done."""
    inner = folder / "MELD.Raw" / "test.tar.gz"
    if inner.exists() and not (folder / FILMS).exists():
        unpack(inner, inner.parent)
    films = [path for path in sorted((folder / FILMS).glob("dia*_utt*.mp4")) if not _sound_of(folder, path).exists()]
    if not films:
        return
    program = shutil.which("ffmpeg")
    if program is None:
        raise ValueError("the sound of MELD is inside of films; install ffmpeg and prepare it again")
    (folder / "audio").mkdir(exist_ok=True)
    for film in track(films, "taking the sound of films"):
        target = _sound_of(folder, film)
        partial = target.with_name(target.name + ".partial")
        command = [program, "-nostdin", "-v", "error", "-y", "-i", film, "-vn", "-ac", "1", "-ar", "16000", "-f", "wav"]
        try:
            done = subprocess.run(  # noqa: S603 - files of ours
                [*command, partial], capture_output=True, text=True, check=False, timeout=FILM_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"ffmpeg takes longer than {FILM_LIMIT_S} s for {film}; is it damaged?") from None
        if done.returncode:
            raise ValueError(f"ffmpeg cannot read {film}: {done.stderr.strip().splitlines()[-1:]}")
        partial.replace(target)


def _sound_of(folder: Path, film: Path) -> Path:
    return folder / "audio" / f"{film.stem}.wav"


LAYOUT = Layout(
    index=(INDEX,),
    by_hand=(
        "unpack MELD.Raw.tar.gz from https://github.com/declare-lab/MELD there and in MELD.Raw test.tar.gz, "
        f"so that {INDEX} and {FILMS} exist, and run 'kimi-audio eval prepare meld', which takes the sound of the films"
    ),
    downloads=(Download("hub://declare-lab/MELD/MELD.Raw.tar.gz", "MELD.Raw.tar.gz", 12_000_000_000),),
    convert=take_sound,
)


def read(folder: Path) -> Iterator[Sample]:
    """Yield the sentences of the test set."""
    for row in read_csv(folder / INDEX, COLUMNS):
        if _seconds(row["EndTime"]) - _seconds(row["StartTime"]) > MAX_S:
            continue
        name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        yield choice_sample(name, folder / "audio" / f"{name}.wav", QUESTION, OPTIONS, row["Emotion"])


def _seconds(time: str) -> float:
    """Return the seconds of a time such as 00:14:38,127."""
    found = re.fullmatch(r"\s*(\d+):(\d+):(\d+)[,.](\d+)\s*", time)
    if found is None:
        raise ValueError(f"{time!r} in {INDEX} is not a time such as 00:14:38,127")
    hours, minutes, seconds, fraction = found.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{fraction}")


TASKS = (
    Task(
        "meld",
        "1",
        make_dataset("meld", "https://github.com/declare-lab/MELD, GPL 3.0", LAYOUT, read),
        judged_choices(),
        plain_recipes(others=prompts.speech_question()),
        "choice of one of seven emotions of a speaker",
    ),
)
