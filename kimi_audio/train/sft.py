"""Fine-tuning of the audio LLM on conversations, whole or with adapters, alone or together with its acoustic encoder.

The semantic tokenizer and the detokenizer stay as they are. A run is a folder: ``run.json`` says what was trained on
what, the rest is the loop's (see ``loop``). ``export`` makes a model folder of it.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kimi_audio.chat import ChatTemplate, LossChoice
from kimi_audio.checkpoint import NANO, load_acoustic, load_lm, load_lm_config
from kimi_audio.core.config import LMConfig
from kimi_audio.core.numbers import counted
from kimi_audio.core.random import generator_of
from kimi_audio.core.sequence import Batch
from kimi_audio.data.conversations import ConversationFile
from kimi_audio.data.dataset import ConversationDataset
from kimi_audio.data.mixture import Mixture, Source
from kimi_audio.data.pretraining import samples_of_tokens
from kimi_audio.data.validation import FileReport
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.empty import build_empty
from kimi_audio.nn.precision import gpus_compute_bf16
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.hearing import Encoder, HearingLM, RecordingReader
from kimi_audio.train.hiding import Hiding, hidden
from kimi_audio.train.left_out import LeftOut
from kimi_audio.train.loop.budget import Budget, Masked, training_budget
from kimi_audio.train.loop.loop import LoopConfig, check_shares
from kimi_audio.train.loop.parallel import world_size
from kimi_audio.train.loop.schedule import check_range
from kimi_audio.train.lora import FOUR_BIT_BYTES, LoraOptions, add_lora, only_trained
from kimi_audio.train.losses import LMLoss, lm_loss
from kimi_audio.train.released import sizes_of
from kimi_audio.train.runs import (
    LabelledBatch,
    check_patience,
    check_scored,
    open_reports,
    random_lm,
)
from kimi_audio.train.scores import HeldOutScores
from kimi_audio.train.stage import Opened, Prepared, run_stage

logger = logging.getLogger(__name__)

_ROW_POSITIONS = (512, 2048)  # the shortest and longest rows that the data chooses
_ROWS_PER_EPOCH = 16  # of little data, at least: a row that holds much of it leaves few steps to learn in


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What is trained, on what rows, and how it is watched."""

    loop: LoopConfig
    base: str = NANO  # the model to begin with: nano, a folder, or a hub id
    from_scratch: bool = False  # random weights of the base's sizes
    lora: LoraOptions | None = None  # train adapters instead of the weights
    train_encoder: bool = False  # the acoustic encoder, too; parameters are ``lm.…`` and ``acoustic.…`` then
    row_positions: int | None = None  # packed rows; by default from the data. A longer sample is left out and reported
    rows: int = 1  # of one micro-batch
    epochs: float | None = None  # how often to see all data; sets ``loop.steps``
    weights: Mapping[str, float] = field(default_factory=dict)  # name of a file: its share; by default, its positions
    loss: LossChoice = "all"  # learn all turns of the assistant or only the last, where a sample leaves it open
    blank_loss: bool = False  # also learn the blanks of spoken replies, see ``ChatTemplate``
    hiding: Hiding = field(default_factory=Hiding)  # what the model does without while it learns
    text_smoothing: float = 0.0  # share of the probability of each text id that all others are to have
    audio_weight: float = 1.0  # of the loss of the audio row; the official loss has 1
    heard_weight: float = 0.0  # of a loss on the transcripts that the data gives of what is heard, see ``heard_loss``
    held_out: float = 0.05  # share of the samples of each task that are not learned and give the scores; 0 gives none
    scored_samples: int = 64  # of the held-out ones
    transcribed_samples: int = 0  # of the scored ones with written replies, for the word error rate
    evaluate_every_steps: int = 100
    max_left_out: float = 0.1  # share of the lines that may be unreadable or too long; three may in any case

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a value is out of its range, or does not go together with another one.
        """
        if self.row_positions is not None:
            check_range("row_positions", self.row_positions, least=1)
        if self.epochs is not None:
            check_range("epochs", self.epochs, above=0)
        check_range("rows", self.rows, least=1)
        check_range("held_out", self.held_out, least=0, below=1)
        check_range("audio_weight", self.audio_weight, least=0)
        check_range("heard_weight", self.heard_weight, least=0)
        check_range("text_smoothing", self.text_smoothing, least=0, below=1)
        check_range("max_left_out", self.max_left_out, least=0, most=1)
        for name in ("scored_samples", "transcribed_samples", "evaluate_every_steps"):
            check_range(name, getattr(self, name), least=0)
        for name, weight in self.weights.items():
            check_range(f"the weight of {name}", weight, above=0)
        check_patience(self.loop, self.held_out)
        check_scored("scored_samples", self.scored_samples, self.held_out)
        if self.lora is not None and self.from_scratch:
            raise ValueError("adapters need a trained model below them; leave out from_scratch or lora")
        if self.lora is not None and self.train_encoder:
            raise ValueError("adapters leave all weights as they are; leave out train_encoder or lora")


def _loss(model: AudioLM | HearingLM, config: FinetuneConfig, blank_id: int, batch: LabelledBatch) -> LMLoss:
    loss_of = model.loss if isinstance(model, HearingLM) else partial(lm_loss, model)
    blank = blank_id if config.heard_weight else None
    return loss_of(batch, batch.seen, text_smoothing=config.text_smoothing, blank_id=blank)


def _hide(config: FinetuneConfig, sizes: LMConfig, tokenizer: TextTokenizer) -> Callable[[Batch, int], Batch] | None:
    """Return what hides a part of the batch of every number."""
    if config.hiding.is_nothing:
        return None

    def hide(batch: Batch, number: int) -> Batch:
        generator = generator_of(config.loop.seed, number)
        return hidden(batch, config.hiding, sizes, tokenizer.special.blank, generator)

    return hide


def mixed(
    files: Sequence[ConversationDataset], config: FinetuneConfig, pad_id: int, left_out: LeftOut | None = None
) -> Mixture:
    """Return the packed rows of every micro-batch; each file has the share of its weight or, by default, its positions.

    Raises:
        ValueError: the weights are not those of the files.
    """
    names = [file.file.path.name for file in files]
    if config.weights and (set(config.weights) != set(names) or len(set(names)) < len(names)):
        raise ValueError(
            f"weights are by the names of the files, one for each: they name {', '.join(config.weights)}, and the "
            f"files are {', '.join(names)}"
        )
    sources = [
        Source(
            f"{number}:{name}" if len(files) > 1 else name,
            file.positions.tolist(),
            lambda index, _generator, file=file: file[index],
            config.weights.get(name, float(file.positions.sum())),
            name_of=lambda index, file=file: f"{file.file.path.name}:{file.lines[index]}",
        )
        for number, (name, file) in enumerate(zip(names, files, strict=True))
    ]
    assert config.row_positions is not None
    return Mixture(
        sources,
        row_positions=config.row_positions,
        rows=config.rows,
        pad_id=pad_id,
        seed=config.loop.seed,
        broken=left_out,
    )


def _open(
    config: FinetuneConfig, opened: Opened[FileReport], tokenizer: TextTokenizer, module: AudioLM | HearingLM
) -> tuple[list[ConversationDataset], list[ConversationDataset] | None]:
    """Return the files to learn from and, unless nothing is held out, those to score."""
    to_learn: Sequence[Encoder] = opened.encoders
    to_score: Sequence[Encoder] = opened.encoders
    if isinstance(module, HearingLM):  # whose features are others after every step
        to_learn = [RecordingReader(encoder, samples_of_tokens) for encoder in opened.encoders]
        to_score = [RecordingReader(encoder, module.features_of) for encoder in opened.encoders]
    learned = _datasets(config, opened, tokenizer, to_learn)
    if not config.held_out:
        return learned, None
    scored = _datasets(config, opened, tokenizer, to_score)
    share, seed = config.held_out, config.loop.seed
    return [file.split(share, seed)[0] for file in learned], [file.split(share, seed)[1] for file in scored]


def _datasets(
    config: FinetuneConfig, opened: Opened[FileReport], tokenizer: TextTokenizer, encoders: Sequence[Encoder]
) -> list[ConversationDataset]:
    lm_config = load_lm_config(opened.base)
    files = []
    for report, encoder in zip(opened.reports, encoders, strict=True):
        template = ChatTemplate.of(lm_config, tokenizer, encoder, encoder.codes, blank_loss=config.blank_loss)
        file = ConversationFile(report.path)
        files.append(ConversationDataset(file, report, template, opened.limit_positions, config.loss))
    return files


def _load(config: FinetuneConfig, base: Path, device: torch.device) -> AudioLM | HearingLM:
    if config.from_scratch:
        lm = random_lm(base, config.loop.seed, device)
    else:
        lm = load_lm(base, device, _dtype(config, world_size(), on_gpu=device.type != "cpu")).requires_grad_(True)
    return HearingLM(lm, load_acoustic(base, device)).requires_grad_(True) if config.train_encoder else lm


def _dtype(config: FinetuneConfig, processes: int, *, on_gpu: bool) -> torch.dtype:
    """Return in what precision the weights are loaded."""
    # Shards of several processes have one dtype, and adapters need float32. Without autocast, so do the features.
    in_bf16 = on_gpu and config.loop.bf16 and gpus_compute_bf16()
    return torch.bfloat16 if config.lora is not None and in_bf16 and processes == 1 else torch.float32


def _scores(
    lm: AudioLM,
    held_out: Sequence[ConversationDataset],
    tokenizer: TextTokenizer,
    config: FinetuneConfig,
    left_out: LeftOut,
) -> HeldOutScores:
    assert config.row_positions is not None
    return HeldOutScores(
        lm,
        held_out,
        tokenizer,
        row_positions=config.row_positions,
        samples=config.scored_samples,
        transcribed=config.transcribed_samples,
        bf16=config.loop.bf16,
        broken=left_out,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The run


class Finetuning:
    """Fine-tuning as a stage, see ``Stage``."""

    def check_processes(self, config: FinetuneConfig, processes: int) -> None:
        """Raise ValueError if so many processes cannot share a run."""
        check_shares(config.loop, processes)
        if config.lora is not None and config.lora.four_bit and processes > 1:
            raise ValueError("QLoRA trains in one process; use LoRA for several")

    def facts(self, config: FinetuneConfig) -> dict[str, Any]:
        """Return the values that a run cannot change on its way."""
        watching = ("loop", "epochs", "scored_samples", "transcribed_samples", "evaluate_every_steps", "max_left_out")
        return {name: value for name, value in asdict(config).items() if name not in watching}

    def codes_alone(self, config: FinetuneConfig) -> bool:
        """Tell whether prepared features are not used: an encoder that learns makes others after every step."""
        return config.train_encoder

    def reports(self, config: FinetuneConfig, folder: Path, data: Sequence[Path], base: Path) -> list[FileReport]:
        """Return which lines of the files are good."""
        return open_reports(folder, data, base, FileReport, loss=config.loss)

    def fitted(self, config: FinetuneConfig, reports: Sequence[FileReport]) -> FinetuneConfig:
        """Return the configuration with the length of rows and of the run that follow from the data."""
        positions = sum(int(report.positions.sum()) for report in reports)
        if config.row_positions is None:
            shortest, longest = _ROW_POSITIONS
            needed = max(int(report.positions.max(initial=0)) for report in reports)
            wanted = max(needed, positions // (_ROWS_PER_EPOCH * config.rows))
            config = replace(config, row_positions=min(max(1 << max(wanted - 1, 1).bit_length(), shortest), longest))
            logger.info("rows of %d positions", config.row_positions)
        if config.epochs is None:
            return config
        assert config.row_positions is not None
        in_a_step = config.loop.micro_batches * config.rows * config.row_positions
        steps = max(1, math.ceil(config.epochs * positions * (1 - config.held_out) / in_a_step))
        loop = replace(config.loop, steps=steps, warmup_steps=min(config.loop.warmup_steps, steps // 10))
        logger.info("%g epochs are %d steps, of which %d are warm-up", config.epochs, steps, loop.warmup_steps)
        return replace(config, loop=loop)

    def prepare(self, config: FinetuneConfig, opened: Opened[FileReport]) -> Prepared:
        """Return what is trained on what."""
        tokenizer = TextTokenizer.load(opened.base)
        module = _load(config, opened.base, opened.device)
        learned, held_out = _open(config, opened, tokenizer, module)
        lm = module.lm if isinstance(module, HearingLM) else module
        if config.lora is not None:
            add_lora(lm, config.lora, config.loop.seed)
            opened.stack.enter_context(only_trained(lm))
        return Prepared(
            module,
            partial(_loss, module, config, tokenizer.special.blank),
            mixed(learned, config, lm.config.pad_id, opened.left_out),
            size=counted(sum(map(len, learned)), "sample"),
            scores=None if held_out is None else _scores(lm, held_out, tokenizer, config, opened.left_out),
            hide=_hide(config, lm.config, tokenizer),
            audio_weight=config.audio_weight,
            heard_weight=config.heard_weight,
        )

    def budget(self, config: FinetuneConfig, *, processes: int = 1, on_gpu: bool = False) -> Budget:
        """Return what a run will need, from the sizes alone.

        Args:
            config: of the run. Where the data is to choose the length of rows, the longest is taken.
            processes: that share the work and the memory.
            on_gpu: adapters are trained beside frozen weights in bfloat16 there, where ``loop.bf16`` is set.

        Raises:
            ValueError: so many processes cannot share the run, or the configuration does not fit the model.
        """
        self.check_processes(config, processes)
        lm_config, encoder_config = sizes_of(config.base)
        lm = build_empty(lambda: AudioLM(lm_config)).to(_dtype(config, processes, on_gpu=on_gpu))
        module = lm
        if config.train_encoder:
            module = HearingLM(lm, build_empty(lambda: AcousticEncoder(encoder_config)))
        loading_bytes = sum(parameter.nbytes for parameter in module.parameters())
        if config.lora is not None:
            add_lora(lm, replace(config.lora, four_bit=False))
        row_positions = config.row_positions or _ROW_POSITIONS[1]
        found = training_budget(
            module,
            config.loop,
            config.rows * row_positions,
            processes=processes,
            masked=Masked(config.rows * row_positions**2, lm_config.num_layers + lm_config.num_audio_layers),
            loading_bytes=loading_bytes,
            on_gpu=on_gpu,
        )
        if config.lora is None or not config.lora.four_bit:
            return found
        saved = sum(
            parameter.numel() * (parameter.element_size() - FOUR_BIT_BYTES)
            for name, parameter in lm.named_parameters()
            if "layers." in name and name.endswith("proj.base_layer.weight")
        )
        return replace(found, weights_bytes=found.weights_bytes - round(saved))


FINETUNING = Finetuning()
finetune = partial(run_stage, FINETUNING)  # arguments and errors as for ``run_stage``
