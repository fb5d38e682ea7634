"""What the audio LLM learns from: every kind of sample has its losses where the assistant speaks and nowhere else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kimi_audio.chat import ChatTemplate
from kimi_audio.core.config import LMConfig, Settings
from kimi_audio.core.sequence import Inputs, Sequence
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.data.split import Split, SplitWriter
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.text import TextTokenizer, train_bpe
from kimi_audio.train.loop.loop import LoopConfig
from recipes.nano.closed.task_corpus import StoredExample, StoredPart
from recipes.nano.stages.encode import EncodedSplit, Recording
from recipes.nano.stages.lm import (
    ASR_INSTRUCTIONS,
    READING_INSTRUCTIONS,
    Lesson,
    Sample,
    assistant_replies,
    conversations,
    conversions,
    grown,
    lesson_rows,
    reading,
    recognition,
    spoken_questions,
    train_lm,
    written_questions,
)

NUM_CODES, FEATURES = 20, 8
QUESTIONS = [("What is one plus one?", "It is two."), ("Is it?", "No."), ("Who?", "Nobody has said it.")]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_bpe([*ASR_INSTRUCTIONS, *READING_INSTRUCTIONS, *SPEECH], 300)


@pytest.fixture(scope="module")
def config(tokenizer: TextTokenizer) -> LMConfig:
    return LMConfig.tiny(
        vocab_size=tokenizer.vocab_size + NUM_CODES,
        audio_offset=tokenizer.vocab_size,
        pad_id=tokenizer.special.pad,
        adaptor_input_size=FEATURES,
    )


def fake_split(folder: Path, texts: list[str], counts: list[int], spoken: list[int], answers=None) -> EncodedSplit:
    """Write a split with random codes, and random features of what is not only spoken."""
    writer = SplitWriter(folder, (INPUT_RATE_HZ,))
    for number, text in enumerate(texts):
        said = {"text": text, "transcript": text.lower().rstrip("?"), "answer": answers[number] if answers else None}
        sound = {INPUT_RATE_HZ: np.zeros(2, np.float32)}
        writer.add(sound, id=str(number), **said, kind="add", voice="x", rate=1.0, pitch=1.0)
    writer.close(completed=True)
    generator = np.random.default_rng(0)
    (folder / "tokens.json").write_text(json.dumps({"tokens": counts, "spoken": spoken}))
    generator.integers(0, NUM_CODES, sum(counts), np.int16).tofile(folder / "codes.i16")
    rows = sum(count for number, count in enumerate(counts) if number not in spoken)
    generator.normal(size=(rows, FEATURES)).astype(np.float16).tofile(folder / "features.f16")
    return EncodedSplit(Split(folder), folder)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> EncodedSplit:
    """Spoken questions with 5, 6 and 7 tokens."""
    questions, answers = zip(*QUESTIONS, strict=True)
    return fake_split(tmp_path_factory.mktemp("questions-0"), list(questions), [5, 6, 7], [], answers)


SPEECH = {"It is two.": 12, "No.": 1}  # tokens of long and of short speech


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    folder = tmp_path_factory.mktemp("assistant")
    return assistant_replies(fake_split(folder, list(SPEECH), list(SPEECH.values()), spoken=[0, 1]))


class Written:
    """A sample as the model reads it."""

    def __init__(self, sample: Sample, config: LMConfig, tokenizer: TextTokenizer, seed: int = 0):
        self.tokenizer, self.offset = tokenizer, config.audio_offset
        template = ChatTemplate.of(config, tokenizer, Recording.heard, Recording.spoken)
        self.sequence: Sequence = template.training(sample.draw(np.random.default_rng(seed)), sample.output_type)
        assert len(self.sequence) <= sample.positions(tokenizer, config.delay_tokens) < len(self.sequence) + 60
        self.audio, self.text = self.sequence.audio_ids.tolist(), self.sequence.text_ids.tolist()
        self.start = self.audio.index(tokenizer.special.assistant_start)

    def learnt(self) -> tuple[list[int], list[int]]:
        """Return the ids with a loss of both rows, all of them the assistant's."""
        sequence = self.sequence
        assert sequence.audio_loss is not None
        assert sequence.text_loss is not None
        assert not (sequence.audio_loss | sequence.text_loss)[: self.start + 1].any()
        return sequence.audio_ids[sequence.audio_loss].tolist(), sequence.text_ids[sequence.text_loss].tolist()

    def user_text(self) -> str:
        return self.tokenizer.decode(self.text[: self.start], skip_special=True)

    def check_heard(self, encoded: EncodedSplit, index: int) -> None:
        """The user's audio is there, with codes and features, and nothing else is continuous."""
        tokens, sequence = encoded.tokens(index), self.sequence
        assert sequence.audio_ids[sequence.is_continuous].tolist() == (tokens.codes + self.offset).tolist()
        assert not sequence.is_continuous[self.start :].any()
        (features,) = sequence.features
        assert tokens.features is not None
        assert torch.equal(features, tokens.features)

    def check_spoken(self, reply: str, replies: dict[str, Recording]) -> None:
        """The losses cover text and speech of the reply and their ends."""
        audio, text = self.learnt()
        special, ids, codes = self.tokenizer.special, self.tokenizer.encode(reply), replies[reply].spoken().codes
        assert text == [*ids, special.text_end]
        waiting = max(0, len(text) - 6 - len(codes))  # blanks until the text is over
        assert audio == [*(codes + self.offset).tolist(), *[special.blank] * waiting, special.message_end]


