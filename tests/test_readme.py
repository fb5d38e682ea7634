"""What README.md tells users to open, type and run exists and works."""

import re
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from kimi_audio.checkpoint import NANO_FOLDER

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_exists():
    from kimi_audio.cli import app

    commands = set(re.findall(r"^kimi-audio (\w+)", README, re.MULTILINE))
    assert commands >= {"demo", "transcribe", "chat", "info"}
    for command in commands:
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0, command


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^make ([\w-]+)", README, re.MULTILINE))
    assert targets >= {"demo", "test", "speech-tools"}
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.skipif(not (NANO_FOLDER / "config.json").exists(), reason="nano is not bundled with this checkout")
def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(from kimi_audio import KimiAudio.*?)```", README, re.DOTALL)
    question = next((NANO_FOLDER / "questions").glob("*.wav")).read_bytes()
    for name in ("talk.wav", "question.wav"):
        (tmp_path / name).write_bytes(question)
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert capsys.readouterr().out.strip()
    assert scope["wav"].shape[0] == 1
    assert scope["text"]
    assert soundfile.info("question.wav").frames > 0
