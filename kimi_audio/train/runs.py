"""What the training runs of the audio LLM have in common: what a run is about, and with what it begins."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from kimi_audio.chat import LossChoice
from kimi_audio.checkpoint import (
    FLOW,
    NANO,
    VOCODER,
    check_parts,
    find_model,
    find_semantic_tokenizer,
    load_acoustic,
    load_lm_config,
    load_semantic,
)
from kimi_audio.core.files import read_json, write_json
from kimi_audio.core.sequence import Batch
from kimi_audio.data.checked import check_file, content_digest, from_values, to_values
from kimi_audio.data.encoding import AudioEncoder, StoredEncoder, tokens_folder
from kimi_audio.data.mixture import Mixture
from kimi_audio.data.reports import LineReport, Progress
from kimi_audio.data.shards import FOREIGN_STORE, TokenStore
from kimi_audio.data.survey import Survey
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.empty import build_empty
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.loop.changes import check_schedule
from kimi_audio.train.loop.checkpoints import Checkpoints
from kimi_audio.train.loop.journal import Watch
from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.loop.parallel import first_process, world_size
from kimi_audio.train.loop.prefetch import Prefetch
from kimi_audio.train.losses import LMLoss

logger = logging.getLogger(__name__)
Report = TypeVar("Report", bound=LineReport)

RUN = "run.json"  # in the folder of a run: what is trained on what
SAMPLES = "samples.json"  # and which lines of its files were good when it began, which decides all that follows
MANY_EPOCHS = 20  # a small model has learned a file by heart then
_TOLD_EVERY_S = 10.0
_SAMPLES_OF_WEIGHTS = 100  # per file
_NOT_TRAINED_HERE = (FLOW, VOCODER)  # folders of a base; one from a hub gets them when it is exported


@dataclass(frozen=True)
class Outcome:
    """What became of a run: the steps that were made, and the samples that could not be read, with the reasons."""

    steps: int
    left_out: Mapping[str, str]


def run_facts(config: Mapping[str, Any], base: Path, data: Sequence[Path]) -> dict[str, Any]:
    """Return what a run cannot change on its way, as plain values: its configuration, its base and its files."""
    is_folder = config["base"] != NANO and Path(config["base"]).exists()
    files = [str(path.resolve()) for path in data]
    named = {"base": str(base.resolve()) if is_folder else config["base"], "data": files}
    return json.loads(json.dumps({**config, **named, "base weights": weights_digest(base, _NOT_TRAINED_HERE)}))


def check_base_weights(run: Path, facts: Mapping[str, Any], base: Path) -> None:
    """Check that a run which ``base`` is to complete was begun with its weights; older runs do not say.

    Raises:
        ValueError: it was not.
    """
    if not _began_with(facts, base):
        raise ValueError(f"the run in {run} was begun with another base weights than those in {base}; put them back")


def _began_with(known: Mapping[str, Any], base: Path) -> bool:
    """Tell whether a run may have begun with these weights, whether or not there was a detokenizer beside them."""
    digest = known.get("base weights")
    return digest is None or digest in (weights_digest(base, _NOT_TRAINED_HERE), weights_digest(base))  # older runs


def weights_digest(base: Path, without: Sequence[str] = ()) -> str:
    """Return what tells the weights in a folder from others: their sizes, and samples of all that they hold."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(base.rglob("*.safetensors")):
        if path.relative_to(base).parts[0] in without:
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(base)} {size}".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(size // _SAMPLES_OF_WEIGHTS, 1 << 16)):
                file.seek(start)
                digest.update(file.read(1 << 12))
    return digest.hexdigest()


def check_run(folder: Path, facts: Mapping[str, Any], base: Path, loop: LoopConfig, *, resume: bool) -> None:
    """Compare what is trained, and from which base on, with what a run in the folder trains.

    Raises:
        ValueError: the folder holds a run that is another one, or is not to be resumed.
    """
    path = folder / RUN
    if not path.exists():
        return
    if not resume:
        raise ValueError(f"{folder} holds a training run; go on with --resume, or give another folder")
    known = read_json(path)
    changed = [name for name, value in facts.items() if name != "base weights" and known.get(name, value) != value]
    changed += [] if _began_with(known, base) else ["base weights"]
    if changed:
        raise ValueError(
            f"the run in {folder} was begun with another {' and another '.join(changed)}; "
            f"resume with what {path} says, or give another folder"
        )
    if Checkpoints(folder, 1).exist():
        check_schedule(folder, loop, tell=False)


