"""The text tokenizer: byte-level BPE of ``tiktoken.model``, special tokens of ``tokenizer_config.json``."""

import base64
import codecs
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import regex
import tiktoken
import torch
from torch import Tensor

from kimi_audio.core.files import read_json, write_json, write_whole
from kimi_audio.core.tokens import SpecialIds, special_token_names

# Qwen2's split into words: contractions, letters, single digits, punctuation, line breaks, spaces.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The BPE of one word takes quadratic time, so official code cuts very long texts and very long words.
_MAX_PIECE_CHARS = 400_000
_MAX_RUN_CHARS = 25_000
_LONG_RUN = re.compile(rf"\s{{1,{_MAX_RUN_CHARS}}}|\S{{1,{_MAX_RUN_CHARS}}}")

RANKS_FILE = "tiktoken.model"
CONFIG_FILE = "tokenizer_config.json"
MAX_SPECIAL_TOKENS = 100_000
# Characters of every kind, alone and in rows; a split into words that leaves out one of them would lose it in silence.
_PROBE = (
    "It's 2 a.m., naïve e\u0301: 你好，世界。 ไทย हिन्दी عربي 😀👩‍👩‍👧"
    " x²+½ ①Ⅻ §_$€ «a»-“b”\t\n\n \r\n  \u00a0\u3000\u200b\x00\x7f end \n"
)


class TextTokenizer:
    """Text to ids and back. Special tokens are never parsed from text; their ids are in ``special``."""

    def __init__(
        self, ranks: Mapping[bytes, int], special_tokens: Mapping[str, int], pattern: str = QWEN2_PATTERN
    ) -> None:
        self._ranks = dict(ranks)
        self._special_tokens = dict(special_tokens)
        self._special_set = set(special_tokens.values())
        self._pattern = pattern
        self._encoding = tiktoken.Encoding(
            "kimi-audio", pat_str=pattern, mergeable_ranks=self._ranks, special_tokens=self._special_tokens
        )
        self.special = SpecialIds.lookup(self._special_tokens)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load from a folder with ``tiktoken.model`` and ``tokenizer_config.json``.

        Raises:
            ValueError: a file is missing or not what it should be.
        """
        folder = Path(folder)
        for name in (RANKS_FILE, CONFIG_FILE):
            if not (folder / name).is_file():
                raise ValueError(f"{folder} has no {name}; a text tokenizer needs it")
        try:
            config = read_json(folder / CONFIG_FILE)
            ranks = _ranks((folder / RANKS_FILE).read_bytes())
            special = _special_tokens(config["added_tokens_decoder"], len(ranks))
            tokenizer = cls(ranks, special, config.get("pat_str") or QWEN2_PATTERN)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the text tokenizer in {folder} cannot be read: {error or type(error).__name__}"
            ) from None
        if tokenizer.decode(tokenizer.encode(_PROBE)) != _PROBE:
            raise ValueError(f"the text tokenizer in {folder} loses text: its pat_str does not match all characters")
        return tokenizer

    def save(self, folder: str | Path) -> None:
        """Write the two files that ``load`` reads, in the layout of the release."""
        folder = Path(folder)
        by_rank = sorted(self._ranks.items(), key=lambda item: item[1])
        with write_whole(folder / RANKS_FILE) as partial:
            partial.write_bytes(b"".join(base64.b64encode(t) + b" %d\n" % r for t, r in by_rank))
        flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        config: dict[str, Any] = {
            "added_tokens_decoder": {
                str(id_): {"content": name, **flags} for name, id_ in self._special_tokens.items()
            },
            "bos_token": "[BOS]",
            "eos_token": "[EOS]",
            "pad_token": "[PAD]",
            "pat_str": self._pattern,
            "tokenizer_class": "TikTokenTokenizer",
            "clean_up_tokenization_spaces": False,
        }
        write_json(folder / CONFIG_FILE, config)

    @property
    def vocab_size(self) -> int:
        """Number of text ids including the special tokens; audio codes follow them."""
        return self._encoding.n_vocab

    def kept_ids(self, larger: "TextTokenizer") -> Tensor:
        """Return [K, 2], this tokenizer's id and the other's, of everything that both know."""
        pairs = [(rank, larger._ranks[token]) for token, rank in self._ranks.items() if token in larger._ranks]
        names = self._special_tokens.keys() & larger._special_tokens.keys()
        pairs += [(self._special_tokens[name], larger._special_tokens[name]) for name in sorted(names)]
        return torch.tensor(pairs)

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``; names of special tokens in it are ordinary characters."""
        return [id_ for piece in _pieces(text) for id_ in self._encoding.encode_ordinary(piece)]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Return the text of ``ids``; broken UTF-8 becomes U+FFFD, specials are spelled out or skipped."""
        return self.decode_bytes(ids, skip_special).decode("utf-8", errors="replace")

    def decode_stream(self) -> "TextStream":
        """Return a decoder for ids that come one at a time."""
        return TextStream(self)

    def _tokens(self, word: str) -> list[bytes]:
        return [self._encoding.decode_single_token_bytes(id_) for id_ in self._encoding.encode_ordinary(word)]

    def decode_bytes(self, ids: Iterable[int], skip_special: bool = False) -> bytes:
        """Return the UTF-8 of ``ids``, which may begin or end inside a character."""
        return self._encoding.decode_bytes(self._kept(ids, skip_special))

    def _kept(self, ids: Iterable[int], skip_special: bool) -> list[int]:
        return [id_ for id_ in ids if not (skip_special and id_ in self._special_set)]


class TextStream:
    """Text of a growing row of ids, without special tokens; characters come out whole."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id_: int) -> str:
        """Return the text that this id completes, possibly none."""
        return self._decoder.decode(self._tokenizer.decode_bytes([id_], skip_special=True))

    def finish(self) -> str:
        """Return what is left, normally nothing; a broken character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)


def _ranks(content: bytes) -> dict[bytes, int]:
    """Return the tokens and ranks of a file. The BPE takes for granted, without a check, what is checked here."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        parts = line.split()
        if parts:
            try:
                token, rank = parts
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except ValueError:
                raise ValueError(f"{RANKS_FILE}, line {number}, is no token with its rank") from None
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ValueError(f"the ranks of {RANKS_FILE} are not 0, 1, 2, ...")
    if not all(bytes([byte]) in ranks for byte in range(256)):
        raise ValueError(f"{RANKS_FILE} lacks some of the 256 bytes")
    return ranks


