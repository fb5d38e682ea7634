"""Reports: what they show, and that nothing of a model or dataset becomes markup."""

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evaluation_fakes import FakeModel, Words, tiny_task, write_dataset

from kimi_audio.evals import registry
from kimi_audio.evals.contract.types import Average, Counts, EvalSample, Metric, Prediction, Result, SampleScore, Suite
from kimi_audio.evals.report import outputs, page, tables
from kimi_audio.evals.report.comparison import changes, compare, not_compared, pair_entries, too_few
from kimi_audio.evals.report.forest import forest, histogram, times
from kimi_audio.evals.report.outputs import write_report
from kimi_audio.evals.run.backends import LocalBackend
from kimi_audio.evals.run.evaluate import evaluate
from kimi_audio.evals.run.infer import InferOptions
from kimi_audio.evals.run.selection import Selection

pytest.importorskip("jinja2")
html5lib = pytest.importorskip("html5lib")

EVIL = '<script>alert("1")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, text and addresses of a page; fails if tags are not closed in order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{name} in {tag}"
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def make_run(root: Path, name: str, rows: list[dict], **recipe) -> Path:
    write_dataset(root / "data" / "tiny", rows)
    run = root / name
    list(evaluate([tiny_task(**recipe)], root / "data", LocalBackend(FakeModel(name=name)), run, InferOptions()))
    return run


ROWS = [
    {"id": "a", "say": "one two three", "subset": "x"},
    {"id": "b", "say": "one too", "subset": "x", "question": "What & why?"},
    {"id": "c", "say": "", "subset": "y", "behave": "error"},
    {"id": EVIL, "say": EVIL, "subset": "y", "reference": "a | b"},
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path, "m<b>odel", ROWS, prompt="Say: {text}", output="both")


@pytest.fixture
def shown(run: Path) -> Page:
    write_report(run)
    return Page((run / "report.html").read_text("utf-8"))


def test_page_is_self_contained_and_holds_no_foreign_markup(shown):
    assert shown.tags.count("script") == 1  # ours, see below
    assert "link" not in shown.tags
    assert "img" not in shown.tags
    assert all(address.startswith(("data:audio/", "#")) for address in shown.addresses), shown.addresses
    assert EVIL in shown.text
    assert "m<b>odel" in shown.text


