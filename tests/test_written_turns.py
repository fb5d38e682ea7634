"""Turns that are written down before they are answered: which, how often, and what the reply then starts from."""

import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kimi_audio import Answer, GenerationOptions, KimiAudio, Message
from kimi_audio.answers import StreamChunk
from kimi_audio.core.sequence import AudioTokens, Sequence
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.lm.worker import ReplyEvents
from kimi_audio.written_turns import WrittenTurns, spoken_turns

SHORT = GenerationOptions("text", max_new_tokens=4)


def tokens(*codes: int, feature: float = 0.0) -> AudioTokens:
    return AudioTokens(torch.tensor(codes), torch.full((len(codes), 4), feature))


def text(role: str, content: str = "what") -> Message:
    return Message(role, "text", content)


def said(*codes: int) -> Message:
    return Message("user", "audio", tokens(*codes))


# ---------------------------------------------------------------------------------------------------------------------
# Which turns


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], []),
        ([said(1)], [0]),
        ([text("system"), said(1)], [1]),  # the model's instructions are not what the user asks
        ([text("user"), said(1)], []),  # a question about the recording
        ([said(1), text("user")], []),
        ([said(1), said(2)], []),
        ([said(1), text("assistant"), text("user"), text("assistant"), said(2)], [0, 4]),
        ([said(1), Message("assistant", "audio", tokens(3)), said(2)], [0, 2]),
    ],
)
def test_a_recording_that_is_a_whole_turn_is_spoken_to_the_model(messages, expected):
    assert spoken_turns(messages) == expected


def test_transcripts_are_of_what_is_heard_and_the_longest_unused_is_forgotten():
    known = WrittenTurns(most=2)
    known.put(tokens(1, 2), "one")
    known.put(tokens(1, 2, feature=0.5), "other features")
    assert known.get(tokens(1, 2)) == "one"
    known.put(tokens(3), "three")
    assert [known.get(one) for one in (tokens(1, 2), tokens(1, 2, feature=0.5), tokens(3))] == ["one", None, "three"]


def test_a_transcript_follows_its_turn_and_an_empty_one_is_none():
    known = WrittenTurns()
    known.put(tokens(1), "hello")
    known.put(tokens(2), "")
    messages = [said(1), text("assistant"), said(2), text("assistant"), said(3)]
    found = known.written_into(messages)
    assert found == [messages[0], text("user", "hello"), *messages[1:]]


# ---------------------------------------------------------------------------------------------------------------------
# Replies


@pytest.fixture(scope="module")
def loaded(reference: Path) -> KimiAudio:
    return KimiAudio(reference / "checkpoint", device="cpu", load_detokenizer=False)


@pytest.fixture
def model(loaded: KimiAudio, monkeypatch: pytest.MonkeyPatch) -> KimiAudio:
    """A model that transcribes first, and knows nothing yet."""
    monkeypatch.setattr(loaded, "settings", replace(loaded.settings, transcribe_first=True))
    monkeypatch.setattr(loaded, "_written", WrittenTurns())
    return loaded


@pytest.fixture
def hears(model: KimiAudio, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], list[AudioTokens]]:
    """Let transcripts be a text; the recordings that are transcribed are collected."""
    stream, asked = KimiAudio.stream, list[AudioTokens]()

    def hears(heard: str, reason: Any = "stop") -> list[AudioTokens]:
        def noted(self: KimiAudio, messages: list[Message], *arguments: Any, **others: Any) -> Any:
            if messages[0].content != self.settings.transcribe_prompt:
                return stream(self, messages, *arguments, **others)
            asked.append(messages[1].content)
            return iter([StreamChunk(heard, torch.zeros(0), True, reason)])

        monkeypatch.setattr(KimiAudio, "stream", noted)
        return asked

    return hears


def prompts_of(model: KimiAudio, monkeypatch: pytest.MonkeyPatch) -> list[Sequence]:
    """Collect what replies start from."""
    prompts, start = list[Sequence](), model._engine.start

    def noted(prompt: Sequence, *arguments: Any) -> ReplyEvents:
        prompts.append(prompt)
        return start(prompt, *arguments)

    monkeypatch.setattr(model._engine, "start", noted)
    return prompts


@pytest.fixture(scope="module")
def question(loaded: KimiAudio, reference: Path) -> Message:
    return Message("user", "audio", loaded.encode_audio(reference / "audio" / "question.wav"))


def test_a_spoken_turn_is_answered_with_its_transcript_behind_it(model, hears, question, monkeypatch):
    hears("hello there")
    prompts = prompts_of(model, monkeypatch)
    model.answer([question], SHORT)
    expected = model.template.prompt([question, text("user", "hello there")])
    assert [prompt.text_ids.tolist() for prompt in prompts] == [expected.text_ids.tolist()]


def test_the_reply_is_that_to_the_turn_and_its_transcript(model, question, monkeypatch):
    found = model.answer([question], SHORT)
    heard = model._written.get(question.audio)
    assert heard is not None
    monkeypatch.setattr(model, "settings", replace(model.settings, transcribe_first=False))
    assert found == model.answer([question, *([text("user", heard)] if heard else [])], SHORT)


def test_each_turn_is_written_down_once_and_stands_in_all_later_prompts(model, hears, question, monkeypatch):
    asked = hears("hello there")
    model.answer([question], SHORT)
    prompts = prompts_of(model, monkeypatch)
    known, later = [question, text("assistant", "hi")], said(1, 2)
    later = later.with_audio(AudioTokens(torch.tensor([1, 2]), torch.zeros(2, question.audio.features.shape[1])))
    model.prefill(known, "text").reply()
    model.answer([*known, later], SHORT)
    assert [len(one.codes) for one in asked] == [len(question.audio.codes), 2]
    written = [question, text("user", "hello there"), known[1]]
    assert prompts[0].text_ids.tolist() == model.template.prompt(written).text_ids.tolist()
    whole = [*written, later, text("user", "hello there")]
    assert prompts[1].text_ids.tolist() == model.template.prompt(whole).text_ids.tolist()


