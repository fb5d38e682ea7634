"""How well a model does on what is held out while it is trained: losses per task and row, and word errors."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import torch

from kimi_audio.chat import Message
from kimi_audio.chat.template import learned_messages
from kimi_audio.core.sequence import Batch, Sequence, pack
from kimi_audio.core.words import word_errors, words_in_any_script
from kimi_audio.data.conversations import Conversation
from kimi_audio.data.dataset import ConversationDataset
from kimi_audio.data.packing import pack_rows
from kimi_audio.lm.generate import generate
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.nn.precision import autocast
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.losses import LMLoss, lm_loss

Broken = Callable[[str, Exception], None]  # told of a sample that cannot be built, and why

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

    @property
    def name(self) -> str:
        """Its file and line."""
        return f"{self.file.file.path.name}:{self.file.lines[self.index]}"

    @property
    def task(self) -> str:
        """Its ``task_type``, "other" where it has none."""
        return str(self.file.tasks[self.index])

    @property
    def rows(self) -> set[str]:
        """The rows in which something of it is learned; none where its line cannot be read any more."""
        sample = self._read()
        if sample is None:
            return set()
        learned = learned_messages(list(sample.messages), sample.loss or self.file.loss)
        kinds = {
            message.message_type for message, is_learned in zip(sample.messages, learned, strict=True) if is_learned
        }
        return ({"text"} if kinds else set()) | ({"audio"} if kinds - {"text"} else set())

    def messages(self) -> tuple[Message, ...]:
        """Return its conversation; errors as for ``ConversationFile``."""
        return self.file.file[int(self.file.lines[self.index]) - 1].messages

    def has_written_reply(self) -> bool:
        """Tell whether it can be read and ends with a text of the assistant that has words."""
        sample = self._read()
        if sample is None:
            return False
        last = sample.messages[-1]
        is_written = last.role == "assistant" and last.message_type == "text"
        return is_written and bool(words_in_any_script(str(last.content)))

    def _read(self) -> Conversation | None:
        try:
            return self.file.file[int(self.file.lines[self.index]) - 1]
        except (ValueError, OSError):  # told of where it is built
            return None


class Scored(Protocol):
    """Something that is held out."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def positions(self) -> int:
        """The length of its sequence, at most."""
        ...

    @property
    def rows(self) -> set[str]:
        """The rows in which something of it is learned, "text" and "audio"."""
        ...

    def build(self) -> Sequence:
        """Return its sequence."""
        ...


def score_names(tasks: Mapping[str, SequenceOf[Scored]], *, transcribed: bool) -> list[str]:
    """Return the scores that there are; a task in which a row is never learned has none of that row."""
    rows = {task: set[str]().union(*(sample.rows for sample in samples)) for task, samples in tasks.items()}
    losses = [f"dev_{task}_{row}" for task in tasks for row in ("text", "audio") if row in rows[task]]
    return [*(["dev_loss"] if losses else []), *losses, *(["dev_wer"] if transcribed else [])]


def task_losses(
    loss_of: Callable[[Batch], LMLoss],
    tasks: Mapping[str, SequenceOf[Scored]],
    row_positions: int,
    pad_id: int,
    broken: Broken,
) -> dict[str, float]:
    """Return ``dev_loss``, the sum of the mean losses of both rows, and ``dev_TASK_text`` and ``dev_TASK_audio``.

    A sample that cannot be built is left out, and ``broken`` is told. Of nothing, there is no loss.
    """
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # row and task -> sum, count
    for task, samples in tasks.items():
        for row in pack_rows([sample.positions for sample in samples], row_positions):
            built = [sequence for place in row if (sequence := _built(samples[place], broken)) is not None]
            if not built:
                continue
            loss = loss_of(pack([built], pad_id))
            for name, part in (("text", loss.text), ("audio", loss.audio)):
                for key in (f"dev_{task}_{name}", name):
                    totals[key][0] += float(part.total)
                    totals[key][1] += int(part.count)
    means = {name: total / count for name, (total, count) in totals.items() if count}
    rows = [means.pop(name) for name in ("text", "audio") if name in means]
    return {"dev_loss": sum(rows), **means} if rows else {}