def written(samples: list[Sample], config: LMConfig, tokenizer: TextTokenizer) -> list[Written]:
    return [Written(sample, config, tokenizer) for sample in samples]


def test_recognition_learns_the_transcript_alone(encoded: EncodedSplit, config: LMConfig, tokenizer: TextTokenizer):
    samples = written(recognition(encoded), config, tokenizer)
    assert len(samples) == 3
    for index, sample in enumerate(samples):
        transcript = encoded.split.utterances[index].transcript
        assert sample.learnt() == ([], [*tokenizer.encode(transcript), tokenizer.special.text_end])
        assert sample.user_text() in ASR_INSTRUCTIONS
        assert tokenizer.special.reply_text in sample.audio
        sample.check_heard(encoded, index)
    (first, third) = written(recognition(encoded, every=2), config, tokenizer)
    first.check_heard(encoded, 0)
    third.check_heard(encoded, 2)


def test_spoken_questions_learn_the_reply_in_text_and_speech(
    encoded: EncodedSplit, replies: dict[str, Recording], config: LMConfig, tokenizer: TextTokenizer
):
    samples = written(spoken_questions(encoded, replies, "both"), config, tokenizer)
    assert len(samples) == 2  # nobody has said the third reply
    for index, sample in enumerate(samples):
        sample.check_heard(encoded, index)
        sample.check_spoken(QUESTIONS[index][1], replies)
        assert tokenizer.special.reply_both in sample.audio
        assert sample.user_text() == ""


def test_spoken_questions_learn_the_reply_in_text(
    encoded: EncodedSplit, replies: dict[str, Recording], config: LMConfig, tokenizer: TextTokenizer
):
    samples = written(spoken_questions(encoded, replies, "text"), config, tokenizer)
    assert len(samples) == 2
    for index, sample in enumerate(samples):
        sample.check_heard(encoded, index)
        assert sample.learnt() == ([], [*tokenizer.encode(QUESTIONS[index][1]), tokenizer.special.text_end])
        assert tokenizer.special.reply_text in sample.audio
    (only,) = written(spoken_questions(encoded, replies, "text", every=2), config, tokenizer)
    only.check_heard(encoded, 0)


def test_written_questions_learn_the_reply_in_text_and_speech(
    replies: dict[str, Recording], config: LMConfig, tokenizer: TextTokenizer
):
    samples = written(written_questions(QUESTIONS, replies), config, tokenizer)
    assert [sample.user_text() for sample in samples] == [question for question, _ in QUESTIONS[:2]]
    for sample, (_, reply) in zip(samples, QUESTIONS[:2], strict=True):
        sample.check_spoken(reply, replies)
        assert not sample.sequence.is_continuous.any()


def test_reading_learns_the_text_and_its_speech(
    replies: dict[str, Recording], config: LMConfig, tokenizer: TextTokenizer
):
    samples = written(reading(replies), config, tokenizer)
    assert len(samples) == 2
    for sample, reply in zip(samples, replies, strict=True):
        assert sample.user_text() in [instruction + reply for instruction in READING_INSTRUCTIONS]
        sample.check_spoken(reply, replies)


def test_requests_are_worded_in_every_way_and_the_usual_one_is_the_most_frequent(
    encoded: EncodedSplit, config: LMConfig, tokenizer: TextTokenizer
):
    sample = recognition(encoded)[0]
    drawn = [Written(sample, config, tokenizer, seed).user_text() for seed in range(80)]
    assert len(set(drawn)) > 20
    assert set(drawn) <= set(ASR_INSTRUCTIONS)
    assert 20 < drawn.count(Settings.transcribe_prompt) < 60
    assert drawn[7] == Written(sample, config, tokenizer, 7).user_text()


def test_conversions_say_what_is_heard_in_the_voice_that_says_it(
    encoded: EncodedSplit, tmp_path: Path, config: LMConfig, tokenizer: TextTokenizer
):
    said = fake_split(tmp_path, ["Who?", "Nobody heard this."], [8, 9], spoken=[0, 1])
    samples = written(conversions([encoded], [said], {"x": ("Like x.", "In the voice of x.")}), config, tokenizer)
    (only,) = samples
    only.check_heard(encoded, 2)
    only.check_spoken("Who?", assistant_replies(said))
    (sample,) = conversions([encoded], [said], {"x": ("Like x.", "In the voice of x.")})
    drawn = {Written(sample, config, tokenizer, seed).user_text() for seed in range(20)}
    assert drawn == {"Like x.", "In the voice of x."}


