"""OpenAudioBench: five tests of spoken questions, each with a judge of its own; the question is only heard.

A score is in points to 100, as published: ratings to 10 times 10, ratings to 5 times 20, shares of right answers.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kimi_audio.evals.contract.types import EvalSample, EvalTask, Metric, Suite
from kimi_audio.evals.judges.scorer import JudgedAnswers
from kimi_audio.evals.tasks.asking import recipes_for
from kimi_audio.evals.tasks.datasets import DatasetFiles, make_dataset, read_csv
from kimi_audio.evals.tasks.scorers import ShortAnswers

SOURCE = "https://huggingface.co/datasets/baichuan-inc/OpenAudioBench, Apache 2.0"


@dataclass(frozen=True)
class OpenAudioTest:
    """One of the five tests: its columns, and how it is judged."""

    name: str
    question: str
    answer: str
    prompt: str
    points: float  # that the judge's number is worth
    is_short: bool = True  # rules can look for the answer, too

    def read(self, folder: Path) -> Iterator[EvalSample]:
        """Yield the questions of the table; no text goes with the sound."""
        rows = read_csv(folder / f"{self.name}.csv", ("audio_filename", self.question, self.answer))
        for number, row in enumerate(rows):
            audio = (folder / "audios" / row["audio_filename"],)
            reference = accepted(row[self.answer]) if self.is_short else row[self.answer]
            meta = {"question": row[self.question]}
            yield EvalSample(f"{self.name}/{number:05d}", audio, "", reference, meta=meta)

    def task(self) -> EvalTask:
        """Return the task of this test."""
        name = f"openaudiobench-{self.name.replace('_', '-')}"
        by_hand = f"place {self.name}.csv and the folder audios of eval_datas/{self.name} of "
        files = DatasetFiles((f"{self.name}.csv",), f"{by_hand}baichuan-inc/OpenAudioBench there")
        scorer = JudgedAnswers(
            self.prompt, Metric("score", "points", self.points), ShortAnswers() if self.is_short else None
        )
        dataset = make_dataset(name, SOURCE, files, self.read)
        description = "spoken questions; published scores are a judge's"
        return EvalTask(name, "1", dataset, scorer, recipes_for("spoken-question"), description)


def accepted(text: str) -> tuple[str, ...]:
    """Return the answers of a cell, which holds one, or a list in Python's notation; 1,000 is a number."""
    if not text.lstrip().startswith(("[", "(")):
        return (text,)
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return (text,)
    return tuple(str(value) for value in values) if isinstance(values, list | tuple) and values else (text,)


TESTS = (
    OpenAudioTest("alpaca_eval", "instruction", "output", "alpaca-eval", 10, is_short=False),
    OpenAudioTest("llama_questions", "Questions", "Answer", "llama-questions", 100),
    OpenAudioTest("reasoning_qa", "Prompt", "参考答案", "reasoning-qa", 20, is_short=False),
    OpenAudioTest("trivia_qa", "question", "answer_normalized_aliases", "trivia", 100),
    OpenAudioTest("web_questions", "question", "answers", "trivia", 100),
)
TASKS = tuple(test.task() for test in TESTS)
SUITES = (Suite("openaudiobench", tuple(task.name for task in TASKS), description="spoken questions"),)