def open_reports(
    folder: Path, data: Sequence[Path], base: Path, kind: type[Report], *, loss: LossChoice = "all"
) -> list[Report]:
    """Return which lines of the files of a run are good: in a run that goes on, as it was when it began.

    Args:
        folder: of the run.
        data: its files.
        base: folder of its model.
        kind: of the reports: of conversations or of documents.
        loss: see ``check_file``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: one is of another kind, or not as it was when the run began.
    """

    def find() -> list[LineReport]:
        if (folder / RUN).exists() and (folder / SAMPLES).exists():
            return _known_reports(folder, data)
        return [check_file(path, base, loss=loss, progress=_told_now_and_then(f"checking {path}")) for path in data]

    reports = first_process(find)
    for report in reports:
        if not isinstance(report, kind):
            is_documents = isinstance(report, Survey)
            what, stage = ("documents", "pre-training") if is_documents else ("conversations", "fine-tuning")
            raise ValueError(f"{report.path} holds {what}, which are for {stage}")
    return [report for report in reports if isinstance(report, kind)]


def _known_reports(folder: Path, data: Sequence[Path]) -> list[LineReport]:
    files = read_json(folder / SAMPLES)["files"]
    for path, file in zip(data, files, strict=True):
        if content_digest(path) != file["digest"]:
            raise ValueError(
                f"{path} has changed since the run in {folder} began; resume with the file as it was, or give another "
                "folder"
            )
    return [from_values(file, path) for path, file in zip(data, files, strict=True)]


def note_run(folder: Path, facts: Mapping[str, Any], reports: Sequence[LineReport]) -> None:
    """Write into the folder of a run what it is about."""
    if not ((folder / RUN).exists() and (folder / SAMPLES).exists()):
        files = [{"digest": content_digest(report.path), **to_values(report)} for report in reports]
        write_json(folder / SAMPLES, {"files": files})
    write_json(folder / RUN, facts)


def _told_now_and_then(what: str) -> Progress:
    told_s = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > _TOLD_EVERY_S:
            told_s = time.monotonic()
            logger.info("%s: %d of %d lines", what, done, total)

    return progress


def find_base(name: str) -> Path:
    """Return the folder of a model to train, downloaded if needed.

    Raises:
        ValueError: there is none, or its parts do not fit together.
        ConnectionError: see ``find_model``.
    """
    base = find_model(name, with_detokenizer=False)
    check_parts(base, find_semantic_tokenizer(base), TextTokenizer.load(base), with_detokenizer=False)
    return base


def load_encoder(base: Path, device: torch.device | str) -> AudioEncoder:
    """Return the tokenizers of the model in ``base``."""
    return AudioEncoder(load_semantic(find_semantic_tokenizer(base), device), load_acoustic(base, device))


def open_encoders(
    base: Path, device: torch.device, data: Sequence[Path], tokens: Path | None, *, codes_alone: bool = False
) -> list[AudioEncoder | StoredEncoder]:
    """Return for each file the tokenizers of a model, or what they have prepared.

    Args:
        base: folder of the model.
        device: of the tokenizers.
        data: the files.
        tokens: what was prepared for all of them; by default, for each the folder beside it, if there is one.
        codes_alone: prepared features are not used, so another acoustic encoder may have made them.

    Raises:
        ValueError: other tokenizers have prepared it.
    """
    encoder = load_encoder(base, device)
    fingerprint: str | None = None
    stores: dict[Path, StoredEncoder] = {}
    found: list[AudioEncoder | StoredEncoder] = []
    for path in data:
        folder = tokens_folder(path) if tokens is None else tokens
        if tokens is None and not folder.exists():
            logger.info("%s has no prepared tokens: its recordings are encoded whenever they are needed", path)
            found.append(encoder)
            continue
        if folder not in stores:
            stores[folder] = StoredEncoder(TokenStore(folder))  # which leaves the memory of the tokenizers to the LLM
            fingerprint = encoder.fingerprint() if fingerprint is None else fingerprint
            store = stores[folder].store
            has_codes = codes_alone and store.codes_fingerprint == encoder.codes_fingerprint()
            if store.fingerprint != fingerprint and not has_codes:
                raise ValueError(f"{folder} {FOREIGN_STORE}")
        found.append(stores[folder])
    return found


