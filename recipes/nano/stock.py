"""Texts that other people wrote: WordNet's example phrases and glosses, and the King James Bible.

They come from the Debian packages ``wordnet-base`` (WordNet licence), ``bible-kjv`` and ``bible-kjv-text`` (public
domain), first names from ``miscfiles``, and names of the lexicon from ``wamerican`` (SCOWL). A tenth of what is learned
from, found by the same hash as everything else that is reserved, is never trained on.
"""

import gzip
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from kimi_audio.core.words import normalise
from recipes.nano.closed.splits import is_reserved
from recipes.nano.world.sentences import without_everyday
from recipes.nano.world.types import name_atom

WORDNET = Path("/usr/share/wordnet")
WORD_LIST = Path("/usr/share/dict/american-english")
FIRST_NAMES = Path("/usr/share/dict/propernames.gz")
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
WORDS = (3, 22)  # of one text, fewest and most: about 1 to 9 s
# What a speech engine reads as everybody would: no digits, no brackets, no abbreviations in capitals.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z' ,;:.?!-]*")
_SHOUTED = re.compile(r"[A-Z]{2,}|\b[A-Za-z]\.")


def wordnet_glosses(folder: Path = WORDNET) -> Iterator[str]:
    """Yield the gloss of every synset: a definition, then examples in quotation marks.

    Raises:
        FileNotFoundError: WordNet is not installed.
    """
    for part in PARTS_OF_SPEECH:
        for line in _lines(folder / f"data.{part}"):
            if " | " in line:
                yield line.split(" | ", 1)[1].strip()


def _lines(path: Path) -> list[str]:
    """Return the lines of one of WordNet's files without the licence, which is indented."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; install Debian's package wordnet-base")
    return [line for line in path.read_text("latin-1").split("\n") if not line.startswith("  ")]


def wordnet_examples(folder: Path = WORDNET) -> list[str]:
    """Return WordNet's example phrases, each once."""
    found = (example for gloss in wordnet_glosses(folder) for example in re.findall(r'"([^"]+)"', gloss))
    return _readable(found)


def wordnet_definitions(folder: Path = WORDNET) -> list[str]:
    """Return WordNet's definitions, each once, without examples and remarks in brackets."""
    definitions = (re.split(r'; "|"', gloss)[0] for gloss in wordnet_glosses(folder))
    return _readable(re.sub(r"\([^)]*\)", " ", definition) for definition in definitions)


def wordnet_words(folder: Path = WORDNET) -> set[str]:
    """Return the entries of WordNet that are one word each, in small letters."""
    entries = (line.split(" ", 1)[0] for part in PARTS_OF_SPEECH for line in _lines(folder / f"index.{part}"))
    return {entry for entry in entries if re.fullmatch("[a-z]+(?:'[a-z]+)*", entry)}


def bible_verses() -> list[str]:
    """Return the clauses of the King James Bible between colons, semicolons and full stops, each once.

    Raises:
        FileNotFoundError: the program that prints them is not installed.
    """
    if shutil.which("bible") is None:
        raise FileNotFoundError("the program bible is missing; install Debian's packages bible-kjv and bible-kjv-text")
    command = ["bible", "-f", "gen1:1-rev22:21"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)  # noqa: S603
    verses = (line.partition(" ")[2] for line in printed.stdout.splitlines())
    return _readable(clause for verse in verses for clause in re.split(r"[:;.?!]", verse))


def first_names(file: Path = FIRST_NAMES) -> list[str]:
    """Return first names, none of them reserved.

    Raises:
        FileNotFoundError: the list is not installed.
    """
    lines = gzip.decompress(file.read_bytes()).decode("ascii").split()
    return [name for name in dict.fromkeys(lines) if name.isalpha() and not is_reserved(name_atom(name))]


def proper_names(file: Path = WORD_LIST) -> set[str]:
    """Return names of people and places in small letters, among them those that are reserved: nothing learns from them.

    Raises:
        FileNotFoundError: the list is not installed.
    """
    words = file.read_text("utf-8").splitlines()
    return {word.lower() for word in words if word.isascii() and word.isalpha() and word[0].isupper()}


def learned(texts: Iterable[str]) -> list[str]:
    """Return the texts that may be trained on: neither reserved nor a sentence of the scores."""
    return [text for text in without_everyday(texts) if not is_reserved(normalise(text))]


def _readable(texts: Iterable[str]) -> list[str]:
    """Return the texts that can be read aloud by everybody alike, cleaned, each once."""
    kept: dict[str, str] = {}
    for text in texts:
        clean = " ".join(text.replace("--", ", ").replace("`", "'").split()).strip(" ,;:-")
        if _PLAIN.fullmatch(clean) and not _SHOUTED.search(clean):
            transcript = normalise(clean)
            if WORDS[0] <= len(transcript.split()) <= WORDS[1]:
                kept.setdefault(transcript, clean)
    return list(kept.values())
