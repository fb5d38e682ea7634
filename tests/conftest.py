"""Shared fixtures: the folder of official numbers."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Workers share the cores: with a team of threads in each, they wait for one another most of the time. Before torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: a busy machine is not an error. The same examples in every run: a failure can be repeated.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference folder; ``KIMI_AUDIO_REFERENCE`` puts another one of the same shape in its place."""
    return Path(os.environ.get("KIMI_AUDIO_REFERENCE", Path(__file__).parent / "reference" / "tiny-a"))
