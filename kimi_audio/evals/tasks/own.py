"""What is one's own: recordings, listed in JSONL files, and answers made elsewhere that bring their references along.

    {"id": "a1", "audio": "a1.wav", "text": "what is said", "language": "en"}

is a line of a list in the folder of the task ``manifest``, ``translation`` or ``captions``. Each file is a subset;
paths are relative to it. ``text`` is the right answer, or a list of all that are accepted; ``language`` is that of the
answer, else guessed by its letters (``en`` where they are Latin). ``id``, ``language`` and ``question``, which then is
the prompt, may be left out. Lines of the official Evalkit are read, too (``audio_path``, ``answer``).

Answers made elsewhere are scored by ``kimi-audio eval score FILE``, which needs nothing else; see ``run/recorded.py``.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kimi_audio.core.lines import read_objects
from kimi_audio.evals.contract.types import Dataset, EvalSample, EvalTask, Scorer
from kimi_audio.evals.metrics.languages import check_language, guess_language, tell_guess
from kimi_audio.evals.tasks.asking import recipes_for
from kimi_audio.evals.tasks.datasets import DatasetFiles, make_dataset
from kimi_audio.evals.tasks.scorers import Choices, ShortAnswers, Transcripts
from kimi_audio.evals.tasks.text_scorers import Descriptions, Translations

Prompts = Mapping[str, str]  # by language of the answer; "" serves all others, if there is one
TRANSCRIBE: Prompts = {
    "zh": "请把这段语音转录成文本。",
    "": "Please transcribe the spoken content into written text.",
}
TRANSLATE: Prompts = {
    "zh": "请把这段语音翻译成中文。",
    "en": "Please translate the spoken content into English text.",
}
DESCRIBE: Prompts = {"zh": "请用一句话描述这段声音。", "": "Please describe the sound in one sentence."}
FILES = DatasetFiles(
    index=("*.jsonl",),
    by_hand='place a file such as mine.jsonl there, with lines {"audio": "a.wav", "text": "the right answer"}',
)


def read_lists(prompts: Prompts, folder: Path) -> Iterator[EvalSample]:
    """Yield one sample per line. A line that cannot be used is a sample with a fault, not the end."""
    for path in sorted(folder.glob("*.jsonl")):
        rows, problems = read_objects(path)
        faults = {problem.line: problem.reason for problem in problems}
        for number in sorted({*rows, *faults}):
            name, place = f"{path.stem}/{number:06d}", f"{path.name}, line {number}"
            try:
                if number in faults:
                    raise ValueError(f": {faults[number]}")
                yield _sample(prompts, path, name, rows[number])
            except ValueError as error:
                yield EvalSample(name, subset=path.stem, fault=f"{place}{error}")


def _sample(prompts: Prompts, path: Path, name: str, row: Mapping[str, Any]) -> EvalSample:
    """Return the sample of a line; ValueError with how the sentence about its place goes on, if it cannot be used."""
    audio, text = _first(row, "audio", "audio_path"), _first(row, "text", "answer")
    texts = text if isinstance(text, list) else [text]
    if not isinstance(audio, str) or not texts or not all(isinstance(item, str) for item in texts):
        raise ValueError(" has no audio or no text")
    stated = _first(row, "language", "lang")
    try:
        language = check_language(str(stated)) if stated else guess_language(texts)
    except ValueError as error:
        raise ValueError(f": {error}") from None
    if not language:
        raise ValueError(" needs a language, such as hi")
    if not stated:
        tell_guess(path, language)
    question = row.get("question") or prompts.get(language, prompts.get(""))
    if not question:
        raise ValueError(f" needs a question: there is no prompt for the language {language}")
    reference = tuple(text) if isinstance(text, list) else text
    meta = {"language": language}
    id_ = name if row.get("id") is None else str(row["id"])
    return EvalSample(id_, (path.parent / audio,), str(question), reference, path.stem, meta)


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if name in row), None)


def _task(name: str, prompts: Prompts, scorer: Scorer, what: str) -> EvalTask:
    dataset = make_dataset(name, "your own", FILES, partial(read_lists, prompts))
    description = f"{what} of your own recordings, listed in JSONL files"
    return EvalTask(name, "1", dataset, scorer, recipes_for(), description)


def explain(folder: Path) -> Iterable[EvalSample]:
    """Raise ValueError: there is no sound to ask a model about."""
    raise ValueError(f"{folder.name} has no data of its own; score a file of answers with 'kimi-audio eval score FILE'")


def _elsewhere(name: str, scorer: Scorer, what: str) -> EvalTask:
    dataset = Dataset(name, explain, lambda folder: list(explain(folder)).clear(), "your own")
    return EvalTask(name, "2", dataset, scorer, recipes_for(), f"{what} made elsewhere")


ELSEWHERE = {  # by what --metric says
    "transcripts": _elsewhere("own-references", Transcripts("en", "zh", "yue", "other"), "transcripts"),
    "choices": _elsewhere("own-choices", Choices(), "choices of an option"),
    "answers": _elsewhere("own-answers", ShortAnswers(), "short answers"),
    "translations": _elsewhere("own-translations", Translations(), "translations"),
    "captions": _elsewhere("own-captions", Descriptions(), "descriptions of sound"),
}
TASKS = (
    _task("manifest", TRANSCRIBE, Transcripts("en", "zh", "yue", "other"), "recognition"),
    _task("translation", TRANSLATE, Translations(), "translation"),
    _task("captions", DESCRIBE, Descriptions(), "description"),
    *ELSEWHERE.values(),
)
