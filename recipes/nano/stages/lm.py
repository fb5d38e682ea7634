"""Training of nano's audio LLM: from encoded corpora to lessons, from lessons to packed rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kimi_audio.chat import ChatTemplate, Message, OutputType
from kimi_audio.core import sequence
from kimi_audio.core.config import LMConfig, Settings
from kimi_audio.core.sequence import Batch
from kimi_audio.data.mixture import Mixture, Source
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.empty import build_empty
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.losses import lm_loss
from recipes.nano.closed.instructions import wordings
from recipes.nano.closed.task_corpus import StoredExample, StoredPart
from recipes.nano.stages.encode import EncodedSplit, Recording

# As often as all the other wordings together: it is what ``KimiAudio.transcribe`` says.
ASR_INSTRUCTIONS = (*wordings("asr", "en"), *[Settings.transcribe_prompt] * len(wordings("asr", "en")))
READING_INSTRUCTIONS = (
    "Please read the following text aloud: ",
    "Read aloud: ",
    "Say: ",
)
Requests = Mapping[str, tuple[str, ...]]
_MARKS = 4  # positions around a message: role, media marks, end; more than there are


@dataclass(frozen=True)
class Sample:
    """One conversation to learn from.

    Args:
        messages: what is said and replied.
        output_type: what is asked for.
        requests: one of these, drawn anew in every epoch, begins the first message: as a message of its own before a
            recording, as the beginning of a text.
    """

    messages: tuple[Message, ...]
    output_type: OutputType
    requests: tuple[str, ...] = ()

    def draw(self, generator: np.random.Generator) -> tuple[Message, ...]:
        """Return the conversation with one of the requests."""
        if not self.requests:
            return self.messages
        return self._begun(self.requests[int(generator.integers(len(self.requests)))])

    def _begun(self, request: str) -> tuple[Message, ...]:
        first, *others = self.messages
        if first.message_type == "text":
            return (replace(first, content=request + first.content), *others)
        return (Message("user", "text", request), first, *others)

    def positions(self, tokenizer: TextTokenizer, delay_tokens: int) -> int:
        """Return how long its sequence is at most."""
        total = _longest(self.requests, tokenizer) + _MARKS if self.requests else 0
        for message in self.messages:
            text, speech = message.content, 0
            if message.message_type == "audio":
                text, speech = "", len(message.content)
            elif message.message_type == "audio-text":
                text, speech = message.content[1], len(message.content[0]) + delay_tokens
            total += _MARKS + max(len(tokenizer.encode(text)) + 1, speech)
        return total


@lru_cache(maxsize=64)
def _longest(requests: tuple[str, ...], tokenizer: TextTokenizer) -> int:
    return max(len(tokenizer.encode(request)) for request in requests)


@dataclass(frozen=True)
class Lesson:
    """Samples of one kind, and their share of all positions, relative to the other lessons."""

    name: str
    samples: Sequence[Sample]
    share: float


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def recognition(encoded: EncodedSplit, every: int = 1) -> list[Sample]:
    """Return samples that ask for a transcript, of every so many utterances."""
    utterances = encoded.split.utterances
    return [
        Sample(
            (_heard(encoded, index), Message("assistant", "text", utterances[index].transcript)),
            "text",
            ASR_INSTRUCTIONS,
        )
        for index in range(0, len(utterances), every)
    ]


def spoken_questions(
    encoded: EncodedSplit, replies: dict[str, Recording], output_type: OutputType, every: int = 1
) -> list[Sample]:
    """Return samples of a spoken question and its reply, in text or in text and speech.

    Args:
        encoded: the questions.
        replies: the assistant's speech by the text of the reply; questions without one are left out.
        output_type: what is asked for.
        every: take every so many questions.
    """
    return [
        Sample((_heard(encoded, index), _reply(utterance.answer, replies, output_type)), output_type)
        for index, utterance in enumerate(encoded.split.utterances)
        if index % every == 0 and utterance.answer in replies
    ]


def written_questions(questions: Sequence[tuple[str, str]], replies: dict[str, Recording]) -> list[Sample]:
    """Return samples of a written question and its reply in text and speech; questions are (question, answer)."""
    return [
        Sample((Message("user", "text", question), _reply(answer, replies, "both")), "both")
        for question, answer in questions
        if answer in replies
    ]


def reading(replies: dict[str, Recording]) -> list[Sample]:
    """Return samples that ask to read a text aloud."""
    return [
        Sample((Message("user", "text", text), _reply(text, replies, "both")), "both", READING_INSTRUCTIONS)
        for text in replies
    ]


def conversions(heard: Sequence[EncodedSplit], said: Sequence[EncodedSplit], requests: Requests) -> list[Sample]:
    """Return samples that ask to say again, in another voice, what is heard.

    Args:
        heard: recordings of any voices.
        said: what the assistant says in its voices; where it says the transcript of a recording, the two make a sample.
        requests: ways to ask for a voice, by its name in ``Utterance.voice``.
    """
    spoken = {
        utterance.transcript: (utterance, split.recording(index))
        for split in said
        for index, utterance in enumerate(split.split.utterances)
    }
    samples = []
    for split in heard:
        for index, utterance in enumerate(split.split.utterances):
            if utterance.transcript in spoken:
                target, recording = spoken[utterance.transcript]
                reply = Message("assistant", "audio-text", (recording, target.text))
                samples.append(Sample((_heard(split, index), reply), "both", requests[target.voice]))
    return samples


def conversations(encoded: EncodedSplit, examples: Iterable[StoredExample]) -> list[Sample]:
    """Return the examples of a task corpus as samples, every turn of the assistant being learned."""
    return [
        Sample(
            tuple(_message(encoded, part) for part in example.parts),
            "both" if example.parts[-1].sound is not None else "text",
        )
        for example in examples
    ]


def _message(encoded: EncodedSplit, part: StoredPart) -> Message:
    if part.sound is None:
        return Message(part.role, "text", part.text)
    recording = encoded.find(part.sound)
    if part.role == "user":
        return Message("user", "audio", recording)
    return Message("assistant", "audio-text", (recording, part.text))


def _heard(encoded: EncodedSplit, index: int) -> Message:
    return Message("user", "audio", encoded.recording(index))


def _reply(text: str | None, replies: dict[str, Recording], output_type: OutputType) -> Message:
    assert text is not None
    if output_type == "text":
        return Message("assistant", "text", text)
    return Message("assistant", "audio-text", (replies[text], text))


def assistant_replies(encoded: EncodedSplit) -> dict[str, Recording]:
    """Return everything the assistant's voice says, by its text."""
    return {utterance.text: encoded.recording(index) for index, utterance in enumerate(encoded.split.utterances)}


