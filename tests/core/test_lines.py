"""Lines of users' files: nothing is lost without a word, whatever editor wrote them."""

import codecs
import json

import pytest

from kimi_audio.core import lines
from kimi_audio.core.lines import BadSampleError, JsonLines, parse_object, read_lines, read_objects

ROWS = [
    {"id": "a", "text": "one\u2028two\x85three\x0bfour"},
    {"id": "b", "text": "你好"},
    {"id": "c", "text": "\u0a0a\u0a00"},  # holds the bytes of line ends in UTF-16
]
TEXT = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("is_ended", [True, False])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("block_bytes", [4, 1 << 20])
def test_all_rows_of_any_editor(tmp_path, monkeypatch, encoding, end, is_ended, block_bytes):
    monkeypatch.setattr(lines, "_BLOCK_BYTES", block_bytes)
    text = (TEXT if is_ended else TEXT.rstrip("\n")).replace("\n", end)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ENCODINGS[encoding] + text.encode(encoding))
    assert read_objects(path) == (dict(enumerate(ROWS, 1)), [])
    file = JsonLines(path)
    assert [parse_object(file.line(index)) for index in range(len(file))] == ROWS


def test_bad_lines_cost_no_other_line(tmp_path):
    bad = ['{"id": "你"}'.encode("gbk"), b"[1]", b'{"id": ', b"[" * 100_000, b'{"n": ' + b"1" * 5000 + b"}"]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([b'{"id": 1}', *bad, b"", b'{"id": 2}']))
    rows, problems = read_objects(path)
    assert rows == {1: {"id": 1}, 8: {"id": 2}}
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6]
    assert "not UTF-8" in problems[0].reason
    with pytest.raises(BadSampleError, match="not UTF-8"):
        JsonLines(path).line(1)


def test_half_a_unit_of_utf_16(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(('{"id": 1}\n' * 2).encode("utf-16")[:-1])
    rows, problems = read_objects(path)
    assert rows == {1: {"id": 1}}
    assert [problem.line for problem in problems] == [2]


def test_lines_of_text(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(codecs.BOM_UTF8 + "a b\u2028c\r\n\n d".encode())
    assert read_lines(path) == ["a b\u2028c", " d"]
    path.write_bytes(b"a\nb\xff\n")
    with pytest.raises(ValueError, match="line 2"):
        read_lines(path)


def test_empty_and_missing_files(tmp_path):
    (tmp_path / "empty").write_bytes(codecs.BOM_UTF8)
    with pytest.raises(ValueError, match="is empty"):
        JsonLines(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        JsonLines(tmp_path / "missing")


def test_a_file_that_changed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    file = JsonLines(path)
    path.write_text("{}\n{}\n")
    with pytest.raises(ValueError, match="has changed"):
        file.line(0)
