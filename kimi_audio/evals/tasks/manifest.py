"""Recognition of one's own recordings, listed in JSONL files; each file is a subset.

    {"id": "a1", "audio": "a1.wav", "text": "what is said", "language": "en"}

Paths are relative to the file. ``id`` and ``language`` (en) may be left out. Lines of the official Evalkit are read,
too (``audio_path``, ``answer``, ``index``, and ``question``, which then is the prompt).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kimi_audio.evals.datasets import Layout, make_dataset
from kimi_audio.evals.metrics.normalizers import language_code
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.scorers import Transcripts
from kimi_audio.evals.types import Sample, Task

LAYOUT = Layout(
    index=("*.jsonl",),
    by_hand='place a file such as mine.jsonl there, with lines {"audio": "a.wav", "text": "what is said"}',
)
PROMPTS = {"zh": "请把这段语音转录成文本。"}
ANY_OTHER = "Please transcribe the spoken content into written text."


def read(folder: Path) -> Iterator[Sample]:
    """Yield one sample per line. A line that cannot be used is a sample with a fault, not the end."""
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.strip():
                yield _sample(path, number, line)


def _sample(path: Path, number: int, line: str) -> Sample:
    name = f"{path.stem}/{number:06d}"
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return Sample(name, subset=path.stem, fault=f"{path.name}, line {number} is not JSON")
    audio, text = _first(row, "audio", "audio_path"), _first(row, "text", "answer")
    if not isinstance(audio, str) or not isinstance(text, str):
        return Sample(name, subset=path.stem, fault=f"{path.name}, line {number} has no audio or no text")
    language = str(_first(row, "language", "lang") or "en")
    return Sample(
        str(row.get("id", name)),
        (path.parent / audio,),
        str(row.get("question") or PROMPTS.get(language_code(language), ANY_OTHER)),
        text,
        path.stem,
        {"language": language},
    )


def _first(row: Any, *names: str) -> Any:
    return next((row[name] for name in names if isinstance(row, dict) and name in row), None)


TASKS = (
    Task(
        "manifest",
        "1",
        make_dataset("manifest", "your own", LAYOUT, read),
        Transcripts("en", "zh", "yue", "other"),
        plain_recipes(),
        "recognition of your own recordings, listed in JSONL files",
    ),
)
