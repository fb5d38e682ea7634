"""Pre-training of the audio LLM on the seven tasks, together with its acoustic encoder.

The semantic tokenizer and the detokenizer stay as they are. The folder of a run is that of ``sft``; ``export`` makes a
model folder of it in which the acoustic encoder is the trained one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kimi_audio.checkpoint import NANO, load_acoustic, load_lm, load_lm_config
from kimi_audio.core import sequence
from kimi_audio.core.numbers import counted
from kimi_audio.core.sequence import Batch
from kimi_audio.data.documents import DocumentFile, SoundPart
from kimi_audio.data.encoding import AudioEncoder, StoredEncoder
from kimi_audio.data.mixture import Mixture
from kimi_audio.data.packing import cut
from kimi_audio.data.pretraining import WEIGHTS, Documents, Span, sources, spans_of, tasks_of
from kimi_audio.data.survey import Survey
from kimi_audio.data.tasks import TASKS, Item, Layout, Task
from kimi_audio.lm.generate import generate
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.nn.empty import build_empty
from kimi_audio.nn.precision import autocast
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.hearing import HearingLM
from kimi_audio.train.loop.budget import Budget, Masked, training_budget
from kimi_audio.train.loop.loop import LoopConfig, check_shares
from kimi_audio.train.loop.schedule import check_range
from kimi_audio.train.losses import LMLoss
from kimi_audio.train.released import sizes_of
from kimi_audio.train.runs import (
    check_patience,
    check_scored,
    open_reports,
    random_lm,
)
from kimi_audio.train.scores import TRANSCRIBED_AT_ONCE, Broken, score_names, task_losses, word_error_rate
from kimi_audio.train.stage import Opened, Prepared, run_stage

STAGE = "pretrain"  # in run.json


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """What is trained, on what rows, and how it is watched."""

    loop: LoopConfig
    base: str = NANO  # the model to begin with: nano, a folder, or a hub id
    from_scratch: bool = False  # random weights of the base's sizes for the LLM; the encoder begins as it is
    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)  # shares of the tasks in all positions
    row_positions: int = 2048  # packed rows; longer documents are divided between segments, texts anywhere
    rows: int = 1  # of one micro-batch
    held_out: float = 0.02  # share of the documents that are not learned and give the scores; 0 gives none
    scored_spans: int = 16  # of each task
    transcribed_segments: int = 16  # of the held-out ones with text, for the word error rate
    evaluate_every_steps: int = 500
    max_left_out: float = 0.1  # share of the documents that may be unreadable; three may in any case

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a value is out of its range, or a task is unknown.
        """
        check_range("row_positions", self.row_positions, least=1)
        check_range("rows", self.rows, least=1)
        check_range("held_out", self.held_out, least=0, below=1)
        check_range("max_left_out", self.max_left_out, least=0, most=1)
        for name in ("scored_spans", "transcribed_segments", "evaluate_every_steps"):
            check_range(name, getattr(self, name), least=0)
        for name, weight in self.weights.items():
            check_range(f"the weight of {name}", weight, least=0)
        check_patience(self.loop, self.held_out)
        check_scored("scored_spans", self.scored_spans, self.held_out)
        if not tasks_of(self.weights):
            raise ValueError("no task has a weight, so there is nothing to learn")


# ---------------------------------------------------------------------------------------------------------------------
# Opening


def _open(opened: Opened[Survey]) -> list[Documents]:
    tokenizer = TextTokenizer.load(opened.base)
    layout = Layout.of(load_lm_config(opened.base), tokenizer.special)
    return [
        Documents(
            DocumentFile(report.path),
            report,
            tokenizer,
            partial(_codes, encoder),
            layout,
            tuple(range(len(report.lines))),
        )
        for report, encoder in zip(opened.reports, opened.encoders, strict=True)
    ]


def _codes(encoder: AudioEncoder | StoredEncoder, part: SoundPart) -> Tensor:
    if isinstance(encoder, AudioEncoder):
        return encoder.encode_wav(part.load(), features=False).codes
    return encoder.known(part.key(), str(part.path), features=False).codes