def _special_tokens(added: Mapping[str, Mapping[str, Any]], num_ranks: int) -> dict[str, int]:
    """Return names and ids of the special tokens; ids between them that have no name are reserved."""
    names = {int(id_): item["content"] for id_, item in added.items()}
    if not all(isinstance(name, str) and name for name in names.values()) or len(set(names.values())) != len(added):
        raise ValueError(f"the special tokens of {CONFIG_FILE} have no different names and ids")
    if names and not num_ranks <= min(names) <= max(names) < num_ranks + MAX_SPECIAL_TOKENS:
        raise ValueError(f"the special tokens of {CONFIG_FILE} do not follow the {num_ranks} ranks")
    ids = range(num_ranks, max(names, default=num_ranks - 1) + 1)
    return {names.get(id_, f"<|reserved_id_{id_}|>"): id_ for id_ in ids}


def _pieces(text: str) -> Iterator[str]:
    """Cut ``text`` like the official code: every 400,000 characters, and runs of over 25,000 (non-)spaces."""
    if len(text) <= _MAX_RUN_CHARS:  # nearly always; then there is nothing to look for
        yield text
        return
    for start in range(0, len(text), _MAX_PIECE_CHARS):
        piece, cut_at = text[start : start + _MAX_PIECE_CHARS], 0
        # The runs tile the piece; only one that ends at the length limit, with more of its kind behind it, is
        # a cut.
        for run in _LONG_RUN.finditer(piece):
            end = run.end()
            if len(run[0]) == _MAX_RUN_CHARS and end < len(piece) and piece[end].isspace() == run[0].isspace():
                yield piece[cut_at:end]
                cut_at = end
        yield piece[cut_at:]


def train_bpe(
    texts: Iterable[str], num_ranks: int, pattern: str = QWEN2_PATTERN, start: TextTokenizer | None = None
) -> TextTokenizer:
    """Train a byte-level BPE of ``num_ranks`` ranks, or fewer if the texts have no more pairs to merge.

    Special tokens follow the ranks, named as in the release, only as many as needed.
    Works on the counts of distinct words, so that the size of the corpus hardly matters.
    With ``start``, its ranks come first and stay what they are.
    """
    if num_ranks < 256:
        raise ValueError(f"a byte-level BPE needs at least 256 ranks, not {num_ranks}")
    split = regex.compile(pattern)
    counts = Counter(word for text in texts for word in split.findall(text))
    words = [[bytes([byte]) for byte in word.encode()] if start is None else start._tokens(word) for word in counts]
    weights = list(counts.values())
    pairs: Counter[tuple[bytes, bytes]] = Counter()
    holders: defaultdict[tuple[bytes, bytes], set[int]] = defaultdict(set)  # pair -> words that (once) had it
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += weights[index]
            holders[pair].add(index)

    ranks = {bytes([byte]): byte for byte in range(256)} if start is None else dict(start._ranks)
    while len(ranks) < num_ranks and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        ranks.setdefault(best[0] + best[1], len(ranks))
        for index in holders.pop(best):
            old = words[index]
            words[index] = new = _merge(old, best)
            for pair in pairwise(old):
                pairs[pair] -= weights[index]
                if not pairs[pair]:
                    del pairs[pair]
            for pair in pairwise(new):
                pairs[pair] += weights[index]
                holders[pair].add(index)
    special = {name: len(ranks) + i for i, name in enumerate(special_token_names())}
    return TextTokenizer(ranks, special, pattern)


def _merge(word: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    merged: list[bytes] = []
    i = 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged
