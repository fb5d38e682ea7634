"""The splits of the tasks: nothing reserved in training, everything once on disk, old corpora unchanged."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from rich.progress import Progress

from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.split import Split, Utterance, read_manifest, to_line
from recipes.nano.closed import task_corpus
from recipes.nano.closed.corpus import Recipe, plan
from recipes.nano.closed.judging import is_right
from recipes.nano.closed.phonemes import HEARD, SPEAKER_MARKS
from recipes.nano.closed.qa import side
from recipes.nano.closed.soundscape import Clip, render_clip
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.task_corpus import (
    EXAMPLES,
    StoredExample,
    TaskSizes,
    build_task_split,
    build_tasks,
    plan_tasks,
    read_examples,
)

SMALL = TaskSizes(
    assistant=12, mandarin=16, mandarin_questions=8, cross_language=12, dialogues=10, voices=8, reply_styles=10,
    styles=12, events=16, counts=10, orders=12, captions=12, scenes=8, evaluation=8,
    reading=12, manners=10, answers_abroad=8, memories=6, counts_again=8,
)  # fmt: skip
# Of everything the first corpora say and how. Only a change of their texts or voices may change it.
DRAWN_BEFORE = "16be6660ad9ec7ca"


def beep(requests):
    spoken = []
    for text, delivery in requests:
        rate_hz = delivery.voice.rate_hz
        times_s = np.arange((20 + len(text)) * rate_hz // 1000) / rate_hz
        spoken.append((0.1 * np.sin(2 * np.pi * 400 * times_s).astype(np.float32), rate_hz))
    return spoken


def spell(language, text):
    return f"{language} {len(text)}"


@pytest.fixture(scope="module")
def examples():
    return {name: split.draw() for name, split in plan_tasks(SMALL, 0).items()}


def test_training_holds_nothing_reserved(examples):
    reserved_questions = {normalise(item.question) for item in side(reserved=True)}
    trained = [example for name, drawn in examples.items() if name.startswith("tasks-") for example in drawn]
    assert {example.task for example in trained} == {
        "mandarin-asr", "mandarin-qa", "cross-language", "dialogue", "tts", "voice-conversion", "style", "reply-style",
        "event", "count", "order", "caption", "scene",
    }  # fmt: skip
    for example in trained:
        assert not is_reserved(example.key)
        for part in example.parts:
            if part.sound is not None and not isinstance(part.sound, Clip):
                assert not part.sound.delivery.voice.reserved
                assert normalise(part.sound.text) not in reserved_questions


def test_evaluation_is_reserved_and_unseen_means_other_voices(examples):
    assert all(name.startswith(("tasks-", "eval-")) for name in examples)
    for name, drawn in examples.items():
        if name.startswith("eval-"):
            assert drawn
            assert all(is_reserved(example.key) for example in drawn)
            users = [part.sound for e in drawn for part in e.parts if part.role == "user" and part.sound]
            voices = [sound.delivery.voice for sound in users if not isinstance(sound, Clip)]
            assert all(voice.reserved == name.endswith("-unseen") for voice in voices)


def test_training_and_evaluation_share_no_combination(examples):
    keys = {True: set(), False: set()}
    for name, drawn in examples.items():
        keys[name.startswith("tasks-")] |= {example.key for example in drawn}
    assert keys[True]
    assert keys[False]
    assert not keys[True] & keys[False]


def test_every_task_has_training_and_evaluation(examples):
    tasks = {True: set(), False: set()}
    for name, drawn in examples.items():
        tasks[name.startswith("tasks-")] |= {example.task for example in drawn}
    assert tasks[True] == tasks[False]


def test_sets_do_not_depend_on_each_other(monkeypatch):
    other = TaskSizes(**{**vars(SMALL), "scenes": 3, "mandarin": 20})
    name = "tasks-styles-0"
    assert plan_tasks(SMALL, 1)[name].draw() == plan_tasks(other, 1)[name].draw()
    assert plan_tasks(SMALL, 1)[name].draw() != plan_tasks(SMALL, 2)[name].draw()
    monkeypatch.setattr(task_corpus, "SHARD", 5)
    sharded = plan_tasks(SMALL, 1)
    whole = [example for shard in range(3) for example in sharded[f"tasks-styles-{shard}"].draw()]
    assert len(whole) == SMALL.styles
    assert "tasks-styles-3" not in sharded


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    build_tasks(folder, SMALL, seed=0, workers=2, speak=beep, pronounce=spell)
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
            if kept.task not in ("tts", "voice-conversion"):
                assert is_right(kept, example.reply.text)
        assert used == set(utterances)  # each sound once, none for nothing


def check_utterance(split, utterance, sound):
    samples = split.samples(utterance)
    if isinstance(sound, Clip):
        expected = render_clip(sound)
        np.testing.assert_allclose(samples, expected[: len(samples)], atol=1e-4)
        assert set(utterance.phonemes.split()) <= set(HEARD)
    else:
        assert utterance.text == sound.text
        assert utterance.voice == sound.delivery.voice.name
        assert utterance.language == (None if sound.delivery.voice.language == "en" else "cmn")
        assert utterance.phonemes == spell(sound.delivery.voice.language, sound.text)
        assert utterance.style == (None if sound.style == "neutral" else sound.style)


def test_what_the_detokenizer_learns_has_both_rates(built):
    for name in ("tasks-voices-0", "tasks-replies-0", "tasks-manners-0", "tasks-reading-0", "tasks-assistant-0"):
        split = Split(built / name)
        for utterance in split.utterances:
            assert 2 * len(split.samples(utterance, OUTPUT_RATE_HZ)) == 3 * len(split.samples(utterance, INPUT_RATE_HZ))


class Interruption(Exception):
    pass


def test_an_interrupted_split_goes_on_where_it_stopped(built, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.nano.closed.corpus.CHUNK", 3)
    name = "tasks-styles-0"
    split, calls = plan_tasks(SMALL, 0)[name], iter(range(2))

    def failing(requests):
        if next(calls, None) is None:
            raise Interruption
        return beep(requests)

    with Progress(disable=True) as progress:
        with pytest.raises(Interruption):
            build_task_split(tmp_path / name, split, 1, failing, spell, progress)
        with pytest.raises(ValueError, match="not a finished"):
            Split(tmp_path / name)
        build_task_split(tmp_path / name, split, 1, beep, spell, progress)
    for path in (built / name).iterdir():
        assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), path


def test_finished_splits_are_kept(built):
    def never(_):
        raise AssertionError("nothing is left to say")

    build_tasks(built, SMALL, seed=0, workers=1, speak=never, pronounce=spell)


def test_named_splits_alone_are_the_same(built, tmp_path):
    name = "eval-styles-unseen"
    build_tasks(tmp_path, SMALL, seed=0, workers=1, speak=beep, pronounce=spell, names=[name])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    for path in (built / name).iterdir():
        assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), path
    with pytest.raises(ValueError, match="no split 'eval-style'; there are tasks-assistant-0, "):
        build_tasks(tmp_path, SMALL, names=["eval-style"])


def test_splits_without_examples_and_foreign_lines_are_named(built, tmp_path):
    for text, message in ((None, "has no examples"), ('{"a": 1}\n', "line 1: not an example"), ("x\n", "line 1")):
        (tmp_path / ".completed").write_text("")
        (tmp_path / "manifest.jsonl").write_text("")
        if text is not None:
            (tmp_path / EXAMPLES).write_text(text)
        with pytest.raises(ValueError, match=message):
            list(read_examples(Split(tmp_path)))


def test_what_is_read_in_named_voices_is_what_other_voices_say_in_the_recognition_corpus():
    heard = {line.text for line in plan(replace(Recipe(), asr=12), 5)["asr-0"]()}
    read = [example.reply.sound for example in plan_tasks(SMALL, 5)["tasks-reading-0"].draw()]
    assert {sound.text for sound in read} == heard
    assert Counter(sound.delivery.voice.name for sound in read) == dict.fromkeys(SPEAKER_MARKS, 3)


def test_stored_examples_can_be_judged_alone():
    assert is_right(StoredExample("event", "what", "event:1", (), ("dog",)), "A dog.")
    with pytest.raises(ValueError, match="judge their sound"):
        is_right(StoredExample("tts", "Ava", "x", (), ("Ava",)), "hello")


def test_manifests_of_before_are_read_and_written_as_before(tmp_path):
    line = json.dumps(
        {
            "id": "asr-0-00000", "text": "Hi.", "transcript": "hi", "kind": "sentence", "voice": "flite-slt",
            "rate": 1.0, "pitch": 0.9, "offset_samples": 0, "length_samples": 10, "phonemes": "h aI",
        }
    )  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text(line + "\n")
    (utterance,) = read_manifest(tmp_path / "manifest.jsonl")
    assert utterance == Utterance("asr-0-00000", "Hi.", "hi", "sentence", "flite-slt", 1.0, 0.9, 0, 10, "h aI")
    assert to_line(utterance) == line + "\n"


def test_the_first_corpora_are_drawn_as_ever():
    """Their texts and deliveries are what the released scores and models stand on."""
    recipe = Recipe(assistant_answers=20, assistant_sentences=20, asr=60, questions=60, evaluation=20, development=10)
    drawn = [
        (name, line.text, line.delivery.voice.name, line.delivery.rate, line.delivery.pitch, line.answer, line.key)
        for name, draw in plan(recipe, 0).items()
        for line in draw()
    ]
    assert hashlib.sha256(repr(drawn).encode()).hexdigest()[:16] == DRAWN_BEFORE
