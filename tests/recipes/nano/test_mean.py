"""The mean of two models."""

import shutil
from pathlib import Path

import pytest
import torch

from kimi_audio.checkpoint import NANO_FOLDER, load_lm
from kimi_audio.core.weights import WEIGHTS, save_weights
from recipes.nano.mean import mean


@pytest.fixture
def two(reference, tmp_path) -> tuple[Path, Path]:
    """The miniature, and one with other weights."""
    first, second = reference / "checkpoint", tmp_path / "second"
    shutil.copytree(first, second)
    weights = load_lm(first).state_dict()
    for file in second.glob("*.safetensors*"):
        file.unlink()
    save_weights(second / WEIGHTS, {name: tensor + 1.0 for name, tensor in weights.items()})
    return first, second


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_is_so_far_from_the_first_to_the_second(two, tmp_path, share):
    mean(*two, tmp_path / "mean", share)
    first, found = load_lm(two[0]).state_dict(), load_lm(tmp_path / "mean").state_dict()
    assert all(torch.allclose(found[name], tensor + share, atol=1e-5) for name, tensor in first.items())
    assert (tmp_path / "mean" / "vocoder" / "config.json").exists()


def test_what_has_no_mean_is_refused(two, tmp_path):
    with pytest.raises(ValueError, match="between 0 and 1, not 2"):
        mean(*two, tmp_path / "mean", 2.0)
    with pytest.raises(ValueError, match="different sizes"):
        mean(two[0], NANO_FOLDER, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
    with pytest.raises(FileExistsError, match="name of a new folder"):
        mean(*two, two[1])
