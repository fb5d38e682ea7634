"""Conversations that nano learns: what is asked, in which form it is answered, and what is spoken."""

import random
import re
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest

from kimi_audio.chat.tools import parse_call
from kimi_audio.core.words import normalise
from kimi_audio.data.conversations import ConversationFile
from recipes.nano import corpora, kokoro, synthetic, talks
from recipes.nano.closed.splits import is_reserved
from recipes.nano.corpora import aloud, anyhow, said_in, talked, write_conversations, written
from recipes.nano.recording import Line, record
from recipes.nano.world.registry import FACT_SHARES, NAME_SHARES, TABLE_SHARES, take_talks
from recipes.nano.world.sentences import evaluation_sentences
from recipes.nano.world.tools import KINDS as TOOLS
from recipes.nano.world.types import Talk, Turn

RATE_HZ = 8_000
GREETING = Talk(
    "greeting", (Turn("Hello, Nano!", "Hello, friend."), Turn("What is a hat?", "A hat is clothing.")), "hat"
)


def beep(line: Line) -> tuple[np.ndarray, int]:
    return np.sin(np.arange(800 + len(line.text)) / 5).astype(np.float32), RATE_HZ


def test_a_talk_is_spoken_where_all_its_replies_are_recorded(tmp_path):
    record((Line(turn.reply, ("af_heart",)) for turn in GREETING.turns), beep, tmp_path / "replies", 2)
    recorded = {"Hello, friend.": tmp_path / "replies" / "000000.flac"}
    whole = recorded | {"A hat is clothing.": tmp_path / "replies" / "000001.flac"}
    said = {"hello nano": [str(tmp_path / "replies" / "000000.flac")]}
    for replies, types in ((recorded, {"text"}), (whole, {"text", "audio-text"})):
        write_conversations(tmp_path / "talks.jsonl", talked([GREETING] * 40, said, replies, seed=0))
        found = list(ConversationFile(tmp_path / "talks.jsonl"))
        answers = [message for talk in found for message in talk.messages if message.role == "assistant"]
        assert {message.message_type for message in answers} == types
        texts = {m.content if m.message_type == "text" else m.content[1] for m in answers}
        assert texts == {"hello, friend.", "a hat is clothing."}
        # The second question was never recorded, so it is always written; the first is said most of the time.
        asked = [talk.messages[0].message_type for talk in found]
        assert 25 < asked.count("audio") < 40
        assert {talk.messages[2].message_type for talk in found} == {"text"}


def test_talks_are_chosen_in_which_all_that_users_say_is_recorded():
    hello = ["hello.flac"]
    assert said_in([GREETING], {"hello nano": hello}) == []
    assert said_in([GREETING], {"hello nano": hello, "what is a hat": ["hat.flac"]}) == [GREETING]


def test_answers_stand_in_rows_each_once(monkeypatch):
    monkeypatch.setattr(corpora, "TABLE_ANSWERS", 3)
    sums = take_talks(40, random.Random(0), reserved=False, shares=TABLE_SHARES)
    rows = [row["conversation"][1]["content"] for row in corpora.tables([*sums, *sums], 0)]
    answers = [written(talk.turns[-1].reply) for talk in sums]
    assert sorted(re.findall(r"[^.]+\.", " ".join(rows).replace(". ", "."))) == sorted(set(answers))
    assert {row.count(".") for row in rows[:-1]} == {3}


def test_a_tool_is_called_before_the_result_is_put_into_words():
    (talk,) = next(kind for kind in TOOLS if kind.name == "tool-timer").talks(1, random.Random(0), False)
    (conversation,) = talked([talk], {}, {}, seed=0)
    roles = [(message["role"], message["message_type"]) for message in conversation["conversation"]]
    last = talk.turns[-1]
    assert roles[0] == ("system", "text")
    assert roles[-4:] == [("user", "text"), ("assistant", "text"), ("user", "text"), ("assistant", "text")]
    _, call, result, reply = (message["content"] for message in conversation["conversation"][-4:])
    assert parse_call(call).name == "timer"
    assert (result, reply) == (last.result, written(last.reply))


