"""A model in as few bytes as it may have."""

import pytest

from kimi_audio.checkpoint import NANO_FOLDER, load_lm
from recipes.nano.bundle import bundle, candidates, weights_bytes


def test_as_many_matrices_have_4_bits_as_it_takes(tmp_path):
    assert bundle(NANO_FOLDER, tmp_path / "8", 10**9) == 0
    most_bytes = weights_bytes(tmp_path / "8") - 100_000
    assert bundle(NANO_FOLDER, tmp_path / "less", most_bytes) == 2
    assert most_bytes - 70_000 < weights_bytes(tmp_path / "less") <= most_bytes
    known, lm = load_lm(NANO_FOLDER), load_lm(tmp_path / "less")
    small = candidates(lm)[:2]
    for (name, old), new in zip(known.state_dict().items(), lm.state_dict().values(), strict=True):
        error = float((new - old).norm() / old.norm().clamp_min(1e-6))
        assert (0.03 < error < 0.2) if name in small else error < 0.01, name


def test_what_does_not_fit_is_not_left_behind(tmp_path):
    with pytest.raises(ValueError, match="does not fit into 1,000,000 bytes"):
        bundle(NANO_FOLDER, tmp_path / "small", 10**6)
    assert not (tmp_path / "small").exists()
