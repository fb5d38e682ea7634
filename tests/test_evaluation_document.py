"""What docs/EVALUATION.md tells users to type exists, and its examples are read."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from kimi_audio import cli
from kimi_audio.evals.judges.endpoint import choose_judge
from kimi_audio.evals.registry import all_suites, all_tasks
from kimi_audio.evals.run.predictions import read_predictions
from kimi_audio.evals.run.recorded import Recorded, tasks_of
from kimi_audio.evals.tasks.own import TRANSCRIBE, read_lists

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "EVALUATION.md").read_text("utf-8")
COMMANDS = re.findall(r"^kimi-audio eval [^#\n]*", DOCUMENT, re.MULTILINE)
LINES = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("text", [*COMMANDS, "kimi-audio eval score predictions.jsonl", "kimi-audio eval compare A B"])
def test_commands_parse(text):
    _, group, name, *arguments = shlex.split(text)
    command = get_command(cli.app).commands[group].commands[name]  # pyright: ignore[reportAttributeAccessIssue]
    command.make_context(name, arguments)


def test_all_commands_are_there():
    assert {text.split()[2] for text in COMMANDS} == {
        "nano", "list", "prepare", "run", "score", "form", "compare",
    }  # fmt: skip


def test_every_task_and_suite_is_named():
    names = set(re.findall(r"`([\w.-]+)`", DOCUMENT))
    assert set(all_suites()) <= names
    for task in all_tasks():
        prefix, _, rest = task.partition("-")
        assert task in names or {f"{prefix}-", rest} <= names or prefix == "nano", task


def test_links_lead_to_files():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", DOCUMENT):
        assert (ROOT / "docs" / link).exists(), link


def test_lines_of_a_manifest_are_read(tmp_path):
    (tmp_path / "mine.jsonl").write_text(LINES[0])
    first, second = read_lists(TRANSCRIBE, tmp_path)
    assert (first.fault, second.fault, second.text) == ("", "", "a prompt of your own")
    assert second.reference == ("one right answer", "another")


def test_predictions_are_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("predictions.jsonl").write_text(LINES[1])
    file = read_predictions(Path("predictions.jsonl"))
    (task,) = tasks_of(file)
    assert len(list(task.dataset.load(tmp_path))) == len(LINES[1].splitlines())
    assert Recorded(file, "theirs", task.name).unused(["a"]) == ["b"]
    result = CliRunner().invoke(cli.app, ["eval", "score", "predictions.jsonl", "--json"])
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["counts"][""]["scored"] == 2


def test_the_judge_file_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "judge.yaml").write_text(text)
    assert yaml.safe_load(text)["votes"] == 3
    assert choose_judge(str(tmp_path / "judge.yaml")).name


def test_exit_codes_are_those_of_the_command_line():
    assert CliRunner().invoke(cli.app, ["eval", "run", "no-such-task"]).exit_code == 1
    assert CliRunner().invoke(cli.app, ["eval", "run"]).exit_code == 2
