"""What the training runs of the audio LLM have in common: what a run is about, and with what it begins."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kimi_audio.checkpoint import (
    NANO,
    find_semantic_tokenizer,
    load_acoustic,
    load_lm_config,
    load_semantic,
)
from kimi_audio.core.files import read_json, write_json
from kimi_audio.data.encoding import AudioEncoder, StoredEncoder
from kimi_audio.data.mixture import Mixture
from kimi_audio.data.shards import TokenStore
from kimi_audio.lm.model import AudioLM
from kimi_audio.sequence import Batch
from kimi_audio.train.loop import LoopConfig, train
from kimi_audio.train.losses import LMLoss
from kimi_audio.train.parallel import exchange, rank

logger = logging.getLogger(__name__)

RUN = "run.json"  # in the folder of a run: what is trained on what


def run_facts(config: Mapping[str, Any], base: Path, data: Sequence[Path]) -> dict[str, Any]:
    """Return what a run cannot change on its way, as plain values: its configuration, its base and its files."""
    is_folder = config["base"] != NANO and Path(config["base"]).exists()
    files = [str(path.resolve()) for path in data]
    named = {"base": str(base.resolve()) if is_folder else config["base"], "data": files}
    return json.loads(json.dumps({**config, **named}))


def check_run(folder: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
    """Compare what is trained with what a run in the folder trains.

    Raises:
        ValueError: the folder holds a run that is another one, or is not to be resumed.
    """
    path = folder / RUN
    if not path.exists():
        return
    if not resume:
        raise ValueError(f"{folder} holds a training run; go on with --resume, or give another folder")
    known = read_json(path)
    changed = [name for name, value in facts.items() if known.get(name) != value]
    if changed:
        raise ValueError(
            f"the run in {folder} was begun with another {' and another '.join(changed)}; "
            f"resume with what {path} says, or give another folder"
        )


def load_encoder(base: Path, device: torch.device | str) -> AudioEncoder:
    """Return the tokenizers of the model in ``base``."""
    return AudioEncoder(load_semantic(find_semantic_tokenizer(base), device), load_acoustic(base, device))


def open_encoder(base: Path, device: torch.device, tokens: Path | None) -> AudioEncoder | StoredEncoder:
    """Return the tokenizers of a model, or what they have prepared.

    Raises:
        ValueError: other tokenizers have prepared it.
    """
    encoder = load_encoder(base, device)
    if tokens is None:
        return encoder
    StoredEncoder(TokenStore(tokens), encoder)  # refuses the tokens of other tokenizers
    return StoredEncoder(TokenStore(tokens))  # and leaves the memory of the tokenizers to the LLM


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """A batch that knows the file and line of its samples, for messages."""

    ids: tuple[str, ...] = ()


def learned_ids(batch: Batch) -> dict[str, float]:
    """Return how many ids of either row a batch teaches: what the losses are means over."""
    return {"text": float(batch.text_loss.sum()), "audio": float(batch.audio_loss.sum())}


def log_epochs(mixture: Mixture, loop: LoopConfig, what: str) -> None:
    """Log how often a run sees each of its sources."""
    seen = mixture.epochs(loop.steps * loop.micro_batches)
    logger.info("%s; the run sees %s", what, ", ".join(f"{name} {count:.1f} times" for name, count in seen.items()))


def train_rows(
    module: nn.Module,
    loss_of: Callable[[Batch], LMLoss],
    mixture: Mixture,
    loop: LoopConfig,
    folder: Path,
    facts: Mapping[str, Any],
    scores: Callable[[], dict[str, float]] | None,
    evaluate_every_steps: int,
    device: torch.device,
) -> None:
    """Train on the packed rows of a mixture, and note in the folder what is trained; errors as for ``loop.train``."""

    def batch_of(number: int) -> LabelledBatch:
        return LabelledBatch(**vars(mixture(number)), ids=mixture.names(number)).to(device)

    def losses_of(batch: LabelledBatch, _step: int) -> Mapping[str, Tensor]:
        loss = loss_of(batch)
        return {"text": loss.text.mean, "audio": loss.audio.mean}

    exchange(None)  # every process has looked into the folder before one writes
    if rank() == 0:
        write_json(folder / RUN, facts)
    loop = loop if scores is not None else replace(loop, best_score=None)
    train(module, losses_of, batch_of, loop, folder, scores, evaluate_every_steps, learned_ids)


def random_lm(base: Path, seed: int, device: torch.device) -> AudioLM:
    """Return an LLM of the sizes of ``base`` with random weights."""
    lm = AudioLM(load_lm_config(base))
    lm.reset_parameters(torch.Generator().manual_seed(seed))
    return lm.to(device)
