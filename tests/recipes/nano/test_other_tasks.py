"""Sounds, styles, Mandarin, other voices and manners as conversations."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kimi_audio.data.conversations import ConversationFile
from recipes.nano import tasks
from recipes.nano.closed.dialogues import dialogue_examples
from recipes.nano.closed.hearing import event_examples
from recipes.nano.closed.mandarin import question_examples, recognition_examples
from recipes.nano.closed.splits import is_reserved
from recipes.nano.corpora import write_conversations
from recipes.nano.recording import Line, Spoken

COUNTS = {event_examples: 4, recognition_examples: 4, question_examples: 4, dialogue_examples: 4}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(tasks, "COUNTS", COUNTS)
    monkeypatch.setattr(tasks, "QUESTIONS", 20)
    monkeypatch.setattr(tasks, "STYLED", 5)
    monkeypatch.setattr(
        tasks, "synthesise_all", lambda requests: [(np.full(800, 0.1, np.float32), 8_000) for _ in requests]
    )


def test_nothing_that_is_reserved_is_drawn(small):
    found = list(tasks.drawn(0))
    assert len(found) == 4 * 4 + 20
    assert not any(is_reserved(example.key) for example in found)


def test_replies_are_spoken_where_their_recordings_are_there_and_written_elsewhere(small, tmp_path):
    sounds = tasks.Sounds(tmp_path, {})
    examples = list(tasks.drawn(0))
    write_conversations(tmp_path / "tasks.jsonl", (tasks.conversation(example, sounds) for example in examples))
    sounds.render()
    types = {}
    for example, found in zip(examples, ConversationFile(tmp_path / "tasks.jsonl"), strict=True):
        replies = [message for message in found.messages if message.role == "assistant"]
        types.setdefault(example.task, set()).update(message.message_type for message in replies)
    # Mandarin is spoken by an engine; the assistant's English voice has recorded nothing here.
    assert types == {
        "event": {"text"},
        "mandarin-asr": {"text"},
        "mandarin-qa": {"audio-text"},
        "dialogue": {"text"},
        "qa": {"text"},
    }
    assert len(list((tmp_path / "tasks").glob("*.flac"))) == len(
        {part.sound for example in examples for part in example.parts if part.sound and sounds.is_recorded(part.sound)}
    )


def test_a_reply_in_a_manner_is_a_recording_that_was_changed(small, tmp_path, monkeypatch):
    changed = []

    def restyled(audio: Path, style) -> np.ndarray:
        changed.append((audio, style))
        return np.zeros(2400, np.float32)

    monkeypatch.setattr(tasks, "restyled", restyled)
    answers = {item.answer for item in tasks.take_questions(20, tasks.random.Random("0 styled"), reserved=False)}
    sounds = tasks.Sounds(tmp_path, dict.fromkeys(answers, tmp_path / "reply.flac"))
    examples = list(tasks.styled(dict.fromkeys(answers, tmp_path / "reply.flac"), 0))
    assert [example.kind for example in examples] == ["neutral", "faster", "slower", "higher", "whisper"]
    found = [tasks.conversation(example, sounds) for example in examples]
    assert all(talk["conversation"][-1]["message_type"] == "audio-text" for talk in found)
    assert found[0]["conversation"][-1]["content"][0] == str(tmp_path / "reply.flac")
    assert [len(talk["conversation"]) for talk in found] == [2, 3, 3, 3, 3]  # an ordinary reply is not asked for
    sounds.render()
    assert len(changed) == 4


def test_a_changed_voice_keeps_its_text_and_takes_the_voice_of_the_recording(small, tmp_path):
    item = Spoken(Line("A hat is clothing.", ("bm_george",)), tmp_path / "000000.flac", 1.0)
    sounds = tasks.Sounds(tmp_path, {})
    found = list(tasks.converted([item] * 40, sounds, 0))
    for talk in found:
        asked, source, reply = talk["conversation"]
        assert "Carl" in asked["content"]
        assert source["transcript"] == "a hat is clothing"
        assert reply["content"] == [str(item.audio.resolve()), "a hat is clothing."]
    kept = sum(talk["conversation"][1]["content"] == str(item.audio.resolve()) for talk in found)
    assert 0 < kept < 20


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is missing")
def test_other_manners_change_speed_and_pitch(tmp_path):
    rate_hz = 24_000
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 200 * np.arange(rate_hz) / rate_hz), rate_hz)
    faster = tasks.restyled(tmp_path / "a.wav", tasks.REPLY_STYLES["faster"])
    assert len(faster) == pytest.approx(rate_hz / 1.6, rel=0.05)
    higher = tasks.restyled(tmp_path / "a.wav", tasks.REPLY_STYLES["higher"])
    spectrum = np.abs(np.fft.rfft(higher[2_000:-2_000]))
    assert spectrum.argmax() * rate_hz / (len(higher) - 4_000) == pytest.approx(270, rel=0.05)