# ---------------------------------------------------------------------------------------------------------------------
# Training


def grown(model: AudioLM, known: TextTokenizer, tokenizer: TextTokenizer, config: LMConfig, seed: int) -> AudioLM:
    """Return a model of a larger text vocabulary whose known ids keep what they mean.

    Args:
        model: trained with the tokenizer ``known``.
        known: the first ranks of ``tokenizer`` are its ranks.
        tokenizer: of the new model.
        config: of the new model; everything but the vocabulary is that of the old one.
        seed: of the ids that are new.
    """
    larger = build_empty(lambda: AudioLM(config)).to_empty(device="cpu")
    larger.reset_parameters(torch.Generator().manual_seed(seed))
    ids = known.kept_ids(tokenizer)  # [V, 2]
    codes = torch.arange(config.num_codes)[:, None]
    ids = torch.cat([ids, codes + torch.tensor([model.config.audio_offset, config.audio_offset])])
    state = model.state_dict()
    for name, tensor in larger.state_dict().items():
        if tensor.shape == state[name].shape:
            tensor.copy_(state[name])
        else:
            tensor[ids[:, 1]] = state[name][ids[:, 0]]
    return larger


def lesson_rows(
    lessons: Sequence[Lesson],
    template: ChatTemplate,
    tokenizer: TextTokenizer,
    pad_id: int,
    row_positions: int,
    rows: int,
    seed: int,
) -> Mixture:
    """Return packed rows in which every lesson has its share of the positions."""

    def source(lesson: Lesson) -> Source:
        def build(index: int, generator: np.random.Generator) -> sequence.Sequence:
            sample = lesson.samples[index]
            return template.training(sample.draw(generator), sample.output_type)

        lengths = [sample.positions(tokenizer, template.delay_tokens) for sample in lesson.samples]
        return Source(lesson.name, lengths, build, lesson.share)

    sources = [source(lesson) for lesson in lessons]
    return Mixture(sources, row_positions=row_positions, rows=rows, pad_id=pad_id, seed=seed)


def train_lm(
    model: AudioLM,
    tokenizer: TextTokenizer,
    loop: LoopConfig,
    lessons: Sequence[Lesson],
    folder: Path,
    row_positions: int,
    rows: int,
    evaluate: Callable[[AudioLM], dict[str, float]] | None = None,
) -> AudioLM:
    """Train the LLM from the weights it has, or go on with what ``folder`` holds.

    Args:
        model: is trained in place.
        tokenizer: of the text.
        loop: schedule.
        lessons: what it learns from.
        folder: checkpoints and log.
        row_positions: of one packed row; the longest sample has to fit.
        rows: of one batch.
        evaluate: scores the model during training.
    """
    config = model.config
    template = ChatTemplate.of(config, tokenizer, Recording.heard, Recording.spoken)
    batch_of = lesson_rows(lessons, template, tokenizer, config.pad_id, row_positions, rows, loop.seed)

    def loss_of(batch: Batch, _step: int) -> dict[str, Tensor]:
        loss = lm_loss(model, batch)
        return {"loss": loss.mean, "text": loss.text.mean, "audio": loss.audio.mean}

    train(model, loss_of, batch_of, loop, folder, None if evaluate is None else lambda: evaluate(model), 250)
    return model
