"""Adding up the time of training runs, on runs that never were."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.rebuild_nano import Cost, from_nothing, main, read_costs
from recipes.nano.build import FROM_NOTHING


def write(folder: Path, *rows: tuple[int, float]) -> None:
    folder.mkdir(parents=True)
    lines = [json.dumps({"step": step, "step_s": seconds, "loss": 1.0}) for step, seconds in rows]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")


def test_a_row_stands_for_the_steps_since_the_one_before(tmp_path: Path):
    write(tmp_path / "lm", (10, 2.0), (20, 3.0), (25, 1.0))
    write(tmp_path / "nested" / "flow", (10, 1.0))
    assert read_costs(tmp_path) == [Cost("lm", 25, 55.0), Cost("nested/flow", 10, 10.0)]


def test_steps_that_were_done_again_count_once(tmp_path: Path):
    write(tmp_path / "lm", (10, 2.0), (20, 9.0), (20, 1.0), (30, 1.0))
    assert read_costs(tmp_path) == [Cost("lm", 30, 40.0)]


def test_the_table_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    write(tmp_path / "lm", (3600, 1.0))
    write(tmp_path / "flow", (1800, 1.0))
    monkeypatch.setattr(sys, "argv", ["rebuild_nano", str(tmp_path)])
    main()
    shown = capsys.readouterr().out
    assert "1.50" in next(line for line in shown.splitlines() if "together" in line)


def test_the_way_from_nothing_has_the_pace_of_the_run():
    planned = from_nothing(Cost("lm", 10, 20.0))
    assert planned.steps == FROM_NOTHING.lm.steps
    assert planned.training_s == 2.0 * planned.steps
    assert from_nothing(Cost("nested/flow", 10, 20.0)).training_s == 0.0


def test_folders_and_logs_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ValueError, match=r"there is no log\.jsonl below"):
        read_costs(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ValueError, match="line 1: not a row with step and step_s"):
        read_costs(tmp_path)
