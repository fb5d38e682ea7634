import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from kimi_audio.core.files import read_json, write_json, write_whole


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "notes.txt"
    target.write_text("old")

    def break_off():
        with write_whole(target) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_are_made_and_the_suffix_is_kept(tmp_path):
    with write_whole(tmp_path / "new" / "notes.json") as partial:
        assert partial.suffix == ".json"
        partial.write_text("{}")
    assert read_json(tmp_path / "new" / "notes.json") == {}


def test_nothing_that_lies_beside_the_file_is_touched(tmp_path):
    target, other = tmp_path / "notes.txt", tmp_path / "other.txt"
    other.write_text("other")
    (tmp_path / "notes.txt.partial").symlink_to(other)
    with write_whole(target) as partial:
        partial.write_text("new")
    assert (target.read_text(), other.read_text()) == ("new", "other")
    assert (tmp_path / "notes.txt.partial").is_symlink()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with write_whole(tmp_path / "link.txt") as partial:
        partial.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_permissions_follow_the_umask_or_the_old_file(tmp_path):
    old = os.umask(0o027)
    try:
        write_json(tmp_path / "new.json", {})
        (tmp_path / "old.json").write_text("{}")
        (tmp_path / "old.json").chmod(0o604)
        write_json(tmp_path / "old.json", {"a": 1})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "old.json").stat().st_mode) == 0o604


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    target = tmp_path / "value.json"

    def write(number):
        write_json(target, {"number": number, "filling": "x" * 10_000})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(64)))
    assert read_json(target)["number"] in range(64)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_damaged_values_are_one_clear_error(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        read_json(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="not a regular file"):
        read_json(tmp_path / "config.json")


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan")})
    assert (tmp_path / "x.json").read_text() == '{\n "a": null\n}\n'


def test_names_of_any_script_may_be_as_long_as_file_systems_bear(tmp_path):
    target = tmp_path / ("语" * 80 + ".srt")
    with write_whole(target) as partial:
        partial.write_text("whole")
    assert target.read_text() == "whole"


def test_what_is_not_utf_8_is_written_and_read_back(tmp_path):
    values = {os.fsdecode(b"caf\xe9.wav"): "half \ud83d"}
    write_json(tmp_path / "notes.json", values)
    assert read_json(tmp_path / "notes.json") == values
    write_json(tmp_path / "notes.json", {"name": "café"})
    assert "café" in (tmp_path / "notes.json").read_text("utf-8")
