"""Training runs that are killed, and runs of several processes, each in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[3]
TWO = ("plain", "layered", "economical", "muon")


def runs(kind: str, folder: Path) -> Path:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("loop_runs.py")), kind, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs("killed", tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def parallel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs("parallel", tmp_path_factory.mktemp("parallel"))


def log(folder: Path) -> dict[int, dict[str, float]]:
    return {row["step"]: row for row in map(json.loads, (folder / "log.jsonl").read_text().splitlines())}


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def said(folder: Path, name: str) -> list[str]:
    return [(folder / f"{name}.said.{number}").read_text() for number in range(2)]


def assert_near(one: Any, other: Any) -> None:
    """Compare nested values; tensors and numbers within rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_near(one[name], other[name])
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Killed


def test_every_run_was_killed(killed: Path):
    codes = json.loads((killed / "codes.json").read_text())
    assert codes == dict.fromkeys([*map(str, range(8)), "saving"], -9)


@pytest.mark.parametrize("name", [*map(str, range(8)), "saving"])
def test_a_killed_run_ends_bit_for_bit_like_one_that_was_not(killed: Path, name: str):
    weights, whole = (torch.load(killed / f"{run}.pt", weights_only=True) for run in (name, "whole"))
    for tensor, expected in zip(weights.values(), whole.values(), strict=True):
        assert torch.equal(tensor, expected)
    state, expected = checkpoint(killed / name), checkpoint(killed / "whole")
    assert state["best"] == expected["best"]
    for kind in ("module", "average"):
        assert all(torch.equal(state[kind][key], tensor) for key, tensor in expected[kind].items())
    assert any(not torch.equal(state["module"][key], tensor) for key, tensor in state["average"].items())


# ---------------------------------------------------------------------------------------------------------------------
# Several processes


@pytest.mark.parametrize("name", TWO)
def test_two_processes_have_the_loss_curve_of_one(parallel: Path, name: str):
    assert said(parallel, f"two-{name}") == ["done", "done"]
    one, two = (log(parallel / run) for run in ("one-muon" if name == "muon" else "one-plain", f"two-{name}"))
    assert list(one) == list(two) == list(range(1, 9))
    for step, row in one.items():
        for key in row.keys() - {"step_s"}:
            assert two[step][key] == pytest.approx(row[key], rel=2e-2 if name == "muon" else 1e-4), (step, key)


def test_gradients_that_are_shared_once_per_step_are_the_same(parallel: Path):
    assert said(parallel, "two-four") == said(parallel, "two-once") == ["done", "done"]
    for name in ("two-four", "two-once"):
        assert_near(checkpoint(parallel / name), checkpoint(parallel / "one-four"))
    often, once = (int((parallel / name / "shared.0").read_text()) for name in ("two-four", "two-once"))
    assert often == 2 * once > 0  # two micro-batches in each process


def test_only_the_first_process_logs(parallel: Path):
    assert len((parallel / "two-plain" / "log.jsonl").read_text().splitlines()) == 8


@pytest.mark.parametrize("name", ["two-plain", "two-layered", "two-economical"])
def test_a_checkpoint_of_two_processes_is_that_of_one(parallel: Path, name: str):
    one, two = checkpoint(parallel / "one-plain"), checkpoint(parallel / name)
    assert_near(two, one)


@pytest.mark.parametrize("name", ["one-two", "two-one"])
def test_a_run_goes_on_with_another_number_of_processes(parallel: Path, name: str):
    assert "checkpoint-00000006.pt" in {path.name for path in (parallel / name).iterdir()}
    assert_near(checkpoint(parallel / name), checkpoint(parallel / "one-plain"))


def test_ctrl_c_in_one_process_stops_all_after_the_same_step(parallel: Path):
    assert said(parallel, "stopped") == ["KeyboardInterrupt: "] * 2
    assert checkpoint(parallel / "stopped")["step"] == 5


def test_a_broken_batch_of_one_process_stops_all_and_is_named(parallel: Path):
    message = "FloatingPointError: the loss of step 4 is not finite, with 8-0, 8-1; the checkpoint of step 3 is kept;"
    assert all(words.startswith(message) for words in said(parallel, "poisoned"))
    assert checkpoint(parallel / "poisoned")["step"] == 3


def test_a_batch_that_one_process_cannot_make_stops_all_and_loses_no_step(parallel: Path):
    assert said(parallel, "unlucky") == ["ValueError: the disk is gone", "OSError: the disk is gone"]
    assert said(parallel, "went-on") == ["done", "done"]
    steps = [json.loads(line)["step"] for line in (parallel / "unlucky" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))  # the fourth was saved
    assert_near(checkpoint(parallel / "unlucky"), checkpoint(parallel / "one-plain"))


def test_what_the_batches_of_one_process_lack_all_processes_know(parallel: Path):
    told = [json.loads((parallel / "lacking" / f"told.{number}").read_text()) for number in range(2)]
    assert told == [dict.fromkeys(("3-gone", "6-gone"), "it is damaged")] * 2
    assert said(parallel, "lacking") == ["ValueError: too many"] * 2
    assert checkpoint(parallel / "lacking")["step"] == 3


def test_what_the_first_process_refuses_all_refuse(parallel: Path):
    assert all("was begun with loop.seed=0, not 1" in words for words in said(parallel, "other"))


def test_micro_batches_that_cannot_be_shared_are_refused(parallel: Path):
    assert all("set loop.micro_batches to a multiple of 2" in words for words in said(parallel, "odd"))
