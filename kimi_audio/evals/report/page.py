"""Self-contained HTML pages: one for results, one for the comparison of two runs."""

import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kimi_audio.evals.contract.types import POLICY
from kimi_audio.evals.metrics.error_rate import AlignedStep
from kimi_audio.evals.metrics.libraries import eval_extra
from kimi_audio.evals.report import tables
from kimi_audio.evals.report.comparison import Difference, Pair, changes, not_compared, too_few, value_of_sample
from kimi_audio.evals.report.forest import forest, histogram, times
from kimi_audio.evals.report.tables import (
    Entry,
    alignments_of,
    average_rows,
    matrix,
    score_rows,
    speed_rows,
)
from kimi_audio.evals.run.store import AskedSample, SampleAnswer, SampleOutcome, State

MAX_SAMPLES = 100  # of a task that are shown, the worst first
MAX_FAILURES = 1000  # of a task that are listed
MAX_CONFUSIONS = 12  # of a task that are shown
MAX_CLIP_BYTES = 200_000  # larger recordings are linked
MAX_PAGE_BYTES = 8_000_000  # of recordings inside a page, shared out among its tasks; what is left is linked
TEMPLATES = Path(__file__).parent / "templates"
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")  # in HTML
MEDIA_TYPES = {".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}


@dataclass
class Player:
    """Puts recordings into a page: small ones inside, others as links that are relative to it."""

    page: Path
    left_bytes: int

    def clip(self, path: Any) -> dict[str, str]:
        """Return what the page shows of a recording."""
        if not isinstance(path, Path) or not path.is_file():
            return {"missing": str(path)}
        size = path.stat().st_size
        media_type = MEDIA_TYPES.get(path.suffix.lower())
        if media_type and size <= min(MAX_CLIP_BYTES, self.left_bytes):
            self.left_bytes -= size
            content = base64.b64encode(path.read_bytes()).decode("ascii")
            return {"data": f"data:{media_type};base64,{content}", "name": path.name}
        return {"link": _link(path, self.page), "name": path.name}


def _link(path: Path, page: Path) -> str:
    target = path.resolve()
    try:
        return quote(Path(os.path.relpath(target, page.resolve().parent)).as_posix())
    except ValueError:  # another drive
        return target.as_uri()


@dataclass(frozen=True)
class Shown:
    """A sample as the page shows it."""

    asked: AskedSample
    answer: SampleAnswer | None
    outcome: SampleOutcome
    value: float | None  # in the metric to look at
    clips: list[dict[str, str]]
    speech: dict[str, str] | None

    @property
    def alignment(self) -> Sequence[Sequence[str]]:
        """The aligned words; none if the scorer gave none."""
        return self.outcome.details.get("alignment") or ()

    @property
    def details(self) -> dict[str, Any]:
        """What else the scorer wants to be seen."""
        return {name: value for name, value in self.outcome.details.items() if name != "alignment"}


@dataclass(frozen=True)
class Section:
    """A result with its samples, ready for the page."""

    entry: Entry
    shown: list[Shown] = field(default_factory=list)
    failures: list[SampleOutcome] = field(default_factory=list)
    total: int = 0
    histogram: tuple[list[int], float, float] | None = None
    times: tuple[dict[str, str], float] | None = None
    confusions: list[tuple[AlignedStep, int]] = field(default_factory=list)


def results_page(entries: Sequence[Entry], path: Path) -> str:
    """Return the page of some results, to be written to ``path``.

    Raises:
        ModuleNotFoundError: the eval extra is not installed.
    """
    done = [entry for entry in entries if not entry.result.error]
    results = [entry.result for entry in entries]
    rows = score_rows(results)
    headlines = [row for row in rows if row.is_headline]
    return render_page(
        "report.html",
        rows=rows,
        matrix=matrix(headlines),
        models=list(dict.fromkeys(row.label for row in headlines)),
        others=list(dict.fromkeys(name for row in headlines if row.published for name in row.published.values)),
        anchors={entry.result.task: f"task-{number}" for number, entry in reversed([*enumerate(done, 1)])},
        forest=forest(headlines),
        errors=[result for result in results if result.error],
        averages=average_rows(entries),
        sections=[_section(entry, _player(path, len(done))) for entry in done],
        speeds=speed_rows(results),
        sources=sorted({row.published.source for row in rows if row.published}),
    )


def comparison_page(
    pairs: Sequence[Pair],
    differences: Sequence[Difference],
    only_one: Sequence[str],
    names: tuple[str, str],
    path: Path,
) -> str:
    """Return the page that shows two runs side by side, to be written to ``path``; errors as above."""
    return render_page(
        "compare.html",
        names=names,
        differences=differences,
        only_one=only_one,
        not_compared=not_compared(pairs),
        too_few=too_few(pairs, differences),
        sections=[_changed(pair, _player(path, len(pairs))) for pair in pairs],
    )


def _player(page: Path, tasks: int) -> Player:
    """Return the player of one of the tasks of a page, so that the first does not take all the room."""
    return Player(page, MAX_PAGE_BYTES // tasks)


def _section(entry: Entry, player: Player) -> Section:
    outcomes = entry.folder.read_outcomes()
    score = entry.sample_score
    values = {outcome.sample.id: value_of_sample(outcome, score) for outcome in outcomes}
    ranked = sorted(
        (outcome for outcome in outcomes if outcome.state is not State.skipped),
        key=lambda outcome: _goodness(values[outcome.sample.id], higher_is_better=score.higher_is_better),
    )
    answers = entry.folder.read_answers()
    asked = {item.id: item for item in entry.folder.read_asked()}
    known = [answer for item in asked.values() if (answer := answers.get(item.key))]
    times_s = {
        name: [value for answer in known if (value := getattr(answer, field_name)) is not None]
        for name, field_name in (("first sound", "first_sound_s"), ("first text", "first_text_s"), ("end", "total_s"))
    }
    return Section(
        entry,
        [_shown(asked[item.sample.id], answers, item, values[item.sample.id], player) for item in ranked[:MAX_SAMPLES]],
        [outcome for outcome in outcomes if outcome.state is not State.scored],
        len(outcomes),
        histogram([value for value in values.values() if value is not None]),
        times(times_s),
        Counter(
            step for steps in alignments_of(outcomes).values() for step in steps if step.operation != "equal"
        ).most_common(MAX_CONFUSIONS),
    )


def _goodness(value: float | None, *, higher_is_better: bool) -> float:
    """Return a number that is larger for better samples, and smallest for those without a value."""
    return float("-inf") if value is None else value if higher_is_better else -value


def _shown(
    asked: AskedSample, answers: dict[str, SampleAnswer], outcome: SampleOutcome, value: float | None, player: Player
) -> Shown:
    answer = answers.get(asked.key)
    speech = answer.speech if answer else None
    clips = [player.clip(clip) for clip in asked.audio]
    return Shown(asked, answer, outcome, value, clips, None if speech is None else player.clip(speech))


def _changed(pair: Pair, player: Player) -> dict[str, Any]:
    """Return the samples of a task that the two runs do not answer equally well."""
    found = changes(pair)
    score = pair.a.sample_score
    asked = [{item.id: item for item in entry.folder.read_asked()} for entry in (pair.a, pair.b)]
    answers = [entry.folder.read_answers() for entry in (pair.a, pair.b)]
    rows = []
    for change in found[:MAX_SAMPLES]:
        sides = [
            _shown(asked[side][outcome.sample.id], answers[side], outcome, value_of_sample(outcome, score), player)
            for side, outcome in enumerate((change.a, change.b))
        ]
        rows.append({"gain": change.gain, "sides": sides, "sample": change.a.sample})
    better = sum(change.gain > 0 for change in found)
    return {"pair": pair, "rows": rows, "score": score, "better": better, "worse": len(found) - better}


def render_page(template: str, **values: Any) -> str:
    """Return a page of ``templates/``; ModuleNotFoundError if the eval extra is not installed."""
    with eval_extra():
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup

    script = (TEMPLATES / "filter.js").read_text("utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: FORBIDDEN.sub("\ufffd", value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    limits = {
        "samples": MAX_SAMPLES,
        "failures": MAX_FAILURES,
        "clip_kb": MAX_CLIP_BYTES // 1000,
        "page_mb": MAX_PAGE_BYTES // 1_000_000,
    }
    constants = {"cells": tables, "policy": POLICY, "limits": limits, "script": Markup(script)}  # noqa: S704 - ours
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template(template).render(**values, **constants, script_digest=digest)
