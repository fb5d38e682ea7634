"""OpenAI's client for JavaScript, unmodified, over HTTP and Realtime."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from serve_fakes import FakeAssistant, running

from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.serve.certificates import self_signed
from kimi_audio.serve.settings import ServeSettings

FOLDER = Path(__file__).parent / "npm"


def test_the_client_for_javascript(recording, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed: no program 'node'")
    if not (FOLDER / "node_modules" / "openai").is_dir():
        pytest.skip("the npm package openai is not installed (npm ci --prefix tests/serve/npm)")
    file = tmp_path / "tone.wav"
    file.write_bytes(recording)
    certificate, key = self_signed("127.0.0.1", tmp_path / "kept")  # its Realtime speaks to wss:// alone
    settings = ServeSettings(is_marked=False)
    with running(FakeAssistant(), settings, certificate=certificate, private_key=key) as address:
        done = subprocess.run(
            [node, str(FOLDER / "client.mjs"), address, str(file), str(FOLDER)],
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["transcript"] == "2.0 seconds of sound."
    assert got["speechBytes"] == 2 * 2 * OUTPUT_SAMPLES_PER_TOKEN
    assert got["chat"] == got["said"] == "it is three."
    assert got["soundBytes"] == 2 * 3 * OUTPUT_SAMPLES_PER_TOKEN
    assert got["events"][0] == "session.created"
    assert got["events"][-1] == "response.done"
