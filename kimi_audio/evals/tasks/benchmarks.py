"""The public benchmarks of recognition and understanding: ``benchmarks.yaml`` is their table.

``recognition.py`` and ``understanding.py`` read their data.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from kimi_audio.evals.contract.types import EvalSample, EvalTask, Suite
from kimi_audio.evals.tasks import recognition, understanding
from kimi_audio.evals.tasks.asking import lettered, recipes_for
from kimi_audio.evals.tasks.datasets import DatasetFiles, Download, make_dataset
from kimi_audio.evals.tasks.scorers import Transcripts, judged_answers, judged_choices

RECOGNITION: Mapping[str, Callable[[Path], Iterable[EvalSample]]] = {
    "librispeech": recognition.read_librispeech,
    "fleurs": recognition.read_fleurs,
    "aishell-1": recognition.read_aishell_1,
    "aishell-2": recognition.read_aishell_2,
    "wenetspeech": recognition.read_wenetspeech,
    "common-voice": recognition.read_common_voice,
    "kespeech": recognition.read_kespeech,
}
UNDERSTANDING: Mapping[str, Callable[..., Iterable[EvalSample]]] = {
    "mmau": understanding.read_mmau,
    "clothoaqa": understanding.read_clothoaqa,
    "vocalsound": understanding.read_vocalsound,
    "nonspeech7k": understanding.read_nonspeech7k,
    "meld": understanding.read_meld,
    "tut2017": understanding.read_tut2017,
    "cochlscene": understanding.read_cochlscene,
}
CONVERT: Mapping[str, Callable[[Path], None]] = {
    "aishell-1": recognition.unpack_speakers,
    "wenetspeech": recognition.cut_segments,
    "meld": understanding.take_sound,
}


@dataclass(frozen=True)
class BenchmarkRow:
    """A row of the table, which explains the fields."""

    description: str
    source: str
    index: list[str]
    by_hand: str
    downloads: list[dict[str, Any]] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    judge: str = ""
    recipes: str = "any"
    prompt: str = "{text}"
    question: str = ""  # of multiple choice that is the same for all recordings
    options: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)  # of the dataset, and the options that they stand for

    def task(self, name: str) -> EvalTask:
        """Return the task."""
        downloads = tuple(Download(**values) for values in self.downloads)
        files = DatasetFiles(tuple(self.index), self.by_hand, downloads, CONVERT.get(name, lambda folder: None))
        read = RECOGNITION.get(name) or UNDERSTANDING[name]
        if self.question:
            read = partial(read, question=lettered(self.question, self.options), options=self.options)
        if self.labels:
            read = partial(read, labels=self.labels)
        if self.languages:
            scorer = Transcripts(*self.languages)
        else:
            scorer = judged_choices() if self.judge == "multiple-choice" else judged_answers(self.judge)
        dataset = make_dataset(name, self.source, files, read)
        return EvalTask(name, "1", dataset, scorer, recipes_for(self.recipes, self.prompt), self.description)


TABLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
TASKS = tuple(BenchmarkRow(**values).task(name) for name, values in TABLE.items())
SUITES = (
    Suite("asr", tuple(RECOGNITION), description="recognition of speech:"),
    Suite("understanding", tuple(UNDERSTANDING), description="understanding of music, sound and speech:"),
)
