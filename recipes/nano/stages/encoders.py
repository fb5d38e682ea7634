"""Training stages of the two encoders."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kimi_audio.core.config import EncoderConfig, SemanticConfig
from kimi_audio.core.random import generator_of
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_ENCODER_FRAME
from kimi_audio.core.words import word_errors
from kimi_audio.data.split import Split, Utterance
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.train.loop.loop import LoopConfig, load_module_state, train
from recipes.nano.closed.phonemes import labels_of
from recipes.nano.stages.batches import Augment, SpeechBatches, speech_batch
from recipes.nano.stages.recognition import (
    AcousticRecogniser,
    SemanticRecogniser,
    SpeechBatch,
    Supervision,
    ctc_loss,
    phoneme_names,
)

POSITION_SCALE = 0.25  # of the initial sinusoids: at full size they drown the sound for hundreds of steps


def train_acoustic(
    config: EncoderConfig,
    loop: LoopConfig,
    splits: Sequence[Split],
    held_out: Sequence[Split],
    folder: Path,
    seconds: float,
    augment: Augment | None,
    start: AcousticRecogniser | None = None,
    *,
    short_first: bool = False,
) -> AcousticRecogniser:
    """Train the acoustic encoder, or go on with what ``folder`` holds.

    Args:
        config: sizes.
        loop: schedule.
        splits: what it learns from.
        held_out: what its phoneme error rate is measured on.
        folder: checkpoints and log.
        seconds: padded duration of one batch.
        augment: applied to every utterance.
        start: weights to start from instead of random ones.
        short_first: go from short to long utterances in the first epoch.

    Raises:
        ValueError: an utterance cannot be learnt from.
    """
    check_speech([*splits, *held_out], config)
    torch.manual_seed(loop.seed)
    module = AcousticRecogniser(config)
    module.encoder.init_positions(POSITION_SCALE)
    if start is not None:
        module.load_state_dict(start.state_dict())

    def loss_of(batch: SpeechBatch, _step: int) -> dict[str, Tensor]:
        return {"loss": ctc_loss(module(batch), batch)}

    def evaluate() -> dict[str, float]:
        return {f"per_{split.folder.name}": phoneme_error_rate(module, module, split) for split in held_out}

    batches = SpeechBatches(splits, seconds, loop.seed, augment, short_first=short_first)
    train(module, loss_of, batches, loop, folder, evaluate, 200)
    return module


def train_semantic(
    config: SemanticConfig,
    start: AcousticRecogniser | SemanticTokenizer,
    loop: LoopConfig,
    splits: Sequence[Split],
    held_out: Sequence[Split],
    folder: Path,
    seconds: float,
    augment: Augment | None,
    quantise_from_step: int,
    supervision: Supervision | None = None,
) -> SemanticRecogniser:
    """Train the semantic tokenizer, from the lower layers of a trained acoustic encoder or from a trained tokenizer.

    The convolutions see one frame less of the future than those of an acoustic encoder, which a few steps make good.
    Until ``quantise_from_step`` the layers behind the codebook learn from vectors that are not quantised: an untrained
    rest gives no direction, and the commitment loss alone would pull all vectors onto a handful of codes (docs/LOG.md).
    Then the codes start on clusters of the vectors; those of a trained tokenizer stay where they are, so that what
    learned their meaning can go on from it. (Freeze its "tokenizer." at first: the rest is untrained there, too.)

    Besides the phoneme error rate, the evaluation tells how many codes the held-out speech uses, and in how equal
    shares (perplexity).

    Args:
        config: sizes.
        start: the acoustic encoder, or a tokenizer of these sizes.
        loop: schedule.
        splits: what it learns from.
        held_out: what it is scored on.
        folder: checkpoints and log.
        seconds: padded duration of one batch.
        augment: applied to every utterance.
        quantise_from_step: see above.
        supervision: the weights of the losses; CTC through the codes alone by default.

    Raises:
        ValueError: the first 20 quantised batches hold fewer tokens than there are codes, or an utterance cannot be
            learnt from.
    """
    check_speech([*splits, *held_out], config)
    torch.manual_seed(loop.seed)
    module = SemanticRecogniser(config, supervision)
    if isinstance(start, SemanticTokenizer):
        module.tokenizer.load_state_dict(start.state_dict())
    else:
        wanted = module.tokenizer.state_dict().keys()
        lower = {name: tensor for name, tensor in start.encoder.state_dict().items() if name in wanted}
        module.tokenizer.load_state_dict(lower, strict=False)
        module.head.load_state_dict(start.head.state_dict())
    batches = SpeechBatches(splits, seconds, loop.seed, augment)

    def loss_of(batch: SpeechBatch, step: int) -> dict[str, Tensor]:
        if step < quantise_from_step:
            return module.losses(batch, None, quantised=False)
        generator = generator_of(loop.seed, step)
        if step == quantise_from_step:
            clustered = not isinstance(start, SemanticTokenizer)
            start_codebook(module, [batches(step + ahead) for ahead in range(20)], generator, clustered=clustered)
        return module.losses(batch, generator, restart=step < module.supervision.restart_until * loop.steps)

    def evaluate() -> dict[str, float]:
        scores = {}
        for split in held_out:
            name = split.folder.name
            scores[f"per_{name}"] = phoneme_error_rate(module, lambda batch: module(batch)[0], split)
            scores[f"codes_{name}"], scores[f"perplexity_{name}"] = code_usage(module, split)
        return scores

    train(module, loss_of, batches, loop, folder, evaluate, 200)
    return module


def check_speech(splits: Sequence[Split], config: EncoderConfig) -> None:
    """Check, before long work, that every utterance fits the encoder's window and says something.

    Raises:
        ValueError: one does not; it is named.
    """
    longest_samples = config.max_frames * SAMPLES_PER_ENCODER_FRAME
    for split in splits:
        for utterance in split.utterances:
            if utterance.length_samples > longest_samples:
                raise ValueError(
                    f"{utterance.id} lasts {utterance.duration_s:.1f} s, longer than the encoder's window of "
                    f"{longest_samples / INPUT_RATE_HZ:g} s; cut it, or leave it out"
                )
            labels_of(utterance)


@torch.no_grad()
def start_codebook(
    module: SemanticRecogniser, batches: Sequence[SpeechBatch], generator: torch.Generator, *, clustered: bool = True
) -> None:
    """Put the codes onto the means of clusters (k-means) of the batches' pooled vectors, or only count their use.

    Raises:
        ValueError: the batches hold fewer vectors than there are codes.
    """
    num_codes = module.tokenizer.config.num_codes
    module.eval()
    vectors = torch.cat([_pooled_vectors(module, batch) for batch in batches])  # [M, D]
    if len(vectors) < num_codes:
        raise ValueError(
            f"{num_codes} codes cannot start from the {len(vectors)} tokens of {len(batches)} batches; "
            "use larger batches or fewer codes"
        )
    centres = module.tokenizer.codebook.weight.clone()
    if clustered:
        centres = vectors[torch.randperm(len(vectors), generator=generator)[:num_codes]]
        for _ in range(10):
            nearest = _nearest(vectors, centres)
            counts = torch.bincount(nearest, minlength=num_codes).float()
            sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
            centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centres)
    counts = torch.bincount(_nearest(vectors, centres), minlength=num_codes).float()
    module.codebook.start(centres, counts / len(batches))
    module.train()


@torch.no_grad()
def give_first_code(module: SemanticRecogniser, split: Split, utterances: Sequence[Utterance]) -> int:
    """Let utterances begin with a code of their own: the rarest one moves to the mean of their first vectors.

    The first code tells who speaks and how. A manner whose vectors lie near to those of something frequent gets no code
    of its own by training: both choose the same one, which cannot teach the difference (docs/LOG.md).

    Args:
        module: a trained tokenizer, which is changed.
        split: holds the utterances.
        utterances: of one speaker and manner.

    Returns:
        The code.
    """
    module.eval()
    vectors = [
        module.hidden(speech_batch([torch.from_numpy(split.samples(utterance))], [utterance]))[0, 0]
        for utterance in utterances
    ]
    return module.codebook.move_rarest(torch.stack(vectors).mean(0))


def _nearest(vectors: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in vectors.split(4096)])


def _pooled_vectors(module: SemanticRecogniser, batch: SpeechBatch) -> Tensor:
    """Return [M, D], one vector per token that holds sound."""
    hidden = module.hidden(batch)
    return hidden[module.valid_tokens(batch, hidden.shape[1])].float()


def load_acoustic_run(config: EncoderConfig, folder: Path) -> AcousticRecogniser:
    """Return the module of an acoustic training run."""
    module = AcousticRecogniser(config)
    load_module_state(folder, module)
    return module


def load_semantic_run(
    config: SemanticConfig, folder: Path, supervision: Supervision | None = None
) -> SemanticRecogniser:
    """Return the module of a semantic training run, whose ``supervision`` has to be known."""
    module = SemanticRecogniser(config, supervision)
    load_module_state(folder, module)
    return module


@torch.no_grad()
def phoneme_error_rate(
    module: nn.Module, logits_of: Callable[[SpeechBatch], Tensor], split: Split, batch_size: int = 25
) -> float:
    """Return the phoneme error rate of greedy CTC decoding.

    Args:
        module: put into evaluation mode.
        logits_of: phoneme logits [B, T, C] of a batch, by ``module``.
        split: what is recognised.
        batch_size: utterances at once.
    """
    module.eval()
    errors = phonemes = 0
    for utterances, batch in _batches(split, batch_size):
        best = logits_of(batch).argmax(-1)
        for utterance, row, frames in zip(utterances, best, batch.valid_frames.tolist(), strict=True):
            reference = labels_of(utterance).split()
            errors += word_errors(reference, phoneme_names(row[:frames]))
            phonemes += len(reference)
    return errors / phonemes


@torch.no_grad()
def code_usage(module: SemanticRecogniser, split: Split, batch_size: int = 25) -> tuple[int, float]:
    """Return how many codes a split uses, and their perplexity: as many codes in equal use would be as diverse."""
    module.eval()
    codes = torch.cat([module.codes(batch) for _, batch in _batches(split, batch_size)])
    shares = torch.bincount(codes).float() / len(codes)
    shares = shares[shares > 0]
    return len(shares), float(torch.exp(-(shares * shares.log()).sum()))


def _batches(split: Split, batch_size: int) -> Iterator[tuple[list[Utterance], SpeechBatch]]:
    for start in range(0, len(split), batch_size):
        utterances = split.utterances[start : start + batch_size]
        waves = [torch.from_numpy(split.samples(utterance)) for utterance in utterances]
        yield utterances, speech_batch(waves, utterances)
