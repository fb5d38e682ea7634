"""Sounds, places and captions: what is rendered, asked and judged."""

import random
from itertools import pairwise

import numpy as np
import pytest

from kimi_audio.core.units import INPUT_RATE_HZ
from recipes.nano.closed.hearing import (
    SOUND_WORDS,
    caption,
    caption_examples,
    count_examples,
    event_examples,
    is_count_right,
    is_event_right,
    is_order_right,
    is_scene_right,
    order_examples,
    scene_examples,
)
from recipes.nano.closed.judging import is_right, judge_caption
from recipes.nano.closed.scoring import caption_score, counted, sounds_named
from recipes.nano.closed.sounds import EVENTS
from recipes.nano.closed.soundscape import SCENES, Clip, render_clip
from recipes.nano.closed.splits import is_reserved

DRAWS = (event_examples, count_examples, order_examples, caption_examples, scene_examples)


def features(samples: np.ndarray) -> np.ndarray:
    """The mean spectrum in bands, how much it changes, and the duration: enough to tell kinds apart."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.round(257 * np.linspace(0, 1, 25) ** 1.7).astype(int))
    bands = np.array([power[:, low:high].mean(1) for low, high in pairwise(edges)])
    decibels = 10 * np.log10(bands + 1e-8)
    mean = 10 * np.log10(bands.mean(1) + 1e-8)
    changes = np.abs(np.diff(decibels)).mean(1)
    return np.concatenate(
        [(mean - mean.max()) / 5, decibels.std(1) / 4, changes / 2, [2 * len(samples) / INPUT_RATE_HZ]]
    )


def test_there_are_as_many_kinds_as_the_task_asks_for():
    assert len(EVENTS) >= 12
    assert len(SCENES) >= 6


@pytest.mark.parametrize("clip", [Clip("a", ("bell", "dog")), Clip("a", scene="beach")])
def test_a_clip_is_the_same_every_time_and_another_seed_sounds_different(clip):
    samples = render_clip(clip)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1
    np.testing.assert_array_equal(samples, render_clip(clip))
    other = render_clip(Clip("b", clip.events, clip.scene))
    assert len(other) != len(samples) or not np.allclose(other, samples, atol=1e-3)


@pytest.mark.parametrize("kinds", [[Clip("", (name,)) for name in EVENTS], [Clip("", scene=name) for name in SCENES]])
def test_simple_features_tell_fresh_renderings_apart(kinds):
    def rendered(seed):
        return np.array([features(render_clip(Clip(seed, kind.events, kind.scene))) for kind in kinds])

    known = np.mean([rendered(f"known {i}") for i in range(5)], 0)
    fresh = np.array([rendered(f"fresh {i}") for i in range(2)])
    distances = ((fresh[:, :, None] - known) ** 2).sum(-1)
    assert (distances.argmin(-1) == np.arange(len(kinds))).mean() >= 0.9


def test_events_are_divided_by_silence():
    samples = render_clip(Clip("x", ("clap", "clap", "clap")))
    level = np.array([np.abs(part).max() for part in np.array_split(samples, len(samples) // 400)])
    loud = level > 0.1 * level.max()
    assert (np.diff(loud.astype(int)) == 1).sum() + loud[0] == 3


@pytest.mark.parametrize("draw", DRAWS)
def test_examples_follow_the_seed_and_keep_to_their_side(draw):
    for reserved in (True, False):
        examples = draw(24, random.Random(3), reserved)
        assert examples == draw(24, random.Random(3), reserved)
        assert all(is_reserved(example.key) == reserved for example in examples)
        for example in examples:
            assert is_right(example, example.reply.text)
            assert not is_right(example, "")
            assert not is_right(example, "I do not know.")


@pytest.mark.parametrize("draw", DRAWS)
def test_training_and_evaluation_share_no_recording(draw):
    clips = [{e.parts[1].sound for e in draw(40, random.Random(side), bool(side))} for side in (0, 1)]
    assert len(clips[0]) == len(clips[1]) == 40
    assert not clips[0] & clips[1]


def test_every_kind_is_heard_and_every_number_counted():
    assert {e.kind for e in order_examples(80, random.Random(0), False)} == {
        "first", "last", "second", "after", "before", "all",
    }  # fmt: skip
    assert {e.essential[0] for e in event_examples(32, random.Random(0), True)} == set(EVENTS)
    assert {e.essential[0] for e in scene_examples(16, random.Random(0), True)} == set(SCENES)
    counts = count_examples(60, random.Random(0), False)
    assert {e.essential[0] for e in counts} == {"one", "two", "three", "four", "five"}
    for example in counts:
        assert (
            example.parts[1].sound.events.count(example.kind)
            == ["one", "two", "three", "four", "five"].index(example.essential[0]) + 1
        )


def test_the_words_of_a_sound_name_no_other():
    for event in EVENTS.values():
        for text in (event.phrase, event.sentence):
            assert set(sounds_named(text, SOUND_WORDS)) == {event.name}


def test_captions_name_runs_in_order():
    assert caption(("bell", "bell", "dog")) == "A bell rings twice, then a dog barks."
    assert caption(("rain",)) == "Rain falls."


@pytest.mark.parametrize(
    ("reply", "named", "invented", "in_order"),
    [
        ("A bell rings twice, then a dog barks, then a bell rings.", 3, 0, True),
        ("A dog and a bell.", 2, 0, False),
        ("A bell, a barking dog and a bell", 3, 0, True),
        ("A bell rings, then a drum beats.", 1, 1, False),
        ("BELL! dogs... bells?", 3, 0, True),
        ("A bell, a dog, a bell, a dog.", 3, 0, False),  # told again, but not invented
        ("", 0, 0, False),
        ("The doorbell.", 0, 0, False),
    ],
)
def test_judging_captions(reply, named, invented, in_order):
    score = caption_score(reply, ("bell", "bell", "dog", "bell"), SOUND_WORDS)
    assert (score.named, score.total, score.invented, score.in_order) == (named, 3, invented, in_order)


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("I hear a bell three times.", 3),
        ("Twice", 2),
        ("3 times!", 3),
        ("twenty one", 21),
        ("two or three", None),
        ("many times", None),
        ("Three, three times.", 3),
    ],
)
def test_counting_needs_one_number(reply, number):
    assert counted(reply) == number
    assert is_count_right("three", reply) == (number == 3)


def test_a_list_of_guesses_is_wrong():
    assert is_event_right("dog", "It is a dog barking.")
    assert not is_event_right("dog", "A bell or a dog.")
    assert not is_event_right("dog", "A dog or a bell.")
    assert is_scene_right("street", "We are on the street.")
    assert not is_scene_right("street", "street kitchen forest office")
    assert is_order_right(("dog", "bell"), "First a dog, then a bell.")
    assert not is_order_right(("dog", "bell"), "A bell, then a dog.")
    assert not is_order_right(("dog", "bell"), "A dog, a bell, a dog.")


def test_a_caption_is_judged_through_its_example():
    (example,) = caption_examples(1, random.Random(2), False)
    score = judge_caption(example, example.reply.text)
    assert score.named == score.total
    assert score.invented == 0
