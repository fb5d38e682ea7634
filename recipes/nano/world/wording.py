"""Small help with English, and the lists of words that stand beside the code."""

import random
import re
from functools import cache
from pathlib import Path

_LISTS = Path(__file__).parent / "lists"
# Letters, apostrophes and plain punctuation: what every speech engine reads alike.
_READABLE = re.compile(r"[A-Za-z](?:[A-Za-z ,.?!-]|(?<=[A-Za-z])')*")
_INDECENT = re.compile(
    r"sex|genital|offensive|slur\b|derog|vulgar|obscene|disparag|narcotic|cocaine|heroin\b|feces|excre|penis|vagina|"
    r"prostitut|\brap(?:e|ed|ist)\b|suicid|nazi|negro|nigg|whore|bitch|homosex|lesbian|tortur|pussy|shit|fuck|\btits?\b|"
    r"\bcunt|slut|naked|nude|masturb|orgasm|murder|bastard|damn|jews?\b|jewish|muslim|\bbreasts?\b|foetus|abortion|lynch"
)
_AN = re.compile(r"(?:[ai]|e(?!u[rp])|o(?!ne\b|nce\b)|u(?!ni|s[ae]|ten)|hour|honest|heir)", re.IGNORECASE)
_STARTERS = (
    "what which who whose where when why how is are do does did can could would will define explain tell name say "
    "spell count please give use add take multiply divide double half the a an read repeat switch turn set remind "
    "calculate wake make put let write sing play book order call send show find"
)
_OPENINGS = ("Hey Nano,", "Nano,", "Okay,", "So,", "Now,", "Well,", "Excuse me,", "Hello,", "Hi Nano,", "And")
_POLITE = 0.2  # share of the questions that begin with an opening


def is_decent(text: str) -> bool:
    """Tell whether a text has no word that one would not teach a machine to say."""
    return _INDECENT.search(text.lower()) is None


def is_readable(text: str) -> bool:
    """Tell whether a text has nothing but letters, apostrophes and plain punctuation."""
    return _READABLE.fullmatch(text) is not None


@cache
def read_list(name: str) -> tuple[str, ...]:
    """Return the lines of ``lists/NAME.txt`` without comments."""
    lines = (_LISTS / f"{name}.txt").read_text("utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def ways(text: str) -> tuple[str, ...]:
    """Return the phrasings between bars."""
    return tuple(" ".join(way.split()) for way in text.split("|"))


def listed(text: str) -> tuple[str, ...]:
    """Return the words between spaces."""
    return tuple(text.split())


def with_article(noun: str) -> str:
    """Return a noun with ``a`` or ``an``."""
    return f"{'an' if _AN.match(noun) else 'a'} {noun}"


def sentence(text: str) -> str:
    """Return a text with a capital letter at its start, and ``a`` or ``an`` as the next word wants it."""
    text = re.sub(r"(\ba|^A)n? (?=(\w+))", _article, text)
    return text[0].upper() + text[1:]


def _article(match: re.Match[str]) -> str:
    return f"{match[1]}{'n' if _AN.match(match[2]) else ''} "


def politely(question: str, generator: random.Random) -> str:
    """Return a question as it is, or now and then with a few words before it."""
    first = question.split()[0].lower()
    if first not in _STARTERS.split() or generator.random() >= _POLITE:
        return question
    return f"{generator.choice(_OPENINGS)} {question[0].lower()}{question[1:]}"


def letters(word: str) -> str:
    """Return a word letter by letter, as it is spelled aloud."""
    return ", ".join(word.upper().replace(" ", ""))
