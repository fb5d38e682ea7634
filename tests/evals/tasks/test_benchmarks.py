"""Every task from a tiny dataset in its public format to its scores, and what happens when data is not as it should."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from stand_ins import STAND_INS, text, tone

from kimi_audio.evals.contract.instruments import Instruments, JudgeError, Verdict
from kimi_audio.evals.contract.prompting import choose_recipe, render_prompt
from kimi_audio.evals.contract.types import EvalSample, EvalTask, Options, Prediction, Result
from kimi_audio.evals.judges.stand_in import StandIn
from kimi_audio.evals.registry import all_suites, all_tasks, equip
from kimi_audio.evals.report.outputs import write_report
from kimi_audio.evals.run.backends import LocalBackend
from kimi_audio.evals.run.evaluate import evaluate
from kimi_audio.evals.run.infer import InferOptions
from kimi_audio.evals.run.store import TaskFolder
from kimi_audio.evals.tasks.datasets import CHECKSUMS
from kimi_audio.evals.tasks.open_audio_bench import accepted
from kimi_audio.evals.tasks.own import TRANSLATE, read_lists
from kimi_audio.evals.tasks.scorers import Choices, Transcripts

TASKS = all_tasks()


class Oracle:
    """Knows the right answers, and gives those it is told to give."""

    name, revision, family = "oracle", "1", "oracle"

    def __init__(self, data: Path, task: EvalTask, answers: dict[str, str] | None = None) -> None:
        samples = task.dataset.load(data / task.dataset.name)
        self.answers = {sample.id: sample.references[0] for sample in samples} | (answers or {})
        self.prompts: list[str] = []

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        self.prompts += [sample.text for sample in samples]
        assert not any(sample.reference or "answer" in sample.meta for sample in samples), "the answer is told"
        return [Prediction(self.answers[sample.id]) for sample in samples]


def place(name: str, data: Path) -> EvalTask:
    """Make the stand-in of a dataset and prepare it."""
    STAND_INS[name](data / name)
    TASKS[name].dataset.prepare(data / name)
    return TASKS[name]


def run(task: EvalTask, tmp_path: Path, answers: dict[str, str] | None = None) -> Result:
    model = Oracle(tmp_path, task, answers)
    (result,) = evaluate([task], tmp_path, LocalBackend(model), tmp_path / "run", InferOptions())
    return result


def values(result: Result, subset: str = "") -> dict[str, float | None]:
    return {score.metric: score.value for score in result.scores if score.subset == subset}


BEST = {"cider-d": 10}  # all others are per cent


@pytest.mark.parametrize("name", STAND_INS)
def test_right_answers_get_the_best_scores(name, tmp_path):
    task = place(name, tmp_path)
    result = run(task, tmp_path)
    assert not result.error
    assert result.is_complete
    assert result.counts[""].total >= 2
    for metric in task.scorer.metrics:
        best = BEST.get(metric.name, 100) if metric.higher_is_better else 0
        found = values(result)[metric.name]  # None: words and characters have no sum
        assert found is None or found == pytest.approx(best, rel=0.01), metric.name
    assert (tmp_path / "run" / "report.html") in write_report(tmp_path / "run")


@pytest.mark.parametrize("name", STAND_INS)
def test_wrong_answers_are_noticed(name, tmp_path):
    task = place(name, tmp_path)
    samples = list(task.dataset.load(tmp_path / name))
    result = run(task, tmp_path, {sample.id: "quite another thing, Z" for sample in samples})
    main = task.scorer.metrics[0]
    found = values(result)[main.name]
    assert found == 0 if main.higher_is_better else found is not None and found >= 100


def test_every_task_of_this_part_has_a_stand_in():
    names = {task for suite in ("asr", "understanding") for task in all_suites()[suite].tasks}
    assert names | {"manifest", "translation", "captions"} == set(STAND_INS)


@pytest.mark.parametrize("name", STAND_INS)
def test_missing_data_is_explained(name, tmp_path):
    (result,) = evaluate([TASKS[name]], tmp_path, LocalBackend(_Silent()), tmp_path / "run", InferOptions())
    assert f"{name} is not in {tmp_path / name}; run 'kimi-audio eval prepare {name}', or: " in result.error


class _Silent:
    name, revision, family = "silent", "1", "silent"

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        return [Prediction() for _ in samples]


# ---------------------------------------------------------------------------------------------------------------------
# What is read


def test_subsets_are_those_of_the_published_tables(tmp_path):
    wanted = {
        "librispeech": {"test-clean", "test-other"}, "fleurs": {"zh", "en"}, "aishell-2": {"ios"},
        "wenetspeech": {"test-meeting", "test-net"}, "mmau": {"music", "sound", "speech"},
        "clothoaqa": {"test", "dev"}, "cochlscene": {"test", "dev"},
    }  # fmt: skip
    for name, subsets in wanted.items():
        task = place(name, tmp_path)
        assert {sample.subset for sample in task.dataset.load(tmp_path / name)} == subsets, name


def test_segments_of_long_recordings_are_cut(tmp_path):
    task = place("wenetspeech", tmp_path)
    samples = list(task.dataset.load(tmp_path / "wenetspeech"))
    assert [sample.id for sample in samples] == ["test_meeting_S0", "test_meeting_S1", "test_net_S0", "test_net_S1"]
    run(task, tmp_path)
    asked = TaskFolder(tmp_path / "run" / "wenetspeech").read_asked()
    assert [item.heard_s for item in asked] == pytest.approx([0.5, 1.25, 0.5, 1.25])


def test_labels_become_options(tmp_path):
    wanted = {
        "vocalsound": ["Laughter", "Sneeze"], "nonspeech7k": ["Scream", "Yawn", "Cry"],
        "tut2017": ["beach", "cafe or restaurant", "forest path"], "meld": ["surprise", "neutral"],
    }  # fmt: skip
    for name, answers in wanted.items():
        task = place(name, tmp_path)
        assert [sample.reference for sample in task.dataset.load(tmp_path / name)] == answers, name


def test_references_are_what_is_said(tmp_path):
    wanted = {"aishell-1": "甚至出现交易", "aishell-2": "换一首歌", "kespeech": "我们回家"}
    for name, reference in wanted.items():
        task = place(name, tmp_path)
        assert {sample.reference for sample in task.dataset.load(tmp_path / name)} == {reference}
    task = place("common-voice", tmp_path)
    assert {sample.reference for sample in task.dataset.load(tmp_path / "common-voice")} == {
        'She said "yes', "今天天气很好",
    }  # fmt: skip


def test_prompts_are_the_published_ones(tmp_path):
    wanted = {
        "librispeech": "Please transcribe the spoken content into written text.",
        "aishell-1": "请把这段语音转录成文本。",
        "mmau": "What is it?\n(A) A cat (B) A dog",
    }
    for name, prompt in wanted.items():
        task = place(name, tmp_path)
        sample = next(iter(task.dataset.load(tmp_path / name)))
        recipe = choose_recipe(task, "kimi-audio")
        assert render_prompt(recipe, sample) == prompt
        assert recipe.decoding["text_repetition_penalty"] == 1.1
    sample = next(iter(place("meld", tmp_path).dataset.load(tmp_path / "meld")))
    assert sample.text.startswith("Identify the predominant emotion in this speech.\nOptions:\n(A) neutral\n(B) joy\n")


# ---------------------------------------------------------------------------------------------------------------------
# Data that is not as it should be


def test_changed_data_is_not_scored(tmp_path):
    task = place("aishell-2", tmp_path)
    file = tmp_path / "aishell-2" / "iOS" / "test" / "trans.txt"
    file.write_text(file.read_text().replace("歌", "曲"))
    (result,) = evaluate([task], tmp_path, LocalBackend(_Silent()), tmp_path / "run", InferOptions())
    assert f"{file} is not what it was when it was first used" in result.error
    (tmp_path / "aishell-2" / CHECKSUMS).unlink()
    assert not run(task, tmp_path).error


def test_vanished_recordings_change_a_dataset_without_a_list(tmp_path):
    task = place("cochlscene", tmp_path)
    next((tmp_path / "cochlscene" / "CochlScene" / "Test").rglob("*.wav")).unlink()
    with pytest.raises(ValueError, match="is not what it was"):
        list(task.dataset.load(tmp_path / "cochlscene"))


def test_unreadable_recordings_are_skipped_and_counted(tmp_path):
    task = place("vocalsound", tmp_path)
    (tmp_path / "vocalsound" / "audio_16k" / "m0001_0_laughter.wav").write_bytes(b"no sound")
    result = run(task, tmp_path)
    assert (result.counts[""].scored, result.counts[""].skipped) == (1, 1)
    assert not result.is_complete


def test_preparing_tells_missing_recordings(tmp_path):
    STAND_INS["aishell-2"](tmp_path / "aishell-2")
    next((tmp_path / "aishell-2").rglob("*.wav")).unlink()
    with pytest.raises(ValueError, match="1 of 2 recordings are missing, such as"):
        TASKS["aishell-2"].dataset.prepare(tmp_path / "aishell-2")


def test_unknown_labels_are_faults(tmp_path):
    place("tut2017", tmp_path)
    home = tmp_path / "tut2017" / "TUT-acoustic-scenes-2017-evaluation"
    text(home / "meta.txt", ["audio/1.wav\tmoon", "audio/2.wav\tbus"])
    (tmp_path / "tut2017" / CHECKSUMS).unlink()
    result = run(TASKS["tut2017"], tmp_path)
    assert (result.counts[""].scored, result.counts[""].skipped) == (1, 1)


def test_part_of_a_dataset_is_enough(tmp_path, caplog):
    for number in range(2):
        tone(tmp_path / "librispeech" / "LibriSpeech" / "test-clean" / "1" / "1" / f"1-1-000{number}.flac")
    home = tmp_path / "librispeech" / "LibriSpeech" / "test-clean" / "1" / "1"
    text(home / "1-1.trans.txt", ["1-1-0000 HELLO", "1-1-0001 YES"])
    result = run(TASKS["librispeech"], tmp_path)
    assert result.counts[""].scored == 2
    assert "nothing matches LibriSpeech/test-other" in caplog.text


def test_bad_lines_of_a_manifest_are_faults(tmp_path):
    folder = tmp_path / "manifest"
    tone(folder / "a.wav")
    text(folder / "mine.jsonl", ['{"audio": "a.wav", "text": "yes"}', "{", '{"audio": "a.wav"}', "", "[]"])
    faults = [sample.fault for sample in TASKS["manifest"].dataset.load(folder)]
    assert [fault.partition(": ")[0] for fault in faults] == [
        "", "mine.jsonl, line 2", "mine.jsonl, line 3 has no audio or no text", "mine.jsonl, line 5",
    ]  # fmt: skip
    assert "the line is not JSON" in faults[1]
    assert "must be a dictionary, not list" in faults[3]


def test_a_language_to_translate_into_needs_a_question_if_we_have_none(tmp_path):
    rows = ['{"audio": "a.wav", "text": "ja", "language": "de"}']
    rows += ['{"audio": "a.wav", "text": "ja", "language": "de", "question": "Auf Deutsch?"}']
    text(tmp_path / "mine.jsonl", rows)
    without, asked = read_lists(TRANSLATE, tmp_path)
    assert without.fault == "mine.jsonl, line 1 needs a question: there is no prompt for the language de"
    assert (asked.fault, asked.text) == ("", "Auf Deutsch?")


# ---------------------------------------------------------------------------------------------------------------------
# Scorers


def test_both_profiles_of_error_rates():
    sample = EvalSample("a", reference="It costs $5 today")
    score = Transcripts("en").score(sample, Prediction("it costs 5 today sir"))
    assert score.values["evalkit-wer"][:2] == (1, 4)
    assert score.values["wer"] == (2, 4)
    assert score.values["insertions"] == (1, 4, "words")
    assert ("insert", "", "sir") in score.details["alignment"]
    mixed = Transcripts("zh").score(EvalSample("a", reference="打开 hello world"), Prediction("打开 hello word"))
    assert mixed.values["mer"] == (1, 4)
    assert mixed.values["evalkit-wer"][:2] == (1, 3)


def test_missing_transcripts_are_deletions_and_no_matter_of_the_evalkit():
    worst = Transcripts("en").worst(EvalSample("a", reference="one more day"))
    assert worst["wer"] == (3, 3)
    assert "evalkit-wer" not in worst
    null = Transcripts("en").score(EvalSample("a", reference="one more day"), Prediction("null"))
    assert "evalkit-wer" not in null.values


CHOICE = EvalSample("a", reference="cat", meta={"choices": ["dog", "cat", "cow", "owl"]})


@pytest.mark.parametrize(
    ("reply", "accuracy", "chance", "unparsed"),
    [("(B)", 1, 1, 0), ("a dog", 0, 0, 0), ("dog or cat", 0, 0.25, 1), ("no idea", 0, 0.25, 1)],
)
def test_unparsed_choices_are_counted(reply, accuracy, chance, unparsed):
    score = Choices().score(CHOICE, Prediction(reply))
    assert score.values == {
        "accuracy": (accuracy, 1), "accuracy-with-chance": (chance, 1), "unparsed": (unparsed, 1),
    }  # fmt: skip


class _Lenient(StandIn):
    """A judge that finds cats everywhere."""

    def rate(self, prompt, fields, clips=()):
        if fields["answer"] == "?":
            raise JudgeError("the judge says neither yes nor no")
        return Verdict(float("cat" in fields["answer"]), ("a cat",))


def test_a_judge_stands_beside_the_rules():
    (task,) = equip([TASKS["mmau"]], Instruments(judge=_Lenient()))
    score = task.scorer.score(CHOICE, Prediction("some kind of cat-like animal, or a dog"))
    assert score.values["judged-accuracy"] == (1, 1)
    assert score.values["accuracy"] == (0, 1)
    assert "multiple-choice/" in task.scorer.versions()["judge"]
    unclear = task.scorer.score(CHOICE, Prediction("?"))
    assert "neither yes nor no" in unclear.error


def test_rivals_are_asked_in_their_own_words():
    tasks = all_tasks()
    rivals = {"qwen2-audio", "qwen2-audio-base", "qwen2.5-omni", "baichuan-audio", "glm-4-voice", "step-audio"}
    for name in ("librispeech", "aishell-1", "tut2017", "clothoaqa", "mmau", "meld", "voicebench-sd-qa"):
        assert rivals < set(tasks[name].recipes), name
        asked = {tasks[name].recipes[rival].prompt for rival in rivals}
        assert len(asked) > 1, name
        assert tasks[name].recipes["kimi-audio"].decoding["text_repetition_penalty"] == 1.1
    assert tasks["librispeech"].recipes["whisper"].decoding["language"] == "en"


@pytest.mark.parametrize(
    ("cell", "answers"),
    [("1,000", ("1,000",)), ("July 4, 1776", ("July 4, 1776",)), ("['a', 'b']", ("a", "b")), ("(x)", ("(x)",))],
)
def test_an_answer_with_a_comma_is_one_answer(cell, answers):
    assert accepted(cell) == answers


def test_lines_whose_id_is_null_have_ids_of_their_own(tmp_path):
    rows = [{"id": id_, "audio": "a.wav", "text": "one", "language": "en"} for id_ in (None, None, 0)]
    text(tmp_path / "mine.jsonl", map(json.dumps, rows))
    assert [sample.id for sample in read_lists(TRANSLATE, tmp_path)] == ["mine/000001", "mine/000002", "0"]
