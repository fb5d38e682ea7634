"""A process of its own is told to stop by SIGTERM while somebody listens to it."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from websockets.sync.client import connect

from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN

SERVER = """
from serve_fakes import FakeAssistant
from kimi_audio.serve.app import create_app
from kimi_audio.serve.server import make_server
from kimi_audio.serve.settings import ServeSettings

settings = ServeSettings(port=0)
app = create_app(FakeAssistant("one two three four five six", pause_s=0.1), "fake", settings)
make_server(app, settings, on_ready=lambda address: print(address, flush=True)).run()
"""


def test_sigterm_lets_the_reply_end():
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip().replace("http", "ws") + "v1/realtime"
        events = []
        with connect(url) as raw, connect(url) as idle:
            raw.send(json.dumps({"type": "response.create"}))
            while not events or events[-1]["type"] != "response.output_audio.delta":
                events.append(json.loads(raw.recv(timeout=30)))
            process.send_signal(signal.SIGTERM)
            events += [json.loads(message) for message in raw]  # until the server closes
            assert "session.expiring" in [event["type"] for event in events]
            assert events[-1]["type"] == "response.done"
            sounds = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
            assert sum(len(base64.b64decode(sound)) for sound in sounds) == 6 * 2 * OUTPUT_SAMPLES_PER_TOKEN
            assert raw.protocol.close_code == 1001
            assert len(list(idle)) == 2  # created, expiring: nothing is under way there
        assert process.wait(30) == -signal.SIGTERM  # as others expect of a process that was told to stop
    finally:
        process.kill()
        process.wait()
