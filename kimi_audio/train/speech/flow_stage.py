"""Training the flow-matching network on pairs of semantic codes and log-mels.

A stream sees what it has finished as clean mel and what it is making as noise. Training shows both at once: every
utterance is cut into chunks, each chunk is noisy at a time of its own, attends itself and the clean mel of all chunks
before it, and everything is learnt from in two passes over the utterance, a clean one and a noisy one.

The report trains in three stages (section 4.3), each from the weights of the one before: ``FULL_CONTEXT``, ``CHUNKED``
and, on recordings of one speaker, ``ONE_SPEAKER``.

Shapes: B utterances, N tokens (12.5 Hz), T = 4 N mel frames (50 Hz), M mel bins.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kimi_audio.audio.mel import LOG_MEL_FLOOR, vocoder_log_mel
from kimi_audio.core.config import FlowConfig, VocoderConfig
from kimi_audio.core.files import write_whole
from kimi_audio.core.random import generator_of
from kimi_audio.core.units import MEL_FRAMES_PER_TOKEN
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.flow import TIMESTEPS, interpolate
from kimi_audio.train.loop.epochs import EpochPlan
from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.loop.prefetch import Prefetch, moved


@dataclass(frozen=True)
class FlowExample:
    """One utterance: codes [N] and the natural-log mel of the same sound [4 N, M]."""

    codes: Tensor
    log_mel: Tensor


@dataclass(frozen=True, kw_only=True)
class FlowStage:
    """What a step sees; the default mixes the first two stages, for small models that are trained in one go.

    Args:
        batch_frames: largest padded size of a batch.
        min_chunk_tokens: shortest chunk; 6 tokens are half a second.
        max_chunk_tokens: longest chunk: one chunk of a stream and its look-ahead.
        whole_share: share of steps in which utterances are one chunk without context.
        drop_share: share of utterances whose noisy frames do not know their tokens, for guidance.
        rate_factor: of the learning rates of the loop.
        needs_start: the stage makes sense from trained weights only.
    """

    batch_frames: int = 4000
    min_chunk_tokens: int = 6
    max_chunk_tokens: int = 42
    whole_share: float = 0.3
    drop_share: float = 0.1
    rate_factor: float = 1.0
    needs_start: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.min_chunk_tokens <= self.max_chunk_tokens:
            raise ValueError(f"chunks of {self.min_chunk_tokens} to {self.max_chunk_tokens} tokens cannot be drawn")


FULL_CONTEXT = FlowStage(whole_share=1.0)
# Chunks of 0.5 to 3 s, which are 6 to 38 tokens. Some utterances stay whole: a stream denoises a chunk and its
# look-ahead at once, 3.4 s by default.
CHUNKED = FlowStage(max_chunk_tokens=38, whole_share=0.2, needs_start=True)
ONE_SPEAKER = replace(CHUNKED, batch_frames=2000, rate_factor=0.3)


@dataclass(frozen=True)
class FlowBatch:
    """Padded utterances and everything random about a step.

    Attributes:
        codes: [B, N].
        mel: normalised [B, T, M].
        valid: [B, N], True for tokens that belong to an utterance.
        chunks: number of the chunk of each token [B, N].
        time: integers 0 ... 999, the same for all tokens of a chunk [B, N].
        noise: [B, T, M].
        dropped: [B], True where the noisy frames do not know their tokens.
        ids: names of the utterances, for messages.
    """

    codes: Tensor
    mel: Tensor
    valid: Tensor
    chunks: Tensor
    time: Tensor
    noise: Tensor
    dropped: Tensor
    ids: tuple[str, ...] | None = None


def flow_example(codes: Sequence[int], wav: Tensor, config: VocoderConfig) -> FlowExample:
    """Pair the codes [N] of a recording with its mel, made from its sound at 24 kHz [L] and fitted to 4 N frames."""
    frames = len(codes) * MEL_FRAMES_PER_TOKEN
    mel = vocoder_log_mel(wav, config)[:frames]
    silence = mel.new_full((frames - len(mel), mel.shape[1]), LOG_MEL_FLOOR)
    return FlowExample(torch.as_tensor(codes, dtype=torch.long), torch.cat([mel, silence]))


def save_examples(path: Path, examples: Iterable[FlowExample]) -> None:
    """Write examples into one safetensors file, whole or not at all, mels in half precision."""
    kept = list(examples)
    tensors = {
        "lengths": torch.tensor([len(example.codes) for example in kept]),
        "codes": torch.cat([example.codes for example in kept]),
        "log_mel": torch.cat([example.log_mel.half() for example in kept]),
    }
    with write_whole(path) as partial:
        save_file(tensors, partial)


def load_examples(path: Path) -> list[FlowExample]:
    """Read what ``save_examples`` wrote; mels stay in half precision."""
    tensors = load_file(path)
    lengths = tensors["lengths"].tolist()
    mels = tensors["log_mel"].split([length * MEL_FRAMES_PER_TOKEN for length in lengths])
    return [FlowExample(*pair) for pair in zip(tensors["codes"].split(lengths), mels, strict=True)]


def mel_statistics(examples: Sequence[FlowExample]) -> tuple[float, float]:
    """Return mean and standard deviation of all log-mel values, for ``FlowConfig``."""
    values = torch.cat([example.log_mel for example in examples]).float()
    return float(values.mean()), float(values.std())


def check_examples(examples: Sequence[FlowExample], config: FlowConfig) -> None:
    """Check that a network of these sizes can learn from all examples.

    Raises:
        ValueError: one is empty, its mel does not fit its codes or the network, codes do not exist, or the mel is not
            finite.
    """
    for number, example in enumerate(examples):
        if not len(example.codes):
            raise ValueError(f"example {number} has no codes; leave out recordings shorter than 80 ms")
        expected = len(example.codes) * MEL_FRAMES_PER_TOKEN, config.dit.num_mel_bins
        if example.log_mel.shape != expected:
            raise ValueError(
                f"example {number} has a mel of {tuple(example.log_mel.shape)} for {len(example.codes)} codes; "
                f"{expected} is wanted"
            )
        low, high = int(example.codes.min()), int(example.codes.max())
        if low < 0 or high >= config.dit.num_codes:
            raise ValueError(
                f"example {number} holds code {low if low < 0 else high}, but there are {config.dit.num_codes} codes; "
                "encode it with the tokenizer that the network is made for"
            )
        if not example.log_mel.isfinite().all():
            raise ValueError(f"the mel of example {number} is not finite; check its recording")


class FlowBatches:
    """Batches as a function of the step, of utterances of similar length.

    Args:
        examples: the utterances.
        config: for the normalisation.
        stage: sizes and shares.
        seed: of order, chunks, times and noise.

    Raises:
        ValueError: there is no example, or one cannot be learnt from.
    """

    def __init__(self, examples: Sequence[FlowExample], config: FlowConfig, stage: FlowStage, seed: int) -> None:
        check_examples(examples, config)
        self.examples, self.config, self.stage, self.seed = examples, config, stage, seed
        lengths = [len(example.log_mel) for example in examples]
        self.plan = EpochPlan(lengths, stage.batch_frames, seed)

    def __call__(self, step: int) -> FlowBatch:
        """Return the batch of one step."""
        chosen = self.plan(step)
        generator = generator_of(self.seed, step)
        batch = self.collate([self.examples[index] for index in chosen], generator)
        return replace(batch, ids=tuple(f"example {index}" for index in chosen))

    def collate(self, rows: Sequence[FlowExample], generator: torch.Generator) -> FlowBatch:
        """Pad utterances and draw what is random about them."""
        pad = torch.nn.utils.rnn.pad_sequence
        codes = pad([row.codes for row in rows], batch_first=True)
        log_mel = pad([row.log_mel for row in rows], batch_first=True, padding_value=LOG_MEL_FLOOR)
        mel = (log_mel.float() - self.config.mel_mean) / self.config.mel_std
        lengths = torch.tensor([len(row.codes) for row in rows])
        valid = torch.arange(codes.shape[1]) < lengths[:, None]
        chunks = self._chunks(len(rows), codes.shape[1], generator)
        # Times of a chunk row are evenly spread over the batch, which is less noisy than independent draws.
        offsets = torch.rand(1, int(chunks.max()) + 1, generator=generator)
        order = torch.stack([torch.randperm(len(rows), generator=generator) for _ in offsets[0]], dim=1)
        time = (((order + offsets) / len(rows)) * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
        return FlowBatch(
            codes=codes,
            mel=mel,
            valid=valid,
            chunks=chunks,
            time=time.gather(1, chunks),
            noise=torch.randn(mel.shape, generator=generator),
            dropped=torch.rand(len(rows), generator=generator) < self.stage.drop_share,
        )

    def _chunks(self, rows: int, tokens: int, generator: torch.Generator) -> Tensor:
        """Return chunk numbers [B, N]: chunks of one length per utterance, the first of them cut short."""
        if torch.rand((), generator=generator) < self.stage.whole_share:
            return torch.zeros(rows, tokens, dtype=torch.long)
        low, high = self.stage.min_chunk_tokens, self.stage.max_chunk_tokens + 1
        size = torch.randint(low, high, (rows, 1), generator=generator)
        offset = (torch.rand(rows, 1, generator=generator) * size).long()
        return (torch.arange(tokens) + offset) // size


def attention_masks(batch: FlowBatch) -> tuple[Tensor, Tensor]:
    """Return who sees whom, True where allowed: clean frames [B, 1, T, T], noisy frames [B, 1, T, 2 T].

    Clean frames see the clean frames of their own and earlier chunks; noisy frames see the clean frames of earlier
    chunks and the noisy frames of their own.
    """
    query, key = batch.chunks[:, :, None], batch.chunks[:, None, :]
    known = batch.valid[:, None, :]
    clean = known & (key <= query)
    noisy = torch.cat([known & (key < query), known & (key == query)], dim=-1)
    # Padding beyond the utterance would see nothing, which attention cannot average; let it see the first token.
    noisy[:, :, 0] |= ~noisy.any(-1)
    return tuple(  # pyright: ignore[reportReturnType]
        mask.repeat_interleave(MEL_FRAMES_PER_TOKEN, 1).repeat_interleave(MEL_FRAMES_PER_TOKEN, 2)[:, None]
        for mask in (clean, noisy)
    )


def velocity_in_context(dit: DiT, batch: FlowBatch) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return what gives the velocity [B, T, M] of noisy frames [B, T, M], codes [B, N] and integer times [B, N].

    Each chunk sees itself and the clean frames of the chunks before it.
    """
    clean_mask, noisy_mask = attention_masks(batch)
    if not batch.chunks.any():  # one chunk each: there is no context
        return partial(dit, mask=clean_mask)
    prefix = dit.rotate_context(dit.encode(batch.mel, batch.codes, mask=clean_mask))
    return partial(dit, prefix=prefix, mask=noisy_mask, start=0)


