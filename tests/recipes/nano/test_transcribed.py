"""Conversations in which what is said is also written."""

import pytest

from kimi_audio.chat import parse_messages
from kimi_audio.written_turns import spoken_turns
from recipes.nano.corpora import message, transcription
from recipes.nano.transcribed import recordings_of, with_transcripts


def heard(audio: str, transcript: str) -> dict:
    return message("user", audio, "audio", transcript=transcript)


TALK = {
    "task_type": "understanding",
    "conversation": [
        message("system", "you have a lamp."),
        heard("a.flac", "what is a hammer"),
        message("assistant", "a tool."),
        message("user", "And a nail?"),
        message("assistant", "another."),
        heard("b.flac", "thanks"),
        message("assistant", "you are welcome."),
    ],
    "metadata": {"kind": "definition"},
}


@pytest.mark.parametrize(
    ("heard_as", "written"),
    [
        ({}, ["what is a hammer", "thanks"]),
        ({"a.flac": "what is a hamer"}, ["what is a hamer", "thanks"]),
        ({"b.flac": ""}, ["what is a hammer"]),  # nothing was heard
    ],
)
def test_each_spoken_turn_is_followed_by_what_was_heard_in_it(heard_as, written):
    found = with_transcripts(TALK, heard_as)
    messages = found["conversation"]
    assert [one for one in messages if one in TALK["conversation"]] == TALK["conversation"]
    added = [number for number, one in enumerate(messages) if one not in TALK["conversation"]]
    assert [messages[number]["content"] for number in added] == written
    assert all(messages[number - 1]["message_type"] == "audio" for number in added)
    assert found["metadata"] == TALK["metadata"]
    spoken = [number - 1 for number in added]
    assert not set(spoken) & set(spoken_turns(parse_messages(messages)))  # it is not done twice


def test_a_question_about_a_recording_stays_as_it_is():
    asked = transcription("a.flac", "what is a hammer", "Transcribe.")
    assert with_transcripts(asked, {}) == asked


def test_recordings_are_transcribed_once():
    assert recordings_of([TALK, TALK]) == ["a.flac", "b.flac"]