def _load(config: PretrainConfig, base: Path, device: torch.device) -> HearingLM:
    lm = random_lm(base, config.loop.seed, device) if config.from_scratch else load_lm(base, device)
    return HearingLM(lm, load_acoustic(base, device)).requires_grad_(True)


# ---------------------------------------------------------------------------------------------------------------------
# Scores


@dataclass(frozen=True)
class HeldSpan:
    """A span that is not learned; it is written alike every time."""

    file: Documents
    task: Task
    span: Span
    row_positions: int

    @property
    def name(self) -> str:
        """Its file and line."""
        return self.file.name(self.span.document)

    @property
    def positions(self) -> int:
        """Its length, at most; of what is longer than a row, the beginning."""
        return min(self.span.positions, self.row_positions)

    @property
    def rows(self) -> set[str]:
        """The rows in which its task learns something."""
        items = {item for items in self.task.cycle for item in items}
        text, audio = items & {Item.TEXT, Item.SPEECH}, items & {Item.CODES, Item.SPEECH}
        return ({"text"} if text else set()) | ({"audio"} if audio else set())

    def build(self) -> sequence.Sequence:
        """Return its sequence."""
        whole = self.file.build(self.task, self.span, np.random.default_rng(0))
        return cut(whole, 0, -(-len(whole) // self.row_positions))


@dataclass(frozen=True)
class HeldSegment:
    """A segment with its text, that is not learned, as the task asr writes it: what is heard, then the text."""

    file: Documents
    span: Span

    def question(self, module: HearingLM) -> tuple[sequence.Sequence, list[int]]:
        """Return what is heard, as the model hears it, and the ids of the text."""
        whole = self.file.build(TASKS["asr"], self.span, np.random.default_rng(0))
        heard = int(whole.is_continuous.sum())
        (samples,) = whole.features
        device = module.lm.lm_head.weight.device
        prompt = sequence.Sequence(
            whole.audio_ids[:heard],
            whole.text_ids[:heard],
            whole.is_continuous[:heard],
            (module.features(samples.to(device), [heard]),),
        )
        return prompt, whole.text_ids[heard:].tolist()


class TaskScores:
    """Scores the model on documents that it does not learn from: the losses of each task and row, and word errors."""

    def __init__(self, module: HearingLM, files: Sequence[Documents], config: PretrainConfig, broken: Broken):
        self.module, self.config, self._broken = module, config, broken
        self.device = module.lm.lm_head.weight.device
        generator = np.random.default_rng(0)
        self._tasks: dict[str, list[HeldSpan]] = {}
        for task in tasks_of(config.weights):
            known = [(file, span) for file in files for span in spans_of(file, task, config.row_positions)]
            drawn = generator.permutation(len(known))[: config.scored_spans]
            self._tasks[task.name] = [HeldSpan(known[i][0], task, known[i][1], config.row_positions) for i in drawn]
        segments = [(file, part) for file in files for part in _segments(file, config.row_positions)]
        drawn = generator.permutation(len(segments))[: config.transcribed_segments]
        self._transcribed = [HeldSegment(*segments[i]) for i in drawn]

    @property
    def names(self) -> list[str]:
        """The scores that there are."""
        return score_names(self._tasks, transcribed=bool(self._transcribed))

    @property
    def scored(self) -> Iterator[HeldSpan]:
        """What gives the losses."""
        return chain.from_iterable(self._tasks.values())

    def __call__(self) -> dict[str, float]:
        """Return ``dev_loss``, ``dev_TASK_text`` or ``dev_TASK_audio`` for every task, and ``dev_wer``."""
        self.module.eval()
        with torch.no_grad(), autocast(self.device, self.config.loop.bf16):
            pad_id = self.module.lm.config.pad_id
            scores = task_losses(self._loss, self._tasks, self.config.row_positions, pad_id, self._broken)
        return scores | word_error_rate(self._transcripts())

    def _loss(self, batch: Batch) -> LMLoss:
        return self.module.loss(batch.to(self.device))

    @torch.no_grad()
    def _transcripts(self) -> Iterator[tuple[str, str]]:
        for start in range(0, len(self._transcribed), TRANSCRIBED_AT_ONCE):
            segments = self._transcribed[start : start + TRANSCRIBED_AT_ONCE]
            asked = [question for segment in segments if (question := self._question(segment)) is not None]
            if not asked:
                continue
            prompts, texts = zip(*asked, strict=True)
            # Pre-training marks no end of a text: the model may write as many ids as the text has.
            options = GenerationOptions(max_new_tokens=max(map(len, texts)))
            tokenizer = segments[0].file.tokenizer
            replies = generate(self.module.lm, list(prompts), tokenizer.special, options)
            for text, reply in zip(texts, replies, strict=True):
                yield tokenizer.decode(text), tokenizer.decode(reply.text_ids[: len(text)], skip_special=True)

    def _question(self, segment: HeldSegment) -> tuple[sequence.Sequence, list[int]] | None:
        try:
            return segment.question(self.module)
        except (ValueError, OSError) as error:
            self._broken(segment.file.name(segment.span.document), error)
            return None


def _segments(file: Documents, row_positions: int) -> Iterator[Span]:
    """Yield the segments that have both sound and text, one by one."""
    for span in spans_of(file, TASKS["asr"], row_positions):
        for number in range(span.first, span.last):
            yield Span(span.document, number, number + 1, span.positions)


# ---------------------------------------------------------------------------------------------------------------------
# The stage


class Pretraining:
    """Pre-training as a stage, see ``Stage``."""

    def check_processes(self, config: PretrainConfig, processes: int) -> None:
        """Raise ValueError if so many processes cannot share a run."""
        check_shares(config.loop, processes)

    def facts(self, config: PretrainConfig) -> dict[str, Any]:
        """Return the values that a run cannot change on its way."""
        watching = ("loop", "scored_spans", "transcribed_segments", "evaluate_every_steps", "max_left_out")
        return {"stage": STAGE} | {name: value for name, value in asdict(config).items() if name not in watching}

    def codes_alone(self, config: PretrainConfig) -> bool:
        """Tell whether prepared features are not used: they are."""
        return False

    def reports(self, config: PretrainConfig, folder: Path, data: Sequence[Path], base: Path) -> list[Survey]:
        """Return which lines of the files are good."""
        return open_reports(folder, data, base, Survey)

    def fitted(self, config: PretrainConfig, reports: Sequence[Survey]) -> PretrainConfig:
        """Return the configuration as it is: nothing follows from the data."""
        return config

    def prepare(self, config: PretrainConfig, opened: Opened[Survey]) -> Prepared:
        """Return what is trained on what."""
        files, held_out = _open(opened), None
        if config.held_out:
            pairs = [file.split(config.held_out, config.loop.seed) for file in files]
            files, held_out = [learned for learned, _ in pairs], [held for _, held in pairs]
        mixture = Mixture(
            sources(files, config.weights, config.row_positions),
            row_positions=config.row_positions,
            rows=config.rows,
            pad_id=load_lm_config(opened.base).pad_id,
            seed=config.loop.seed,
            broken=opened.left_out,
        )
        module = _load(config, opened.base, opened.device)
        return Prepared(
            module,
            module.loss,
            mixture,
            size=counted(sum(map(len, files)), "document"),
            scores=None if held_out is None else TaskScores(module, held_out, config, opened.left_out),
        )

    def budget(self, config: PretrainConfig, *, processes: int = 1, on_gpu: bool = False) -> Budget:
        """Return what a run will need, see ``Stage``."""
        check_shares(config.loop, processes)
        lm_config, encoder_config = sizes_of(config.base)
        module = build_empty(lambda: HearingLM(AudioLM(lm_config), AcousticEncoder(encoder_config)))
        return training_budget(
            module,
            config.loop,
            config.rows * config.row_positions,
            processes=processes,
            masked=Masked(config.rows * config.row_positions**2, lm_config.num_layers + lm_config.num_audio_layers),
            loading_bytes=sum(parameter.nbytes for parameter in module.parameters()),
            on_gpu=on_gpu,
        )


PRETRAINING = Pretraining()
pretrain = partial(run_stage, PRETRAINING)  # arguments and errors as for ``run_stage``
