"""Reading WordNet: words, their senses, and what the senses say and point to.

The file formats are those of the manual pages ``wndb(5)`` and ``cntlist(5)``; the files come with Debian's package
``wordnet-base``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from recipes.nano.stock import WORDNET

_FILES = {"noun": "noun", "verb": "verb", "adjective": "adj", "adverb": "adv"}
_PART_OF_LETTER = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}
_PART_OF_SENSE_KEY = {"1": "noun", "2": "verb", "3": "adjective", "4": "adverb", "5": "adjective"}


@dataclass(frozen=True)
class Pointer:
    """A relation to another synset; ``source`` and ``target`` count its words from 1, 0 stands for the whole synset."""

    symbol: str
    part: str
    offset: int
    source: int
    target: int


@dataclass(frozen=True)
class Synset:
    """Words of one meaning, the number of their lexicographer file, their relations, and the gloss."""

    part: str
    lexicographer_file: int
    words: tuple[str, ...]
    pointers: tuple[Pointer, ...]
    gloss: str

    @property
    def definition(self) -> str:
        """The first clause of the gloss without remarks in brackets and without examples."""
        text = re.sub(r"\([^)]*\)", " ", self.gloss.split('"')[0])
        return " ".join(text.split(";")[0].split()).replace(" ,", ",").strip(" ,:")

    @property
    def examples(self) -> tuple[str, ...]:
        """The examples of the gloss."""
        return tuple(re.findall(r'"([^"]+)"', self.gloss))


def senses(word: str, part: str) -> tuple[Synset, ...]:
    """Return the meanings of a word in lower case, the most frequent first; none if WordNet lacks it."""
    return tuple(synset(part, offset) for offset in _index(part).get(word.replace(" ", "_"), ()))


def words(part: str) -> Iterator[str]:
    """Yield all single words of a part of speech, letters only, in alphabetical order."""
    return (word for word in _index(part) if re.fullmatch("[a-z]+", word))


@cache
def synset(part: str, offset: int) -> Synset:
    """Return the synset that begins at this byte of the data file."""
    data = _data(part)
    line = data[offset : data.index(b"\n", offset)].decode("latin-1")
    fields, _, gloss = line.partition(" | ")
    _, lexicographer_file, _, count, *rest = fields.split()
    word_fields, rest = rest[: 2 * int(count, 16)], rest[2 * int(count, 16) :]
    found = tuple(re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in word_fields[::2])
    quadruples = zip(*[iter(rest[1 : 1 + 4 * int(rest[0])])] * 4, strict=True)
    pointers = tuple(
        Pointer(symbol, _PART_OF_LETTER[letter], int(target), int(ends[:2], 16), int(ends[2:], 16))
        for symbol, target, letter, ends in quadruples
    )
    return Synset(part, int(lexicographer_file), found, pointers, gloss.strip())


def instances(lexicographer_file: int) -> Iterator[Synset]:
    """Yield the nouns of a lexicographer file that are names: of people, places and so on."""
    offsets = sorted({offset for found in _index("noun").values() for offset in found})
    meanings = (synset("noun", offset) for offset in offsets)
    for meaning in meanings:
        if meaning.lexicographer_file == lexicographer_file and any(p.symbol == "@i" for p in meaning.pointers):
            yield meaning


@cache
def frequencies() -> dict[tuple[str, str], int]:
    """Return how often each (word, part of speech) was met in the texts in which people marked the meanings."""
    counts: dict[tuple[str, str], int] = {}
    for line in (WORDNET / "cntlist.rev").read_text("latin-1").splitlines():
        key, _, count = line.split()
        word, _, rest = key.partition("%")
        entry = (word.replace("_", " "), _PART_OF_SENSE_KEY[rest[0]])
        counts[entry] = counts.get(entry, 0) + int(count)
    return counts


@cache
def _index(part: str) -> dict[str, tuple[int, ...]]:
    entries = {}
    for line in (WORDNET / f"index.{_FILES[part]}").read_text("latin-1").splitlines():
        if not line.startswith(" "):  # the licence is indented
            word, _, count, *rest = line.split()
            entries[word] = tuple(map(int, rest[-int(count) :]))
    return entries


@cache
def _data(part: str) -> bytes:
    return (WORDNET / f"data.{_FILES[part]}").read_bytes()
