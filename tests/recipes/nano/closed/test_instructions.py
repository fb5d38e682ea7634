"""Wordings of requests: as many as the report has, each asking for its own task and for no other."""

import re
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch

from kimi_audio.core.sequence import AudioTokens
from recipes.nano.closed.instructions import LANGUAGE_NAMES, MANNERS, fill, instruction, instructions, wordings

# What every wording of a task has in it and no wording of another task.
MARKERS = {
    "asr": (
        r"(?i)transcri|dictation|recognition|subtitles|verbatim|\bwords?\b|wording|writ(e|ing|ten)\b|(to|as) text\b"
        r"|into text|text of|type (out|up|this)|down|what (exactly )?(is|was) (being )?said"
        r"|文字|文本|转写|转录|听写|写下|逐字|识别"
    ),
    "aqa": r"{question}",
    "caption": r"(?i)caption|descri|summar",
    "emotion": r"emotion|mood|feel",
    "speaking_style": r"style",
    "sound_events": (
        r"^(?!.*(order|sequence|first to last|how many|[Cc]ount|number))"
        r"(?i:.*(which|what|name|list|identify|recognise|classify)\b.*\b(sounds?|noises?)\b)"
    ),
    "event_count": r"(?i)how many|count\b|number of",
    "event_order": r"order\b|sequence|first to last",
    "scene": r"(?i)where|\bplace\b|scene|environment|surroundings",
    "tts": r"{text}",
    "voice_conversion": r"second|other|voice conversion|[Cc]hange the voice",
    "cross_language": r"(?i)(answer|reply|respond|回答|回复).*{language}|{language}.*(回答|回复)",
    "reply_style": r"{manner}",
    "translation": r"(?i)translat|interpret|翻译",
}
VALUES = {"question": "Who is it?", "text": "Say {this}.", "language": "Mandarin", "manner": "slowly"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def values_of(wording: str) -> dict[str, str]:
    return {name: VALUES[name] for name in re.findall(r"{(\w+)}", wording)}


# ---------------------------------------------------------------------------------------------------------------------
# The wordings


def test_there_are_as_many_as_in_the_report():
    assert len(wordings("asr")) == 200
    assert set(instructions()) == set(MARKERS)
    for task in set(MARKERS) - {"asr"}:
        assert len(wordings(task, "en")) == 30, task


def test_no_wording_comes_twice():
    counts = Counter(wording.casefold().strip(" .?") for task in MARKERS for wording in wordings(task))
    assert [wording for wording, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("task", MARKERS)
def test_every_wording_asks_for_its_task(task: str):
    assert [wording for wording in wordings(task) if not re.search(MARKERS[task], wording)] == []


def test_no_wording_asks_for_another_task():
    mixed = [
        (task, other, wording)
        for task, other in permutations(MARKERS, 2)
        for wording in wordings(task)
        if re.search(MARKERS[other], wording)
    ]
    assert mixed == []


def test_languages_are_what_they_are_called():
    for task, languages in instructions().items():
        for language, some in languages.items():
            for wording in some:
                words = re.sub(r"{\w+}", "", wording)
                assert bool(CHINESE.search(words)) == (language == "zh") or not words, (task, wording)
                assert wording == wording.strip()
    assert {task for task, languages in instructions().items() if "zh" in languages} >= {
        "asr",
        "tts",
        "cross_language",
        "translation",
    }


@pytest.mark.parametrize("task", MARKERS)
def test_all_wordings_of_a_task_need_the_same_values(task: str):
    assert len({frozenset(values_of(wording)) for wording in wordings(task)}) == 1


def test_languages_and_manners_can_be_named_in_every_wording():
    assert fill("Answer in {language}.", {"language": LANGUAGE_NAMES["en"]["zh"]}) == "Answer in Mandarin."
    assert fill("请用{language}回答。", {"language": LANGUAGE_NAMES["zh"]["en"]}) == "请用英语回答。"
    manners = [manner for some in MANNERS.values() for manner in some]
    assert len(set(manners)) == len(manners) == 16


# ---------------------------------------------------------------------------------------------------------------------
# Drawing one


def test_every_wording_is_drawn_and_a_seed_draws_the_same_again():
    drawn = [instruction("scene", np.random.default_rng(seed)).content for seed in range(400)]
    assert set(drawn) == set(wordings("scene"))
    assert drawn[:5] == [instruction("scene", np.random.default_rng(seed)).content for seed in range(5)]


def test_wordings_are_drawn_in_the_language_asked_for():
    generator = np.random.default_rng(0)
    drawn = {instruction("asr", generator, language="zh").content for _ in range(100)}
    assert drawn <= set(wordings("asr", "zh"))
    both = {bool(CHINESE.search(instruction("asr", generator).content)) for _ in range(100)}
    assert both == {False, True}


@pytest.mark.parametrize("task", MARKERS)
def test_values_are_filled_in_as_they_are(task: str):
    values = values_of(wordings(task)[0])
    message = instruction(task, np.random.default_rng(0), values, language="en")
    assert (message.role, message.message_type) == ("user", "text")
    assert all(value in message.content for value in values.values())
    assert "{" not in message.content.replace(VALUES["text"], "")


def test_a_recorded_wording_is_given_as_speech_every_other_time():
    sounds = [AudioTokens(torch.tensor([code])) for code in (1, 2)]
    recordings = dict.fromkeys(wordings("emotion")[:15], sounds)
    generator = np.random.default_rng(0)
    messages = [instruction("emotion", generator, recordings=recordings) for _ in range(600)]
    spoken = [message for message in messages if message.message_type == "audio"]
    assert 0.2 < len(spoken) / 600 < 0.3  # of half of the wordings
    assert {id(message.content) for message in spoken} == {id(sound) for sound in sounds}
    written = {message.content for message in messages if message.message_type == "text"}
    assert written == set(wordings("emotion"))
    assert all(message.role == "user" for message in messages)


def test_mistakes_are_named():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no instructions for 'asl'; there are some for asr, aqa"):
        instruction("asl", generator)
    with pytest.raises(ValueError, match="for scene are in en, not in zh"):
        instruction("scene", generator, language="zh")
    with pytest.raises(ValueError, match="needs text, not none"):
        instruction("tts", generator)
    with pytest.raises(ValueError, match="needs no values, not text"):
        instruction("scene", generator, {"text": "x"})
