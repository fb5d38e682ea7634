"""What the page's modules do that needs no browser, by Node; and whether its colours can be read."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[3] / "kimi_audio/serve/web"
TEXTS = ("ink", "quiet", "user-ink", "assistant-ink", "danger")
GROUNDS = ("paper", "card", "bubble")


def test_logic():
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed: no program 'node'")
    done = subprocess.run([node, "--test", "logic.test.mjs"], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"^# pass (\d+)", done.stdout, re.MULTILINE)[0]) > 20


def colours() -> list[dict[str, str]]:
    """Return the colours of the light and the dark page."""
    light, dark = re.findall(r":root \{([^}]*)\}", (WEB / "style.css").read_text("utf-8"))[:2]
    found = [dict(re.findall(r"--([\w-]+): (#\w{6});", text)) for text in (light, dark)]
    return [found[0], found[0] | found[1]]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_texts_stand_out(theme):
    own = colours()[theme]
    for text in TEXTS:
        for ground in GROUNDS:
            dark, bright = sorted((luminance(own[text]), luminance(own[ground])))
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}"  # WCAG 2.2, AA


def test_the_page_is_whole_and_brings_everything_along():
    modules = {path.name: path.read_text("utf-8") for path in WEB.glob("*.js")}
    page = (WEB / "index.html").read_text("utf-8")
    asked = set(re.findall(r'(?:src|href)="/web/([^"]+)"', page))
    for text in modules.values():
        asked |= set(re.findall(r'"\./([\w-]+\.js)"', text))
    there = {path.name for path in WEB.iterdir()} - {"index.html"}
    assert asked == there
    for text in [page, *modules.values(), (WEB / "style.css").read_text("utf-8")]:
        assert not re.findall(r"https?://(?!localhost|www\.w3\.org)", text)
    ids = re.findall(r'\bid="([\w-]+)"', page)
    assert len(ids) == len(set(ids))
    for name in re.findall(r'\$\("#([\w-]+)', "".join(modules.values())):
        assert name in ids
