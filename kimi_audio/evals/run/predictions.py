"""Files of predictions made elsewhere, in the forms that people have them in.

    {"id": "a", "text": "what was understood", "reference": "what is said", "language": "en", "subset": "mine"}

JSON lines (or one JSON list) of ours, of the official Evalkit, NeMo, the Open ASR Leaderboard, ms-swift, lmms-eval and
others: which field is what, is told by the names in ``_NAMES``, or by ``--map text=pred_text,reference=text``. CSV and
TSV files have the same names in their first line. Kaldi's text files (``id words``) and sclite's trn files (``words
(id)``) hold no references; these come from a second file of one of the two kinds. Seconds (``total_s``,
``first_text_s``, ``first_sound_s``), ``speech`` (a file, relative to this one), ``error``, ``task`` and ``question``
are known by these names alone.
"""

import csv
import io
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kimi_audio.core.lines import JsonLines, Problem, read_lines, read_objects
from kimi_audio.core.numbers import counted
from kimi_audio.evals.contract.keys import digest_of, key_of
from kimi_audio.evals.contract.types import Prediction
from kimi_audio.evals.metrics.languages import check_language, guess_language, tell_guess

logger = logging.getLogger(__name__)

_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "index", "utt_id", "utterance_id", "key", "doc_id", "audio_filepath", "audio_path", "audio", "path"),
    "text": ("pred_text", "prediction", "hypothesis", "hyp", "response", "filtered_resps", "pred", "text"),
    "reference": ("reference", "references", "answer", "labels", "label", "target", "ground_truth", "ref"),
    "language": ("language", "lang", "locale"),
    "subset": ("subset",),
    "choices": ("choices", "options"),
}
_TIMES = ("total_s", "first_text_s", "first_sound_s")
_OPTION = re.compile(r"\(([A-Z])\)\s*(.+?)\s*(?=\([A-Z]\)|\n|$)")
_TRN = re.compile(r"(?P<text>.*)\((?P<id>[^()\s]+)\)\s*")


@dataclass(frozen=True)
class PredictionRow:
    """One prediction, and what came with it."""

    place: str  # for messages
    id: str
    prediction: Prediction | None  # None: the row holds none
    reference: tuple[str, ...] = ()
    language: str = ""  # a code; "" where none is stated
    subset: str = ""
    task: str = ""
    question: str = ""
    choices: tuple[str, ...] = ()
    has_id: bool = True  # False: its id is the number of its line
    fault: str = ""  # why it cannot be used


@dataclass(frozen=True)
class Predictions:
    """The rows of a file, and the lines that are none."""

    path: Path
    rows: tuple[PredictionRow, ...]
    problems: tuple[Problem, ...] = field(default=())

    @property
    def lost(self) -> str:
        """Say how many lines cannot be read, and why the first cannot; nothing if all can."""
        if not self.problems:
            return ""
        first = self.problems[0]
        lines = counted(len(self.problems), "line")
        return f"{lines} of {self.path.name} cannot be read (line {first.line}: {first.reason})"

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits that change with what the rows predict, and with the content of their speech."""
        read = [(row.id, row.task, _content(row.prediction)) for row in self.rows if row.prediction]
        return key_of(read=read)[:12]

    def language_of(self, row: PredictionRow, stated: str = "") -> str:
        """Return the language of a row: its own, that of the whole file, or what the letters of the references tell."""
        return row.language or stated or self._guess

    @cached_property
    def _guess(self) -> str:
        guess = guess_language(text for row in self.rows for text in row.reference)
        if not guess and any(row.reference for row in self.rows):
            raise ValueError(f"{self.path} does not say its language; give --language, such as hi")
        if guess:
            tell_guess(self.path, guess)
        return guess or "en"


def _content(prediction: Prediction) -> dict[str, Any]:
    speech = prediction.speech
    said = digest_of(speech) if isinstance(speech, Path) and speech.is_file() else str(speech or "")
    return {**vars(prediction), "speech": said}


def parse_map(text: str) -> dict[str, str]:
    """Read ``text=pred_text,reference=text``: our name of a field, and that of the file.

    Raises:
        ValueError: it is no such list, or a name of ours is unknown.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    found = {name.strip(): value.strip() for name, _, value in pairs}
    if unknown := [name for name in found if name not in _NAMES or not found[name]]:
        raise ValueError(f"--map wants pairs such as text=pred_text, of {', '.join(_NAMES)}; not {unknown[0]!r}")
    return found


