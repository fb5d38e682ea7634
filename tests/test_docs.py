"""The documents are as they are to be: the picture is the drawn one, every page is linked, the site builds."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def test_the_picture_is_the_drawn_one():
    drawn = runpy.run_path(str(ROOT / "docs" / "assets" / "draw.py"))
    for page, inks in drawn["INKS"].items():
        assert (ROOT / "docs" / "assets" / f"architecture-{page}.svg").read_text("utf-8") == drawn["picture"](inks)


def test_every_document_is_a_page_of_the_site():
    pages = runpy.run_path(str(ROOT / "docs" / "pages.py"))["TEXTS"]
    listed = [
        page for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"] for page in entry.values()
    ]
    assert sorted(pages.values()) == sorted(listed)


def test_links_to_code_become_its_name():
    page_of = runpy.run_path(str(ROOT / "docs" / "pages.py"))["page_of"]
    start = page_of("README.md")
    assert "](images/page-wide.webp)](SERVING.md)" in start
    assert "[docs/FINETUNING.md](FINETUNING.md)" in start
    assert "`kimi_audio/assistant.py`" in start
    assert "](kimi_audio/" not in start


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_links_of_documents_lead_to_files(path: Path):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_version_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert citation["preferred-citation"]["url"] == "https://arxiv.org/abs/2504.18425"
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_workflow_runs_what_every_change_must_pass():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [".ci/run"]


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path):
    subprocess.run([sys.executable, "docs/pages.py"], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "KimiAudio" in (tmp_path / "reference" / "index.html").read_text("utf-8")