def test_no_other_script_than_that_of_the_page_may_run(run):
    write_report(run)
    content = (run / "report.html").read_text("utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; media-src data:; script-src 'sha256-{digest}'" in content


def test_pages_are_valid_whatever_a_model_says(tmp_path):
    rows = [*ROWS, {"id": "e", "say": "a\x00b\x07 \x85 \ufffe]]> </td> &amp; &bogus;"}]
    one, other = (make_run(tmp_path, name, rows, output="both") for name in ("one", "other"))
    pairs, _ = pair_entries(tables.collect(one), tables.collect(other))
    for content in (
        page.results_page(tables.collect(tmp_path), tmp_path / "report.html"),
        page.comparison_page(pairs, compare(pairs), [], ("A", "B"), tmp_path / "comparison.html"),
    ):
        html5lib.HTMLParser(strict=True).parse(content)
    assert "a\ufffdb\ufffd" in page.results_page(tables.collect(one), one / "report.html")


def test_page_shows_scores_failures_recipe_and_plots(shown):
    assert "3 of 4 scored, 1 failed" in shown.text
    assert "the endpoint gave up" in shown.text
    assert "counts as the worst answer" in shown.text
    assert "Say: {text}" in shown.text
    assert "text and speech" in shown.text
    assert "Say: What & why?" in shown.text
    assert (shown.tags.count("svg"), shown.tags.count("figure")) == (1, 2)
    assert "6 scores with their counts" in shown.text
    assert "seconds of work per second of sound" in shown.text
    assert "Most frequent errors" in shown.text
    assert {"ins", "del", "audio"} <= set(shown.tags)


def rows_of(run: Path, **names: str) -> list[tables.ScoreRow]:
    """Rows of the scores of all models in a folder, as if they were of a published test set."""
    results = [entry.result for entry in tables.collect(run)]
    scores = [tuple(replace(score, **names) for score in result.scores if score.metric == "wer") for result in results]
    return tables.score_rows(
        replace(result, task="librispeech", scores=own, counts=dict.fromkeys(names.values(), Counts()))
        for result, own in zip(results, scores, strict=True)
    )


def test_models_stand_side_by_side_in_the_matrix(tmp_path):
    for name, say in (("one", "one too three"), ("two", "one two three")):
        make_run(tmp_path / "runs", name, [{"id": "a", "say": say}])
    (row,) = tables.matrix(rows_of(tmp_path / "runs", subset="test-clean", metric="evalkit-wer"))
    assert {name: [item.score.value for item in items] for name, items in row.measured.items()} == {
        "one": [pytest.approx(100 / 3)],
        "two": [0.0],
    }
    assert row.published["Kimi-Audio"] == 1.28
    assert row.best == 0.0
    (row,) = tables.matrix(rows_of(tmp_path / "runs" / "one", subset="test-clean", metric="evalkit-wer"))
    assert row.best == 1.28
    (row,) = tables.matrix(rows_of(tmp_path / "runs" / "one", subset="test-clean"))
    assert row.best == pytest.approx(100 / 3)  # what was published is in another metric


def test_forest_has_an_axis_per_task_and_metric(tmp_path):
    for name, say in (("one", "one too three"), ("two", "one two three")):
        make_run(tmp_path / "runs", name, [{"id": str(n), "say": say} for n in range(3)])
    (group,) = forest(rows_of(tmp_path / "runs", subset="test-clean", metric="evalkit-wer"))
    assert [mark.model for mark in group.marks[:2]] == ["one", "two"]
    assert [mark.is_published for mark in group.marks] == [False, False, True, True, True, True, True]
    assert (group.start, group.end) == (0, 50)
    assert group.place(group.marks[0].value) == "66.67"
    (group,) = forest(rows_of(tmp_path / "runs", subset="test-clean"))
    assert [mark.is_published for mark in group.marks] == [False, False]


def test_plots_are_places_on_their_axes():
    assert histogram([0, 0, 0, 100]) == ([3, 0, 0, 0, 1], 0, 100)
    assert histogram([1]) is None
    curves, end_s = times({"end": [2.0, 1.0], "first text": [0.5]})
    assert end_s == 2
    assert curves == {"end": "0.0,100.0 50.0,100.0 50.0,50.0 100.0,50.0 100.0,0.0 100.0,0.0"}
    assert times({}) is None


def test_small_recordings_are_inside_and_large_ones_are_links(run, tmp_path, monkeypatch):
    write_report(run)
    inside = Page((run / "report.html").read_text("utf-8")).addresses
    sounds = {base64.b64decode(address.split(",")[1]) for address in inside if address.startswith("data:")}
    assert (tmp_path / "data" / "tiny" / "0.wav").read_bytes() in sounds
    monkeypatch.setattr(page, "MAX_CLIP_BYTES", 100)
    write_report(run)
    linked = Page((run / "report.html").read_text("utf-8")).addresses
    links = [address for address in linked if not address.startswith("#")]
    assert len(links) == len([address for address in inside if not address.startswith("#")])
    assert "../data/tiny/0.wav" in links
    assert all((run / address).is_file() for address in links)


def test_alignments_are_written_as_sclite_does(run):
    write_report(run)
    text = (run / "tiny" / "alignments.txt").read_text("utf-8")
    assert "id: (b)\nScores: (#C #S #D #I) 1 1 1 0\nREF:  one TWO THREE\nHYP:  one TOO *****\n" in text
    assert "id: (c)" not in text  # it was not answered


def test_page_budget(run):
    size = max(path.stat().st_size for path in run.rglob("*.wav"))
    player = page.Player(run / "report.html", size)
    clips = [player.clip(path) for path in sorted(run.rglob("*.wav"))]
    assert ["data" in clip for clip in clips] == [True] + [False] * (len(clips) - 1)
    assert player.clip(run / "gone.wav") == {"missing": str(run / "gone.wav")}


def test_tasks_share_the_budget_of_a_page(run, monkeypatch):
    size = max(path.stat().st_size for path in run.rglob("*.wav"))
    monkeypatch.setattr(page, "MAX_PAGE_BYTES", 2 * size)
    (entry,) = tables.collect(run)
    content = page.results_page([entry, entry], run / "report.html")
    assert content.count("data:audio") == 2
    first, second = content.split('<h2 id="task-2">')
    assert ("data:audio" in first, "data:audio" in second) == (True, True)


def test_samples_are_shown_worst_first(run):
    (entry,) = tables.collect(run)
    section = page._section(entry, page._player(run / "report.html", 1))
    values = [item.value for item in section.shown]
    assert values == sorted(values, reverse=True)
    assert section.shown[-1].outcome.sample.id == "a"


def test_markdown_csv_and_json(run):
    write_report(run)
    markdown = (run / "report.md").read_text("utf-8")
    assert "<script>" not in markdown
    scores, speed = (part.splitlines() for part in markdown.split("## Speed"))
    assert "| tiny | m&lt;b>odel | - | - | 0.50 | 0.50 | 5.00 | 5.00 |" in speed
    table = [line for line in scores if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    rows = list(csv.DictReader(io.StringIO((run / "report.csv").read_text("utf-8"))))
    overall = next(row for row in rows if row["metric"] == "wer" and not row["subset"])
    assert (overall["total"], overall["scored"], overall["failed"]) == ("4", "3", "1")
    assert overall["recipe"] in markdown
    assert (overall["total_p50_s"], overall["first_sound_p50_s"]) == ("0.5", "")
    assert float(overall["rtf_spoken"]) == pytest.approx(5)
    document = json.loads((run / "report.json").read_text("utf-8"))
    (result,) = document["results"]
    assert result["counts"][""]["failed"] == 1
    assert float(overall["value"]) == next(s["value"] for s in result["scores"] if not s["subset"])


def test_published_numbers_and_averages_stand_beside_ours(run, monkeypatch):
    def renamed(result: Result) -> Result:
        """The result as if it were one of a published test set."""
        scores = tuple(replace(item, subset="test-clean") if item.subset == "x" else item for item in result.scores)
        return replace(result, task="librispeech", scores=scores, counts={**result.counts, "test-clean": Counts()})

    entries = [replace(entry, result=renamed(entry.result)) for entry in tables.collect(run)]
    results = [entry.result for entry in entries]
    average = Average("mean", {"librispeech/test-clean": 0.5, "librispeech//right": 0.5}, "us")
    monkeypatch.setattr(tables, "all_suites", lambda: {"s": Suite("s", ("librispeech",), (average,))})
    markdown = outputs.to_markdown(results)
    (beside,) = [line for line in markdown.splitlines() if "Kimi-Audio 1.28" in line]
    assert "| test-clean | wer |" in beside  # the metric to look at
    assert "in evalkit-wer: Qwen2-Audio-base 1.74" in beside
    assert "Kimi-Audio technical report, Table 4" in markdown
    (row,) = tables.average_rows(entries)
    scores = {(score.subset, score.metric): score.value for score in results[0].scores}
    assert row.value == pytest.approx((scores["test-clean", "wer"] + scores["", "right"]) / 2)


def test_an_average_is_that_of_one_run_and_names_its_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "all_suites", lambda: {"s": Suite("s", ("tiny",), (Average("mean", {"tiny": 1}),))})
    write_dataset(
        tmp_path / "data" / "tiny", [{"id": str(n), "say": "one" if n else "one two three"} for n in range(3)]
    )
    for name, selection in (("a", Selection()), ("b", Selection(ids=("0",)))):
        model, options = LocalBackend(FakeModel()), InferOptions(selection)
        list(evaluate([tiny_task()], tmp_path / "data", model, tmp_path / "runs" / name, options))
    rows = tables.average_rows(tables.collect(tmp_path / "runs"))
    assert [(row.selection, round(row.value, 1)) for row in rows] == [("all", 44.4), ("named", 0.0)]
    write_report(tmp_path / "runs")
    assert "| mean | fake | named | 0.00 |" in (tmp_path / "runs" / "report.md").read_text("utf-8")


def test_published_numbers_stand_beside_the_metric_they_were_measured_in(run):
    (entry,) = tables.collect(run)
    scores = tuple(
        replace(score, subset="test-clean", metric="evalkit-wer" if score.metric == "right" else score.metric)
        for score in entry.result.scores
        if score.subset == "x"
    )
    rows = tables.score_rows([replace(entry.result, task="librispeech", scores=scores)])
    assert [(row.score.metric, row.published is not None) for row in rows] == [("wer", False), ("evalkit-wer", True)]
    assert tables.published_text(rows[1]).startswith("Qwen2-Audio-base 1.74")


def test_a_task_that_could_not_run_is_in_the_report(tmp_path):
    list(evaluate([tiny_task()], tmp_path / "none", LocalBackend(FakeModel()), tmp_path / "run", InferOptions()))
    paths = write_report(tmp_path / "run")
    assert len(paths) == 4
    for path in paths:
        assert "run 'kimi-audio eval prepare tiny'" in path.read_text("utf-8").replace("&#39;", "'"), path


def test_nothing_to_report(tmp_path):
    with pytest.raises(ValueError, match=r"no result\.json"):
        write_report(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# Two runs


def both(tmp_path: Path, first: list[dict], second: list[dict], **recipe) -> tuple[list, list[str]]:
    a = make_run(tmp_path, "a", first)
    b = make_run(tmp_path, "b", second, **recipe)
    return pair_entries(tables.collect(a), tables.collect(b))


def test_a_clear_difference_is_significant(tmp_path):
    bad = [{"id": str(n), "say": "one" if n % 3 else "one two three"} for n in range(40)]
    good = [{"id": str(n), "say": "one two three"} for n in range(40)]
    pairs, only_one = both(tmp_path, bad, good)
    assert only_one == []
    wer, right = compare(pairs)
    assert (wer.metric, wer.verdict, right.verdict) == ("wer", "B is better", "B is better, taken alone")
    assert wer.b == 0
    assert wer.difference == -wer.a
    assert wer.high < 0
    assert wer.samples == 40
    assert (wer.is_headline, right.is_headline) == (True, False)
    swapped, _ = pair_entries([pairs[0].b], [pairs[0].a])
    assert compare(swapped)[0].verdict == "A is better"


def test_equal_runs_do_not_differ(tmp_path):
    rows = [{"id": str(n), "say": "one two"} for n in range(10)]
    pairs, _ = both(tmp_path, rows, rows)
    for row in compare(pairs):
        assert (row.difference, row.p_value, row.verdict) == (0, 1, "no significant difference")
    assert pairs[0].notes == []


def test_samples_that_ask_something_else_are_left_out_and_told(tmp_path):
    first = [{"id": str(n), "say": "one two three", "reference": f"one two {n}"} for n in range(6)]
    shifted = [{**row, "reference": f"one two {n + 1}" if n else row["reference"]} for n, row in enumerate(first)]
    shifted[1] = first[1]
    pairs, _ = both(tmp_path, first, [{**row, "say": "one"} for row in shifted])
    (note,) = pairs[0].notes
    assert note.startswith("what is asked: 4 samples of the same id, such as '2'")
    assert {row.samples for row in compare(pairs)} == {2}
    assert {change.a.sample.id for change in changes(pairs[0])} <= {"0", "1"}


@pytest.mark.parametrize("rows", [1, 0], ids=["one sample in common", "none"])
def test_a_task_with_nothing_to_compare_is_named(tmp_path, rows):
    first, second = ([{"id": f"{name}{n if n >= rows else ''}", "say": "one"} for n in range(3)] for name in "xx")
    second = [{**row, "id": row["id"] if n < rows else f"y{n}"} for n, row in enumerate(second)]
    pairs, _ = both(tmp_path, first, second)
    assert compare(pairs) == []
    assert too_few(pairs, []) == ["tiny"]
    assert "Nothing to compare in tiny" in page.comparison_page(pairs, [], [], ("a", "b"), tmp_path / "c.html")


def test_failed_samples_count_in_a_comparison(tmp_path):
    good = [{"id": str(n), "say": "one two three"} for n in range(4)]
    failing = [{**row, "behave": "error"} for row in good]
    pairs, _ = both(tmp_path, good, failing)
    assert (compare(pairs)[0].a, compare(pairs)[0].b) == (0, 100)


def test_comparison_page(tmp_path):
    first = [{"id": "1", "say": EVIL, "question": "Why?"}, {"id": "2", "say": "one two three"}]
    second = [{"id": "1", "say": "one two three", "question": "Why?"}, {"id": "2", "say": "one two three"}]
    pairs, only_one = both(tmp_path, first, second, prompt="Now: {text}")
    assert [note.split(":")[0] for note in pairs[0].notes] == ["recipe"]
    path = tmp_path / "comparison.html"
    shown = Page(page.comparison_page(pairs, compare(pairs), only_one, ("run <A>", "run B"), path))
    assert EVIL in shown.text
    assert "run <A>" in shown.text
    assert "B is better in 1 samples and worse in 0" in shown.text
    assert "Differs, too: recipe" in shown.text
    assert not any(address.startswith("http") for address in shown.addresses)


class Longest(Words):
    """Has a score that is no sum over samples."""

    metrics = (Metric("longest", unit="words", scale=1, combine=max), *Words.metrics)

    def score(self, sample: EvalSample, prediction: Prediction) -> SampleScore:
        usual = super().score(sample, prediction)
        return replace(usual, values={"longest": len(prediction.text.split()), **usual.values})

    def worst(self, sample: EvalSample) -> dict[str, Any]:
        return {"longest": 0, **super().worst(sample)}


def test_scores_of_a_corpus_are_compared_if_their_task_is_known(tmp_path, monkeypatch):
    task = tiny_task(Longest())
    for name, say in (("a", "one"), ("b", "one two three")):
        write_dataset(tmp_path / "data" / "tiny", [{"id": str(n), "say": say} for n in range(12)])
        list(evaluate([task], tmp_path / "data", LocalBackend(FakeModel(name=name)), tmp_path / name, InferOptions()))
    pairs, _ = pair_entries(tables.collect(tmp_path / "a"), tables.collect(tmp_path / "b"))
    assert [row.metric for row in compare(pairs)] == ["wer", "right"]
    assert not_compared(pairs) == ["tiny longest"]
    assert "Not compared" in page.comparison_page(pairs, compare(pairs), [], ("a", "b"), tmp_path / "c.html")
    monkeypatch.setattr(registry, "all_tasks", lambda: {"tiny": task})
    longest, *_ = compare(pairs)
    assert (longest.metric, longest.a, longest.b, longest.difference) == ("longest", 1, 3, 2)
    assert longest.verdict == "B is better"
    assert not_compared(pairs) == []
    assert len(page._changed(pairs[0], page._player(tmp_path / "c.html", 1))["rows"]) == 12


def test_runs_without_a_common_task(tmp_path):
    a = make_run(tmp_path, "a", ROWS[:1])
    with pytest.raises(ValueError, match="no task in common"):
        pair_entries(tables.collect(a), [])


def test_another_version_of_the_scorer_is_noted(tmp_path):
    a = make_run(tmp_path, "a", ROWS[:2])
    list(
        evaluate([tiny_task(Words("2"))], tmp_path / "data", LocalBackend(FakeModel()), tmp_path / "b", InferOptions())
    )
    pairs, _ = pair_entries(tables.collect(a), tables.collect(tmp_path / "b"))
    assert pairs[0].notes == ["versions: {'rules': '1'} and {'rules': '2'}"]
