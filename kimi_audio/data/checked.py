"""What was found out about a file of samples, kept beside it, so that it is found out once: ``talk.jsonl.checked``.

Training needs to know which lines are good and how long they are. A report is used as long as the lines of the file,
the model and the choices are those that it was made for. What became of the recordings meanwhile it does not know: a
sample that cannot be read any more is noticed when it is met.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from kimi_audio.chat import LossChoice
from kimi_audio.checkpoint import load_lm_config
from kimi_audio.core.files import read_json, write_whole
from kimi_audio.core.lines import Problem
from kimi_audio.data.documents import holds_documents
from kimi_audio.data.reports import LineReport, Progress
from kimi_audio.data.survey import Survey, survey_file
from kimi_audio.data.validation import FileReport, validate_file
from kimi_audio.tokenizer.text import TextTokenizer

_VERSION = 1  # of what a check finds
_MODEL_FILES = ("config.json", "tiktoken.model", "tokenizer_config.json")  # what a check depends on

logger = logging.getLogger(__name__)


def report_path(file: Path) -> Path:
    """Return where the report of a file is."""
    return file.with_name(file.name + ".checked")


def check_file(
    path: Path,
    model: Path,
    *,
    loss: LossChoice = "all",
    decode: bool = False,
    again: bool = False,
    progress: Progress | None = None,
) -> FileReport | Survey:
    """Return the report of a file, from beside it if it is there, and else leave it there.

    Args:
        path: conversations or documents.
        model: folder of the model that is to learn. Its context limits the samples, see ``LineReport.limited``.
        loss: what is learned of samples that leave it open.
        decode: decode every recording; False takes a report that did, too.
        again: check once more in any case.
        progress: told after every line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty or in the format of another trainer.
    """
    is_documents = holds_documents(path)
    key = _key(path, model, "" if is_documents else loss)
    known = None if again else _read(path, key, decode=decode)
    if known is not None:
        return known
    config, tokenizer = load_lm_config(model), TextTokenizer.load(model)
    if is_documents:
        report = survey_file(path, tokenizer, config.max_positions, decode=decode, progress=progress)
    else:
        report = validate_file(path, config, tokenizer, loss=loss, decode=decode, progress=progress)
    try:
        with write_whole(report_path(path)) as partial:
            partial.write_text(json.dumps({"key": key, "decoded": decode, **to_values(report)}), "utf-8")
    except OSError as error:  # data is often where nobody may write
        logger.info("the report of %s is not kept: %s", path, error)
    return report


def _read(path: Path, key: str, *, decode: bool) -> FileReport | Survey | None:
    kept = report_path(path)
    if not kept.is_file():
        return None
    try:
        values = read_json(kept)
        if values.get("key") != key or (decode and not values.get("decoded")):
            return None
        return from_values(values, path)
    except (ValueError, KeyError, TypeError):  # damaged, or of another version
        return None


def _key(path: Path, model: Path, loss: str) -> str:
    digest = hashlib.blake2b(f"{_VERSION} {loss}".encode(), digest_size=16)
    digest.update(content_digest(path).encode())
    for name in _MODEL_FILES:
        digest.update((model / name).read_bytes() if (model / name).exists() else b"")
    return digest.hexdigest()


def content_digest(path: Path) -> str:
    """Return what tells the content of a file from any other."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def to_values(report: LineReport) -> dict[str, Any]:
    """Return a report as plain values, without the path of its file."""
    values = {item.name: getattr(report, item.name) for item in fields(report) if item.name != "path"}
    values = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    return values | {"problems": [[problem.line, problem.reason] for problem in report.problems]}


def from_values(values: Mapping[str, Any], path: Path) -> FileReport | Survey:
    """Return the report of a file from what ``to_values`` made of it."""
    shared = {
        "path": path,
        "num_lines": int(values["num_lines"]),
        "problems": tuple(Problem(int(line), str(reason)) for line, reason in values["problems"]),
        "lines": np.array(values["lines"], np.int64),
    }
    if "sizes" in values:
        return Survey(**shared, sizes=tuple(tuple((c, t) for c, t in document) for document in values["sizes"]))
    others = {item.name: values[item.name] for item in fields(FileReport) if item.name not in shared}
    others |= {"positions": np.array(values["positions"], np.int64), "tasks": tuple(values["tasks"])}
    return FileReport(**shared, **others)
