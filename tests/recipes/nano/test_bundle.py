"""A model in as few bytes as it may have."""

import json
from pathlib import Path

import pytest
import torch

from kimi_audio.checkpoint import NANO_FOLDER, load_lm
from kimi_audio.core.random import generator_of
from recipes.nano.bundle import bundle, candidates, moments_of, weights_bytes
from recipes.nano.model_folder import save_with_llm


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    messages = [
        {"role": "user", "message_type": "text", "content": "what is a hammer"},
        {"role": "assistant", "message_type": "text", "content": "a tool"},
    ]
    file = tmp_path / "conversations.jsonl"
    file.write_text(json.dumps({"conversation": messages}) + "\n")
    return file


def test_as_many_matrices_have_4_bits_as_it_takes(tmp_path: Path, conversations: Path):
    known = load_lm(NANO_FOLDER)  # some of its matrices have 4 bits already, so others are drawn
    with torch.no_grad():
        known.reset_parameters(generator_of(0, 0))
    drawn = tmp_path / "drawn"
    save_with_llm(drawn, NANO_FOLDER, known)
    moments = moments_of(drawn, [conversations])
    assert moments.keys() == {*candidates(known)}
    assert bundle(drawn, tmp_path / "8", moments, 10**9) == 0
    most_bytes = weights_bytes(tmp_path / "8") - 100_000
    assert bundle(drawn, tmp_path / "less", moments, most_bytes) == 2
    assert most_bytes - 70_000 < weights_bytes(tmp_path / "less") <= most_bytes
    lm = load_lm(tmp_path / "less")
    small = candidates(lm)[:2]
    for (name, old), new in zip(known.state_dict().items(), lm.state_dict().values(), strict=True):
        error = float((new - old).norm() / old.norm().clamp_min(1e-6))
        assert (0.03 < error < 0.2) if name in small else error < 0.01, name


def test_what_does_not_fit_is_not_left_behind(tmp_path: Path, conversations: Path):
    moments = moments_of(NANO_FOLDER, [conversations])
    with pytest.raises(ValueError, match="does not fit into 1,000,000 bytes"):
        bundle(NANO_FOLDER, tmp_path / "small", moments, 10**6)
    assert not (tmp_path / "small").exists()
