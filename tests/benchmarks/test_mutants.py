"""The list of broken lines fits the code; ``make mutants`` runs it."""

import shutil
from pathlib import Path

import pytest

from benchmarks.mutants import ROOT, Mutant, failures, read_mutants


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.name)
def test_lines_are_there_and_are_broken(mutant: Mutant, tmp_path: Path):
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutant.file, copy)
    mutant.apply(tmp_path)
    assert mutant.broken in copy.read_text("utf-8")
    compile(copy.read_text("utf-8"), mutant.file, "exec")
    assert [test for test in mutant.tests if not (ROOT / test).is_file()] == []
    with pytest.raises(ValueError, match=r"has 0 lines .* correct mutants\.yaml"):
        mutant.apply(tmp_path)


def test_tests_that_notice_are_named(tmp_path: Path):
    (tmp_path / "test_a.py").write_text("def test_good(): pass\ndef test_bad(): assert 0\n")
    assert failures(tmp_path, ("test_a.py",)) == ["test_bad"]
    with pytest.raises(RuntimeError, match="did not run"):
        failures(tmp_path, ("missing.py",))
