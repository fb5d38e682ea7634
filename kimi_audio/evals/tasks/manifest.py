"""Recordings of one's own, listed in JSONL files, each of which is a subset: recognition, translation, description.

    {"id": "a1", "audio": "a1.wav", "text": "what is said", "language": "en"}

Paths are relative to the file. ``text`` is the right answer, or a list of all that are accepted; ``language`` (en) is
that of the answer. ``id``, ``language`` and ``question``, which then is the prompt, may be left out. Lines of the
official Evalkit are read, too (``audio_path``, ``answer``, ``index``). The files lie in the folder of the task.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kimi_audio.core.lines import read_objects
from kimi_audio.evals.contract.types import Sample, Scorer, Task
from kimi_audio.evals.metrics.languages import check_language, guess_language
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset
from kimi_audio.evals.tasks.scorers import Transcripts
from kimi_audio.evals.tasks.text_scorers import Captions, Translations

LAYOUT = Layout(
    index=("*.jsonl",),
    by_hand='place a file such as mine.jsonl there, with lines {"audio": "a.wav", "text": "the right answer"}',
)
Prompts = Mapping[str, str]  # by language of the answer; "" serves all others, if there is one
TRANSCRIBE: Prompts = {
    "zh": "请把这段语音转录成文本。",
    "": "Please transcribe the spoken content into written text.",
}
TRANSLATE: Prompts = {
    "zh": "请把这段语音翻译成中文。",
    "en": "Please translate the spoken content into English text.",
}
DESCRIBE: Prompts = {
    "zh": "请用一句话描述这段声音。",
    "": "Please describe the sound in one sentence.",
}


def read(prompts: Prompts, folder: Path) -> Iterator[Sample]:
    """Yield one sample per line. A line that cannot be used is a sample with a fault, not the end."""
    for path in sorted(folder.glob("*.jsonl")):
        rows, problems = read_objects(path)
        for number, row in sorted({**rows, **{problem.line: problem.reason for problem in problems}}.items()):
            yield _sample(prompts, path, number, row)


def _sample(prompts: Prompts, path: Path, number: int, row: Mapping[str, Any] | str) -> Sample:
    name, place = f"{path.stem}/{number:06d}", f"{path.name}, line {number}"
    if isinstance(row, str):
        return Sample(name, subset=path.stem, fault=f"{place}: {row}")
    audio, text = _first(row, "audio", "audio_path"), _first(row, "text", "answer")
    if not isinstance(audio, str) or not _is_answer(text):
        return Sample(name, subset=path.stem, fault=f"{place} has no audio or no text")
    stated = _first(row, "language", "lang")
    try:
        language = check_language(str(stated)) if stated else guess_language([text] if isinstance(text, str) else text)
    except ValueError as error:
        return Sample(name, subset=path.stem, fault=f"{place}: {error}")
    if not language:
        return Sample(name, subset=path.stem, fault=f"{place} needs a language, such as hi")
    question = row.get("question") or prompts.get(language, prompts.get(""))
    if not question:
        fault = f"{place} needs a question: there is no prompt for the language {language}"
        return Sample(name, subset=path.stem, fault=fault)
    return Sample(
        str(row.get("id", name)),
        (path.parent / audio,),
        str(question),
        text if isinstance(text, str) else tuple(text),
        path.stem,
        {"language": language},
    )


def _first(row: Any, *names: str) -> Any:
    return next((row[name] for name in names if isinstance(row, dict) and name in row), None)


def _is_answer(text: Any) -> bool:
    return isinstance(text, str) or (
        isinstance(text, list) and text != [] and all(isinstance(item, str) for item in text)
    )


def _task(name: str, prompts: Prompts, scorer: Scorer, description: str) -> Task:
    dataset = make_dataset(name, "your own", LAYOUT, partial(read, prompts))
    return Task(
        name, "1", dataset, scorer, plain_recipes(), f"{description} of your own recordings, listed in JSONL files"
    )


TASKS = (
    _task("manifest", TRANSCRIBE, Transcripts("en", "zh", "yue", "other"), "recognition"),
    _task("translation", TRANSLATE, Translations(), "translation"),
    _task("captions", DESCRIBE, Captions(), "description"),
)
