"""The steps of an evaluation: stopped, resumed, repeated alone, and with everything that can go wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from evaluation_fakes import SPEC, FakeModel, Words, tiny_task, write_dataset

from kimi_audio.audio.io import save_audio
from kimi_audio.evals.contract.instruments import JudgeError, Verdict
from kimi_audio.evals.contract.types import Counts, Metric, Result, Score
from kimi_audio.evals.judges.scorer import JudgedAnswers
from kimi_audio.evals.judges.stand_in import StandIn
from kimi_audio.evals.judges.verdicts import read_reply
from kimi_audio.evals.registry import ModelSpec
from kimi_audio.evals.run.backends import LocalBackend
from kimi_audio.evals.run.evaluate import evaluate
from kimi_audio.evals.run.infer import InferOptions, infer
from kimi_audio.evals.run.scoring import score
from kimi_audio.evals.run.selection import Selection, duration_s
from kimi_audio.evals.run.store import TaskFolder, read_result
from kimi_audio.evals.run.workers import WorkerPool

ROWS = [{"id": name, "say": "one two three"} for name in "abcd"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data" / "tiny", ROWS)
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> TaskFolder:
    return TaskFolder(tmp_path / "run" / "tiny")


def rewrite(data: Path, rows: list[dict]) -> None:
    write_dataset(data / "tiny", rows)


def run(data: Path, folder: TaskFolder, model: FakeModel | None = None, task=None, **options) -> Result:
    task = task or tiny_task()
    infer(task, data, LocalBackend(model or FakeModel()), folder, InferOptions(**options))
    return score(task, folder)


def value(result: Result, metric: str = "wer", subset: str = "") -> Score:
    (found,) = [item for item in result.scores if (item.metric, item.subset) == (metric, subset)]
    return found


def asked(model: FakeModel) -> list[str]:
    return sorted(id_ for batch in model.asked for id_ in batch)


# ---------------------------------------------------------------------------------------------------------------------
# What a result says


def test_result_states_what_it_depends_on(data, folder):
    task = tiny_task(prompt="Write: {text}", decoding={"temperature": 0.5})
    result = run(data, folder, task=task)
    assert result.is_complete
    assert result.counts[""] == Counts(total=4, scored=4)
    assert (value(result).value, value(result, "right").value) == (0, 100)
    assert (result.recipe.prompt, result.recipe.output, result.seed) == ("Write: {text}", "text", 0)
    assert (result.model, result.revision, result.task_version) == ("fake", "1", "1")
    assert result.versions == {"rules": "1"}
    assert result.selection == "all 4"
    assert len(result.fingerprint) == 12
    assert result.git_hash
    assert "counts as the worst answer" in result.policy
    assert read_result(folder.result) == result
    assert result.timings["total_s"]["p50_s"] == 0.5
    assert result.timings["real_time_factor_heard"]["rtf"] == pytest.approx(5)


def test_subsets_are_scored_on_their_own(data, folder):
    rewrite(data, [{"id": "a", "say": "one two three", "subset": "x"}, {"id": "b", "say": "one", "subset": "y"}])
    result = run(data, folder)
    assert [value(result, subset=subset).value for subset in ("x", "y", "")] == pytest.approx([0, 200 / 3, 100 / 3])
    assert result.counts["y"].total == 1


def test_every_sample_is_counted_in_one_place(data, folder):
    rows = [
        {"id": "good", "say": "one two three"},
        {"id": "silent", "say": " "},
        {"id": "refused", "say": "", "behave": "error"},
        {"id": "raised", "say": "", "behave": "raise"},
        {"id": "long", "say": "one two three", "seconds": 3},
        {"id": "unjudged", "say": "unspeakable"},
        {"id": "good", "say": "one two three"},
        {"id": "no-file", "say": "", "audio": "none.wav"},
        {"id": "broken-file", "say": "", "audio": "broken.wav"},
    ]
    rewrite(data, rows)
    (data / "tiny" / "broken.wav").write_bytes(b"RIFF of nothing")
    result = run(data, folder, task=tiny_task(max_audio_s=2), batch_size=3)
    counts = result.counts[""]
    assert counts == Counts(total=9, scored=2, failed=3, unscored=1, skipped=3, empty=1)
    assert not result.is_complete
    wer = value(result)
    assert wer.samples == 5
    assert wer.value == pytest.approx(100 * (0 + 3 + 9) / 15)  # failed samples count as lost words
    assert wer.answered == pytest.approx(100 * 3 / 6)
    assert wer.pessimistic == pytest.approx(100 * (12 + 12) / 27)
    reasons = {item.id: item.error for item in folder.read_answers().values() if item.error}
    assert reasons["long"] == "the audio lasts 3.0 s, more than the 2 s of the recipe"
    assert reasons["raised"] == "RuntimeError: this one is too much"
    faults = {item.id: item.fault for item in folder.read_asked() if item.fault}
    assert sorted(faults) == ["broken-file", "good#2", "no-file"]
    assert "used 2 times" in faults["good#2"]


def test_a_missing_dataset_does_not_stop_the_other_tasks(data, tmp_path):
    engine = LocalBackend(FakeModel())
    (first,) = evaluate([tiny_task()], tmp_path / "nowhere", engine, tmp_path / "run", InferOptions())
    assert "run 'kimi-audio eval prepare tiny'" in first.error
    assert not first.is_complete
    assert read_result(tmp_path / "run" / "tiny" / "result.json") == first
    (second,) = evaluate([tiny_task()], data, engine, tmp_path / "run", InferOptions())
    assert second.is_complete


def test_both_output_modes(data, folder):
    result = run(data, folder, output="both")
    assert result.recipe.output == "both"
    answers = list(folder.read_answers().values())
    assert all(answer.spoken_s == pytest.approx(0.1) for answer in answers)
    assert all(answer.speech.is_file() for answer in answers)
    assert result.timings["real_time_factor_spoken"]["rtf"] == pytest.approx(5)
    text = run(data, TaskFolder(folder.path.parent / "text"))
    assert text.recipe.output == "text"
    assert text.fingerprint != result.fingerprint


# ---------------------------------------------------------------------------------------------------------------------
# Resuming


def test_nothing_is_asked_twice(data, folder):
    scorer = Words()
    run(data, folder, task=tiny_task(scorer))
    again = FakeModel()
    assert run(data, folder, again, task=tiny_task(scorer)).is_complete
    assert again.asked == []
    assert sorted(scorer.seen) == list("abcd")


def test_interrupted_and_resumed(data, folder):
    rewrite(data, [*ROWS[:2], {"id": "x", "say": "", "behave": "interrupt"}, *ROWS[2:]])
    with pytest.raises(KeyboardInterrupt):
        run(data, folder)
    done = {row.id for row in folder.read_answers().values()}
    assert 0 < len(done) < 4
    model = FakeModel()
    rewrite(data, ROWS)
    assert run(data, folder, model).counts[""].scored == 4
    assert set(asked(model)) == set("abcd") - done


@pytest.mark.parametrize("name", ["predictions.jsonl", "scores.jsonl"])
def test_killed_at_any_byte(data, folder, tmp_path, name):
    whole = run(data, folder)
    content = (folder.path / name).read_bytes()
    for end in range(0, len(content), 151):
        cut = TaskFolder(tmp_path / "cut")
        shutil.copytree(folder.path, cut.path)
        (cut.path / name).write_bytes(content[:end])
        cut.result.unlink()
        model, lines = FakeModel(), content[:end].count(b"\n")
        assert run(data, cut, model).scores == whole.scores
        assert len(asked(model)) == (4 - lines if name == "predictions.jsonl" else 0)
        shutil.rmtree(cut.path)


KILLED = """
from pathlib import Path
from evaluation_fakes import FakeModel, tiny_task
from kimi_audio.evals.run.backends import LocalBackend
from kimi_audio.evals.run.infer import InferOptions, infer
from kimi_audio.evals.run.store import TaskFolder
infer(tiny_task(), Path({data!r}), LocalBackend(FakeModel()), TaskFolder(Path({folder!r})), InferOptions(output="both"))
"""


def test_a_process_that_died_is_resumed(data, folder, tmp_path):
    rewrite(data, [*ROWS, {"id": "e", "say": "one two three", "behave": f"die-once:{tmp_path / 'died'}"}])
    script = KILLED.format(data=str(data), folder=str(folder.path))
    roots = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": roots}, check=False)
    assert done.returncode == 9
    before = set(folder.read_answers())
    model = FakeModel()
    assert run(data, folder, model, output="both").is_complete
    assert len(asked(model)) == 5 - len(before)


def test_a_damaged_row_is_told_and_done_again(data, folder, caplog):
    run(data, folder)
    lines = folder.predictions.read_bytes().splitlines(keepends=True)
    folder.predictions.write_bytes(lines[0] + b'{"id": "b", \x00\n' + b"".join(lines[2:]))
    model = FakeModel()
    assert run(data, folder, model).is_complete
    assert len(asked(model)) == 1
    assert "line 2 is damaged" in caplog.text


def test_failures_are_tried_again(data, folder):
    rewrite(data, [*ROWS, {"id": "e", "say": "", "behave": "error"}])
    assert run(data, folder).counts[""].failed == 1
    model = FakeModel()
    run(data, folder, model)
    assert asked(model) == ["e"]


def test_unscored_samples_are_scored_again(data, folder):
    rewrite(data, [*ROWS, {"id": "e", "say": "unspeakable"}])
    scorer = Words()
    assert run(data, folder, task=tiny_task(scorer)).counts[""].unscored == 1
    scorer.seen.clear()
    assert score(tiny_task(scorer), folder).counts[""].unscored == 1
    assert scorer.seen == ["e"]


class Moody(StandIn):
    """A judge that is out of reach, mumbles, or rates, as it is told; in the end it always rates."""

    moods = ("down", "mumbling", "well")

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def rate(self, prompt, fields, clips=()):
        mood = self.moods[min(self.asked, 2)]
        self.asked += 1
        if mood == "down":
            raise JudgeError("the judge cannot be reached: connection refused")
        if mood == "mumbling":
            return Verdict(read_reply(prompt, "a good answer, I would say"), ("",))
        return super().rate(prompt, fields, clips)


def test_a_judge_out_of_reach_or_without_a_number_costs_nothing_but_its_verdicts(data, folder):
    judge = Moody()
    task = tiny_task(JudgedAnswers("open-question", Metric("rating", "of 5", 1.0), judge=judge))
    first = run(data, folder, task=task)
    assert first.counts[""] == Counts(total=4, scored=2, unscored=2)
    assert not first.is_complete
    reasons = sorted(outcome.reason for outcome in folder.read_outcomes() if outcome.reason)
    assert "connection refused" in reasons[0]
    assert "judge" in reasons[1]
    assert first.scores[0].pessimistic < first.scores[0].value
    second = score(task, folder)
    assert second.is_complete
    assert judge.asked == 4 + 2


def test_scoring_alone_needs_neither_data_nor_model(data, folder):
    result = run(data, folder)
    shutil.rmtree(data)
    folder.scores.unlink()
    assert score(tiny_task(), folder).scores == result.scores


def test_another_scorer_scores_everything_again(data, folder):
    run(data, folder)
    scorer = Words("2")
    assert score(tiny_task(scorer), folder).versions == {"rules": "2"}
    assert sorted(scorer.seen) == list("abcd")


def test_scoring_before_all_is_answered(data, folder):
    run(data, folder)
    lines = folder.predictions.read_bytes().splitlines(keepends=True)
    folder.predictions.write_bytes(b"".join(lines[:3]))
    result = score(tiny_task(), folder)
    assert (result.counts[""].scored, result.counts[""].failed) == (3, 1)


def test_scoring_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="holds no evaluation"):
        score(tiny_task(), TaskFolder(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"model": FakeModel(revision="2")},
        {"model": FakeModel(name="other")},
        {"task": tiny_task(prompt="Please: {text}")},
        {"task": tiny_task(decoding={"top_k": 3})},
        {"task": tiny_task(system="Be brief.")},
        {"output": "both"},
        {"selection": Selection(seed=1)},
    ],
    ids=["revision", "name", "prompt", "decoding", "system", "output", "seed"],
)
def test_answers_to_other_questions_do_not_count(data, folder, change):
    run(data, folder)
    model = change.pop("model", FakeModel())
    run(data, folder, model, **change)
    assert asked(model) == list("abcd")


def test_recordings_are_as_long_as_they_sound_whatever_their_header_says(tmp_path):
    save_audio(tmp_path / "one.mp3", torch.rand(16000), 16000)
    twice = tmp_path / "twice.mp3"
    twice.write_bytes(2 * (tmp_path / "one.mp3").read_bytes())
    assert duration_s(twice) == pytest.approx(2, abs=0.2)


def test_changed_sound_is_asked_again(data, folder):
    run(data, folder)
    shutil.copy(data / "tiny" / "1.wav", data / "tiny" / "0.wav")
    model = FakeModel()
    run(data, folder, model)
    assert asked(model) == ["a"]


def test_cache_serves_other_runs(data, tmp_path):
    first, second = TaskFolder(tmp_path / "first"), TaskFolder(tmp_path / "second")
    cache = tmp_path / "cache"
    run(data, first, output="both", cache=cache)
    shutil.rmtree(first.path)
    moved = tmp_path / "moved"
    data.rename(moved)
    model = FakeModel()
    assert run(moved, second, model, output="both", cache=cache).is_complete
    assert model.asked == []
    for answer in second.read_answers().values():
        assert answer.cached
        assert answer.speech.is_relative_to(second.path)
        assert answer.speech.is_file()


def test_cache_does_not_keep_failures(data, folder, tmp_path):
    rewrite(data, [{"id": "e", "say": "", "behave": "error"}])
    run(data, folder, cache=tmp_path / "cache")
    model = FakeModel()
    run(data, TaskFolder(tmp_path / "other"), model, cache=tmp_path / "cache")
    assert asked(model) == ["e"]


# ---------------------------------------------------------------------------------------------------------------------
# Batches, selections


def test_batches(data, folder):
    model = FakeModel()
    run(data, folder, model, batch_size=3)
    assert [len(batch) for batch in model.asked] == [3, 1]


def test_one_bad_sample_does_not_take_its_batch_along(data, folder):
    rewrite(data, [*ROWS, {"id": "e", "say": "", "behave": "raise"}])
    counts = run(data, folder, batch_size=5).counts[""]
    assert (counts.scored, counts.failed) == (4, 1)


def test_limit_is_per_subset_and_grows(data, folder):
    rewrite(data, [{"id": f"{s}{n}", "say": "one", "subset": s} for s in "xy" for n in range(10)])
    model = FakeModel()
    result = run(data, folder, model, selection=Selection(limit=3, seed=5))
    few = set(asked(model))
    assert sorted(id_[0] for id_ in few) == list("xxxyyy")
    assert result.selection == "6 of 20 (at most 3 per subset, seed 5)"
    more = FakeModel()
    run(data, folder, more, selection=Selection(limit=4, seed=5))
    assert len(asked(more)) == 2
    other = FakeModel()
    run(data, folder, other, selection=Selection(limit=3, seed=6))
    assert set(asked(other)) != few


def test_named_samples(data, folder):
    model = FakeModel()
    result = run(data, folder, model, selection=Selection(ids=("c", "a")))
    assert asked(model) == ["a", "c"]
    assert result.selection == "2 of 4 (named)"
    with pytest.raises(ValueError, match="no sample 'z'"):
        run(data, folder, selection=Selection(ids=("a", "z")))


# ---------------------------------------------------------------------------------------------------------------------
# Worker processes


def test_dead_and_stuck_workers(data, folder, tmp_path):
    rows = [
        {"id": "dies-once", "say": "one two three", "behave": f"die-once:{tmp_path / 'died'}"},
        *[{"id": f"good{n}", "say": "one two three"} for n in range(6)],
        {"id": "dies", "say": "", "behave": "die"},
        {"id": "hangs", "say": "", "behave": "hang"},
    ]
    rewrite(data, rows)
    with WorkerPool(SPEC, ["cpu", "cpu"], timeout_s=5) as pool:
        assert (pool.name, pool.revision, pool.family) == ("fake", "1", "fake")
        infer(tiny_task(), data, pool, folder, InferOptions(batch_size=3))
        result = score(tiny_task(), folder)
        assert result.counts[""] == Counts(total=9, scored=7, failed=2)
        errors = {row.id: row.error for row in folder.read_answers().values() if row.error}
        assert errors == {
            "dies": "the worker process died (exit code 9), twice",
            "hangs": "no answer within 5 s, twice",
        }
        # The same processes serve the next task.
        infer(tiny_task(), data, pool, TaskFolder(tmp_path / "next"), InferOptions(selection=Selection(ids=("good1",))))
    assert len(TaskFolder(tmp_path / "next").read_answers()) == 1


def test_a_model_that_does_not_load():
    with pytest.raises(RuntimeError, match="its files are incomplete"):
        WorkerPool(ModelSpec(SPEC.module, "broken"), ["cpu"])


def test_when_no_worker_is_left(data, folder):
    rewrite(data, [{"id": f"dies{n}", "say": "", "behave": "die"} for n in range(4)])
    with WorkerPool(SPEC, ["cpu"]) as pool:
        infer(tiny_task(), data, pool, folder, InferOptions())
    errors = [row["error"] for row in map(json.loads, folder.predictions.read_text().splitlines())]
    assert len(errors) == 4
    assert all("died" in error for error in errors)
    assert any("no worker is left" in error for error in errors)
    assert score(tiny_task(), folder).counts[""].failed == 4
