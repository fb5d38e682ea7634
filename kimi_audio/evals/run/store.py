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
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kimi_audio.audio.io import decode_audio, load_audio, save_audio
from kimi_audio.core.files import write_whole
from kimi_audio.evals.contract.prompting import recipe_from
from kimi_audio.evals.contract.types import Clip, Counts, Prediction, Recipe, Result, Sample, SampleScore, Score

logger = logging.getLogger(__name__)

SURROGATES = "backslashreplace"  # half a character, which UTF-8 cannot hold, becomes a JSON escape


@dataclass(frozen=True)
class Run:
    """What the answers of a task depend on."""

    task: str
    task_version: str
    model: str
    revision: str
    recipe: Recipe
    fingerprint: str
    seed: int
    selection: str


@dataclass(frozen=True)
class Asked:
    """A sample as it is asked: its finished prompt, the key of its answer, and how long its sound lasts."""

    sample: Sample
    prompt: str = ""
    key: str = ""  # empty for a sample that is skipped
    heard_s: float = 0.0


@dataclass(frozen=True)
class Answered:
    """A prediction as it is stored."""

    id: str
    key: str
    prediction: Prediction
    spoken_s: float = 0.0
    batch: int = 1  # samples that were answered together
    cached: bool = False  # taken from an earlier run, timings included


@dataclass(frozen=True)
class Scored:
    """A score as it is stored; the key covers the answer and the versions of the scorer."""

    key: str
    score: SampleScore


class State(StrEnum):
    """Where a sample is counted; see POLICY."""

    scored = "scored"
    failed = "failed"
    unscored = "unscored"
    skipped = "skipped"