def check_loading(loop: LoopConfig, device: torch.device, encoders: Sequence[AudioEncoder | StoredEncoder]) -> None:
    """Check that processes which make batches need no tokenizers on an accelerator: they are forked.

    Raises:
        ValueError: they do.
    """
    if loop.loading_processes and device.type != "cpu" and any(isinstance(one, AudioEncoder) for one in encoders):
        raise ValueError("processes cannot encode recordings on a GPU: prepare the tokens first")


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """A batch that knows the file and line of its samples, for messages, and what the model sees of it."""

    ids: tuple[str, ...] = ()
    seen: Batch | None = None  # None: everything
    broken: tuple[tuple[str, str], ...] = ()  # samples that are missing, and why

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move everything to ``device`` and the features to ``dtype``."""
        return replace(super().to(device, dtype), seen=None if self.seen is None else self.seen.to(device, dtype))


def learned_ids(batch: Batch, *, heard: bool = False) -> dict[str, float]:
    """Return how many ids of either row, and of what is heard, a batch teaches: what the losses are means over."""
    counts = {"text": float(batch.text_loss.sum()), "audio": float(batch.audio_loss.sum())}
    return counts | ({"heard": float(sum(len(ids) for ids in batch.transcripts if ids is not None))} if heard else {})


def log_epochs(mixture: Mixture, loop: LoopConfig, what: str) -> None:
    """Log how often a run sees each of its sources, and whether that is often."""
    seen = mixture.epochs(loop.steps * loop.micro_batches)
    logger.info("%s; the run sees %s", what, ", ".join(f"{name} {count:.1f} times" for name, count in seen.items()))
    often = max(seen, key=lambda name: seen[name])
    if seen[often] > MANY_EPOCHS:
        logger.warning(
            "%d steps see %s %.0f times, which learns it by heart: about %d see it 5 times",
            *(loop.steps, often, seen[often], max(1, round(5 * loop.steps / seen[often]))),
        )


def check_patience(loop: LoopConfig, held_out: float) -> None:
    """Check that a run that waits for better scores has some.

    Raises:
        ValueError: nothing is held out that could give them.
    """
    if loop.patience is not None and not held_out:
        raise ValueError("loop.patience waits for a better score, but held_out=0 gives none")


def check_scored(name: str, count: int, held_out: float) -> None:
    """Check that what is held out gives a score.

    Raises:
        ValueError: nothing of it would be scored.
    """
    if held_out and not count:
        raise ValueError(f"{name}=0 scores nothing of what is held out; set held_out=0, or {name} higher")


def check_best_score(loop: LoopConfig, names: Sequence[str]) -> None:
    """Check, before long work, that there is the score by which the best weights are kept.

    Raises:
        ValueError: there is none of this name.
    """
    if loop.best_score is not None and loop.best_score not in names:
        raise ValueError(f"the evaluation has no score {loop.best_score!r}; it has {', '.join(names) or 'none'}")


def train_rows(
    module: nn.Module,
    loss_of: Callable[[LabelledBatch], LMLoss],
    mixture: Mixture,
    *,
    hide: Callable[[Batch, int], Batch] | None = None,
    audio_weight: float = 1.0,
    heard_weight: float = 0.0,
    loop: LoopConfig,
    folder: Path,
    scores: Callable[[], dict[str, float]] | None,
    evaluate_every_steps: int,
    device: torch.device,
    watch: Watch | None = None,
) -> int:
    """Train on the packed rows of a mixture; arguments, result and errors as for ``loop.train``.

    ``hide`` returns what the model sees of the batch of a number; ``audio_weight`` and ``heard_weight`` are
    the weights of ``LMLoss.audio`` and ``LMLoss.heard``. An audio row that weighs nothing is not computed.
    """

    def make(number: int) -> LabelledBatch:
        broken: list[tuple[str, str]] = []

        def note(name: str, error: Exception) -> None:
            broken.append((name, str(error)))

        batch = mixture(number, None if mixture.broken is None else note)
        if not audio_weight:
            batch = replace(batch, audio_loss=torch.zeros_like(batch.audio_loss))
        seen = None if hide is None else hide(batch, number)
        if seen is not None:
            batch = replace(batch, features=None)  # which are input alone
        return LabelledBatch(**vars(batch), ids=mixture.names(number), seen=seen, broken=tuple(broken))

    def losses_of(batch: LabelledBatch, _step: int) -> Mapping[str, Tensor]:
        loss = loss_of(batch)
        heard = {} if loss.heard is None else {"heard": heard_weight * loss.heard.mean}
        return {"text": loss.text.mean, "audio": audio_weight * loss.audio.mean, **heard}

    if scores is None:
        loop = replace(loop, best_score=None, patience=None)
    counts_of = partial(learned_ids, heard=heard_weight > 0)
    end, processes = loop.steps * loop.micro_batches, loop.loading_processes
    with Prefetch(make, every=world_size(), end=end, device=device, processes=processes) as coming:
        every_steps = evaluate_every_steps
        # Another process may have made a batch, so the loop says what it lacks.
        return train(module, losses_of, coming, loop, folder, scores, every_steps, counts_of, watch, mixture.broken)


def random_lm(base: Path, seed: int, device: torch.device) -> AudioLM:
    """Return an LLM of the sizes of ``base`` with random weights."""
    config = load_lm_config(base)
    lm = build_empty(lambda: AudioLM(config)).to_empty(device="cpu")
    lm.reset_parameters(torch.Generator().manual_seed(seed))
    return lm.to(device)
