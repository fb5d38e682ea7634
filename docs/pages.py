"""Gather the documents of the project as pages in ``build/docs``, where ``make docs`` finds them.

Links between documents become links between pages; links to code, which the site does not hold, become its name.
"""

import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "build" / "docs"
TEXTS = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "examples/README.md": "examples.md",
    "kimi_audio/nano/MODEL_CARD.md": "MODEL_CARD.md",
    **{f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.md")},
}
SHOWN = ("assets", "images", "sounds")  # folders of docs/ that pages show


def page_of(source: str) -> str:
    """Return the page that a document becomes."""
    folder = Path(source).parent

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        found = os.path.normpath(folder / target)
        if found in TEXTS:
            return f"[{text}]({TEXTS[found]}{anchor})"
        if found.startswith("docs/sounds/"):
            return f"[{text}]({found.removeprefix('docs/')})"
        if found.rstrip("/") == "examples":
            return f"[{text}](examples.md)"
        return f"`{text.strip('`')}`"

    text = (ROOT / source).read_text("utf-8")
    text = re.sub(r"(?<!!)\[((?:!\[[^\]]*\]\([^)]*\)|[^\]\n])+)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)", link, text)
    for shown in SHOWN:
        text = text.replace(f"docs/{shown}/", f"{shown}/")
    return text


def main() -> None:
    """Write all pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    for source, page in TEXTS.items():
        (PAGES / page).write_text(page_of(source), "utf-8")
    for folder in SHOWN:
        shutil.copytree(ROOT / "docs" / folder, PAGES / folder, ignore=shutil.ignore_patterns("*.py"))


if __name__ == "__main__":
    main()