@dataclass(frozen=True)
class Outcome:
    """What became of one sample in the end."""

    sample: Sample
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

    def begin(self, run: Run, asked: Iterable[Asked]) -> None:
        """Write what is asked; a result of before does not hold any more."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.result.unlink(missing_ok=True)
        rows = [self._asked_row(number, item) for number, item in enumerate(asked)]
        save_text(self.path / "samples.jsonl", "".join(to_line(row) for row in rows))
        save_text(self.path / "run.json", to_json(asdict(run)))

    def read_run(self) -> Run:
        """Read what the answers depend on; ValueError if nothing was asked yet."""
        path = self.path / "run.json"
        if not path.exists():
            raise ValueError(f"{self.path} holds no evaluation: there is no run.json")
        values = json.loads(path.read_text("utf-8"))
        return Run(**values | {"recipe": recipe_from(values["recipe"], str(path))})

    def read_asked(self) -> list[Asked]:
        """Read what is asked."""
        return [self._asked(row) for row in read_rows(self.path / "samples.jsonl")]

    def read_answers(self) -> dict[str, Answered]:
        """Read the last stored answer by key."""
        answers = (self.answered(row) for row in read_rows(self.predictions))
        return {answer.key: answer for answer in answers}

    def read_scores(self) -> dict[str, Scored]:
        """Read the last stored score by key."""
        rows = (Scored(row["key"], SampleScore(**without(row, "key"))) for row in read_rows(self.scores))
        return {row.key: row for row in rows}

    def answer_row(self, answer: Answered) -> dict[str, Any]:
        """Return the row of an answer; its speech, if there is any, has been saved."""
        values = asdict(replace(answer.prediction, speech=None))
        speech = None if answer.prediction.speech is None else self._name(answer.prediction.speech)
        outer = {name: getattr(answer, name) for name in ("id", "key", "spoken_s", "batch", "cached")}
        return {**outer, **values, "speech": speech}

    def score_row(self, scored: Scored) -> dict[str, Any]:
        """Return the row of a score."""
        return {"key": scored.key, **asdict(scored.score)}

    def speech_file(self, key: str) -> Path:
        """Return where the speech of an answer belongs."""
        return self.path / "speech" / f"{key[:32]}.wav"

    def write_outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Write what became of all samples."""
        rows = ({"id": outcome.sample.id, **without(vars(outcome), "sample")} for outcome in outcomes)
        save_text(self.path / "outcomes.jsonl", "".join(to_line(row) for row in rows))

    def read_outcomes(self) -> list[Outcome]:
        """Read what became of all samples; none if nothing was scored yet."""
        samples = {item.sample.id: item.sample for item in self.read_asked()}
        rows = read_rows(self.path / "outcomes.jsonl")
        return [Outcome(samples[row["id"]], State(row["state"]), **without(row, "id", "state")) for row in rows]

    def has_scores(self) -> bool:
        """Tell whether there is a result with scores."""
        return self.result.exists() and not read_result(self.result).error

    def write_result(self, result: Result) -> None:
        """Write the result."""
        self.path.mkdir(parents=True, exist_ok=True)
        save_text(self.result, to_json(asdict(result)))

    def _asked_row(self, number: int, item: Asked) -> dict[str, Any]:
        sample = item.sample
        clips = [
            clip if isinstance(clip, Path) else save_clip(clip, self.path / "audio" / f"{number:06d}-{place}.wav")
            for place, clip in enumerate(sample.audio)
        ]
        values = asdict(replace(sample, audio=()))
        outer = {name: getattr(item, name) for name in ("prompt", "key", "heard_s")}
        return {**values, "audio": [self._name(clip) for clip in clips], **outer}

    def _asked(self, row: dict[str, Any]) -> Asked:
        outer = {name: row.pop(name) for name in ("prompt", "key", "heard_s")}
        row["audio"] = tuple(self._path(name) for name in row["audio"])
        row["needs"] = tuple(row.get("needs", ()))
        if isinstance(row["reference"], list):
            row["reference"] = tuple(row["reference"])
        return Asked(Sample(**row), **outer)

    def answered(self, row: dict[str, Any]) -> Answered:
        """Return the answer of a row."""
        outer = {name: row.pop(name) for name in ("id", "key", "spoken_s", "batch", "cached")}
        row["speech"] = None if row["speech"] is None else self._path(row["speech"])
        return Answered(prediction=Prediction(**row), **outer)

    def _name(self, clip: Clip) -> str:
        assert isinstance(clip, Path), "sound is saved before it is named"
        path = clip.resolve()
        base = self.path.resolve()
        return str(path.relative_to(base) if path.is_relative_to(base) else path)

    def _path(self, name: str) -> Path:
        return self.path / name  # an absolute name stays what it is


@dataclass
class RowLog:
    """A file of JSON rows that are appended one by one. A kill can tear the last row only; opening cuts that off."""

    path: Path
    _file: Any = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab+")
        self._file.truncate(_whole_bytes(self.path.read_bytes()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row at once; ValueError if it holds something that JSON does not."""
        self._file.write(to_line(row).encode("utf-8", SURROGATES))
        self._file.flush()


def save_clip(clip: Clip, target: Path) -> Path:
    """Write sound as a file and return it; errors as for ``load_audio``."""
    sound = decode_audio(clip)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_audio(target, load_audio(sound, sound.rate_hz), sound.rate_hz)
    return target


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the whole rows of a file, none if there is no file. Damaged rows are told in the log."""
    rows = []
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content[: _whole_bytes(content)].splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif line.strip():
            logger.warning("%s, line %d is damaged and does not count", path, number)
    return rows


def _whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1


def to_line(row: Mapping[str, Any]) -> str:
    """Return a row of a JSON lines file."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def to_json(values: Any) -> str:
    """Return JSON for a file of its own."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the row without some fields."""
    return {name: value for name, value in row.items() if name not in names}


def save_text(path: Path, content: str) -> None:
    """Write a file, whole or not at all."""
    with write_whole(path) as partial:
        partial.write_text(content, encoding="utf-8", errors=SURROGATES)


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
