"""Shared fixtures: the folder of official numbers."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference folder; ``KIMI_AUDIO_REFERENCE`` puts another one of the same shape in its place."""
    return Path(os.environ.get("KIMI_AUDIO_REFERENCE", Path(__file__).parent / "reference" / "tiny-a"))
