"""OpenAudioBench: five tests of spoken questions, each with a judge of its own; the question is only heard.

A score is in points to 100, as published: ratings to 10 times 10, ratings to 5 times 20, shares of right answers.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kimi_audio.evals.contract.types import Metric, Sample, Suite, Task
from kimi_audio.evals.judges.scorer import Judged
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset, read_csv
from kimi_audio.evals.tasks.scorers import ShortAnswers

SOURCE = "https://huggingface.co/datasets/baichuan-inc/OpenAudioBench, Apache 2.0"


@dataclass(frozen=True)
class Part:
    """One of the five tests: its columns, and how it is judged."""

    name: str
    question: str
    answer: str
    prompt: str
    points: float  # that the judge's number is worth
    is_short: bool = True  # rules can look for the answer, too


PARTS = (
    Part("alpaca_eval", "instruction", "output", "alpaca-eval", 10, is_short=False),
    Part("llama_questions", "Questions", "Answer", "llama-questions", 100),
    Part("reasoning_qa", "Prompt", "参考答案", "reasoning-qa", 20, is_short=False),
    Part("trivia_qa", "question", "answer_normalized_aliases", "trivia", 100),
    Part("web_questions", "question", "answers", "trivia", 100),
)


def read(part: Part, folder: Path) -> Iterator[Sample]:
    """Yield the questions of one table; no text goes with the sound."""
    rows = read_csv(folder / f"{part.name}.csv", ("audio_filename", part.question, part.answer))
    for number, row in enumerate(rows):
        audio = (folder / "audios" / row["audio_filename"],)
        reference = accepted(row[part.answer]) if part.is_short else row[part.answer]
        yield Sample(f"{part.name}/{number:05d}", audio, "", reference, meta={"question": row[part.question]})


def accepted(text: str) -> tuple[str, ...]:
    """Return the answers of a cell, which holds one, or a list in Python's notation."""
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return (text,)
    return tuple(str(value) for value in values) if isinstance(values, list | tuple) and values else (text,)


def _task(part: Part) -> Task:
    name = f"openaudiobench-{part.name.replace('_', '-')}"
    by_hand = (
        f"place {part.name}.csv and the folder audios of eval_datas/{part.name} of baichuan-inc/OpenAudioBench there"
    )
    return Task(
        name,
        "1",
        make_dataset(name, SOURCE, Layout((f"{part.name}.csv",), by_hand), partial(read, part)),
        Judged(part.prompt, Metric("score", "points", part.points), ShortAnswers() if part.is_short else None),
        plain_recipes(others=prompts.spoken_question()),
        "spoken questions; published scores are a judge's",
    )


TASKS = tuple(_task(part) for part in PARTS)
SUITES = (Suite("openaudiobench", tuple(task.name for task in TASKS), description="spoken questions"),)
