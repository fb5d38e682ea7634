"""Lower bounds of the dependencies."""

import tomllib
from pathlib import Path

import pytest
import torch

from benchmarks.lowest_versions import lowest

ROOT = Path(__file__).parents[2]


def test_every_dependency_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = lowest(project["dependencies"])
    assert len(pins) == len(project["dependencies"]) > 5
    assert any(pin.startswith("regex==") for pin in pins)
    with pytest.raises(ValueError, match="typer has no lower bound"):
        lowest(["typer"])


def test_the_torch_of_the_tests_is_not_older_than_the_bound():
    pins = lowest(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"])
    (bound,) = [pin.partition("==")[2] for pin in pins if pin.startswith("torch==")]
    assert [int(part) for part in torch.__version__.split("+")[0].split(".")[:2]] >= [*map(int, bound.split("."))]