def _built(sample: Scored, broken: Broken) -> Sequence | None:
    try:
        return sample.build()
    except (ValueError, OSError) as error:
        broken(sample.name, error)
        return None


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Return ``dev_wer``, the errors per word in pairs of what was said and what was heard, both in any spelling.

    Where nothing was said, there is no score.
    """
    errors = words = 0
    for said, heard in pairs:
        wanted = words_in_any_script(said)
        errors, words = errors + word_errors(wanted, words_in_any_script(heard)), words + len(wanted)
    return {"dev_wer": errors / words} if words else {}


class HeldOutScores:
    """Scores the LLM on samples that it does not learn from.

    Args:
        lm: the model.
        files: held-out samples.
        tokenizer: of the text.
        row_positions: of packed rows.
        samples: how many give the losses, drawn from everywhere, in turn from each task.
        transcribed: how many of these that have a written reply are answered by generation, for the word error rate.
        bf16: autocast, as in training.
        broken: is told of a sample that cannot be built, which is left out.
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
        broken: Broken,
    ):
        self.lm, self.tokenizer = lm, tokenizer
        self.row_positions, self.bf16 = row_positions, bf16
        self.device = lm.lm_head.weight.device
        self._broken = broken
        known = [Sample(file, index) for file in files for index in range(len(file))]
        drawn = [known[place] for place in np.random.default_rng(0).permutation(len(known))]
        scored = _in_turn(drawn)[:samples]
        self._tasks: dict[str, list[Sample]] = defaultdict(list)
        for sample in scored:
            self._tasks[sample.task].append(sample)
        self._transcribed = [sample for sample in scored if sample.has_written_reply()][:transcribed]

    @property
    def names(self) -> list[str]:
        """The scores that there are."""
        return score_names(self._tasks, transcribed=bool(self._transcribed))

    @property
    def scored(self) -> Iterator[Sample]:
        """What gives the losses."""
        return chain.from_iterable(self._tasks.values())

    def __call__(self) -> dict[str, float]:
        """Return ``dev_loss``, ``dev_TASK_text``, ``dev_TASK_audio`` for every task, and ``dev_wer``."""
        self.lm.eval()
        with torch.no_grad(), autocast(self.device, self.bf16):
            scores = task_losses(self._loss, self._tasks, self.row_positions, self.lm.config.pad_id, self._broken)
        return scores | word_error_rate(self._transcripts())

    def _loss(self, batch: Batch) -> LMLoss:
        return lm_loss(self.lm, batch.to(self.device))

    def _transcripts(self) -> Iterator[tuple[str, str]]:
        options = GenerationOptions(max_new_tokens=MAX_TRANSCRIPT_TOKENS)
        for start in range(0, len(self._transcribed), TRANSCRIBED_AT_ONCE):
            samples = self._transcribed[start : start + TRANSCRIBED_AT_ONCE]
            asked = [(sample, prompt) for sample in samples if (prompt := self._question(sample)) is not None]
            if not asked:
                continue
            replies = generate(self.lm, [prompt for _, prompt in asked], self.tokenizer.special, options)
            for (sample, _), reply in zip(asked, replies, strict=True):
                said = str(sample.messages()[-1].content)
                yield said, self.tokenizer.decode(reply.text_ids, skip_special=True)

    def _question(self, sample: Sample) -> Sequence | None:
        try:
            return sample.file.template.prompt(sample.messages()[:-1], "text")
        except (ValueError, OSError) as error:
            self._broken(sample.name, error)
            return None


def _in_turn(samples: SequenceOf[Sample]) -> list[Sample]:
    """Return samples in an order in which each task comes in its turn."""
    seen: dict[str, int] = defaultdict(int)
    places = []
    for sample in samples:
        places.append(seen[sample.task])
        seen[sample.task] += 1
    return [samples[number] for number in np.argsort(places, kind="stable")]
