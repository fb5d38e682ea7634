"""Files of conversations as a data set: sequences with their losses, in any order, with their lengths known before."""

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from typing import Self

import numpy as np

from kimi_audio.chat import ChatTemplate, LossChoice
from kimi_audio.core.sequence import Sequence
from kimi_audio.data.conversations import ConversationFile
from kimi_audio.data.validation import FileReport, check_length


class ConversationDataset(SequenceOf[Sequence]):
    """The good samples of a file as sequences with their losses, built when they are asked for and not kept.

    A sample that is too long is left out and reported, never cut.

    Args:
        file: the samples.
        report: of ``validate_file`` for this file: which samples are good and how long they are.
        template: writes the sequences; it encodes the audio.
        max_positions: longest sequence.
        loss: what is learned of samples that leave it open.

    Raises:
        ValueError: there is no good sample, or the report is about another file.
    """

    def __init__(
        self,
        file: ConversationFile,
        report: FileReport,
        template: ChatTemplate,
        max_positions: int,
        loss: LossChoice = "all",
    ):
        if report.num_lines != len(file):
            raise ValueError(f"the report is about {report.num_lines} lines, but {file.path} has {len(file)}")
        report.require_good_lines()
        self.file, self.report, self.template = file, report, template
        self.max_positions = max_positions
        self.loss: LossChoice = loss
        self.lines: np.ndarray = report.lines  # [K] int64, from 1
        self.positions: np.ndarray = report.positions  # [K] int64, the lengths of the sequences, see FileReport
        self.tasks: np.ndarray = np.array(report.tasks, object)  # [K] str

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Sequence]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sequence:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Build one sequence.

        Raises:
            ValueError: it cannot be built, or is too long after all; with file and line.
        """
        line = int(self.lines[index])
        try:
            sample = self.file[line - 1]
            sequence = self.template.training(sample.messages, sample.output_type, loss=sample.loss or self.loss)
            check_length(sequence, self.max_positions)
        except (ValueError, OSError) as error:
            raise ValueError(f"{self.file.path}, line {line}: {error}") from error
        return sequence

    def split(self, held_out: float, seed: int) -> tuple[Self, Self]:
        """Return two data sets, of which the second holds a share of the samples of every task, at least one.

        A task with one sample alone is learned, unless nothing else could be held out.

        Raises:
            ValueError: the share leaves one of them without samples.
        """
        generator = np.random.default_rng(seed)
        held: list[int] = []
        for task in sorted(set(self.tasks)):
            order = generator.permutation(np.flatnonzero(self.tasks == task))
            count = max(1, round(held_out * len(order))) if len(order) > 1 else 0
            held += order[:count].tolist()
        if not held:
            held = [int(generator.integers(len(self)))]
        if len(held) >= len(self):
            raise ValueError(f"{held_out:.1%} of {len(self)} samples leave nothing to hold out or nothing to learn")
        chosen = np.isin(np.arange(len(self)), held)
        return self._part(~chosen), self._part(chosen)

    def _part(self, chosen: np.ndarray) -> Self:
        part = type(self)(self.file, self.report, self.template, self.max_positions, self.loss)
        part.lines, part.positions, part.tasks = self.lines[chosen], self.positions[chosen], self.tasks[chosen]
        return part
