"""The tables of the technical report, as data: ``published.json`` beside this file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Published:
    """One column of a published table: a metric of a test set, by model."""

    task: str
    subset: str
    metric: str
    unit: str
    higher_is_better: bool
    values: Mapping[str, float]
    source: str


@cache
def published() -> tuple[Published, ...]:
    """Return all published numbers; a task that is none of ours is listed, too."""
    document = json.loads((Path(__file__).parent / "published.json").read_text("utf-8"))
    names = ("task", "subset", "metric", "unit", "higher_is_better", "values")
    return tuple(
        Published(*(row[name] for name in names), source=f"{document['source']}, Table {row['table']}")
        for row in document["rows"]
    )


def find_published(task: str, subset: str) -> Published | None:
    """Return what was published about a subset of a task."""
    return next((row for row in published() if (row.task, row.subset) == (task, subset)), None)