def test_texts_are_read_in_the_voice_that_is_named(tmp_path):
    voices = {voice: name for name, (voice, _) in kokoro.SPEAKERS.items()}
    lines = (Line(f"Hello {word}.", (voice,)) for word, voice in zip(ascii_lowercase[:24], [*voices] * 6, strict=True))
    record(lines, beep, tmp_path / "spoken", 24)
    plain = 0
    for number, conversation in enumerate(aloud([tmp_path / "spoken"], seed=0)):
        request, reply = (message["content"] for message in conversation["conversation"])
        name = voices[[*voices][number % len(voices)]]
        assert reply[1] == f"hello {ascii_lowercase[number]}."
        assert request.lower().rstrip(".").endswith(reply[1].rstrip("."))
        plain += name not in request
        assert name in request or name == kokoro.ASSISTANT
    assert 0 < plain < 6  # the assistant's voice needs no name, and has one


def test_users_write_as_they_like():
    generator = random.Random(0)
    ways = {anyhow("What is it?", generator) for _ in range(50)}
    assert ways == {"What is it?", "what is it?", "what is it"}


def test_prose_is_written_like_transcripts_and_nothing_reserved_is_in_it(monkeypatch):
    examples = [f"The {word} Sleeps, my dear" for word in ascii_lowercase] + [evaluation_sentences()[0]]
    for name, texts in {
        "wordnet_examples": examples,
        "wordnet_definitions": ["a tree"],
        "bible_verses": ["In the"],
    }.items():
        monkeypatch.setattr(corpora, name, lambda texts=texts: texts)
    monkeypatch.setattr(corpora, "PROSE_DEFINITIONS", 1)
    monkeypatch.setattr(corpora, "PROSE_VERSES", 1)
    conversations = [row["conversation"] for row in corpora.prose(0)]
    written = " ".join(reply["content"] for _, reply in conversations).rstrip(".").split(". ")
    expected = {normalise(text) for text in examples if not is_reserved(normalise(text))} - {
        normalise(evaluation_sentences()[0])
    }
    assert len(expected) < len(examples) - 1
    assert set(written) == expected | {"a tree", "in the"}
    assert len(conversations) == -(-len(written) // corpora.PROSE_TEXTS)


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(talks, "take_talks", lambda count, *_, **__: [GREETING] * count)
    return tmp_path / "talks.json"


def test_talks_are_drawn_once(kept):
    drawn = talks.learned_talks(kept, 3)
    assert drawn == (GREETING,) * 3
    assert talks.of_values(talks.to_values(GREETING)) == GREETING
    talks.learned_talks.cache_clear()
    assert talks.learned_talks(kept, 99) == drawn
    assert list(talks.said(drawn, random.Random(0))) == ["Hello, Nano!", "What is a hat?"]
    assert list(talks.replied(drawn)) == ["Hello, friend.", "A hat is clothing."]


def test_names_of_a_longer_list_are_talked_about_and_none_that_is_reserved(monkeypatch):
    monkeypatch.setattr(talks, "first_names", lambda: ["Anna", "Zebedee", "Zeno"])  # the first one is in the lists, too
    drawn = talks.learned_names.__wrapped__(40)
    known, rare = drawn[:40], drawn[40:]
    assert not any(talk.is_reserved for talk in drawn)
    assert {talk.kind for talk in known} == set(NAME_SHARES)
    assert {(talk.kind, talk.essential) for talk in rare} == {("recall-name", "zebedee"), ("recall-name", "zeno")}
    assert len({talk.key for talk in rare}) == 40


@pytest.mark.parametrize("speech", [kokoro, synthetic])
@pytest.mark.parametrize("kind", ["questions", "facts"])
def test_another_seed_says_other_turns_first_and_those_of_a_conversation_together(monkeypatch, speech, kind):
    drawn = tuple(Talk("x", (Turn(f"{name} one", ""), Turn(f"{name} two", "")), "") for name in ascii_lowercase)
    for name in ("learned_talks", "learned_facts"):
        monkeypatch.setattr(speech, name, lambda: drawn)
    texts, others = ([line.text for line in getattr(speech, kind)(seed)] for seed in (0, 1))
    assert sorted(texts) == sorted(others)
    assert len(set(texts[:10]) & set(others[:10])) < 10
    assert all(first[0] == second[0] for first, second in zip(texts[::2], texts[1::2], strict=True))


def test_nothing_reserved_is_talked_about(monkeypatch, tmp_path):
    wanted = []
    monkeypatch.setattr(talks, "take_talks", lambda *arguments, **named: wanted.append(named) or [])
    talks.learned_talks(tmp_path / "other.json", 5)
    talks.learned_facts(tmp_path / "facts.json", 6)
    assert wanted == [{"reserved": False, "shares": None}, {"reserved": False, "shares": FACT_SHARES}]
    assert corpora.NAMES["af_heart"] == "Ava"
