"""Recordings of a reserved voice, by an engine that is not there."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from kimi_audio.core.words import normalise
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.voices import RESERVED, Delivery
from recipes.nano.voice_recordings import record_voice


def speak(requests: Sequence[tuple[str, Delivery]]) -> list[tuple[np.ndarray, int]]:
    assert {delivery.voice for _, delivery in requests} == {RESERVED[0]}
    return [(np.full(3 * 16_000, 0.1, np.float32), 16_000) for _ in requests]


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_minutes_to_learn_from_and_reserved_sentences_to_judge(tmp_path: Path):
    assert record_voice(tmp_path, RESERVED[0], 0.5, held_back=3, speak=speak) == (0.5, 10)
    learnt, held = lines(tmp_path / "recordings.jsonl"), lines(tmp_path / "held-back.jsonl")
    assert not any(is_reserved(normalise(line["text"])) for line in learnt)
    assert all(is_reserved(normalise(line["text"])) for line in held)
    assert (len(learnt), len(held)) == (10, 3)
    for line in (*learnt, *held):
        assert soundfile.info(tmp_path / line["audio"]).frames == 3 * 16_000
    record_voice(tmp_path / "again", RESERVED[0], 0.5, held_back=3, speak=speak)
    assert lines(tmp_path / "again" / "recordings.jsonl") == learnt
