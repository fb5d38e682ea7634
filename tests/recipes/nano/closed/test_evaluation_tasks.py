"""The splits of the tasks: everything reserved, every sound once on disk, unseen voices where it says so."""

import numpy as np
import pytest
from rich.progress import Progress

from kimi_audio.data.split import Split
from recipes.nano.closed.evaluation_tasks import (
    EXAMPLES,
    StoredExample,
    build_task_split,
    build_tasks,
    plan_tasks,
    read_examples,
)
from recipes.nano.closed.judging import is_right
from recipes.nano.closed.soundscape import Clip, render_clip
from recipes.nano.closed.splits import is_reserved

TASKS = ("mandarin", "mandarin-qa", "cross", "dialogues", "styles", "replies")
COUNTS = {f"eval-{name}-{which}": 8 for name in TASKS for which in ("seen", "unseen")}
COUNTS |= {f"eval-{name}": 8 for name in ("tts", "events", "counts", "orders", "captions", "scenes")}


def beep(requests):
    spoken = []
    for text, delivery in requests:
        rate_hz = delivery.voice.rate_hz
        times_s = np.arange((20 + len(text)) * rate_hz // 1000) / rate_hz
        spoken.append((0.1 * np.sin(2 * np.pi * 400 * times_s).astype(np.float32), rate_hz))
    return spoken


@pytest.fixture(scope="module")
def examples():
    return {name: draw() for name, draw in plan_tasks(COUNTS, 0).items()}


def test_everything_is_reserved_and_unseen_means_other_voices(examples):
    for name, drawn in examples.items():
        assert len(drawn) == 8
        assert all(is_reserved(example.key) for example in drawn)
        users = [part.sound for e in drawn for part in e.parts if part.role == "user" and part.sound]
        voices = [sound.delivery.voice for sound in users if not isinstance(sound, Clip)]
        assert all(voice.reserved == name.endswith("-unseen") for voice in voices)


def test_splits_do_not_depend_on_each_other():
    name = "eval-styles-seen"
    alone = {name: 8}
    assert plan_tasks(COUNTS, 1)[name]() == plan_tasks(alone, 1)[name]()
    assert plan_tasks(COUNTS, 1)[name]() != plan_tasks(COUNTS, 2)[name]()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    build_tasks(folder, COUNTS, 0, beep)
    return folder


def test_examples_come_back_with_their_sounds(built, examples):
    assert {path.name for path in built.iterdir()} == set(examples)
    for name, drawn in examples.items():
        split = Split(built / name)
        utterances = {utterance.id: utterance for utterance in split.utterances}
        stored = list(read_examples(split))
        assert len(stored) == len(drawn)
        used = set()
        for example, kept in zip(drawn, stored, strict=True):
            assert (kept.task, kept.kind, kept.key, kept.essential) == (
                example.task, example.kind, example.key, example.essential,
            )  # fmt: skip
            for part, other in zip(example.parts, kept.parts, strict=True):
                assert (part.role, part.text) == (other.role, other.text)
                assert (part.sound is None) == (other.sound is None)
                if part.sound is not None:
                    used.add(other.sound)
                    check_utterance(split, utterances[other.sound], part.sound)
            if kept.task not in ("tts",):
                assert is_right(kept, example.reply.text)
        assert used == set(utterances)  # each sound once, none for nothing


def check_utterance(split, utterance, sound):
    samples = split.samples(utterance)
    if isinstance(sound, Clip):
        expected = render_clip(sound)
        np.testing.assert_allclose(samples, expected[: len(samples)], atol=1e-4)
    else:
        assert utterance.text == sound.text
        assert utterance.voice == sound.delivery.voice.name
        assert utterance.language == (None if sound.delivery.voice.language == "en" else "cmn")
        assert utterance.style == (None if sound.style == "neutral" else sound.style)


class Interruption(Exception):
    pass


def test_an_interrupted_split_goes_on_where_it_stopped(built, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.nano.closed.evaluation_speech.CHUNK", 3)
    name = "eval-styles-seen"
    drawn, calls = plan_tasks(COUNTS, 0)[name](), iter(range(2))

    def failing(requests):
        if next(calls, None) is None:
            raise Interruption
        return beep(requests)

    with Progress(disable=True) as progress:
        with pytest.raises(Interruption):
            build_task_split(tmp_path / name, drawn, failing, progress)
        with pytest.raises(ValueError, match="not a finished"):
            Split(tmp_path / name)
        build_task_split(tmp_path / name, drawn, beep, progress)
    for path in (built / name).iterdir():
        assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), path


def test_finished_splits_are_kept(built):
    def never(_):
        raise AssertionError("nothing is left to say")

    build_tasks(built, COUNTS, 0, never)


def test_a_split_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no split 'eval-style'; there are eval-captions, "):
        build_tasks(tmp_path, {"eval-style": 8}, 0, beep)


def test_splits_without_examples_and_foreign_lines_are_named(built, tmp_path):
    for text, message in ((None, "has no examples"), ('{"a": 1}\n', "line 1: not an example"), ("x\n", "line 1")):
        (tmp_path / ".completed").write_text("")
        (tmp_path / "manifest.jsonl").write_text("")
        if text is not None:
            (tmp_path / EXAMPLES).write_text(text)
        with pytest.raises(ValueError, match=message):
            list(read_examples(Split(tmp_path)))


def test_stored_examples_can_be_judged_alone():
    assert is_right(StoredExample("event", "what", "event:1", (), ("dog",)), "A dog.")
    with pytest.raises(ValueError, match="judge their sound"):
        is_right(StoredExample("tts", "Ava", "x", (), ("Ava",)), "hello")
