"""The published tables, and averages that follow from their columns."""

from pathlib import Path

import pytest

from kimi_audio.evals.contract.instruments import Instruments
from kimi_audio.evals.contract.types import Average
from kimi_audio.evals.judges.stand_in import StandIn
from kimi_audio.evals.registry import all_tasks, equip
from kimi_audio.evals.report.references import find_published, parse_term, published, published_averages

VOICEBENCH = Average(
    "VoiceBench, 7 tests",
    {
        "voicebench-alpacaeval": 20 / 7,
        "voicebench-commoneval": 20 / 7,
        **{f"voicebench-{name}": 1 / 7 for name in ("sd-qa", "mmsu", "openbookqa", "ifeval", "advbench")},
    },
)


def test_voicebench_averages_follow_from_their_columns():
    stated = find_published("voicebench", "average")
    assert stated is not None
    assert published_averages(VOICEBENCH) == pytest.approx(stated.values, abs=0.011)
    assert len(stated.values) == 6


def test_averages_of_the_speech_conversation_follow_from_their_columns():
    stated = find_published("speech-conversation", "average")
    assert stated is not None
    names = ("speed", "accent", "emotion", "empathy", "style")
    average = Average("mean", {f"speech-conversation/{name}": 0.2 for name in names})
    computed = published_averages(average)
    assert computed == pytest.approx(stated.values, abs=0.011)


def test_tables_are_plausible():
    rows = published()
    assert len({(row.task, row.subset) for row in rows}) == len(rows)
    for row in rows:
        assert "Kimi-Audio" in row.values or row.task == ""
        top = 5 if row.unit == "of 5" else 100
        assert all(0 < value <= top for value in row.values.values()), row
    kimi = find_published("librispeech", "test-other")
    assert kimi is not None
    assert (kimi.values["Kimi-Audio"], kimi.source) == (2.42, "Kimi-Audio technical report, Table 4")
    assert find_published("librispeech", "dev-clean") is None


def test_published_numbers_are_in_metrics_that_we_measure():
    tasks = {task.name: task for task in equip(all_tasks().values(), Instruments(judge=StandIn()))}
    rated = equip([all_tasks()["speech-conversation"]], Instruments(ratings=(Path("form.csv"),)))
    tasks |= {task.name: task for task in rated}
    rows = [row for row in published() if row.task in tasks]
    assert len(rows) > 30
    for row in rows:
        if row.metric == "vb-advbench":  # counted by phrases that are not ours to copy, see metrics.refusal
            continue
        assert row.metric in {metric.name for metric in tasks[row.task].scorer.metrics}, (row.task, row.metric)


def test_an_average_without_all_its_terms_is_none():
    assert published_averages(Average("x", {"librispeech/test-clean": 1, "nothing": 1})) == {}


@pytest.mark.parametrize(
    ("term", "parts"),
    [("a", ("a", "", "")), ("a/b", ("a", "b", "")), ("a/b/c", ("a", "b", "c")), ("a//c", ("a", "", "c"))],
)
def test_terms(term, parts):
    assert parse_term(term) == parts
