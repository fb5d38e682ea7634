"""Training of the audio LLM on recognition, questions and reading aloud."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kimi_audio.chat import ChatTemplate, Message, OutputType
from kimi_audio.config import LMConfig
from kimi_audio.lm.model import AudioLM
from kimi_audio.sequence import AudioTokens, Batch, collate
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.batches import EpochPlan
from kimi_audio.train.encode import EncodedSplit
from kimi_audio.train.loop import LoopConfig, train
from kimi_audio.train.losses import lm_loss

ASR_INSTRUCTIONS = (
    "Please transcribe the spoken content into written text.",
    "Please transcribe the following audio:",
    "Please transcribe this audio.",
    "Write down what is said.",
    "Transcribe this recording.",
    "What is said here?",
)
READING_INSTRUCTIONS = (
    "Please read the following text aloud: ",
    "Read aloud: ",
    "Say: ",
)


@dataclass(frozen=True)
class Sample:
    """One conversation to learn from; it is built when it is needed, because features are large."""

    build: Callable[[np.random.Generator], tuple[list[Message], OutputType]]
    positions: int  # about how long its sequence is


def recognition(encoded: EncodedSplit, every: int = 1) -> list[Sample]:
    """Return samples that ask for a transcript, of every so many utterances."""

    def sample(index: int) -> Sample:
        def build(generator: np.random.Generator) -> tuple[list[Message], OutputType]:
            messages = [
                Message("user", "text", str(generator.choice(ASR_INSTRUCTIONS))),
                Message("user", "audio", encoded.tokens(index)),
                Message("assistant", "text", encoded.split.utterances[index].transcript),
            ]
            return messages, "text"

        return Sample(build, encoded.counts[index] + 36)

    return [sample(index) for index in range(0, len(encoded.split), every)]


def spoken_questions(
    encoded: EncodedSplit, replies: dict[str, Tensor], output_type: OutputType, every: int = 1
) -> list[Sample]:
    """Return samples of a spoken question and its reply, in text or in text and speech.

    Args:
        encoded: the questions.
        replies: the assistant's codes [N] by the text of the reply; questions without one are left out.
        output_type: what is asked for.
        every: take every so many questions.
    """

    def sample(index: int) -> Sample:
        answer = encoded.split.utterances[index].answer
        assert answer is not None

        def build(_generator: np.random.Generator) -> tuple[list[Message], OutputType]:
            return [Message("user", "audio", encoded.tokens(index)), _reply(answer, replies, output_type)], output_type

        speech = len(replies[answer]) if output_type == "both" else 10
        return Sample(build, encoded.counts[index] + 12 + speech)

    utterances = encoded.split.utterances
    return [sample(i) for i in range(0, len(utterances), every) if utterances[i].answer in replies]


def written_questions(questions: Sequence[tuple[str, str]], replies: dict[str, Tensor]) -> list[Sample]:
    """Return samples of a written question and its reply in text and speech; questions are (question, answer)."""

    def sample(question: str, answer: str) -> Sample:
        def build(_generator: np.random.Generator) -> tuple[list[Message], OutputType]:
            return [Message("user", "text", question), _reply(answer, replies, "both")], "both"

        return Sample(build, len(question) // 3 + 12 + len(replies[answer]))

    return [sample(question, answer) for question, answer in questions if answer in replies]


def reading(replies: dict[str, Tensor]) -> list[Sample]:
    """Return samples that ask to read a text aloud."""

    def sample(text: str) -> Sample:
        def build(generator: np.random.Generator) -> tuple[list[Message], OutputType]:
            request = Message("user", "text", str(generator.choice(READING_INSTRUCTIONS)) + text)
            return [request, _reply(text, replies, "both")], "both"

        return Sample(build, len(text) // 3 + 20 + len(replies[text]))

    return [sample(text) for text in replies]


def _reply(text: str, replies: dict[str, Tensor], output_type: OutputType) -> Message:
    if output_type == "text":
        return Message("assistant", "text", text)
    return Message("assistant", "audio-text", (AudioTokens(replies[text]), text))


def assistant_replies(encoded: EncodedSplit) -> dict[str, Tensor]:
    """Return the codes [N] of everything the assistant's voice says, by its text."""
    return {u.text: encoded.tokens(index).codes for index, u in enumerate(encoded.split.utterances)}


def train_lm(
    config: LMConfig,
    tokenizer: TextTokenizer,
    loop: LoopConfig,
    samples: Sequence[Sample],
    folder: Path,
    positions: int,
    evaluate: Callable[[AudioLM], dict[str, float]] | None = None,
) -> AudioLM:
    """Train the LLM from random weights, or go on with what ``folder`` holds.

    Args:
        config: sizes.
        tokenizer: of the text.
        loop: schedule.
        samples: what it learns from.
        folder: checkpoints and log.
        positions: padded positions of one batch.
        evaluate: scores the model during training.
    """
    model = AudioLM(config)
    model.reset_parameters(torch.Generator().manual_seed(loop.seed))
    template = ChatTemplate.of(config, tokenizer, _no_encoder)
    plan = EpochPlan([sample.positions for sample in samples], positions, loop.seed)

    def batch_of(step: int) -> Batch:
        generator = np.random.default_rng((loop.seed, step))
        built = (samples[index].build(generator) for index in plan(step))
        return collate((template.training(messages, output) for messages, output in built), config.pad_id)

    def loss_of(batch: Batch, _step: int) -> dict[str, Tensor]:
        loss = lm_loss(model, batch)
        return {"loss": loss.mean, "text": loss.text.mean, "audio": loss.audio.mean}

    train(model, loss_of, batch_of, loop, folder, None if evaluate is None else lambda: evaluate(model), 250)
    return model


def _no_encoder(_content: Any) -> AudioTokens:
    raise AssertionError("training reads encoded audio")
