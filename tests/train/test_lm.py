"""What the audio LLM learns from: every kind of sample has its losses where the assistant speaks and nowhere else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kimi_audio.chat import ChatTemplate
from kimi_audio.config import LMConfig
from kimi_audio.data.manifest import Split, SplitWriter
from kimi_audio.lm.model import AudioLM
from kimi_audio.sequence import Sequence
from kimi_audio.tokenizer.text import TextTokenizer, train_bpe
from kimi_audio.train.encode import EncodedSplit
from kimi_audio.train.lm import (
    ASR_INSTRUCTIONS,
    READING_INSTRUCTIONS,
    Sample,
    assistant_replies,
    reading,
    recognition,
    spoken_questions,
    train_lm,
    written_questions,
)
from kimi_audio.train.loop import LoopConfig
from kimi_audio.units import INPUT_RATE_HZ

NUM_CODES, FEATURES = 20, 8
REPLIES = {"It is two.": torch.arange(12) % NUM_CODES, "No.": torch.tensor([3])}  # long and short speech
QUESTIONS = [("What is one plus one?", "It is two."), ("Is it?", "No."), ("Who?", "Nobody has said it.")]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return train_bpe([*ASR_INSTRUCTIONS, *READING_INSTRUCTIONS, *REPLIES], 300)


@pytest.fixture(scope="module")
def config(tokenizer: TextTokenizer) -> LMConfig:
    return LMConfig(
        vocab_size=tokenizer.vocab_size + NUM_CODES,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        rms_norm_eps=1e-6,
        rope_theta=1e4,
        max_positions=256,
        num_audio_layers=1,
        branch_layer_index=0,
        audio_offset=tokenizer.vocab_size,
        adaptor_input_size=FEATURES,
        pad_id=tokenizer.special.pad,
    )


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> EncodedSplit:
    """Spoken questions with 5, 6 and 7 tokens."""
    folder, counts = tmp_path_factory.mktemp("questions-0"), [5, 6, 7]
    writer = SplitWriter(folder, (INPUT_RATE_HZ,))
    for number, (question, answer) in enumerate(QUESTIONS):
        texts = {"text": question, "transcript": question.lower().rstrip("?"), "answer": answer}
        sound = {INPUT_RATE_HZ: np.zeros(2, np.float32)}
        writer.add(sound, id=str(number), **texts, kind="add", voice="x", rate=1.0, pitch=1.0)
    writer.close(completed=True)
    generator = np.random.default_rng(0)
    (folder / "tokens.json").write_text(json.dumps(counts))
    generator.integers(0, NUM_CODES, sum(counts), np.int16).tofile(folder / "codes.i16")
    generator.normal(size=(sum(counts), FEATURES)).astype(np.float16).tofile(folder / "features.f16")
    return EncodedSplit(Split(folder), folder)


class Written:
    """A sample as the model reads it."""

    def __init__(self, sample: Sample, config: LMConfig, tokenizer: TextTokenizer, seed: int = 0):
        self.tokenizer, self.offset = tokenizer, config.audio_offset
        messages, output_type = sample.build(np.random.default_rng(seed))
        template = ChatTemplate.of(config, tokenizer, lambda content: pytest.fail(f"{content} is not encoded"))
        self.sequence: Sequence = template.training(messages, output_type)
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

    def check_spoken(self, reply: str) -> None:
        """The losses cover text and speech of the reply and their ends."""
        audio, text = self.learnt()
        special, ids, codes = self.tokenizer.special, self.tokenizer.encode(reply), REPLIES[reply]
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
    encoded: EncodedSplit, config: LMConfig, tokenizer: TextTokenizer
):
    samples = written(spoken_questions(encoded, REPLIES, "both"), config, tokenizer)
    assert len(samples) == 2  # nobody has said the third reply
    for index, sample in enumerate(samples):
        sample.check_heard(encoded, index)
        sample.check_spoken(QUESTIONS[index][1])
        assert tokenizer.special.reply_both in sample.audio
        assert sample.user_text() == ""


def test_spoken_questions_learn_the_reply_in_text(encoded: EncodedSplit, config: LMConfig, tokenizer: TextTokenizer):
    samples = written(spoken_questions(encoded, REPLIES, "text"), config, tokenizer)
    assert len(samples) == 2
    for index, sample in enumerate(samples):
        sample.check_heard(encoded, index)
        assert sample.learnt() == ([], [*tokenizer.encode(QUESTIONS[index][1]), tokenizer.special.text_end])
        assert tokenizer.special.reply_text in sample.audio
    (only,) = written(spoken_questions(encoded, REPLIES, "text", every=2), config, tokenizer)
    only.check_heard(encoded, 0)


def test_written_questions_learn_the_reply_in_text_and_speech(config: LMConfig, tokenizer: TextTokenizer):
    samples = written(written_questions(QUESTIONS, REPLIES), config, tokenizer)
    assert [sample.user_text() for sample in samples] == [question for question, _ in QUESTIONS[:2]]
    for sample, (_, reply) in zip(samples, QUESTIONS[:2], strict=True):
        sample.check_spoken(reply)
        assert not sample.sequence.is_continuous.any()


def test_reading_learns_the_text_and_its_speech(config: LMConfig, tokenizer: TextTokenizer):
    samples = written(reading(REPLIES), config, tokenizer)
    assert len(samples) == 2
    for sample, reply in zip(samples, REPLIES, strict=True):
        assert sample.user_text() in [instruction + reply for instruction in READING_INSTRUCTIONS]
        sample.check_spoken(reply)


def test_requests_are_worded_in_every_way(encoded: EncodedSplit, config: LMConfig, tokenizer: TextTokenizer):
    sample = recognition(encoded)[0]
    drawn = [Written(sample, config, tokenizer, seed).user_text() for seed in range(60)]
    assert set(drawn) == set(ASR_INSTRUCTIONS)
    assert drawn[7] == Written(sample, config, tokenizer, 7).user_text()


def test_replies_are_found_by_their_text(encoded: EncodedSplit):
    replies: dict[str, Tensor] = assistant_replies(encoded)
    assert list(replies) == [question for question, _ in QUESTIONS]
    for index, codes in enumerate(replies.values()):
        assert torch.equal(codes, encoded.tokens(index).codes)


def test_two_samples_are_learnt_and_scored(
    encoded: EncodedSplit, config: LMConfig, tokenizer: TextTokenizer, tmp_path: Path
):
    samples = [recognition(encoded)[0], spoken_questions(encoded, REPLIES, "both")[0]]
    loop = LoopConfig(steps=30, peak_lr=1e-2, warmup_steps=2, bf16=False, log_every_steps=1)
    scored: list[AudioLM] = []

    def evaluate(model: AudioLM) -> dict[str, float]:
        scored.append(model)
        return {"score": 7.0}

    model = train_lm(config, tokenizer, loop, samples, tmp_path, 200, evaluate)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for name in ("text", "audio"):
        assert rows[-1][name] < 0.5 * rows[0][name]
    for row in rows:
        assert row["loss"] == pytest.approx(row["text"] + row["audio"], rel=1e-4)
        assert row["text"] != row["audio"]
    assert scored == [model]
    assert rows[-1]["score"] == 7.0
