"""Training stages of the two encoders."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from kimi_audio.config import EncoderConfig, SemanticConfig
from kimi_audio.data.manifest import Split
from kimi_audio.data.scoring import word_errors
from kimi_audio.train.batches import Augment, SpeechBatches, speech_batch
from kimi_audio.train.loop import LoopConfig, load_module_state, train
from kimi_audio.train.recognition import AcousticRecogniser, SemanticRecogniser, SpeechBatch, ctc_loss, spell

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
) -> AcousticRecogniser:
    """Train the acoustic encoder, or go on with what ``folder`` holds.

    Args:
        config: sizes.
        loop: schedule.
        splits: what it learns from.
        held_out: what its word error rate is measured on.
        folder: checkpoints and log.
        seconds: padded duration of one batch.
        augment: applied to every utterance.
        start: weights to start from instead of random ones.
    """
    torch.manual_seed(loop.seed)
    module = AcousticRecogniser(config)
    module.encoder.init_positions(POSITION_SCALE)
    if start is not None:
        module.load_state_dict(start.state_dict())

    def loss_of(batch: SpeechBatch, _step: int) -> dict[str, Tensor]:
        return {"loss": ctc_loss(module(batch), batch)}

    def evaluate() -> dict[str, float]:
        return {f"wer_{split.folder.name}": word_error_rate(module, module, split) for split in held_out}

    train(module, loss_of, SpeechBatches(splits, seconds, loop.seed, augment), loop, folder, evaluate, 200)
    return module


def train_semantic(
    config: SemanticConfig,
    start: AcousticRecogniser,
    loop: LoopConfig,
    splits: Sequence[Split],
    held_out: Sequence[Split],
    folder: Path,
    seconds: float,
    augment: Augment | None,
) -> SemanticRecogniser:
    """Train the semantic tokenizer, its encoder starting from the lower layers of a trained acoustic encoder.

    The convolutions see one frame less of the future than those they start from, which a few steps make good.
    For the arguments see ``train_acoustic``.
    """
    torch.manual_seed(loop.seed)
    module = SemanticRecogniser(config)
    wanted = module.tokenizer.state_dict().keys()
    lower = {name: tensor for name, tensor in start.encoder.state_dict().items() if name in wanted}
    module.tokenizer.load_state_dict(lower, strict=False)
    module.head.load_state_dict(start.head.state_dict())
    batches = SpeechBatches(splits, seconds, loop.seed, augment)
    if not (folder / "checkpoint.pt").exists():
        start_codebook(module, batches(0), loop.seed)

    def loss_of(batch: SpeechBatch, step: int) -> dict[str, Tensor]:
        logits, statistics = module(batch, torch.Generator().manual_seed(loop.seed * 1_000_003 + step))
        ctc = ctc_loss(logits, batch)
        return {"loss": ctc + statistics["commit_loss"], "ctc": ctc, **statistics}

    def evaluate() -> dict[str, float]:
        return {
            f"wer_{split.folder.name}": word_error_rate(module, lambda batch: module(batch)[0], split)
            for split in held_out
        }

    train(module, loss_of, batches, loop, folder, evaluate, 200)
    return module


@torch.no_grad()
def start_codebook(module: SemanticRecogniser, batch: SpeechBatch, seed: int) -> None:
    """Put the codes onto random vectors of one batch, so that all of them are near something from the start."""
    hidden = module.hidden(batch)
    flat = hidden[module.valid_tokens(batch, hidden.shape[1])]
    generator = torch.Generator().manual_seed(seed)
    chosen = flat[torch.randint(len(flat), (module.tokenizer.config.num_codes,), generator=generator)]
    # Codes on the same vector part only by chance; a little noise parts them at once.
    chosen = chosen + 0.01 * flat.std() * torch.randn(chosen.shape, generator=generator)
    module.tokenizer.codebook.weight.copy_(chosen)
    module.codebook.ema_weight.copy_(chosen)


def load_acoustic_run(config: EncoderConfig, folder: Path) -> AcousticRecogniser:
    """Return the module of an acoustic training run."""
    module = AcousticRecogniser(config)
    load_module_state(folder, module)
    return module


@torch.no_grad()
def word_error_rate(module: torch.nn.Module, logits_of, split: Split, batch_size: int = 25) -> float:
    """Return the word error rate of greedy CTC decoding."""
    module.eval()
    errors = words = 0
    for start in range(0, len(split), batch_size):
        utterances = split.utterances[start : start + batch_size]
        waves = [torch.from_numpy(split.samples(utterance)) for utterance in utterances]
        batch = speech_batch(waves, utterances)
        best = logits_of(batch).argmax(-1)
        for utterance, row, frames in zip(utterances, best, batch.valid_frames.tolist(), strict=True):
            reference = utterance.transcript.split()
            errors += word_errors(reference, spell(row[:frames]).split())
            words += len(reference)
    return errors / words
