"""Plots as SVG, to stand inside a page."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kimi_audio.evals.metrics.libraries import eval_extra
from kimi_audio.evals.report.tables import ScoreRow

BLUE, GREY = "#2563eb", "#6b7280"
# Text stays text, in the font of the page, and names are never taken for formulas.
STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "kimi-audio", "text.parse_math": False, "font.size": 9}


def plot_scores(rows: Sequence[ScoreRow]) -> str:
    """Return measured scores with their intervals and published ones, one line per subset and model."""
    points: dict[str, tuple[float, float, float, str]] = {}
    for subset in dict.fromkeys(row.score.subset for row in rows):
        fitting = [row for row in rows if row.score.subset == subset]
        for row in fitting:
            value, low, high = row.score.value, row.score.low, row.score.high
            if value is not None:
                speech = ", with speech" if row.result.recipe.output == "both" else ""
                ends = (value if low is None else low, value if high is None else high)
                points[f"{subset or 'all'}: {row.result.model}{speech}"] = (value, *ends, BLUE)
        for row in fitting:
            for model, value in (row.published.values if row.published else {}).items():
                points[f"{subset or 'all'}: {model}, published"] = (value, value, value, GREY)
    if not points:
        return ""
    with _axes(6.4, 0.6 + 0.24 * len(points)) as (axes, finish):
        for place, (value, low, high, colour) in enumerate(points.values()):
            axes.plot([low, high], [place, place], color=colour, linewidth=2, alpha=0.5)
            axes.plot([value], [place], "o", color=colour, markersize=5)
        axes.set_yticks(range(len(points)), list(points))
        axes.set_ylim(len(points) - 0.4, -0.6)  # the first on top
        axes.set_xlabel(f"{rows[0].score.metric}, {rows[0].score.unit}")
        axes.grid(axis="x", alpha=0.3)
        return finish()


def plot_histogram(values: Sequence[float], label: str) -> str:
    """Return how often a score has which value among the samples."""
    if len(values) < 2:
        return ""
    with _axes(3.6, 2.0) as (axes, finish):
        axes.hist(values, bins=min(20, max(5, len(values) // 5)), color=BLUE, alpha=0.8)
        axes.set_xlabel(label)
        axes.set_ylabel("samples")
        return finish()


def plot_times(times_s: Mapping[str, Sequence[float]]) -> str:
    """Return the share of answers that are there after some seconds, one curve per quantity."""
    curves = {name: sorted(values) for name, values in times_s.items() if len(values) > 1}
    if not curves:
        return ""
    with _axes(3.6, 2.0) as (axes, finish):
        for name, values in curves.items():
            axes.step(values, 100 * np.arange(1, len(values) + 1) / len(values), where="post", label=name)
        axes.set_xlabel("seconds")
        axes.set_ylabel("% of answers")
        axes.legend(frameon=False)
        return finish()


@contextmanager
def _axes(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """Give axes of a size in inches, and a function that returns the SVG."""
    with eval_extra():
        import matplotlib as mpl
        from matplotlib.figure import Figure

    def finish() -> str:
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        svg = buffer.getvalue()
        return svg[svg.index("<svg") :]  # a page has its own prologue

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, finish