def test_conversations_learn_every_turn_of_the_assistant(
    encoded: EncodedSplit, config: LMConfig, tokenizer: TextTokenizer
):
    spoken = (StoredPart("user", sound="0"), StoredPart("assistant", "One.", "1"))
    asked = (StoredPart("user", "How?"), StoredPart("user", sound="2"), StoredPart("assistant", "Two.", "1"))
    written_reply = (StoredPart("user", "Which?"), StoredPart("user", sound="0"), StoredPart("assistant", "Yes."))
    examples = [StoredExample("t", "k", "key", parts) for parts in (spoken + asked, written_reply)]
    dialogue, short = written(conversations(encoded, examples), config, tokenizer)
    audio, text = dialogue.learnt()
    codes = (encoded.tokens(1).codes + config.audio_offset).tolist()
    special = tokenizer.special
    # Only the last turn has the end of its text, see ``ChatTemplate.training``.
    assert text == [*tokenizer.encode("One."), *tokenizer.encode("Two."), special.text_end]
    assert audio == [*codes, special.message_end, *codes, special.message_end]
    assert [len(block) for block in dialogue.sequence.features] == [5, 7]
    assert short.learnt() == ([], [*tokenizer.encode("Yes."), special.text_end])


def test_replies_are_found_by_their_text(encoded: EncodedSplit):
    found = assistant_replies(encoded)
    assert list(found) == [question for question, _ in QUESTIONS]
    for index, recording in enumerate(found.values()):
        assert torch.equal(recording.spoken().codes, encoded.tokens(index).codes)


def test_a_grown_model_says_the_same_of_what_it_knew(config: LMConfig, tokenizer: TextTokenizer):
    model = AudioLM(config)
    model.reset_parameters(torch.Generator().manual_seed(0))
    larger = train_bpe(["你好 hello hello"] * 3, tokenizer.vocab_size + 20, start=tokenizer)
    size = larger.vocab_size + NUM_CODES
    new = grown(model, tokenizer, larger, replace(config, vocab_size=size, audio_offset=larger.vocab_size), seed=1)
    assert larger.encode("It is two.") == tokenizer.encode("It is two.")
    ids = tokenizer.encode("It is two.")
    special = (tokenizer.special.blank, larger.special.blank)
    rows = [
        [[*ids, blank], [*(torch.arange(len(ids)) + offset).tolist(), blank]]
        for blank, offset in zip(special, (config.audio_offset, larger.vocab_size), strict=True)
    ]
    outputs = []
    for lm, row in zip((model, new), rows, strict=True):
        text, audio = torch.tensor(row)[:, None]
        outputs.append(lm(Inputs(audio, text, text < 0, None, torch.arange(len(row[0]))[None])))
    (old_text, old_audio), (new_text, new_audio) = ((out.text_logits, out.audio_logits) for out in outputs)
    torch.testing.assert_close(new_text[..., ids], old_text[..., ids])
    codes = torch.arange(NUM_CODES)
    torch.testing.assert_close(new_audio[..., codes + larger.vocab_size], old_audio[..., codes + config.audio_offset])


def test_lessons_are_learnt_in_their_shares_and_scored(
    encoded: EncodedSplit, replies: dict[str, Recording], config: LMConfig, tokenizer: TextTokenizer, tmp_path: Path
):
    lessons = [
        Lesson("asr", recognition(encoded)[:1], 1.0),
        Lesson("questions", spoken_questions(encoded, replies, "both")[:1], 3.0),
    ]
    template = ChatTemplate.of(config, tokenizer, Recording.heard, Recording.spoken)
    rows = lesson_rows(lessons, template, tokenizer, config.pad_id, 200, 2, seed=0)
    positions = rows.state(40)["positions"]
    assert positions[1] / positions[0] == pytest.approx(3, rel=0.1)

    loop = LoopConfig(steps=30, peak_lr=1e-2, warmup_steps=2, bf16=False, log_every_steps=1)
    scored: list[AudioLM] = []

    def evaluate(model: AudioLM) -> dict[str, float]:
        scored.append(model)
        return {"score": 7.0}

    model = AudioLM(config)
    model.reset_parameters(torch.Generator().manual_seed(0))
    train_lm(model, tokenizer, loop, lessons, tmp_path, 200, 2, evaluate)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name in ("text", "audio"):
        assert log[-1][name] < 0.5 * log[0][name]
    for row in log:
        assert row["loss"] == pytest.approx(row["text"] + row["audio"], rel=1e-4)
        assert row["text"] != row["audio"]
    assert scored == [model]
    assert log[-1]["score"] == 7.0