@pytest.mark.parametrize("reason", ["length", "stuck"])
def test_a_transcript_that_was_cut_off_is_not_believed_nor_asked_for_again(model, hears, question, monkeypatch, reason):
    asked = hears("hello there there there", reason)
    prompts = prompts_of(model, monkeypatch)
    model.answer([question], SHORT)
    model.answer([question], SHORT)
    assert len(asked) == 1
    assert {tuple(prompt.text_ids.tolist()) for prompt in prompts} == {
        tuple(model.template.prompt([question]).text_ids.tolist())
    }


def test_what_the_reply_starts_from_is_the_transcript_of_the_turn(model, hears, question, reference, monkeypatch):
    asked, recording = hears("hello there"), reference / "audio" / "question.wav"
    model.answer([Message("user", "audio", recording)], SHORT)
    assert model.transcribe(recording) == "hello there"
    assert len(asked) == 1
    monkeypatch.setattr(model, "settings", replace(model.settings, transcribe_beams=2))
    for how in ({"hotwords": ["hallo"]}, {"beams": 1}):
        model.transcribe(recording, **how)
    assert len(asked) == 3


def test_questions_about_recordings_and_long_turns_are_answered_at_once(model, hears, question, monkeypatch):
    asked = hears("hello there")
    model.answer([text("user"), question], SHORT)
    monkeypatch.setattr(model, "settings", replace(model.settings, segment_s=1.0))
    long = Message("user", "audio", (torch.zeros(int(1.2 * INPUT_RATE_HZ)), INPUT_RATE_HZ))
    model.answer([long], SHORT)
    assert not asked
    model.answer([Message("user", "audio", (torch.zeros(INPUT_RATE_HZ), INPUT_RATE_HZ))], SHORT)
    assert len(asked) == 1


def test_models_that_do_not_transcribe_first_read_what_they_are_given(model, hears, question, monkeypatch):
    asked = hears("hello there")
    model.answer([question], SHORT)  # what it once wrote down is of no use then
    monkeypatch.setattr(model, "settings", replace(model.settings, transcribe_first=False))
    prompts = prompts_of(model, monkeypatch)
    model.answer([question], SHORT)
    assert len(asked) == 1
    assert prompts[0].text_ids.tolist() == model.template.prompt([question]).text_ids.tolist()


def test_other_weights_hear_for_themselves(model, hears, question):
    asked = hears("hello there")
    model.answer([question], SHORT)
    other = model.with_own_engine()
    other.answer([question], SHORT)
    assert len(asked) == 2


def test_replies_begin_before_they_are_read(model, question, monkeypatch):
    prompts, started = list[Sequence](), threading.Event()
    start = model._engine.start

    def noted(prompt: Sequence, *arguments: Any) -> ReplyEvents:
        prompts.append(prompt)
        if len(prompts) == 2:  # the transcript, then the reply
            started.set()
        return start(prompt, *arguments)

    monkeypatch.setattr(model._engine, "start", noted)
    reply = model.stream([question], SHORT)
    assert started.wait(60)
    assert isinstance(Answer.of(reply), Answer)


def test_what_goes_wrong_with_a_transcript_is_raised_where_the_reply_is_read(model, question, monkeypatch):
    def fail(*_: object) -> Iterator[StreamChunk]:
        raise RuntimeError("a layer is broken")
        yield

    monkeypatch.setattr(model, "_write_turns", lambda *_: [(question.audio, fail())])
    reply = model.stream([question], SHORT)
    with pytest.raises(RuntimeError, match="a layer is broken"):
        next(reply)


def test_a_conversation_that_is_too_long_is_refused_before_its_turns_are_written_down(model, hears, question):
    asked = hears("hello there")
    earlier = [text("user", "yes"), text("assistant", "no")] * 2000
    with pytest.raises(ValueError, match="no room for a reply"):
        model.stream([*earlier, question], SHORT)
    assert not asked


def test_a_sound_is_encoded_once_however_often_the_prompt_is_made(model, hears, question, reference, monkeypatch):
    hears("hello there")
    encoded, encode = [], KimiAudio._encoded
    monkeypatch.setattr(KimiAudio, "_encoded", lambda self, *given: encoded.append(1) or encode(self, *given))
    path = reference / "audio" / "question.wav"
    model.answer(
        [
            Message("user", "audio", path),
            text("assistant", "what?"),
            text("user", "that:"),
            Message("user", "audio", path),
        ],
        SHORT,
    )
    assert len(encoded) == 2


def test_a_reply_that_nobody_holds_is_given_up_though_its_turn_is_not_written_down(model, question):
    reply = model.stream([question], GenerationOptions("text"))
    del reply
    gc.collect()
    for _ in range(3):  # the one may begin the other
        for thread in threading.enumerate():
            if thread.name in ("kimi-audio transcripts", "kimi-audio engine"):
                thread.join(60)
    assert model._engine._engine.is_idle


def test_a_cancelled_reply_ends_though_its_turn_is_not_written_down(model, question):
    answer = Answer.of(model.stream([question], SHORT, cancelled=lambda: True))
    assert answer.finish_reason == "cancelled"
    assert model._written.get(question.audio) is None
