"""Speech conversation: does the voice of a reply do what was asked for? Speed, accent, emotion, empathy, style.

The report's set was not released; the requests here are our own (``conversation.yaml``), to be recorded by whoever
evaluates. Listeners rate the replies from 1 to 5 on a form (``report/form.py``) that tells neither model nor run; a
judge that hears can rate them, too.
"""

import csv
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from kimi_audio.core.files import copy_whole
from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.keys import Clip, digest_of
from kimi_audio.evals.contract.types import (
    Average,
    EvalSample,
    EvalTask,
    Metric,
    Prediction,
    SampleScore,
    Scorer,
    Suite,
)
from kimi_audio.evals.judges.scorer import JudgedAnswers
from kimi_audio.evals.tasks.asking import recipes_for
from kimi_audio.evals.tasks.datasets import DatasetFiles, make_dataset

logger = logging.getLogger(__name__)

LOWEST, HIGHEST = 1.0, 5.0
ITEM_DIGITS = 16


def item_of(clip: Clip) -> str:
    """Return the name of a reply on the form: by its sound, so a rating can never belong to another recording."""
    return digest_of(clip)[:ITEM_DIGITS]


class Ratings(Scorer):
    """The mean rating of a reply over its listeners, from filled forms: CSV with item, rater, rating."""

    metrics = (Metric("rating", "of 5", 1.0),)

    def __init__(self, files: tuple[Path, ...] = ()) -> None:
        self.files = files

    @cached_property
    def given(self) -> dict[str, dict[str, float]]:
        """The ratings, by item and by listener."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for file in self.files:
            for item, rater, rating in read_form(file):
                found[item][rater] = rating
        return found

    def equip(self, instruments: Instruments) -> Scorer:
        """Return the scorer of those who listen: people, a judge, or both."""
        people = Ratings(instruments.ratings)
        if instruments.judge is None:
            return people
        rules = people if instruments.ratings else None
        return JudgedAnswers("spoken-reply", Metric("judged-rating", "of 5", 1.0), rules, instruments.judge)

    def versions(self) -> Mapping[str, str]:
        """Return the forms and the number of listeners."""
        raters = {rater for given in self.given.values() for rater in given}
        return {"ratings": f"{len(raters)} listeners, forms {' '.join(digest_of(file)[:12] for file in self.files)}"}

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        """Return the mean; a reply without sound has the lowest rating, one that nobody rated is an error."""
        if prediction.speech is None:
            return SampleScore(sample.id, self.worst(sample), {"reason": "there is no spoken reply"})
        given = self.given.get(item_of(prediction.speech))
        if not given:
            raise ValueError("no listener has rated it: make a form with write_form, and score again with --ratings")
        return SampleScore(sample.id, {"rating": (fmean(given.values()), 1)}, {"ratings": given})

    def worst(self, sample: EvalSample) -> Mapping[str, Any]:
        """Return the lowest rating."""
        return {"rating": (LOWEST, 1)}


def read_form(file: Path) -> Iterator[tuple[str, str, float]]:
    """Yield item, rater and rating; rows that are empty or no rating from 1 to 5 are told and left out.

    Raises:
        ValueError: the file is no form.
        OSError: it cannot be read.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        if not {"item", "rater", "rating"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{file} is no filled form: it needs the columns item, rater and rating")
        for row in rows:
            try:
                rating = float(row["rating"] or "nan")
            except ValueError:
                rating = float("nan")
            if LOWEST <= rating <= HIGHEST:
                yield row["item"], row["rater"] or file.stem, rating
            elif row["rating"]:
                logger.warning("%s: %r of item %s is no rating from 1 to 5", file, row["rating"], row["item"])


def read_requests(folder: Path) -> Iterator[EvalSample]:
    """Yield the recorded requests."""
    for row in yaml.safe_load((folder / "requests.yaml").read_text("utf-8")):
        meta = {"question": row["say"], "wanted": row["wanted"]}
        yield EvalSample(row["id"], (folder / "audio" / f"{row['id']}.wav",), subset=row["subset"], meta=meta)


def place_requests(folder: Path) -> None:
    """Write our requests, unless there are others."""
    target = folder / "requests.yaml"
    if not target.exists():
        copy_whole(Path(__file__).with_suffix(".yaml"), target)


FILES = DatasetFiles(
    index=("requests.yaml",),
    by_hand="speak each request of requests.yaml in the manner that it states, and save it as audio/<id>.wav",
    convert=place_requests,
)
TASKS = (
    EvalTask(
        "speech-conversation",
        "1",
        make_dataset("speech-conversation", "our own requests, MIT", FILES, read_requests),
        Ratings(),
        recipes_for(output="both"),
        "how replies sound, rated by listeners or by a judge that hears",
    ),
)
SUBSETS = ("speed", "accent", "emotion", "empathy", "style")
AVERAGE = Average(
    "speech conversation",
    {f"speech-conversation/{name}": 1 / len(SUBSETS) for name in SUBSETS},
    "Kimi-Audio technical report, Table 7",
)
SUITES = (Suite("conversation", ("speech-conversation",), (AVERAGE,), "spoken replies"),)
