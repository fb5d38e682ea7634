"""Styles, dialogues, voices: examples, judging, and measures on tones and noise instead of speech."""

import random
from dataclasses import replace

import numpy as np
import pytest

from kimi_audio.audio.prosody import measure
from recipes.nano.closed.colours import WHISPER_DB, colour
from recipes.nano.closed.dialogues import dialogue_examples, is_dialogue_right
from recipes.nano.closed.judging import is_right
from recipes.nano.closed.speakers import NAMES, reading_examples
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.styles import (
    REPLY_STYLES,
    STYLES,
    follows_request,
    is_style_right,
    reply_style_examples,
    style_examples,
    styled,
)
from recipes.nano.closed.synthesis import _espeak_command, _espeak_text, _flite_command
from recipes.nano.closed.voices import ASSISTANT, MANDARIN_SEEN, VOICES, Delivery

RATE_HZ = 16_000


def voice(pitch_hz=150.0, duration_s=1.0, level=0.1):
    """A buzz between silences, like a vowel."""
    times_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * pitch_hz * k * times_s) / k for k in range(1, 12))
    return np.pad(level * buzz, RATE_HZ // 5).astype(np.float32)


@pytest.mark.parametrize("pitch_hz", [75, 110, 180, 260, 350])
def test_pitch_duration_and_level_are_measured(pitch_hz):
    found = measure(voice(pitch_hz), RATE_HZ)
    assert found.pitch_hz == pytest.approx(pitch_hz, rel=0.03)
    assert found.duration_s == pytest.approx(1.0, abs=0.08)  # a frame reaches over either end
    assert found.voicing > 0.9
    louder = measure(2 * voice(pitch_hz), RATE_HZ)
    assert louder.level_db - found.level_db == pytest.approx(6.02, abs=0.1)


def test_noise_has_no_pitch_and_silence_nothing():
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    assert measure(noise, RATE_HZ).voicing < 0.2
    for silent in (np.zeros(RATE_HZ, np.float32), np.zeros(10, np.float32)):
        with pytest.raises(ValueError, match="silent or empty"):
            measure(silent, RATE_HZ)


def test_colours_change_what_they_name():
    plain = voice()
    before = measure(plain, RATE_HZ)
    np.testing.assert_array_equal(colour(plain, RATE_HZ, "plain"), plain)
    changed = {name: colour(plain, RATE_HZ, name) for name in ("bright", "soft", "strained", "whispered")}
    after = {name: measure(samples, RATE_HZ) for name, samples in changed.items()}
    assert all(len(samples) == len(plain) and samples.dtype == np.float32 for samples in changed.values())
    assert after["soft"].brightness < before.brightness < after["bright"].brightness
    assert after["strained"].brightness > before.brightness
    assert after["whispered"].voicing < 0.5 < after["bright"].voicing
    assert after["whispered"].level_db - before.level_db == pytest.approx(WHISPER_DB, abs=2)
    np.testing.assert_array_equal(changed["whispered"], colour(plain, RATE_HZ, "whispered"))


@pytest.mark.parametrize(
    ("style", "samples", "follows"),
    [
        ("faster", voice(duration_s=0.7), True),
        ("faster", voice(duration_s=0.95), False),
        ("slower", voice(duration_s=1.5), True),
        ("slower", voice(duration_s=0.7), False),
        ("higher", voice(200), True),
        ("higher", voice(155), False),
        ("higher", voice(110), False),
        ("whisper", voice(level=0.01), False),  # quiet, but voiced
        ("whisper", colour(voice(), RATE_HZ, "whispered"), True),
        ("whisper", 10 * colour(voice(), RATE_HZ, "whispered"), False),  # breathy, but loud
    ],
)
def test_following_a_request(style, samples, follows):
    assert follows_request(style, measure(samples, RATE_HZ), measure(voice(), RATE_HZ)) is follows


def test_pace_is_compared_per_word():
    ordinary, reply = measure(voice(), RATE_HZ), measure(voice(duration_s=1.4), RATE_HZ)
    assert follows_request("slower", reply, ordinary, 10, 10)
    assert follows_request("faster", reply, ordinary, 20, 10)
    with pytest.raises(ValueError, match="no style of replies"):
        follows_request("louder", reply, ordinary)


def test_ordinary_deliveries_reach_the_engines_as_before(tmp_path):
    flite, espeak = VOICES[0], next(voice for voice in VOICES if voice.engine == "espeak-ng")
    path = tmp_path / "x.wav"
    assert _flite_command("Hi.", Delivery(flite), path) == ["flite", "-voice", "slt", "-t", "Hi.", "-o", str(path)]
    assert "-m" not in _espeak_command(Delivery(espeak), path)
    assert _espeak_text("a < b", Delivery(espeak)) == "a < b"


def test_styles_reach_the_engines(tmp_path):
    flite, espeak = VOICES[0], next(voice for voice in VOICES if voice.engine == "espeak-ng")
    happy = styled(Delivery(espeak), STYLES["happy"])
    assert "-m" in _espeak_command(happy, tmp_path / "x.wav")
    assert _espeak_text("a < b", happy) == '<prosody range="190%">a &lt; b</prosody>'
    assert any("stddev" in word for word in _flite_command("Hi.", replace(happy, voice=flite), tmp_path / "x.wav"))
    assert _espeak_text("绿茶。".replace("绿茶", "喝茶"), Delivery(MANDARIN_SEEN[0])) == "he1 cha2."


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("draw", [style_examples, reply_style_examples, dialogue_examples])
def test_spoken_examples_keep_to_their_side_and_voices(draw, reserved):
    for unseen in {False, reserved}:
        examples = draw(30, random.Random(5), reserved, unseen)
        assert examples == draw(30, random.Random(5), reserved, unseen)
        for example in examples:
            assert is_reserved(example.key) == reserved
            assert is_right(example, example.reply.text)
            assert not is_right(example, "I do not know.")
            users = [part.sound for part in example.parts if part.role == "user" and part.sound]
            assert all(sound.delivery.voice.reserved == unseen for sound in users)
            replies = [part.sound for part in example.parts if part.role == "assistant" and part.sound]
            assert all(sound.delivery.voice == ASSISTANT.voice for sound in replies)


def test_all_styles_are_heard_equally_often_and_all_replies_asked_for():
    kinds = [example.kind for example in style_examples(60, random.Random(0), False)]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(STYLES, 10)
    kinds = [example.kind for example in reply_style_examples(50, random.Random(0), False)]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(["neutral", *REPLY_STYLES], 10)


def test_styles_are_judged_by_name():
    assert is_style_right("sad", "The speaker sounds SAD.")
    assert is_style_right("fast", "quickly")
    assert not is_style_right("sad", "happy or sad")
    assert not is_style_right("sad", "happy")


def test_a_dialogue_needs_its_first_turn():
    for example in dialogue_examples(200, random.Random(0), False):
        assert [part.role for part in example.parts] == ["user", "assistant"] * 3
        first, _, _, _, last, reply = (part.sound.text for part in example.parts)
        if example.kind not in ("plus", "minus"):
            assert example.essential[0] in first.lower()
            assert example.essential[0] not in last.lower()
        assert example.essential[0] in reply.lower()
        assert len({part.sound.delivery for part in example.parts if part.role == "user"}) == 1


@pytest.mark.parametrize(
    ("kind", "essential", "reply", "right"),
    [
        ("name", "anna", "Your name is Anna.", True),
        ("name", "anna", "Your name is Anna or Ben.", False),
        ("name", "anna", "Hannah", False),
        ("number", "seven", "Your number is 7.", True),
        ("number", "seven", "Your number is seventeen.", False),
        ("plus", "ten", "Seven plus three is ten.", True),
        ("plus", "ten", "Ten plus three is thirteen.", False),
    ],
)
def test_judging_dialogues(kind, essential, reply, right):
    assert is_dialogue_right(kind, essential, reply) is right


@pytest.mark.parametrize("reserved", [False, True])
def test_every_sentence_is_to_be_read_in_every_named_voice(reserved):
    examples = reading_examples(12, random.Random(0), reserved)
    assert {example.key: is_reserved(example.key) for example in examples} == dict.fromkeys(
        (example.key for example in examples), reserved
    )
    assert [example.essential for example in examples] == 3 * [(name,) for name in NAMES]
    assert len({example.key for example in examples}) == 3
    for example in examples:
        request = example.parts[0].text
        assert request.endswith(example.reply.text)
        assert example.essential[0] in request
