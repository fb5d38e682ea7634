"""Languages as people write them (``en``, ``zh-CN``, ``cmn_hans_cn``, ``English``), and how each is counted."""

import logging
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import yaml

logger = logging.getLogger(__name__)

_TABLE = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text("utf-8"))
_CODES = frozenset(_TABLE["codes"].split())
_OTHER_CODES: Mapping[str, str] = _TABLE["other_codes"]
_NAMES = {name: code for code, names in _TABLE["names"].items() for name in names}
# Are counted by character; foreign words in them by word.
WITHOUT_SPACES = ("zh", "yue", "ja", "wuu", "nan", "hak", "th", "lo", "km", "my", "bo", "dz")
_SCRIPTS = {
    "ja": re.compile(r"[\u3041-\u30ff]"),
    "zh": re.compile(r"[\u3400-\u9fff]"),
    "ko": re.compile(r"[\uac00-\ud7a3]"),
    "en": re.compile(r"[A-Za-z]"),
}


def language_code(language: str) -> str:
    """Return the code without its region, "zh" for "zh-CN", "cmn" or "Chinese"; what is not known as it is."""
    name = language.strip().lower()
    code = re.split("[-_]", name)[0]
    return _NAMES.get(name) or _OTHER_CODES.get(code, code)


def check_language(language: str) -> str:
    """Return the code of a language.

    Raises:
        ValueError: it is not known.
    """
    if (code := language_code(language)) not in _CODES:
        raise ValueError(f"{language!r} is no language that is known; give a code such as en, zh or pt-BR")
    return code


@cache
def tell_guess(file: Path, language: str) -> None:
    """Say, once, which language is taken for the lines of a file that state none: German looks like English."""
    told = f"{file.name} has lines without a language, which are taken for {language!r}"
    logger.warning("%s; state it in the lines, or of predictions by --language", told)


def guess_language(texts: Iterable[str]) -> str:
    """Return the language that most letters of the texts belong to: English for Latin letters, "" for other scripts."""
    joined = " ".join(texts)
    counts = {code: len(script.findall(joined)) for code, script in _SCRIPTS.items()}
    letters = sum(sign.isalpha() for sign in joined)
    if 2 * sum(counts.values()) <= letters:
        return ""
    if 10 * counts["ja"] > counts["ja"] + counts["zh"]:
        return "ja"
    # A word of Latin letters is about as long as four ideographs are few.
    return max(("zh", "ko", "en"), key=lambda code: counts[code] / (4 if code == "en" else 1))
