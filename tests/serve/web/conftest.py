"""Headless Chromium, whose microphone hears a recording, and pages of real servers in it."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

QUESTION = Path(__file__).parents[3] / "kimi_audio/nano/questions/01-which-is-more.wav"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SILENCE_BEFORE_S, SILENCE_AFTER_S = 1.5, 2.5
# Keeps every phase that the page shows, however short.
WATCH = """
window.phases = [];
new MutationObserver(() => {
  const phase = document.body?.dataset.phase;
  if (phase && phase !== window.phases.at(-1)) window.phases.push(phase);
}).observe(document, { subtree: true, childList: true, attributeFilter: ["data-phase"] });
"""


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A question, then silence; the browser plays it again and again."""
    sound, rate_hz = soundfile.read(QUESTION, dtype="float32")
    path = tmp_path_factory.mktemp("microphone") / "question.wav"
    silences = [np.zeros(int(seconds * rate_hz), np.float32) for seconds in (SILENCE_BEFORE_S, SILENCE_AFTER_S)]
    soundfile.write(path, np.concatenate([silences[0], sound, silences[1]]), rate_hz, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")  # it keeps an event loop running, which other tests cannot do with
def browser(microphone: Path) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"Chromium is not installed: none of the programs {', '.join(PROGRAMS)}")
    arguments = [
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        "--host-resolver-rules=MAP voice.test 127.0.0.1",  # a name that is no secure origin
        "--no-sandbox",
        "--disable-gpu",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


class Page:
    """A page of a server, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page, self.errors = page, []
        page.set_default_timeout(30_000)
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    def reach(self, phase: str) -> None:
        """Wait until the page has shown a phase."""
        self.page.wait_for_function("phase => window.phases.includes(phase)", arg=phase)

    def phases(self) -> list[str]:
        return self.page.evaluate("window.phases")

    def words(self, who: str) -> list[str]:
        """Return what one side has said."""
        return self.page.locator(f"#transcript .{who} p").all_inner_texts()

    def choose(self, **settings: Any) -> None:
        """Begin with settings as if they had been chosen earlier."""
        self.page.add_init_script(f"localStorage.setItem('settings', {json.dumps(json.dumps(settings))})")


@pytest.fixture
def opened(browser: Any) -> Any:
    """Return a context with a page; errors of its scripts, and refusals of its security policy, fail the test."""

    @contextmanager
    def open_page(*, allowed: bool = True, width: int = 1000, errors: str | None = None) -> Iterator[Page]:
        permissions = ["microphone"] if allowed else []
        context = browser.new_context(viewport={"width": width, "height": 800}, permissions=permissions)
        page = Page(context.new_page())
        try:
            yield page
            unexpected = [error for error in page.errors if errors is None or not re.search(errors, error)]
            assert unexpected == []
        finally:
            context.close()

    return open_page
