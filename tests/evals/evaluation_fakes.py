"""A tiny dataset, its task, and a model that behaves as each sample says."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kimi_audio.audio.io import Samples
from kimi_audio.core.words import word_errors
from kimi_audio.evals.contract.types import (
    Dataset,
    EvalSample,
    EvalTask,
    Metric,
    Options,
    Prediction,
    Recipe,
    SampleScore,
    Scorer,
)
from kimi_audio.evals.registry import ModelSpec

RATE_HZ = 16000
SPEC = ModelSpec(__name__, "fake")


def write_dataset(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with ``id``, ``say`` (what the model will answer) and more, and a sine for each of them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, row in enumerate(rows):
        name = f"{number}.wav"
        seconds = row.get("seconds", 0.1)
        wave = 0.1 * np.sin(np.arange(int(seconds * RATE_HZ)) * (0.1 + 0.01 * number))
        soundfile.write(folder / name, wave, RATE_HZ)
        lines.append(json.dumps({"audio": name, **row}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")


def load_samples(folder: Path) -> Iterator[EvalSample]:
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        raise ValueError(f"there is no {manifest}; run 'kimi-audio eval prepare tiny'")
    for line in manifest.read_text().splitlines():
        row = json.loads(line)
        yield EvalSample(
            row["id"],
            audio=(folder / row["audio"],),
            text=row.get("question", ""),
            reference=row.get("reference", "one two three"),
            subset=row.get("subset", ""),
            meta={key: row[key] for key in ("say", "behave", "language") if key in row},
        )


def prepare(folder: Path) -> None:
    write_dataset(folder, [{"id": "a", "say": "one two three"}])


class Words(Scorer):
    """Word error rate, and whether all words are right."""

    metrics = (Metric("wer", higher_is_better=False), Metric("right"))

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.seen: list[str] = []

    def versions(self) -> Mapping[str, str]:
        return {"rules": self.version}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        self.seen.append(sample.id)
        if prediction.text == "unspeakable":
            raise ValueError("the judge is out of reach")
        assert isinstance(sample.reference, str)
        words = sample.reference.split()
        errors = word_errors(words, prediction.text.split())
        alignment = [("equal", words[0], words[0]), ("substitute", "two", "too"), ("delete", "three", "")]
        return SampleScore(
            sample.id, {"wer": (errors, len(words)), "right": (float(errors == 0), 1)}, {"alignment": alignment}
        )

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        assert isinstance(sample.reference, str)
        words = len(sample.reference.split())
        return {"wer": (words, words), "right": (0, 1)}


DATASET = Dataset("tiny", load_samples, prepare)


def tiny_task(scorer: Scorer | None = None, version: str = "1", **recipe: Any) -> EvalTask:
    return EvalTask("tiny", version, DATASET, scorer or Words(), {"default": Recipe(**recipe)})


@dataclass
class FakeModel:
    """Says what ``meta["say"]`` holds; ``meta["behave"]`` names a misfortune."""

    name: str = "fake"
    revision: str = "1"
    family: str = "fake"
    asked: list[list[str]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        self.asked.append([sample.id for sample in samples])
        self.prompts += [sample.text for sample in samples]
        assert not any(sample.reference for sample in samples), "the model sees the right answer"
        return [self._answer(sample, options) for sample in samples]

    def _answer(self, sample: EvalSample, options: Options) -> Prediction:
        behaviour, _, detail = sample.meta.get("behave", "").partition(":")
        if behaviour == "raise":
            raise RuntimeError("this one is too much\nfor me")
        if behaviour == "interrupt":
            raise KeyboardInterrupt
        if behaviour == "error":
            return Prediction(error="the endpoint gave up")
        if behaviour == "die" or (behaviour == "die-once" and not Path(detail).exists()):
            if detail:
                Path(detail).touch()
            os._exit(9)
        if behaviour == "hang":
            time.sleep(600)
        speech = Samples(np.full(RATE_HZ // 10, 0.1, np.float32), RATE_HZ) if options.output == "both" else None
        return Prediction(sample.meta["say"], speech, total_s=0.5, finish_reason="stop")


def load(name: str, device: str | None) -> FakeModel:
    if name == "broken":
        raise ValueError("its files are incomplete")
    return FakeModel(name=name)
