"""The text tokenizer and the BPE trainer."""

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
