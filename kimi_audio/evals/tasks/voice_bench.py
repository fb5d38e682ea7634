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

from kimi_audio.evals.contract.types import (
    Average,
    EvalSample,
    EvalTask,
    Metric,
    Prediction,
    SampleScore,
    Scorer,
    Suite,
)
from kimi_audio.evals.judges.scorer import JudgedAnswers
from kimi_audio.evals.metrics import ifeval, refusal
from kimi_audio.evals.metrics.libraries import library_versions
from kimi_audio.evals.tasks.asking import recipes_for
from kimi_audio.evals.tasks.datasets import DatasetFiles, make_dataset, rows_of
from kimi_audio.evals.tasks.scorers import judged_answers, judged_choices

SOURCE = "https://huggingface.co/datasets/hlt-lab/voicebench, Apache 2.0"
_OPTION = re.compile(r"(?:^|[\s(])([A-Z])[.):]\s+(.+?)(?=[\s(]+[A-Z][.):]\s|\s*$)", re.DOTALL)


def _rates(rows: Sequence[Sequence[float]]) -> list[float]:
    *sums, instructions = (sum(column) for column in zip(*rows, strict=True))
    counts = (len(rows), len(rows), instructions, instructions)
    return [total / count for total, count in zip(sums, counts, strict=True)]


class Instructions(Scorer):
    """IFEval. ``final``, the mean of the four others, is what VoiceBench and the report call its score."""

    metrics = (
        Metric("final", combine=lambda rows: fmean(_rates(rows))),
        *(Metric(name) for name in ("prompt-strict", "prompt-loose", "instruction-strict", "instruction-loose")),
    )

    def versions(self) -> Mapping[str, str]:
        """Return the libraries that count sentences and tell languages."""
        return {"rules": "ifeval/1", **library_versions(*ifeval.LIBRARIES)}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Check each instruction."""
        names = sample.meta["instructions"]
        strict, loose = ifeval.follow(prediction.text, names, sample.meta["arguments"])
        details = {"instructions": names, "strict": strict, "loose": loose}
        return SampleScore(sample.id, _values(strict, loose), details)

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
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


class Refusals(Scorer):
    """AdvBench: the share of harmful requests that are refused."""

    metrics = (Metric("refusal"),)
    rules = f"refusal phrases/{refusal.PHRASES_VERSION}"

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Look for a phrase of refusal."""
        return SampleScore(sample.id, {"refusal": (int(refusal.refuses(prediction.text)), 1)})


def read_test(name: str, folder: Path) -> Iterator[EvalSample]:
    """Yield the spoken questions of one test; no text goes with the sound."""
    for row in rows_of(folder / f"{name}.jsonl"):
        audio = (folder / name / Path(row["audio_path"]).name,)
        meta = {"question": row["audio_content"]}
        sample = EvalSample(f"{name}/{int(row['index']):05d}", audio, "", str(row.get("answer") or ""), meta=meta)
        yield with_details(sample, row)


def with_details(sample: EvalSample, row: Mapping[str, Any]) -> EvalSample:
    """Return the sample with its instructions or its options, if it is of a test that has them."""
    meta = dict(sample.meta)
    if "instruction" in row:
        given = row["instruction_kwargs"]
        given = json.loads(given) if isinstance(given, str) else given
        # Only what is not stated is left out: a zero is a value.
        meta["arguments"] = [{key: value for key, value in item.items() if value is not None} for item in given]
        meta["instructions"] = list(row["instruction"])
        return EvalSample(sample.id, sample.audio, meta=meta)
    if sample.id.startswith(("mmsu/", "openbookqa/")):
        options = options_of(meta["question"])
        letter = str(row.get("answer") or "")[:1]
        if not letter or letter not in ascii_uppercase[: len(options)]:
            fault = f"{sample.reference!r} is not one of the options"
            return EvalSample(sample.id, sample.audio, meta=meta, fault=fault)
        right = options[ord(letter) - ord("A")]
        return EvalSample(sample.id, sample.audio, "", right, meta=meta | {"choices": options})
    return sample


def options_of(question: str) -> list[str]:
    """Return the lettered options of a question; where they cannot be told apart, the letters A to D."""
    found = _OPTION.findall(question)
    letters = "".join(letter for letter, _ in found)
    is_whole = len(found) > 1 and letters == ascii_uppercase[: len(found)]
    return [text.strip() for _, text in found] if is_whole else list("ABCD")


def _task(name: str, file: str, scorer: Scorer, description: str) -> EvalTask:
    name = f"voicebench-{name}"
    by_hand = f"place {file}.jsonl and the folder {file} with its recordings there, as the downloader of the "
    files = DatasetFiles((f"{file}.jsonl",), f"{by_hand}Kimi-Audio-Evalkit writes them")
    dataset = make_dataset(name, SOURCE, files, partial(read_test, file))
    return EvalTask(name, "1", dataset, scorer, recipes_for("spoken-question"), description)


RATED = JudgedAnswers("open-question", Metric("rating", "of 5", 1.0))
TASKS = (
    _task("alpacaeval", "alpacaeval_full", RATED, "spoken requests, rated by a judge"),
    _task("commoneval", "commoneval", RATED, "recorded requests, rated by a judge"),
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
