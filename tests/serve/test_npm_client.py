"""OpenAI's client for JavaScript, unmodified, over HTTP and Realtime."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN

FOLDER = Path(__file__).parent / "npm"


def test_the_client_for_javascript(address, recording, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed: no program 'node'")
    if not (FOLDER / "node_modules" / "openai").is_dir():
        pytest.skip(f"the npm package openai is not installed (npm ci --prefix {FOLDER.relative_to(Path.cwd())})")
    file = tmp_path / "tone.wav"
    file.write_bytes(recording)
    command = [node, str(FOLDER / "client.mjs"), address, str(file), str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["transcript"] == "2.0 seconds of sound."
    assert got["speechBytes"] == 2 * 2 * OUTPUT_SAMPLES_PER_TOKEN
    assert got["chat"] == got["said"] == "it is three."
    assert got["soundBytes"] == 2 * 3 * OUTPUT_SAMPLES_PER_TOKEN
    assert got["events"][0] == "session.created"
    assert got["events"][-1] == "response.done"
