"""How well a model does on what is held out while it is trained: losses per task and row, and word errors."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from kimi_audio.chat import Message
from kimi_audio.data.dataset import ConversationDataset
from kimi_audio.data.packing import pack_rows
from kimi_audio.data.scoring import word_errors
from kimi_audio.data.text import normalise
from kimi_audio.lm.generate import GenerationOptions, generate
from kimi_audio.lm.model import AudioLM
from kimi_audio.sequence import Batch, Sequence, pack
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.losses import LMLoss, lm_loss

TRANSCRIBED_AT_ONCE = 8
MAX_TRANSCRIPT_TOKENS = 256


@dataclass(frozen=True)
class Sample:
    """One sample of a file."""

    file: ConversationDataset
    index: int

    @property
    def positions(self) -> int:
        """Its length."""
        return int(self.file.positions[self.index])

    def build(self) -> Sequence:
        """Return its sequence."""
        return self.file[self.index]

    def messages(self) -> tuple[Message, ...]:
        """Return its conversation."""
        return self.file.file[int(self.file.lines[self.index]) - 1].messages

    def task(self) -> str:
        """Return its ``task_type``, "other" where it has none."""
        return str(json.loads(self.file.file.line(int(self.file.lines[self.index]) - 1)).get("task_type") or "other")

    def has_written_reply(self) -> bool:
        """Tell whether it ends with a text of the assistant."""
        last = self.messages()[-1]
        return last.role == "assistant" and last.message_type == "text"


class Scored(Protocol):
    """Something that is held out."""

    @property
    def positions(self) -> int:
        """The length of its sequence, at most."""
        ...

    def build(self) -> Sequence:
        """Return its sequence."""
        ...


def task_losses(
    loss_of: Callable[[Batch], LMLoss], tasks: Mapping[str, SequenceOf[Scored]], row_positions: int, pad_id: int
) -> dict[str, float]:
    """Return ``dev_loss``, the sum of the mean losses of both rows, and ``dev_TASK_text`` and ``dev_TASK_audio``."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # row and task -> sum, count
    for task, samples in tasks.items():
        for row in pack_rows([sample.positions for sample in samples], row_positions):
            loss = loss_of(pack([[samples[place].build() for place in row]], pad_id))
            for name, part in (("text", loss.text), ("audio", loss.audio)):
                for key in (f"dev_{task}_{name}", name):
                    totals[key][0] += float(part.total)
                    totals[key][1] += int(part.count)
    means = {name: total / count for name, (total, count) in totals.items() if count}
    loss = sum(means.pop(name, 0.0) for name in ("text", "audio"))
    return {"dev_loss": loss, **means}


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Return the errors per word in pairs of what was said and what was heard, both in any spelling."""
    errors = words = 0
    for said, heard in pairs:
        wanted = normalise(said).split()
        errors, words = errors + word_errors(wanted, normalise(heard).split()), words + len(wanted)
    return errors / max(words, 1)


class HeldOutScores:
    """Scores the LLM on samples that it does not learn from.

    Args:
        lm: the model.
        files: held-out samples.
        tokenizer: of the text.
        row_positions: of packed rows.
        samples: how many give the losses, drawn from everywhere.
        transcribed: how many of those with a written reply are answered by generation, for the word error rate.
        bf16: autocast, as in training.
    """

    def __init__(
        self,
        lm: AudioLM,
        files: SequenceOf[ConversationDataset],
        tokenizer: TextTokenizer,
        *,
        row_positions: int,
        samples: int,
        transcribed: int = 0,
        bf16: bool = False,
    ):
        self.lm, self.tokenizer = lm, tokenizer
        self.row_positions, self.bf16 = row_positions, bf16
        self.device = lm.lm_head.weight.device
        known = [Sample(file, index) for file in files for index in range(len(file))]
        drawn = [known[place] for place in np.random.default_rng(0).permutation(len(known))]
        self._tasks: dict[str, list[Sample]] = defaultdict(list)
        for sample in drawn[:samples]:
            self._tasks[sample.task()].append(sample)
        self._transcribed = [sample for sample in drawn if sample.has_written_reply()][:transcribed]

    def __call__(self) -> dict[str, float]:
        """Return ``dev_loss``, ``dev_TASK_text``, ``dev_TASK_audio`` for every task, and ``dev_wer``."""
        self.lm.eval()
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            scores = task_losses(self._loss, self._tasks, self.row_positions, self.lm.config.pad_id)
        return scores | ({"dev_wer": word_error_rate(self._transcripts())} if self._transcribed else {})

    def _loss(self, batch: Batch) -> LMLoss:
        return lm_loss(self.lm, batch.to(self.device))

    def _transcripts(self) -> Iterator[tuple[str, str]]:
        options = GenerationOptions(max_new_tokens=MAX_TRANSCRIPT_TOKENS)
        for start in range(0, len(self._transcribed), TRANSCRIBED_AT_ONCE):
            samples = self._transcribed[start : start + TRANSCRIBED_AT_ONCE]
            chats = [sample.messages() for sample in samples]
            prompts = [
                sample.file.template.prompt(chat[:-1], "text") for sample, chat in zip(samples, chats, strict=True)
            ]
            replies = generate(self.lm, prompts, self.tokenizer.special, options)
            for chat, reply in zip(chats, replies, strict=True):
                yield str(chat[-1].content), self.tokenizer.decode(reply.text_ids, skip_special=True)
