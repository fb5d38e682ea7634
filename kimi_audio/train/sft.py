"""Fine-tuning of the audio LLM on conversations, whole or with adapters.

The tokenizers and the detokenizer stay as they are. A run is a folder: ``run.json`` says what was trained on what, the
rest is the loop's (see ``loop``). ``export`` makes a model folder of it.
"""

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kimi_audio.chat import LossChoice
from kimi_audio.checkpoint import NANO, find_model, load_lm, load_lm_config
from kimi_audio.data.dataset import ConversationDataset
from kimi_audio.data.encoding import AudioEncoder, StoredEncoder
from kimi_audio.data.mixture import Mixture, Source
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.budget import Budget, training_budget
from kimi_audio.train.loop import LoopConfig
from kimi_audio.train.lora import FOUR_BIT_BYTES, LoraOptions, add_lora, only_trained
from kimi_audio.train.losses import lm_loss
from kimi_audio.train.parallel import joined, world_size
from kimi_audio.train.runs import check_run, log_epochs, open_encoder, random_lm, run_facts, train_rows
from kimi_audio.train.scores import HeldOutScores


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What is trained, on what rows, and how it is watched."""

    loop: LoopConfig
    base: str = NANO  # the model to begin with: nano, a folder, or a hub id
    from_scratch: bool = False  # random weights of the base's sizes
    lora: LoraOptions | None = None  # train adapters instead of the weights
    row_positions: int = 2048  # packed rows; a longer sample is left out and reported
    rows: int = 1  # of one micro-batch
    loss: LossChoice = "all"  # learn all turns of the assistant or only the last, where a sample leaves it open
    blank_loss: bool = False  # also learn the blanks of spoken replies, see ``ChatTemplate``
    held_out: float = 0.05  # share of the samples that are not learned and give the scores; 0 gives none
    scored_samples: int = 64  # of the held-out ones
    transcribed_samples: int = 0  # of the held-out ones with written replies, for the word error rate
    evaluate_every_steps: int = 100


# ---------------------------------------------------------------------------------------------------------------------
# The run


def finetune(
    config: FinetuneConfig,
    data: Sequence[Path],
    folder: Path,
    *,
    tokens: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
) -> None:
    """Train the audio LLM; under ``torchrun``, in all processes together.

    Args:
        config: what and how.
        data: JSONL files of conversations.
        folder: of the run.
        tokens: prepared codes and features of the recordings; without them they are computed when they are needed.
        resume: go on where the run in ``folder`` stopped, or begin it.
        device: its type, such as "cuda".

    Raises:
        ValueError: files or settings do not fit, or ``folder`` holds a run that is not to be resumed.
        FloatingPointError, KeyboardInterrupt, OSError: see ``loop.train``.
    """
    with joined(device) as place, ExitStack() as stack:
        base = find_model(config.base, with_detokenizer=False)
        facts = _facts(config, base, data)
        check_run(folder, facts, resume=resume)
        tokenizer = TextTokenizer.load(base)
        encoder = open_encoder(base, place, tokens)
        learned, held_out = _open(config, data, base, tokenizer, encoder)
        del encoder
        gc.collect()
        lm = _load(config, base, place)
        if config.lora is not None:
            _add_lora(lm, config)
            stack.enter_context(only_trained(lm))
        mixture = mixed(learned, config, lm.config.pad_id)
        log_epochs(mixture, config.loop, f"{sum(map(len, learned))} samples")
        scores = None if held_out is None else _scores(lm, held_out, tokenizer, config)
        train_rows(
            lm,
            lambda batch: lm_loss(lm, batch),
            mixture,
            config.loop,
            folder,
            facts,
            scores,
            config.evaluate_every_steps,
            place,
        )


def mixed(files: Sequence[ConversationDataset], config: FinetuneConfig, pad_id: int) -> Mixture:
    """Return the packed rows of every micro-batch; each file has the share of its positions."""
    sources = [
        Source(
            f"{number}:{file.file.path.name}" if len(files) > 1 else file.file.path.name,
            file.positions.tolist(),
            lambda index, _generator, file=file: file[index],
            float(file.positions.sum()),
            name_of=lambda index, file=file: f"{file.file.path.name}:{file.lines[index]}",
        )
        for number, file in enumerate(files)
    ]
    return Mixture(sources, row_positions=config.row_positions, rows=config.rows, pad_id=pad_id, seed=config.loop.seed)


def _facts(config: FinetuneConfig, base: Path, data: Sequence[Path]) -> dict[str, Any]:
    """Return what a run cannot change on its way, as plain values."""
    watching = ("loop", "scored_samples", "transcribed_samples", "evaluate_every_steps")
    return run_facts({name: value for name, value in asdict(config).items() if name not in watching}, base, data)


def _open(
    config: FinetuneConfig,
    data: Sequence[Path],
    base: Path,
    tokenizer: TextTokenizer,
    encoder: AudioEncoder | StoredEncoder,
) -> tuple[list[ConversationDataset], list[ConversationDataset] | None]:
    """Return the files to learn from and, unless nothing is held out, those to score."""
    lm_config = load_lm_config(base)
    files = [
        ConversationDataset.open(
            path,
            lm_config,
            tokenizer,
            encoder,
            encoder.codes,
            max_positions=min(config.row_positions, lm_config.max_positions),
            loss=config.loss,
            blank_loss=config.blank_loss,
        )
        for path in data
    ]
    if not config.held_out:
        return files, None
    # At least one of each, however small the files are.
    pairs = [file.split(max(config.held_out, 1 / len(file)), config.loop.seed) for file in files]
    return [learned for learned, _ in pairs], [held for _, held in pairs]


def _load(config: FinetuneConfig, base: Path, device: torch.device) -> AudioLM:
    if config.from_scratch:
        return random_lm(base, config.loop.seed, device)
    # Shards of several processes have one dtype, and adapters need float32.
    frozen_in_half = config.lora is not None and device.type != "cpu" and world_size() == 1
    return load_lm(base, device, torch.bfloat16 if frozen_in_half else torch.float32).requires_grad_(True)


def _add_lora(lm: AudioLM, config: FinetuneConfig) -> None:
    assert config.lora is not None
    if config.from_scratch:
        raise ValueError("adapters need a trained model below them; leave out from_scratch or lora")
    if config.lora.four_bit and world_size() > 1:
        raise ValueError("QLoRA trains in one process; use LoRA for several")
    add_lora(lm, config.lora, config.loop.seed)


def _scores(
    lm: AudioLM, held_out: Sequence[ConversationDataset], tokenizer: TextTokenizer, config: FinetuneConfig
) -> HeldOutScores:
    return HeldOutScores(
        lm,
        held_out,
        tokenizer,
        row_positions=config.row_positions,
        samples=config.scored_samples,
        transcribed=config.transcribed_samples,
        bf16=config.loop.bf16,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Before the run


def budget(config: FinetuneConfig, *, processes: int = 1) -> Budget:
    """Return what a run will need, from the sizes alone."""
    with torch.device("meta"):
        lm = AudioLM(load_lm_config(find_model(config.base, with_weights=False)))
        if config.lora is not None:
            add_lora(lm, replace(config.lora, four_bit=False))
    found = training_budget(lm, config.loop, config.rows * config.row_positions, processes=processes)
    if config.lora is None or not config.lora.four_bit:
        return found
    stored = [
        parameter.numel()
        for name, parameter in lm.named_parameters()
        if "layers." in name and name.endswith("proj.base_layer.weight")
    ]
    return replace(found, weights_bytes=found.weights_bytes - round(sum(stored) * (4 - FOUR_BIT_BYTES)))
