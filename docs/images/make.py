"""Photograph the page while nano talks, for README.md: ``python docs/images/make.py``.

Starts a server, lets headless Chromium hear nano's recorded questions, and writes ``page-wide.webp`` and
``page-narrow.webp`` beside this file. Needs ``kimi-audio[serve]``, playwright, Pillow, and Chromium.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import sync_playwright

from kimi_audio import load_audio
from kimi_audio.checkpoint import NANO, find_model
from kimi_audio.cli.replies import bundled_questions

FOLDER = Path(__file__).parent
PORT, RATE_HZ, PAUSE_S = 8123, 24_000, 6.0
VIEWS = {"wide": (1280, 800), "narrow": (360, 740)}
QUESTIONS = (1, 3)


def microphone(path: Path) -> None:
    """Write what the browser hears."""
    parts = [np.zeros(3 * RATE_HZ, np.float32)]  # until it is listened to
    for number in QUESTIONS:
        question = bundled_questions(find_model(NANO))[number]
        parts += [load_audio(question, RATE_HZ).numpy(), np.zeros(round(PAUSE_S * RATE_HZ), np.float32)]
    soundfile.write(path, np.concatenate(parts), RATE_HZ, subtype="PCM_16")


def photograph(heard: Path) -> None:
    """Hold a conversation in each view, and take its picture while the last question is answered."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={heard}%noloop"]
    with sync_playwright() as playwright:
        for name, (width, height) in VIEWS.items():
            browser = playwright.chromium.launch(executable_path=program, args=[*arguments, "--no-sandbox"])
            context = browser.new_context(
                viewport={"width": width, "height": height}, device_scale_factor=1.5, permissions=["microphone"]
            )
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{PORT}/")
            page.get_by_role("button", name="Start talking").click()
            page.wait_for_function(
                "n => document.querySelectorAll('#transcript .assistant').length >= n"
                " && document.body.dataset.phase === 'speaking'",
                arg=len(QUESTIONS),
                timeout=60_000,
            )
            page.wait_for_timeout(700)
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture.save(FOLDER / f"page-{name}.webp", quality=80, method=6)
            browser.close()


def main() -> None:
    """Write both pictures."""
    command = [sys.executable, "-m", "kimi_audio.cli", "serve", "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603
    try:
        assert server.stdout is not None
        while b"Talk to it" not in (line := server.stdout.readline()):
            if not line:
                raise RuntimeError("the server does not start")
        with tempfile.TemporaryDirectory() as folder:
            heard = Path(folder) / "microphone.wav"
            microphone(heard)
            photograph(heard)
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
