"""The commands of ``kimi-audio eval``, with a fake model and a tiny task."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from typer.testing import CliRunner

from kimi_audio import cli
from kimi_audio.evals import models, registry
from kimi_audio.evals.contract.types import Suite
from kimi_audio.evals.tasks import own

sys.path.insert(0, str(Path(__file__).parent / "evals"))
from evaluation_fakes import tiny_task, write_dataset

GOOD = [{"id": name, "say": "one two three"} for name in "abc"]


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """A registry of one task, one suite and one family; commands run in an empty folder."""
    monkeypatch.setattr(registry, "all_tasks", lambda: {"tiny": tiny_task()})
    monkeypatch.setattr(registry, "all_suites", lambda: {"nano": Suite("nano", ("tiny",))})
    monkeypatch.setitem(models.ADAPTERS, "fake", "evaluation_fakes")
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "runs" / "eval-data" / "tiny", GOOD)


def rewrite(rows: list[dict]) -> None:
    write_dataset(Path("runs/eval-data/tiny"), rows)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["eval", *(str(argument) for argument in arguments)])


def assert_error(result: Result, text: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert text in line


def test_run_writes_a_report():
    result = run("run", "tiny", "--model", "fake:first")
    assert result.exit_code == 0, result.output
    assert "tiny all, wer: 0.00 % (95 %: -); 3 of 3 scored; recipe" in result.stdout
    assert {path.name for path in Path("runs/evals/first").iterdir()} == {
        "tiny", "report.md", "report.json", "report.csv", "report.html",
    }  # fmt: skip


def test_numbers_of_few_samples_come_with_a_warning():
    result = run("run", "tiny", "--model", "fake:first")
    assert "tiny: no 95 % interval of wer: 3 samples are too few" in result.stderr
    rewrite([{"id": str(number), "say": "one two three"} for number in range(60)])
    assert "no 95 %" not in run("run", "tiny", "--model", "fake:first", "--out", "again").stderr


def test_suites_are_lists_of_tasks():
    assert run("nano", "--model", "fake:first").exit_code == 0
    assert Path("runs/evals/first/tiny/result.json").exists()


def test_results_as_json():
    result = run("run", "tiny", "--model", "fake:first", "--json")
    (row,) = map(json.loads, result.stdout.splitlines())
    assert (row["task"], row["counts"][""]["scored"]) == ("tiny", 3)


@pytest.mark.parametrize(
    ("row", "counted"),
    [
        ({"behave": "error"}, "1 failed"),
        ({"say": "unspeakable"}, "1 unscored"),
        ({"audio": "none.wav"}, "1 skipped"),
        ({"id": "a"}, "1 skipped"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_exit_code_tells_that_samples_are_missing(row, counted):
    rewrite([*GOOD, {"id": "d", "say": "", **row}])
    result = run("run", "tiny", "--model", "fake:first")
    assert result.exit_code == 3
    assert "some samples were not scored" in result.stderr
    assert f"3 of 4 scored, {counted}" in result.stdout


def test_an_empty_answer_is_an_answer():
    rewrite([*GOOD, {"id": "d", "say": " "}])
    result = run("run", "tiny", "--model", "fake:first")
    assert result.exit_code == 0
    assert "wer: 25.00 % (95 %: -); 4 of 4 scored, 1 empty" in result.stdout


def test_a_missing_dataset_is_a_result():
    result = run("run", "tiny", "--model", "fake:first", "--data", "nowhere")
    assert result.exit_code == 3
    assert "tiny: not run: there is no nowhere/tiny/manifest.jsonl" in result.stdout


def test_prepare():
    assert run("prepare", "tiny", "--data", "fresh").exit_code == 0
    assert run("run", "tiny", "--model", "fake:first", "--data", "fresh").exit_code == 0
    assert_error(run("prepare", "huge"), "there is no task 'huge'")


def test_some_samples_and_both_outputs():
    run("run", "tiny", "--model", "fake:first")
    run("run", "tiny", "--model", "fake:first", "--samples", "a,c", "--output", "both")
    assert json.loads(Path("runs/evals/first/tiny/result.json").read_text())["counts"][""]["total"] == 3
    (other,) = Path("runs/evals").glob("first-both-samples-*")
    rows = [json.loads(line) for line in (other / "tiny" / "predictions.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == ["a", "c"]
    assert all(row["speech"] for row in rows)


def test_steps_one_by_one():
    assert run("run", "tiny", "--model", "fake:first", "--infer-only").exit_code == 0
    assert not Path("runs/evals/first/tiny/result.json").exists()
    assert run("score", "runs/evals/first").exit_code == 0
    Path("runs/evals/first/report.html").unlink()
    assert run("report", "runs/evals").exit_code == 0
    assert Path("runs/evals/report.html").exists()


def test_worker_processes():
    rewrite([*GOOD, {"id": "d", "say": "", "behave": "die"}])
    result = run("run", "tiny", "--model", "fake:first", "--devices", "cpu", "--workers", "1")
    assert result.exit_code == 3
    assert "3 of 4 scored, 1 failed" in result.stdout


def test_predictions_from_elsewhere(tmp_path):
    rows = [
        {"id": "a", "text": "one two three"},
        {"id": "b", "text": "one two three"},
        {"id": "b", "text": "something else"},
        {"id": "z", "text": "?"},
        {"text": "?"},
    ]
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"id": "c", "te')
    result = run("score", "theirs.jsonl", "--task", "tiny", "--json")
    assert result.exit_code == 3
    (row,) = map(json.loads, result.stdout.splitlines())
    assert (row["model"], row["fingerprint"]) == ("theirs", "unknown")
    counts = row["counts"][""]
    assert (counts["total"], counts["scored"], counts["failed"]) == (3, 1, 2)
    assert "without a sample in tiny: 1 prediction, such as 'z'" in result.stderr
    page = Path("runs/evals/theirs/report.html").read_text()
    assert "the file has different predictions for it" in page
    assert "the file has no prediction for it" in page
    assert_error(run("score", "theirs.jsonl"), "--task")


def test_predictions_that_name_their_tasks(tmp_path):
    rows = [{"id": name, "text": "one two three", "task": "tiny"} for name in "abc"]
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run("score", "theirs.jsonl")
    assert result.exit_code == 0, result.output
    assert "tiny all, wer: 0.00 %" in result.stdout
    (tmp_path / "theirs.jsonl").write_text('{"id": "a", "text": "one", "task": "huge"}\n')
    assert_error(run("score", "theirs.jsonl"), "there is no task 'huge'")


def test_predictions_that_bring_their_references(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "all_tasks", lambda: {task.name: task for task in own.TASKS})
    rows = [
        {"id": "a", "text": "good morning all", "reference": "Good morning, all!"},
        {"index": 7, "prediction": "你好吗", "answer": "你好", "lang": "zh", "subset": "zh"},
        {"id": "c", "text": "one"},
        {"id": "d", "reference": "one"},
    ]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run("score", "predictions.jsonl", "--json")
    assert result.exit_code == 3, result.output
    (row,) = map(json.loads, result.stdout.splitlines())
    counts = row["counts"][""]
    assert (counts["scored"], counts["failed"], counts["skipped"]) == (2, 1, 1)
    scores = {(score["subset"], score["metric"]): score for score in row["scores"]}
    assert scores["zh", "mer"]["value"] == scores["", "mer"]["value"] == 50
    assert scores["", "wer"]["answered"] == 0
    assert scores["", "substitutions"]["value"] is None  # words and characters have no sum
    assert run("score", "runs/evals/predictions").exit_code == 3  # again, without the file's references


def test_compare():
    run("run", "tiny", "--model", "fake:first")
    rewrite([{**row, "say": "one"} for row in GOOD])
    run("run", "tiny", "--model", "fake:second")
    result = run("compare", "runs/evals/first", "runs/evals/second", "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows[0]["metric"] == "wer"
    assert rows[0]["difference"] == pytest.approx(200 / 3)
    assert Path("comparison.html").exists()


def test_list():
    result = run("list")
    assert result.exit_code == 0
    assert "tiny" in result.stdout
    assert "nano (suite)" in result.stdout
    assert "kimi-audio:..." in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "huge", "--model", "fake:x"], "there is no task 'huge'"),
        (["run", "tiny", "--model", "fake:broken"], "its files are incomplete"),
        (["run", "tiny", "--model", "fake:x", "--limit", "0"], "the limit must be positive"),
        (["run", "tiny", "--model", "fake:x", "--recipe", "none.yaml"], "there is no file none.yaml"),
        (["report", "none"], "there is no file none"),
        (["report", "."], "there is no result.json"),
        (["score", "."], "there are no answers in ."),
        (["compare", ".", "none"], "there is no file none"),
    ],
)
def test_errors_are_one_line(arguments, message):
    assert_error(run(*arguments), message)


def test_a_dataset_that_is_not_ready_does_not_keep_the_others_from_being_prepared(monkeypatch, tmp_path):
    def refuse(folder: Path) -> None:
        raise ValueError(f"place something in {folder.name}")

    prepared: list[str] = []
    datasets = [
        SimpleNamespace(name="first", prepare=refuse),
        SimpleNamespace(name="second", prepare=lambda folder: prepared.append(folder.name)),
    ]
    monkeypatch.setattr("kimi_audio.evals.registry.find_datasets", lambda names: datasets)
    done = run("prepare", "first", "second", "--data", tmp_path)
    assert (done.exit_code, prepared) == (1, ["second"])
    assert done.stderr == "error: place something in first\n"
