"""What is found out about a file is found out once, as long as nothing has changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from kimi_audio.data import checked
from kimi_audio.data.checked import check_file, report_path
from kimi_audio.data.survey import Survey
from kimi_audio.data.validation import FileReport
from tests.train.conversations import write_conversations
from tests.train.documents import write_documents


@pytest.fixture
def model(reference: Path) -> Path:
    return reference / "checkpoint"


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checks that were really made."""
    made = []
    for name in ("validate_file", "survey_file"):
        usual = getattr(checked, name)
        monkeypatch.setattr(
            checked, name, lambda *a, usual=usual, name=name, **options: made.append(name) or usual(*a, **options)
        )
    return made


def assert_equal(one: FileReport | Survey, other: FileReport | Survey) -> None:
    assert type(one) is type(other)
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert value.tolist() == vars(other)[name].tolist()
        else:
            assert value == vars(other)[name], name


@pytest.mark.parametrize("write", [write_conversations, write_documents])
def test_a_report_is_read_as_it_was_written(write, tmp_path, model, checks):
    file = write(tmp_path)
    file.write_text(file.read_text() + '{"x": 3}\n')
    first = check_file(file, model)
    assert_equal(check_file(file, model), first)
    assert len(checks) == 1
    assert first.num_skipped == 1


def test_a_report_serves_while_file_model_and_choices_are_the_same(tmp_path, model, checks):
    file = write_conversations(tmp_path / "data")
    check_file(file, model)
    check_file(file, model, decode=True)  # finds more
    check_file(file, model)  # and that is enough
    assert len(checks) == 2
    check_file(file, model, again=True)
    check_file(file, model, loss="last")
    file.write_text(file.read_text() + file.read_text().splitlines()[0] + "\n")
    assert check_file(file, model, loss="last").num_lines == 7
    assert len(checks) == 5
    other = tmp_path / "model"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).symlink_to(path)
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 10}
    (other / "config.json").unlink()
    (other / "config.json").write_text(json.dumps(config))
    assert check_file(file, other, loss="last").num_skipped > 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}', "\xff"])
def test_a_damaged_report_is_made_again(tmp_path, model, content):
    file = write_conversations(tmp_path)
    expected = check_file(file, model)
    values = json.loads(report_path(file).read_text())
    for damaged in (content, json.dumps(values | {"lines": "x"}), json.dumps({"key": values["key"]})):
        report_path(file).write_text(damaged, "latin-1")
        assert_equal(check_file(file, model), expected)


def test_where_nobody_may_write_nothing_is_kept(tmp_path, model, monkeypatch):
    def refuse(_path):
        raise PermissionError("read-only")

    monkeypatch.setattr(checked, "write_whole", refuse)
    file = write_conversations(tmp_path)
    assert check_file(file, model).num_valid == 6
    assert not report_path(file).exists()


def test_shorter_rows_leave_more_out(tmp_path, model):
    whole = check_file(write_conversations(tmp_path), model)
    assert isinstance(whole, FileReport)
    limit = int(np.median(whole.positions))
    short = whole.limited(limit)
    assert short.positions.tolist() == [size for size in whole.positions.tolist() if size <= limit]
    assert (len(short.tasks), short.num_lines) == (short.num_valid, 6)
    assert {problem.line for problem in short.problems} == set(whole.lines.tolist()) - set(short.lines.tolist())
    assert f"at most {limit} fit" in short.problems[0].reason
    documents = check_file(write_documents(tmp_path / "documents"), model)
    assert isinstance(documents, Survey)
    assert documents.limited(8).num_skipped == 2  # of two copies, the one with the longest segment
    assert documents.limited(100).num_skipped == 0
