"""Files that survive kills, and the cache."""

from pathlib import Path

import numpy as np
import pytest

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.keys import Cache, digest_of, key_of
from kimi_audio.evals.contract.rows import appending, read_rows
from kimi_audio.evals.contract.types import EvalSample, Options
from kimi_audio.evals.run.infer import answer_key
from kimi_audio.evals.run.store import read_result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_rows_come_back(path):
    rows = [{"text": "你好\u2028\n\r\t\x00 \ud800"}, {"text": ""}]
    for row in rows:
        with appending(path) as append:
            append(row)
    assert read_rows(path) == rows


def test_a_torn_row_is_cut_off(path):
    with appending(path) as append:
        append({"n": 1})
        append({"n": 2})
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        whole = content[:end].count(b"\n")
        assert len(read_rows(path)) == whole
        with appending(path) as append:
            append({"n": 3})
        assert [row["n"] for row in read_rows(path)] == [*range(1, whole + 1), 3]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"x"])
def test_rows_that_are_not_json_leave_nothing_behind(path, value):
    with appending(path) as append:
        append({"n": 1})
        with pytest.raises((ValueError, TypeError)):
            append({"n": value})
    assert read_rows(path) == [{"n": 1}]


def test_no_file_has_no_rows(path):
    assert read_rows(path) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"recipe": {}}', "\ufeff{"])
def test_files_that_are_no_results(path, content):
    path.write_text(content)
    with pytest.raises(ValueError, match="is not the result of an evaluation"):
        read_result(path)


def test_cache_keeps_values_and_files(tmp_path):
    cache = Cache(tmp_path / "cache")
    key = key_of(a=1)
    assert cache.get(key) is None
    cache.put(key, {"text": "x"})
    assert Cache(tmp_path / "cache").get(key) == {"text": "x"}
    (tmp_path / "a.wav").write_bytes(b"sound")
    cache.put_file(key, tmp_path / "a.wav")
    assert cache.get_file(key, tmp_path / "b.wav")
    assert (tmp_path / "b.wav").read_bytes() == b"sound"
    assert not cache.get_file(key_of(a=2), tmp_path / "c.wav")
    assert not list(tmp_path.rglob("*.partial"))


def test_a_damaged_value_is_no_value(tmp_path, caplog):
    cache = Cache(tmp_path)
    cache.put("ab", {"text": "x"})
    (file,) = tmp_path.rglob("*.json")
    file.write_text('{"te')
    assert cache.get("ab") is None
    assert "is damaged" in caplog.text


def test_keys_follow_content_and_not_names(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"1")
    (tmp_path / "b.wav").write_bytes(b"1")
    (tmp_path / "c.wav").write_bytes(b"2")
    keys = [answer_key(EvalSample("x", audio=(tmp_path / f"{name}.wav",)), Options(), "model", "1") for name in "abc"]
    assert keys[0] == keys[1] != keys[2]
    loud, quiet = (Samples(np.full(10, value, np.float32), 16000) for value in (0.5, 0.1))
    assert len({digest_of(clip) for clip in (loud, quiet, Samples(loud.array, 8000))}) == 3


def test_keys_are_json():
    assert key_of(a={"x": 1, "y": 2}) == key_of(a={"y": 2, "x": 1})
    assert key_of(a=1) != key_of(b=1)
    with pytest.raises(TypeError):
        key_of(a=object())
