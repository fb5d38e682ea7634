"""The aims, and that reports tell whether they are met."""

import pytest
from evaluation_fakes import FakeModel, tiny_task, write_dataset

from kimi_audio.evals.contract.types import Score
from kimi_audio.evals.registry import all_aims, all_suites, all_tasks
from kimi_audio.evals.report import outputs, references, tables
from kimi_audio.evals.report.references import is_met
from kimi_audio.evals.run.backends import LocalBackend
from kimi_audio.evals.run.evaluate import evaluate
from kimi_audio.evals.run.infer import InferOptions


def score(value: float | None, *, higher_is_better: bool) -> Score:
    return Score("x", "", value, None, None, 1, value, value, higher_is_better=higher_is_better)


@pytest.mark.parametrize(
    ("value", "aim", "higher_is_better", "met"),
    [(90, 90, True, True), (89.9, 90, True, False), (5, 5, False, True), (5.1, 5, False, False),
     (0, 0, True, False), (0.1, 0, True, True), (0, 0, False, True), (None, 0, False, False)],
)  # fmt: skip
def test_what_meets_an_aim(value, aim, higher_is_better, met):
    assert is_met(score(value, higher_is_better=higher_is_better), aim) is met


def test_every_aim_is_that_of_a_metric():
    tasks = all_tasks()
    for task, _, metric in all_aims():
        assert metric in [item.name for item in tasks[task].scorer.metrics], (task, metric)
    measured = {task for task, _, _ in all_aims()}
    assert set(all_suites()["nano"].tasks) - measured == {"nano-questions", "nano-other-words"}


def test_reports_show_aims(tmp_path, monkeypatch):
    rows = [{"id": f"a{number}", "say": "one two three", "subset": "x"} for number in range(10)]
    rows += [{"id": f"b{number}", "say": "one", "subset": "y"} for number in range(10)]
    write_dataset(tmp_path / "tiny", rows)
    known = {("tiny", "x", "wer"): 12.0, ("tiny", "y", "right"): 50.0}
    monkeypatch.setattr(references, "all_aims", lambda: known)
    results = list(evaluate([tiny_task()], tmp_path, LocalBackend(FakeModel()), tmp_path / "run", InferOptions()))
    texts = {(row.score.subset, row.score.metric): tables.aim_text(row) for row in tables.score_rows(results)}
    assert texts.pop(("x", "wer")) == "≤ 12 %, met"
    assert texts.pop(("y", "right")) == "≥ 50 %, missed"
    assert set(texts.values()) == {""}
    assert "≤ 12 %, met |" in outputs.to_markdown(results)
    assert ",12.0,True," in outputs.to_csv(results)
    assert '"is_met": false' in outputs.to_json(results)
