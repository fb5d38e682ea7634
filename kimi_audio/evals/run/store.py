"""The files of one task of one run. All steps meet here, so each can be stopped, resumed and repeated alone.

run.json            model, recipe, seed, selection: what the answers depend on
samples.jsonl       what is asked, with prompt and key; whole or absent
audio/              sound that the dataset gave as samples instead of files
predictions.jsonl   one row per answer, appended; only rows whose key is that of the sample are valid
speech/             spoken answers
scores.jsonl        one row per scored answer, appended; valid by their keys, too
outcomes.jsonl      what became of each sample; whole or absent
result.json         scores and counts; whole or absent
alignments.txt      of transcripts, as sclite writes them; made with the report
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from kimi_audio.audio.io import decode_audio, load_audio, save_audio
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.contract.prompting import recipe_from
from kimi_audio.evals.contract.rows import read_rows, save_rows, save_values
from kimi_audio.evals.contract.types import Conditions, Counts, EvalSample, Prediction, Result, SampleScore, Score


@dataclass(frozen=True)
class AskedSample(EvalSample):
    """A sample as it is asked: its finished prompt, the key of its answer, and how long its sound lasts."""

    prompt: str = ""
    key: str = ""  # empty for a sample that is skipped
    heard_s: float = 0.0


@dataclass(frozen=True)
class SampleAnswer(Prediction):
    """A prediction for one sample, as it comes from a backend and, with its key, as it is stored."""

    id: str = ""
    key: str = ""
    spoken_s: float = 0.0
    batch: int = 1  # samples that were answered together
    cached: bool = False  # taken from an earlier run, timings included


class State(StrEnum):
    """Where a sample is counted; see POLICY."""

    scored = "scored"
    failed = "failed"
    unscored = "unscored"
    skipped = "skipped"


@dataclass(frozen=True)
class SampleOutcome:
    """What became of one sample in the end."""

    sample: EvalSample
    state: State
    values: Mapping[str, Any] = field(default_factory=dict)  # statistics by metric; of the worst answer, if it failed
    details: Mapping[str, Any] = field(default_factory=dict)
    is_empty: bool = False
    reason: str = ""  # why it was not scored


class TaskFolder:
    """Reads and writes the files of one task; paths in them are relative to it where they lie inside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.predictions = path / "predictions.jsonl"
        self.scores = path / "scores.jsonl"
        self.result = path / "result.json"
        self.alignments = path / "alignments.txt"

    def begin(self, conditions: Conditions, asked: Iterable[AskedSample]) -> None:
        """Write what is asked; a result of before does not hold any more."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.result.unlink(missing_ok=True)
        save_rows(self.path / "samples.jsonl", [self._asked_row(number, item) for number, item in enumerate(asked)])
        save_values(self.path / "run.json", asdict(conditions))

    def _asked_row(self, number: int, item: AskedSample) -> dict[str, Any]:
        clips = [
            clip if isinstance(clip, Path) else save_clip(clip, self.path / "audio" / f"{number:06d}-{place}.wav")
            for place, clip in enumerate(item.audio)
        ]
        return {**vars(item), "audio": [self._name(clip) for clip in clips]}

    def read_conditions(self) -> Conditions:
        """Read what the answers depend on; ValueError if nothing was asked yet."""
        path = self.path / "run.json"
        if not path.exists():
            raise ValueError(f"{self.path} holds no evaluation: there is no run.json")
        values = json.loads(path.read_text("utf-8"))
        return Conditions(**values | {"recipe": recipe_from(values["recipe"], str(path))})

    def read_asked(self) -> list[AskedSample]:
        """Read what is asked."""
        return [self._asked(row) for row in read_rows(self.path / "samples.jsonl")]

    def _asked(self, row: dict[str, Any]) -> AskedSample:
        row["audio"] = tuple(self.path / name for name in row["audio"])  # an absolute name stays what it is
        row["needs"] = tuple(row.get("needs", ()))
        row["reference"] = tuple(row["reference"]) if isinstance(row["reference"], list) else row["reference"]
        return AskedSample(**row)

    def answer_row(self, answer: SampleAnswer) -> dict[str, Any]:
        """Return the row of an answer; its speech, if there is any, has been saved."""
        return {**vars(answer), "speech": None if answer.speech is None else self._name(answer.speech)}

    def answer_of(self, row: Mapping[str, Any]) -> SampleAnswer:
        """Return the answer of a row."""
        speech = row["speech"]
        return SampleAnswer(**{**row, "speech": None if speech is None else self.path / speech})

    def read_answers(self) -> dict[str, SampleAnswer]:
        """Read the last stored answer by key."""
        return {row["key"]: self.answer_of(row) for row in read_rows(self.predictions)}

    def speech_file(self, key: str) -> Path:
        """Return where the speech of an answer belongs."""
        return self.path / "speech" / f"{key[:32]}.wav"

    def read_scores(self) -> dict[str, SampleScore]:
        """Read the last stored score by key."""
        return {row["key"]: SampleScore(**row) for row in read_rows(self.scores)}

    def write_outcomes(self, outcomes: Iterable[SampleOutcome]) -> None:
        """Write what became of all samples."""
        rows = [{"id": outcome.sample.id, **vars(outcome)} for outcome in outcomes]
        for row in rows:
            del row["sample"]
        save_rows(self.path / "outcomes.jsonl", rows)

    def read_outcomes(self) -> list[SampleOutcome]:
        """Read what became of all samples; none if nothing was scored yet."""
        samples = {item.id: item for item in self.read_asked()}
        rows = read_rows(self.path / "outcomes.jsonl")
        return [SampleOutcome(samples[row.pop("id")], State(row.pop("state")), **row) for row in rows]

    def has_scores(self) -> bool:
        """Tell whether there is a result with scores."""
        return self.result.exists() and not read_result(self.result).error

    def write_result(self, result: Result) -> None:
        """Write the result."""
        save_values(self.result, asdict(result))

    def _name(self, clip: Clip) -> str:
        assert isinstance(clip, Path), "sound is saved before it is named"
        path, base = clip.resolve(), self.path.resolve()
        return str(path.relative_to(base) if path.is_relative_to(base) else path)


def save_clip(clip: Clip, target: Path) -> Path:
    """Write sound as a file and return it; errors as for ``load_audio``."""
    sound = decode_audio(clip)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_audio(target, load_audio(sound, sound.rate_hz), sound.rate_hz)
    return target


def read_result(path: Path) -> Result:
    """Read a ``result.json``.

    Raises:
        ValueError: it is none.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        values["recipe"] = recipe_from(values["recipe"], str(path))
        values["counts"] = {subset: Counts(**counts) for subset, counts in values["counts"].items()}
        values["scores"] = tuple(Score(**score) for score in values["scores"])
        return Result(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the result of an evaluation: {error}") from None
