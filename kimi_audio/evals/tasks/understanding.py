"""Readers of the benchmarks of understanding, in the formats of their publishers."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from string import ascii_uppercase

from rich.progress import track

from kimi_audio.core.lines import read_lines
from kimi_audio.evals.contract.types import EvalSample
from kimi_audio.evals.tasks.asking import choice_sample
from kimi_audio.evals.tasks.datasets import read_csv, read_json, unpack

FILMS = "MELD.Raw/output_repeated_splits_test"
FILM_LIMIT_S = 300  # to take the sound of a film of some seconds


def read_mmau(folder: Path) -> Iterator[EvalSample]:
    """Yield the 1,000 questions of test-mini about music, sound and speech, with their options on one line."""
    for row in read_json(folder / "mmau-test-mini.json"):
        options = row["choices"]
        shown = " ".join(f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
        question = f"{row['question']}\n{shown}"
        yield choice_sample(row["id"], folder / row["audio_id"], question, options, row["answer"], row["task"])


def read_clothoaqa(folder: Path) -> Iterator[EvalSample]:
    """Yield questions about sounds, answered by yes, no or one word; a recording has several."""
    for subset, name in {"test": "clotho_aqa_test_clean.csv", "dev": "clotho_aqa_val_clean.csv"}.items():
        if (folder / name).exists():
            for number, row in enumerate(read_csv(folder / name, ("file_name", "QuestionText", "answer"))):
                audio = (folder / "audio_files" / row["file_name"],)
                yield EvalSample(f"{subset}/{number:05d}", audio, row["QuestionText"], row["answer"], subset)


def read_vocalsound(
    folder: Path, question: str, options: Sequence[str], labels: Mapping[str, str]
) -> Iterator[EvalSample]:
    """Yield which of six sounds a person makes; the paths of the list are those of another machine."""
    for row in read_json(folder / "datafiles" / "te.json")["data"]:
        name, label = PurePosixPath(row["wav"]).name, str(row["labels"])
        yield choice_sample(name, folder / "audio_16k" / name, question, options, labels.get(label, label))


def read_nonspeech7k(
    folder: Path, question: str, options: Sequence[str], labels: Mapping[str, str]
) -> Iterator[EvalSample]:
    """Yield which of seven sounds a person makes."""
    for row in read_csv(folder / "metadata of test set.csv", ("Filename", "Classname")):
        name, label = row["Filename"], row["Classname"].strip()
        answer = labels.get(label.lower(), label.capitalize())
        yield choice_sample(name, folder / "test" / name, question, options, answer)


def read_tut2017(
    folder: Path, question: str, options: Sequence[str], labels: Mapping[str, str]
) -> Iterator[EvalSample]:
    """Yield in which of 15 places a recording was made; a line holds the file and the scene."""
    home = folder / "TUT-acoustic-scenes-2017-evaluation"
    known = {option.replace(" ", "_"): option for option in options} | dict(labels)
    for line in read_lines(home / "meta.txt"):
        file, label = line.split("\t")[:2] if "\t" in line else line.split()[:2]
        yield choice_sample(file, home / file, question, options, known.get(label.strip(), label))


def read_cochlscene(folder: Path, question: str, options: Sequence[str]) -> Iterator[EvalSample]:
    """Yield in which of 13 places a recording was made; its folder is the answer."""
    for subset, name in {"test": "Test", "dev": "Val"}.items():
        for path in sorted((folder / "CochlScene" / name).glob("*/*.wav")):
            yield choice_sample(f"{subset}/{path.stem}", path, question, options, path.parent.name.lower(), subset)


def read_meld(folder: Path, question: str, options: Sequence[str]) -> Iterator[EvalSample]:
    """Yield the emotion of sentences of a television series.

    What lasts more than 30 s (wrong cuts) is no part of the test set, as in published scores.
    """
    columns = ("Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
    for row in read_csv(folder / "MELD.Raw" / "test_sent_emo.csv", columns):
        if _seconds(row["EndTime"]) - _seconds(row["StartTime"]) <= 30:
            name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            yield choice_sample(name, folder / "audio" / f"{name}.wav", question, options, row["Emotion"])


def _seconds(time: str) -> float:
    """Return the seconds of a time such as 00:14:38,127."""
    found = re.fullmatch(r"\s*(\d+):(\d+):(\d+)[,.](\d+)\s*", time)
    if found is None:
        raise ValueError(f"{time!r} in MELD.Raw/test_sent_emo.csv is not a time such as 00:14:38,127")
    hours, minutes, seconds, fraction = found.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(f"{seconds}.{fraction}")


def take_sound(folder: Path) -> None:
    """Write the sound of each of MELD's films to ``audio/`` at 16 kHz; ValueError if that cannot be done."""
    inner = folder / "MELD.Raw" / "test.tar.gz"
    if inner.exists() and not (folder / FILMS).exists():
        unpack(inner, inner.parent)
    sounds = {film: folder / "audio" / f"{film.stem}.wav" for film in sorted((folder / FILMS).glob("dia*_utt*.mp4"))}
    missing = {film: sound for film, sound in sounds.items() if not sound.exists()}
    if not missing:
        return
    program = shutil.which("ffmpeg")
    if program is None:
        raise ValueError("the sound of MELD is inside of films; install ffmpeg and prepare it again")
    (folder / "audio").mkdir(exist_ok=True)
    for film, target in track(missing.items(), "taking the sound of films"):
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
