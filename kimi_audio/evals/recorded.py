"""Predictions that were made elsewhere: a JSON lines file in the place of a model.

Each line has ``id`` and ``text`` and may have ``speech`` (a file, relative to the lines'), ``total_s``,
``first_text_s``, ``first_sound_s`` and ``error``.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kimi_audio.evals.cache import digest_of
from kimi_audio.evals.engines import Reply, one_line
from kimi_audio.evals.store import read_rows
from kimi_audio.evals.types import Options, Prediction, Sample

logger = logging.getLogger(__name__)


class Recorded:
    """The engine that looks answers up. Samples without a line, or with several that differ, have failed."""

    family = "recorded"

    def __init__(self, file: Path, name: str) -> None:
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {file}")
        self.name, self.revision = name, f"file {digest_of(file)[:12]}"
        self._answers: dict[str, Prediction] = {}
        for number, row in enumerate(read_rows(file), 1):
            self._add(file, number, row)

    def _add(self, file: Path, number: int, row: dict[str, Any]) -> None:
        try:
            id_, prediction = str(row["id"]), _prediction(file, row)
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("%s, row %d does not count: %s", file, number, one_line(error))
            return
        if self._answers.setdefault(id_, prediction) != prediction:
            self._answers[id_] = Prediction(error="the file has different predictions for it")

    def answer(self, batches: Iterable[Sequence[Sample]], options: Options) -> Iterator[Reply]:
        """Yield what the file holds for each sample."""
        missing = Prediction(error="the file has no prediction for it")
        for sample in (sample for batch in batches for sample in batch):
            yield Reply(sample, self._answers.get(sample.id, missing), 1)

    def unused(self, asked: Iterable[str]) -> list[str]:
        """Return the ids of the file that are not among those that were asked for."""
        return sorted(set(self._answers) - set(asked))


def _prediction(file: Path, row: dict[str, Any]) -> Prediction:
    """Return the prediction of a row; KeyError, TypeError or ValueError if it holds none."""
    if not isinstance(row["text"], str):
        raise TypeError("its text is no string")
    speech = file.parent / row["speech"] if row.get("speech") else None
    total_s, first_text_s, first_sound_s = (
        None if row.get(name) is None else float(row[name]) for name in ("total_s", "first_text_s", "first_sound_s")
    )
    error = str(row.get("error") or "")
    return Prediction(row["text"], speech, total_s, first_text_s, first_sound_s, error=error)
