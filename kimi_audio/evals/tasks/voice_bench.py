"""VoiceBench: seven tests of spoken questions as the Kimi-Audio report uses them, and their average.

The report has SD-QA, MMSU and OpenBookQA decided by a judge, VoiceBench's board by rules; both are given here. The
files are those that the official Evalkit writes: ``mmsu.jsonl`` beside ``mmsu/0.wav``, and so on.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from string import ascii_uppercase
from typing import Any

from kimi_audio.evals.contract.types import Average, Metric, Prediction, Sample, SampleScore, Scorer, Suite, Task
from kimi_audio.evals.judges.scorer import Judged
from kimi_audio.evals.metrics import ifeval, refusal
from kimi_audio.evals.metrics.libraries import versions
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.run.scoring import PerSample
from kimi_audio.evals.tasks.asking import plain_recipes
from kimi_audio.evals.tasks.datasets import Layout, make_dataset, rows_of
from kimi_audio.evals.tasks.scorers import judged_answers, judged_choices

SOURCE = "https://huggingface.co/datasets/hlt-lab/voicebench, Apache 2.0"
_OPTION = re.compile(r"(?:^|[\s(])([A-Z])[.):]\s+(.+?)(?=[\s(]+[A-Z][.):]\s|\s*$)", re.DOTALL)


# ---------------------------------------------------------------------------------------------------------------------
# Scorers


class Instructions(PerSample):
    """IFEval. ``final``, the mean of the four others, is what VoiceBench and the report call its score."""

    metrics = (
        Metric("final", combine=lambda rows: fmean(_rates(rows))),
        *(Metric(name) for name in ("prompt-strict", "prompt-loose", "instruction-strict", "instruction-loose")),
    )

    @property
    def versions(self) -> Mapping[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The libraries that count sentences and tell languages."""
        return {"rules": "ifeval/1", **versions(ifeval.LIBRARIES)}

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Check each instruction."""
        names, given = sample.meta["instructions"], sample.meta["arguments"]
        row = ifeval.follow(prediction.text, names, given)
        return SampleScore(
            sample.id, _values(row.strict, row.loose), {"instructions": names, "strict": row.strict, "loose": row.loose}
        )

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return that nothing is followed."""
        none = [False] * len(sample.meta.get("instructions", ()))
        return _values(none, none) if none else {}


def _values(strict: Sequence[bool], loose: Sequence[bool]) -> dict[str, Any]:
    count = len(strict)
    single = (int(all(strict)), int(all(loose)), sum(strict), sum(loose))
    return {
        "final": (*single, count),
        "prompt-strict": (single[0], 1),
        "prompt-loose": (single[1], 1),
        "instruction-strict": (single[2], count),
        "instruction-loose": (single[3], count),
    }


def _rates(rows: Sequence[Sequence[float]]) -> list[float]:
    *sums, instructions = (sum(column) for column in zip(*rows, strict=True))
    return [
        total / count for total, count in zip(sums, (len(rows), len(rows), instructions, instructions), strict=True)
    ]


class Refusals(PerSample):
    """AdvBench: the share of harmful requests that are refused."""

    metrics = (Metric("refusal"),)
    versions = {"rules": f"refusal phrases/{refusal.PHRASES_VERSION}"}  # noqa: RUF012 - a constant

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Look for a phrase of refusal."""
        return SampleScore(sample.id, {"refusal": (int(refusal.refuses(prediction.text)), 1)})


# ---------------------------------------------------------------------------------------------------------------------
# Data


def read(name: str, folder: Path) -> Iterator[Sample]:
    """Yield the spoken questions of one test; no text goes with the sound."""
    for row in rows_of(folder / f"{name}.jsonl"):
        audio = (folder / name / Path(row["audio_path"]).name,)
        meta = {"question": row["audio_content"]}
        sample = Sample(f"{name}/{int(row['index']):05d}", audio, "", str(row.get("answer") or ""), meta=meta)
        yield _with_details(sample, row)


def _with_details(sample: Sample, row: Mapping[str, Any]) -> Sample:
    meta = dict(sample.meta)
    if "instruction" in row:
        given = row["instruction_kwargs"]
        given = json.loads(given) if isinstance(given, str) else given
        # Only what is not stated is left out: a zero is a value.
        meta["arguments"] = [{key: value for key, value in item.items() if value is not None} for item in given]
        meta["instructions"] = list(row["instruction"])
        return Sample(sample.id, sample.audio, meta=meta)
    if sample.id.startswith(("mmsu/", "openbookqa/")):
        choices = options_of(meta["question"])
        letter = str(row.get("answer") or "")[:1]
        if letter not in ascii_uppercase[: len(choices)] or not letter:
            return Sample(sample.id, sample.audio, meta=meta, fault=f"{sample.reference!r} is not one of the options")
        return Sample(sample.id, sample.audio, "", choices[ord(letter) - ord("A")], meta=meta | {"choices": choices})
    return sample


def options_of(question: str) -> list[str]:
    """Return the lettered options of a question; where they cannot be told apart, the letters A to D."""
    found = _OPTION.findall(question)
    letters = "".join(letter for letter, _ in found)
    is_whole = len(found) > 1 and letters == ascii_uppercase[: len(found)]
    return [text.strip() for _, text in found] if is_whole else list("ABCD")


def _task(name: str, file: str, scorer: Scorer, description: str) -> Task:
    name = f"voicebench-{name}"
    by_hand = (
        f"place {file}.jsonl and the folder {file} with its recordings there, as the downloader of the "
        "Kimi-Audio-Evalkit writes them"
    )
    dataset = make_dataset(name, SOURCE, Layout((f"{file}.jsonl",), by_hand), partial(read, file))
    return Task(name, "1", dataset, scorer, plain_recipes(others=prompts.spoken_question()), description)


RATING = Metric("rating", "of 5", 1.0)
TASKS = (
    _task("alpacaeval", "alpacaeval_full", Judged("open-question", RATING), "spoken requests, rated by a judge"),
    _task("commoneval", "commoneval", Judged("open-question", RATING), "recorded requests, rated by a judge"),
    _task("sd-qa", "sd-qa", judged_answers("spoken-question"), "questions in the accent of the USA"),
    _task("mmsu", "mmsu", judged_choices(), "spoken multiple choice, 12 fields"),
    _task("openbookqa", "openbookqa", judged_choices(), "spoken multiple choice, science"),
    _task("ifeval", "ifeval", Instructions(), "verifiable instructions, by rules"),
    _task("advbench", "advbench", Refusals(), "harmful requests, by rules"),
)
AVERAGE = Average(
    "VoiceBench, 7 tests",
    {
        "voicebench-alpacaeval//rating": 20 / 7,
        "voicebench-commoneval//rating": 20 / 7,
        "voicebench-sd-qa//judged-accuracy": 1 / 7,
        "voicebench-mmsu//judged-accuracy": 1 / 7,
        "voicebench-openbookqa//judged-accuracy": 1 / 7,
        "voicebench-ifeval//final": 1 / 7,
        "voicebench-advbench//refusal": 1 / 7,
    },
    "Kimi-Audio technical report, Table 6",
)
SUITES = (Suite("voicebench", tuple(task.name for task in TASKS), (AVERAGE,), "spoken questions"),)
