"""nano's voices: what is learned and what judges, and that a stopped run goes on."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from kimi_audio.checkpoint import NANO, find_model, load_flow
from recipes.nano import voicing
from recipes.nano.recording import Line, record

RATE_HZ = 24_000


@pytest.fixture
def speech(tmp_path):
    def hum(line: Line) -> tuple[np.ndarray, int]:
        time_s = np.arange(int(0.7 * RATE_HZ)) / RATE_HZ
        return (0.3 * np.sin(2 * np.pi * (100 + 10 * len(line.text)) * time_s)).astype(np.float32), RATE_HZ

    lines = (Line("word " * (1 + number % 3), ("af_heart",)) for number in range(7))
    record(lines, hum, tmp_path / "speech", 7)
    return tmp_path / "speech"


def test_some_recordings_judge_and_are_not_learned(speech, tmp_path, monkeypatch):
    monkeypatch.setattr(voicing, "HELD_OUT_EVERY", 3)
    learned, held_out = voicing.stored([speech], tmp_path / "work")
    assert ([len(learned), len(held_out)]) == [4, 3]
    names = [{utterance.id for utterance in split.utterances} for split in (learned, held_out)]
    assert not names[0] & names[1]
    (speech / "manifest.jsonl").unlink()  # they are read once
    assert len(voicing.stored([tmp_path / "speech2"][:0], tmp_path / "work")[0]) == 4


def test_a_model_folder_with_another_detokenizer_comes_out(speech, tmp_path, monkeypatch):
    monkeypatch.setattr(voicing, "HELD_OUT_EVERY", 3)
    monkeypatch.setattr(voicing, "FLOW_STAGE", replace(voicing.FLOW_STAGE, batch_frames=100))
    monkeypatch.setattr(voicing, "VOCODER_STAGE", replace(voicing.VOCODER_STAGE, batch_size=1))
    arguments = [str(speech), "--base", str(find_model(NANO)), "--out", str(tmp_path / "model")]
    arguments += ["--flow-steps", "1", "--vocoder-steps", "2", "--adversarial-from", "1"]
    monkeypatch.setattr(sys, "argv", ["voicing", *arguments])
    voicing.main()
    before, _ = load_flow(find_model(NANO))
    after, _ = load_flow(tmp_path / "model")
    assert after.state_dict().keys() == before.state_dict().keys()
    assert (tmp_path / "model" / "config.json").exists()
    kept = torch.load(tmp_path / "model" / "work" / "vocoder" / "checkpoint.pt", weights_only=True)["module"]
    assert {name.partition(".")[0] for name in kept} == {"vocoder", "discriminators"}