def read_predictions(path: Path, names: Mapping[str, str] | None = None, references: Path | None = None) -> Predictions:
    """Read a file of predictions.

    Args:
        path: of the file.
        names: the file's names of fields by ours, for those that cannot be told.
        references: a file of references in the form of Kaldi or sclite, by id; those without a row are rows, too.

    Raises:
        ValueError: there is nothing in it, which field is what cannot be told, or an id has two references.
        OSError: there is no such file.
    """
    rows, problems = _read_rows(path)
    known = _read_references(references) if references else {}
    found = []
    for number, values in rows.items():
        row = _row(path, number, values, names or {})
        if known:
            text = known.get(row.id)
            row = replace(row, reference=row.reference if text is None else (text,))
        found.append(row)
    if not found and not problems:
        raise ValueError(f"{path} holds no predictions")
    left = known.keys() - {row.id for row in found}
    found += [PredictionRow(path.name, id_, None, (text,)) for id_, text in known.items() if id_ in left]
    return Predictions(path, tuple(found), tuple(problems))


def _read_rows(path: Path) -> tuple[dict[int, dict[str, Any]], list[Problem]]:
    """Return the rows by the numbers of their lines."""
    start = next(
        (line for _, line in JsonLines(path).all_lines() if isinstance(line, str) and line.strip()), ""
    ).strip()
    if path.suffix in (".csv", ".tsv"):
        return _read_table(path)
    if start.startswith("["):
        return _read_list(path), []
    if start.startswith("{") or path.suffix in (".jsonl", ".json", ".ndjson"):
        return read_objects(path)
    pairs = enumerate(_read_pairs(path), 1)
    return {number: {"id": id_, "text": text} for number, (id_, text) in pairs}, []


def _read_table(path: Path) -> tuple[dict[int, dict[str, Any]], list[Problem]]:
    """Read a table with a head; a row of more or fewer cells says something else than it seems to, and is a problem.

    Raises:
        ValueError: it is none, for example because a quote has no end.
    """
    text = io.StringIO("\n".join(read_lines(path)))
    # A quote is a letter of the text where tabs part the cells, as those who write such files take it.
    way = ("\t", csv.QUOTE_NONE) if path.suffix == ".tsv" else (",", csv.QUOTE_MINIMAL)
    try:
        head, *rows = csv.reader(text, delimiter=way[0], quoting=way[1], strict=True)
    except csv.Error as error:
        raise ValueError(f"{path} is no table that can be read: {error}") from None
    whole = {number: dict(zip(head, row, strict=True)) for number, row in enumerate(rows, 2) if len(row) == len(head)}
    cells = [(number, len(row)) for number, row in enumerate(rows, 2) if number not in whole]
    return whole, [Problem(number, f"its cells are {count}, those of the head {len(head)}") for number, count in cells]


