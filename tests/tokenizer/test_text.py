"""The text tokenizer and the BPE trainer."""

import base64
import json
import os
from pathlib import Path

import pytest

from kimi_audio.tokenizer.text import TextTokenizer, train_bpe

TEXTS = ["the cat sat on the mat, the end.", "the hat that the cat had", "今天天气很好，今天很好。"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_bpe(TEXTS, num_ranks=290)


@pytest.mark.parametrize("text", ["", "the cat", "今天 123\n\n  x\t😀", " \r\n ", "e\u0301 ﬀ"])
def test_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_frequent_words_become_one_id(tokenizer):
    assert len(tokenizer.encode(" the")) == 1
    assert len(tokenizer.encode("今天")) < 6


def test_special_tokens_follow_the_ranks_and_pad_is_last(tokenizer):
    ids = vars(tokenizer.special).values()
    assert min(ids) >= 290
    assert tokenizer.special.pad == tokenizer.vocab_size - 1 == 324


def test_special_names_in_text_are_ordinary_characters(tokenizer):
    text = "say <|im_msg_end|> [PAD]"
    assert max(tokenizer.encode(text)) < 290
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_ids_are_spelled_out_or_skipped(tokenizer):
    ids = [*tokenizer.encode("cat"), tokenizer.special.text_end]
    assert tokenizer.decode(ids) == "cat<|im_kimia_text_eos|>"
    assert tokenizer.decode(ids, skip_special=True) == "cat"


def test_streamed_text_holds_back_broken_characters(tokenizer):
    text = "a 😀 天"
    stream = tokenizer.decode_stream()
    parts = [stream.push(id_) for id_ in [*tokenizer.encode(text), tokenizer.special.text_end]]
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)
    assert stream.finish() == ""
    assert stream.push(tokenizer.encode("😀")[0]) == ""
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize("text", ["a" * 60_000, " " * 60_000, "ab cd " * 80_000])
def test_very_long_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text


def test_long_runs_are_cut_at_25000_characters(tokenizer):
    def encode_parts(*parts: str) -> list[int]:
        return [id_ for part in parts for id_ in tokenizer.encode(part)]

    run = "x" * 24_998
    assert tokenizer.encode(run + "the") == encode_parts(run + "th", "e")
    assert tokenizer.encode(run + "th the") == encode_parts(run + "th", " the")
    assert len(tokenizer.encode(run[1:] + "the")) < len(tokenizer.encode(run + "the"))


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = TextTokenizer.load(tmp_path)
    assert loaded.special == tokenizer.special
    assert loaded.encode("the cat 今天") == tokenizer.encode("the cat 今天")


def test_loading_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match=r"has no tiktoken\.model"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tiktoken.model").write_text("YQ== 0\n")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        TextTokenizer.load(tmp_path)


def test_training_is_repeatable_and_stops_when_nothing_is_left():
    assert train_bpe(TEXTS, 300).encode("the cat") == train_bpe(TEXTS, 300).encode("the cat")
    assert train_bpe(["ab ab"], 400).vocab_size < 400
    with pytest.raises(ValueError, match="at least 256"):
        train_bpe(TEXTS, 100)


@pytest.mark.reference
def test_released_files_survive_saving(reference, tmp_path):
    released = TextTokenizer.load(reference / "checkpoint")
    released.save(tmp_path)
    for name in ("tiktoken.model",):
        assert (tmp_path / name).read_bytes() == (reference / "checkpoint" / name).read_bytes()
    assert TextTokenizer.load(tmp_path).special == released.special


# ---------------------------------------------------------------------------------------------------------------------
# Damaged files


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nothing at all", "loses text"),
        (r"\p{L}+", "loses text"),
        (r"[^\n]+", "loses text"),
        (r"[\x00-\x7f]+", "loses text"),
        (r"\S+", "loses text"),
        ("(", "cannot be read"),
        (7, "cannot be read"),
        ([r"\S+|\s+"], "cannot be read"),
    ],
)
def test_a_pattern_that_drops_text_is_refused(tokenizer, tmp_path, pattern, message):
    tokenizer.save(tmp_path)
    edit_config(tmp_path, pat_str=pattern)
    with pytest.raises(ValueError, match=message) as caught:
        TextTokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_patterns_that_keep_all_text_are_taken(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    edit_config(tmp_path, pat_str=r"\S+|\s+")
    assert TextTokenizer.load(tmp_path).decode(TextTokenizer.load(tmp_path).encode("a b\n")) == "a b\n"


def line(token: bytes, rank: object) -> bytes:
    return base64.b64encode(token) + f" {rank}".encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], r"are not 0, 1, 2"),
        (lambda lines: lines[:255], "lacks some of the 256 bytes"),
        (lambda lines: [], "lacks some of the 256 bytes"),
        (lambda lines: [*lines, line(b"zzzz", 3)], r"are not 0, 1, 2"),
        (lambda lines: [*lines, line(b"a", len(lines))], r"are not 0, 1, 2"),
        (lambda lines: [*lines, line(b"zzzz", -1)], r"are not 0, 1, 2"),
        (lambda lines: [*lines, line(b"zzzz", 10**12)], r"are not 0, 1, 2"),
        (lambda lines: [*lines, line(b"zzzz", 1.5)], "line 291, is no token with its rank"),
        (lambda lines: [*lines, b"zz"], "line 291, is no token with its rank"),
        (lambda lines: [*lines, b"\xff\xfe 290"], "line 291, is no token with its rank"),
        (lambda lines: [*lines, b"enp6eg== 290 1"], "line 291, is no token with its rank"),
        (lambda lines: [*lines, line(b"zzzz", 290)], "do not follow the 291 ranks"),
    ],
)
def test_damaged_ranks_are_told(tokenizer, tmp_path, change, message):
    tokenizer.save(tmp_path)
    path = tmp_path / "tiktoken.model"
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(ValueError, match=message) as caught:
        TextTokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (None, "cannot be read"),
        ([], "cannot be read"),
        ({"290": "[BOS]"}, "cannot be read"),
        ({"290": {"content": 3}}, "no different names"),
        ({"290": {"content": "[BOS]"}, "291": {"content": "[BOS]"}}, "no different names"),
        ({"100": {"content": "[BOS]"}}, "do not follow the 290 ranks"),
        ({"1000000000": {"content": "[BOS]"}}, "do not follow the 290 ranks"),
        ({"x": {"content": "[BOS]"}}, "cannot be read"),
        ({"290": {"content": "[BOS]"}}, "lacks the special tokens"),
        ({}, "lacks the special tokens"),
    ],
)
def test_damaged_special_tokens_are_told(tokenizer, tmp_path, added, message):
    tokenizer.save(tmp_path)
    edit_config(tmp_path, added_tokens_decoder=added)
    with pytest.raises(ValueError, match=message) as caught:
        TextTokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_ids_without_a_name_are_reserved(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    added = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))["added_tokens_decoder"]
    (unnamed,) = (id_ for id_, item in added.items() if item["content"] == "<|reserved_token_0|>")
    del added[unnamed]
    edit_config(tmp_path, added_tokens_decoder=added)
    loaded = TextTokenizer.load(tmp_path)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.decode([int(unnamed), *loaded.encode("a")], skip_special=True) == "a"


def test_pipes_are_not_waited_for(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "tiktoken.model").unlink()
    os.mkfifo(tmp_path / "tiktoken.model")
    with pytest.raises(ValueError, match="needs it"):
        TextTokenizer.load(tmp_path)