def mean_over_frames(error: Tensor, batch: FlowBatch) -> Tensor:
    """Return the mean of an error [B, T] over all valid frames."""
    weight = batch.valid.repeat_interleave(MEL_FRAMES_PER_TOKEN, 1)
    return (error * weight).sum() / weight.sum()


def flow_loss(dit: DiT, batch: FlowBatch) -> Tensor:
    """Return the mean squared error of the velocity over all valid frames."""
    per_frame = batch.time.repeat_interleave(MEL_FRAMES_PER_TOKEN, 1)[..., None]
    x, target = interpolate(batch.mel, batch.noise, per_frame)
    codes = batch.codes.masked_fill(batch.dropped[:, None], dit.null_token)
    velocity = velocity_in_context(dit, batch)(x, codes, batch.time)
    return mean_over_frames((velocity - target).square().mean(-1), batch)


def train_flow(
    config: FlowConfig,
    loop: LoopConfig,
    stage: FlowStage,
    examples: Sequence[FlowExample],
    held_out: Sequence[FlowExample],
    folder: Path,
    start: DiT | None = None,
    device: torch.device | str = "cpu",
) -> DiT:
    """Train a flow-matching network, or go on with what ``folder`` holds.

    Args:
        config: sizes and the normalisation of the mels, see ``mel_statistics``.
        loop: schedule.
        stage: batches.
        examples: what it learns from.
        held_out: what its loss is measured on, with the same noise every time.
        folder: checkpoints and log.
        start: weights to start from instead of random ones.
        device: where it is trained.

    Raises:
        ValueError: the stage needs weights to start from, or an example cannot be learnt from.
    """
    if stage.needs_start and start is None:
        raise ValueError("this stage goes on from trained weights; train FULL_CONTEXT first and give them as start")
    loop = replace(loop, peak_lr=stage.rate_factor * loop.peak_lr, final_lr=stage.rate_factor * loop.final_lr)
    torch.manual_seed(loop.seed)
    dit = DiT(config.dit)
    if start is not None:
        dit.load_state_dict(start.state_dict())
    dit.to(device)

    def loss_of(batch: FlowBatch, _step: int) -> dict[str, Tensor]:
        return {"loss": flow_loss(dit, batch)}

    def evaluate() -> dict[str, float]:
        return {"held_out_loss": held_out_loss(dit, config, stage, held_out)}

    batches = FlowBatches(examples, config, stage, loop.seed)
    with Prefetch(batches, end=loop.steps, device=device, processes=loop.loading_processes) as coming:
        train(dit, loss_of, coming, loop, folder, evaluate if held_out else None, 200)
    return dit.cpu()


@torch.no_grad()
def held_out_loss(dit: DiT, config: FlowConfig, stage: FlowStage, examples: Sequence[FlowExample]) -> float:
    """Return the mean loss of four batches, with the same chunks, times and noise every time."""
    batches = FlowBatches(examples, config, stage, seed=0)
    dit.eval()
    device = next(dit.parameters()).device
    return float(np.mean([float(flow_loss(dit, moved(batches(step), device))) for step in range(4)]))