def _read_list(path: Path) -> dict[int, dict[str, Any]]:
    try:
        rows = json.loads("\n".join(read_lines(path)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is no list of predictions, each with its fields")
    return dict(enumerate(rows, 1))


def _read_references(path: Path) -> dict[str, str]:
    pairs = _read_pairs(path)
    known = dict(pairs)
    if len(known) < len(pairs):
        twice = next(id_ for id_, count in Counter(id_ for id_, _ in pairs).items() if count > 1)
        raise ValueError(f"{path} has several references for {twice!r}; leave one of them")
    return known


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read a file of Kaldi (``id words``) or of sclite (``words (id)``): ids and words.

    Raises:
        ValueError: it is none.
    """
    lines = [line for line in read_lines(path) if not line.startswith(";;")]  # sclite's comments
    if matches := [match for line in lines if (match := _TRN.fullmatch(line))]:
        if len(matches) < len(lines):
            raise ValueError(f"{path} has lines with an id in brackets at the end, and lines without")
        return [(match["id"], match["text"].strip()) for match in matches]
    parts = [line.split(maxsplit=1) for line in lines]
    return [(part[0], part[1].strip() if len(part) > 1 else "") for part in parts]


# ---------------------------------------------------------------------------------------------------------------------
# Rows


def _row(path: Path, number: int, values: Mapping[str, Any], names: Mapping[str, str]) -> PredictionRow:
    place = f"{path.name}, line {number}"
    try:
        fields = _fields(values, names)
        question = str(values.get("question") or "")
        choices = fields.get("choices")
        choices = choices if isinstance(choices, list) else [match[1] for match in _OPTION.findall(question)]
        language = fields.get("language")
        has_id = fields.get("id") not in (None, "")
        return PredictionRow(
            place,
            _text(fields["id"]) if has_id else str(number),
            _prediction(path, place, fields, values),
            tuple(_texts(fields["reference"])) if fields.get("reference") is not None else (),
            check_language(str(language)) if language else "",
            _clean(str(fields.get("subset") or "")),
            str(values.get("task") or ""),
            question,
            tuple(_clean(str(choice)) for choice in choices) if len(choices) > 1 else (),
            has_id,
        )
    except (TypeError, ValueError) as error:
        return PredictionRow(place, str(number), None, fault=f"{place}: {error}")


def _fields(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the values by our names.

    Raises:
        ValueError: several fields could be meant, or a named one is not there.
    """
    found: dict[str, Any] = {}
    # Beside a prediction of another name, even one that is null, the text is the reference.
    is_reference = any(key in values for key in _NAMES["text"] if key != "text")
    for name, candidates in _NAMES.items():
        if name in names:
            if names[name] not in values:
                raise ValueError(f"there is no field {names[name]!r}")
            found[name] = values[names[name]]
            continue
        there = [key for key in candidates if values.get(key) is not None and key not in names.values()]
        if name == "text" and is_reference and "text" in there:
            there.remove("text")
        if name in ("text", "reference") and len({str(values[key]) for key in there}) > 1:
            raise ValueError(f"{' or '.join(there)} could be the {name}; say which with --map {name}={there[0]}")
        if there:
            found[name] = values[there[0]]
    if is_reference and "reference" not in {*found, *names} and "text" not in names.values():
        found["reference"] = values.get("text")
    return found


def _prediction(path: Path, place: str, fields: Mapping[str, Any], values: Mapping[str, Any]) -> Prediction | None:
    error = str(values.get("error") or "")
    if fields.get("text") is None and not error:
        return None
    times = []
    for name in _TIMES:
        seconds = values.get(name)
        is_time = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < math.inf
        if seconds is not None and not is_time:
            logger.warning("%s: %s %r is no number of seconds and does not count", place, name, seconds)
        times.append(float(seconds) if seconds is not None and is_time else None)
    speech = path.parent / str(values["speech"]) if values.get("speech") else None
    return Prediction("" if error else _text(fields["text"]), speech, *times, error=_clean(error))


def _text(value: Any) -> str:
    """Return a text; lists of one text (lmms-eval) are that text, and whole numbers their digits."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"a text was expected instead of {str(value)[:40]!r}")
    return _clean(str(value))


def _texts(value: Any) -> Iterator[str]:
    values: Iterable[Any] = value if isinstance(value, list) else [value]
    return (_text(item) for item in values)


def _clean(text: str) -> str:
    """Return the text with a sign in the place of half a character, which nothing else can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
