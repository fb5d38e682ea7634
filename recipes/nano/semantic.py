"""nano's semantic tokenizer: the lower layers of a Whisper encoder, made causal, and a codebook.

What stands behind the codes has to name the phonemes and to draw the clean mel spectrogram, at 50 Hz, from the codes
alone: the first keeps what is said, the second who says it and how. Both are thrown away afterwards.

Shapes: B utterances, L samples at 16 kHz, T frames at 50 Hz, N tokens at 12.5 Hz, D channels, M mel bands, C classes.
"""

import argparse
import json
import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.audio.augment import Augmentation, augment
from kimi_audio.audio.io import load_audio
from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.core.config import EncoderConfig, SemanticConfig
from kimi_audio.core.files import write_whole
from kimi_audio.core.random import generator_of
from kimi_audio.core.units import ENCODER_FRAMES_PER_TOKEN, INPUT_RATE_HZ, SAMPLES_PER_ENCODER_FRAME, SAMPLES_PER_TOKEN
from kimi_audio.core.weights import save_weights
from kimi_audio.core.words import word_errors
from kimi_audio.tokenizer.encoder import EncoderLayer, key_mask
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.loop.prefetch import Prefetch, moved
from kimi_audio.train.speech.codebook import EMACodebook
from recipes.nano.closed.phonemes import PHONEMES, pronounce
from recipes.nano.recording import recordings
from recipes.nano.whisper import bare_encoder

logger = logging.getLogger(__name__)

BLANK = 0  # of CTC; the phonemes follow
CLASSES = len(PHONEMES) + 1
SEMANTIC = SemanticConfig(  # from Whisper tiny, cut behind its second layer
    num_mel_bins=80,
    hidden_size=384,
    num_layers=4,
    num_heads=6,
    ffn_size=1536,
    num_used_layers=2,
    num_codes=2048,
    block_frames=200,
    loss_scale=1.0,
)
LOOP = LoopConfig(
    steps=900, peak_lr=6e-4, final_lr=2e-5, warmup_steps=50, muon=True, log_every_steps=20, frozen={"tokenizer.": 0.02}
)
QUANTISE_FROM_STEP = 120
BATCH_S = 50.0
START_S = 1500.0  # of speech, in whose clusters the codes begin
MEL_WEIGHT = 1.0
UNQUANTISED_WEIGHT = 0.3  # of the same losses without the codebook: a direction that does not depend on a choice
NATURAL_TIMES = 4  # natural speech is learned so often while the rest is learned once: the assistant speaks it
DEV_EVERY = 60  # one utterance in so many is not learned, and scored
VARIED = Augmentation(speed_probability=0.0, reverb_probability=0.2, noise_probability=0.5, snr_db=(8.0, 40.0))


@dataclass(frozen=True)
class Utterance:
    """A recording and its phonemes, numbered from 1."""

    audio: Path
    duration_s: float
    phonemes: tuple[int, ...]


@dataclass(frozen=True)
class SpeechBatch:
    """Utterances of about equal length.

    Attributes:
        wav: [B, L] as it is heard, zero-padded; L is a multiple of 1280.
        mel: [B, T, M] of the plain recordings, which the codes have to keep.
        valid_frames: [B] 50 Hz frames that hold sound.
        labels: phonemes of all utterances, one after the other.
        label_lengths: [B].
    """

    wav: Tensor
    mel: Tensor
    valid_frames: Tensor
    labels: Tensor
    label_lengths: Tensor


def load_utterances(folders: Sequence[Path], cache: Path) -> list[Utterance]:
    """Return what was recorded into folders, with phonemes; texts with sounds that ``PHONEMES`` lacks are left out."""
    spoken = [item for folder in folders for item in recordings(folder) if 0.5 < item.duration_s < 15]
    known: dict[str, str] = json.loads(cache.read_text("utf-8")) if cache.exists() else {}
    missing = sorted({item.line.text for item in spoken} - known.keys())
    with ThreadPoolExecutor(2) as pool:
        known |= zip(missing, pool.map(_pronounced, missing), strict=True)
    with write_whole(cache) as partial:
        partial.write_text(json.dumps(known), "utf-8")
    numbers = {name: number for number, name in enumerate(PHONEMES, 1)}
    found = [
        Utterance(item.audio, item.duration_s, tuple(numbers[name] for name in known[item.line.text].split()))
        for item in spoken
        if known[item.line.text]
    ]
    logger.info("%d utterances, %.1f h", len(found), sum(item.duration_s for item in found) / 3600)
    return found


def _pronounced(text: str) -> str:
    try:
        return pronounce(text)
    except ValueError:
        return ""


class SpeechBatches:
    """The batch of every number: epoch by epoch, each in an order of its own, utterances of like length together."""

    def __init__(self, utterances: Sequence[Utterance], batch_s: float, seed: int, *, varied: bool) -> None:
        self.utterances, self.seed, self.varied = utterances, seed, varied
        self._loaded: dict[Path, Tensor] = {}
        by_length = sorted(range(len(utterances)), key=lambda index: utterances[index].duration_s)
        self.groups: list[list[int]] = [[]]
        for index in by_length:
            group = self.groups[-1]
            if group and (len(group) + 1) * utterances[index].duration_s > batch_s:
                self.groups.append([])
            self.groups[-1].append(index)

    def __call__(self, number: int) -> SpeechBatch:
        """Return the batch of a number."""
        epoch, place = divmod(number, len(self.groups))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.groups))
        generator = generator_of(self.seed, number)
        return self.batch([self.utterances[index] for index in self.groups[order[place]]], generator)

    def load(self) -> None:
        """Keep all sound in memory, 230 MB an hour, which forked processes share."""
        files = list(dict.fromkeys(utterance.audio for utterance in self.utterances))
        with ThreadPoolExecutor() as pool:
            self._loaded = dict(zip(files, pool.map(_sound, files), strict=True))

    def batch(self, utterances: Sequence[Utterance], generator: torch.Generator) -> SpeechBatch:
        """Load utterances."""
        found = [self._loaded.get(utterance.audio) for utterance in utterances]
        plain = [
            _sound(utterance.audio) if wav is None else wav for utterance, wav in zip(utterances, found, strict=True)
        ]
        heard = [augment(wav, generator, plain, VARIED) for wav in plain] if self.varied else plain
        tokens = -(-max(map(len, plain)) // SAMPLES_PER_TOKEN)
        mel = whisper_log_mel(_stacked(plain, tokens * SAMPLES_PER_TOKEN), SEMANTIC.num_mel_bins)  # [B, M, 2T]
        return SpeechBatch(
            _stacked(heard, tokens * SAMPLES_PER_TOKEN),
            F.avg_pool1d(mel, 2).mT,
            torch.tensor([-(-len(wav) // SAMPLES_PER_ENCODER_FRAME) for wav in plain]),
            torch.tensor([number for utterance in utterances for number in utterance.phonemes]),
            torch.tensor([len(utterance.phonemes) for utterance in utterances]),
        )


def _sound(path: Path) -> Tensor:
    return load_audio(path, INPUT_RATE_HZ)


def _stacked(waves: Sequence[Tensor], length: int) -> Tensor:
    return torch.stack([F.pad(wav, (0, length - len(wav))) for wav in waves])


class CodeTeacher(nn.Module):
    """A semantic tokenizer with what teaches it."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.tokenizer = SemanticTokenizer(config)
        self.codebook = EMACodebook(self.tokenizer.codebook, config)
        width = config.hidden_size
        self.expand = nn.Linear(width, ENCODER_FRAMES_PER_TOKEN * width)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.phonemes = nn.Linear(width, CLASSES)
        self.mel = nn.Linear(width, config.num_mel_bins)

    def hidden(self, batch: SpeechBatch) -> tuple[Tensor, Tensor]:
        """Return the pooled vectors [B, N, D] before the codebook, and which of them hold sound [B, N]."""
        mel = whisper_log_mel(batch.wav, self.tokenizer.config.num_mel_bins)
        hidden = self.tokenizer(mel, batch.valid_frames)
        tokens = -(-batch.valid_frames // ENCODER_FRAMES_PER_TOKEN)
        return hidden, key_mask(tokens, hidden.shape[1])[:, 0, 0]

    def draw(self, tokens: Tensor, batch: SpeechBatch) -> tuple[Tensor, Tensor]:
        """Return phoneme logits [B, T, C] and mels [B, T, M] of tokens [B, N, D]."""
        x = self.expand(tokens).unflatten(-1, (ENCODER_FRAMES_PER_TOKEN, -1)).flatten(1, 2)
        x = x + self.tokenizer.embed_positions.weight[: x.shape[1]]
        mask = key_mask(batch.valid_frames, x.shape[1])
        for layer in self.layers:
            x = layer(x, mask)
        x = self.norm(x)
        return self.phonemes(x), self.mel(x)

    def losses(self, batch: SpeechBatch, generator: torch.Generator | None, *, quantised: bool) -> dict[str, Tensor]:
        """Return "loss" and its parts; without ``quantised`` everything is taught past the codebook."""
        hidden, valid = self.hidden(batch)
        if not quantised:
            ctc, mel = self._taught(hidden, batch)
            return {"loss": ctc + MEL_WEIGHT * mel, "ctc": ctc, "mel": mel}
        tokens, named = self.codebook(hidden, valid, generator)
        ctc, mel = self._taught(tokens, batch)
        plain_ctc, plain_mel = self._taught(hidden, batch)
        loss = ctc + MEL_WEIGHT * mel + UNQUANTISED_WEIGHT * (plain_ctc + MEL_WEIGHT * plain_mel)
        return {"loss": loss + named["commit_loss"], "ctc": ctc, "mel": mel, "plain_ctc": plain_ctc, **named}

    def _taught(self, tokens: Tensor, batch: SpeechBatch) -> tuple[Tensor, Tensor]:
        logits, mel = self.draw(tokens, batch)
        ctc = F.ctc_loss(
            logits.float().log_softmax(-1).transpose(0, 1),
            batch.labels,
            batch.valid_frames,
            batch.label_lengths,
            reduction="sum",
            zero_infinity=True,  # an utterance spoken faster than its frames teaches nothing
        )
        sound = key_mask(batch.valid_frames, mel.shape[1])[:, 0, 0]
        return ctc / batch.label_lengths.sum(), (mel.float() - batch.mel).abs()[sound].mean()

    @torch.no_grad()
    def error_rate(self, batches: Sequence[SpeechBatch], *, quantised: bool = True) -> float:
        """Return the phoneme error rate of what greedy CTC reads from the codes, or from the vectors before them."""
        self.eval()
        errors = phonemes = 0
        for batch in batches:
            hidden, valid = self.hidden(batch)
            tokens = self.codebook(hidden, valid, None)[0] if quantised else hidden
            references = batch.labels.split(batch.label_lengths.tolist())
            for row, frames, reference in zip(
                self.draw(tokens, batch)[0].argmax(-1), batch.valid_frames.tolist(), references, strict=True
            ):
                read = [str(number) for number in torch.unique_consecutive(row[:frames]).tolist() if number != BLANK]
                errors += word_errors([str(number) for number in reference.tolist()], read)
                phonemes += len(reference)
        return errors / phonemes

    @torch.no_grad()
    def usage(self, batches: Sequence[SpeechBatch]) -> dict[str, float]:
        """Return how many codes speech uses, and their perplexity: as many codes in equal use would be as diverse."""
        self.eval()
        codes = []
        for batch in batches:
            hidden, valid = self.hidden(batch)
            codes.append(self.tokenizer.quantise(hidden[valid].float()))
        shares = torch.bincount(torch.cat(codes)).float()
        shares = shares[shares > 0] / shares.sum()
        return {"codes": float(len(shares)), "perplexity": float(torch.exp(-(shares * shares.log()).sum()))}


@torch.no_grad()
def start_codebook(module: CodeTeacher, batches: Sequence[SpeechBatch], generator: torch.Generator) -> None:
    """Put the codes onto the means of clusters (k-means) of the batches' pooled vectors."""
    module.eval()
    device = next(module.parameters()).device
    found = [module.hidden(moved(batch, device)) for batch in batches]
    vectors = torch.cat([hidden[valid].float() for hidden, valid in found])  # [M, D]
    num_codes = module.tokenizer.config.num_codes
    centres = vectors[torch.randperm(len(vectors), generator=generator)[:num_codes]]
    counts = vectors.new_ones(num_codes)
    for _ in range(10):
        nearest = torch.cat([torch.cdist(part, centres).argmin(1) for part in vectors.split(4096)])
        counts = torch.bincount(nearest, minlength=num_codes).float()
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), centres)
    module.codebook.start(centres, counts / len(batches))
    module.train()


def semantic_config(whisper: EncoderConfig) -> SemanticConfig:
    """Return the sizes of the tokenizer that begins as the lower layers of a Whisper encoder."""
    names = ("num_mel_bins", "hidden_size", "num_layers", "num_heads", "ffn_size")
    return replace(SEMANTIC, **{name: getattr(whisper, name) for name in names})


def train_codes(
    whisper: str,
    utterances: Sequence[Utterance],
    natural: Sequence[Utterance],
    folder: Path,
    loop: LoopConfig,
    *,
    batch_s: float = BATCH_S,
    device: str = "cpu",
) -> CodeTeacher:
    """Train the tokenizer from the encoder of a Whisper (folder or hub id), or go on with what ``folder`` holds."""
    encoder = bare_encoder(whisper)
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed)
        module = CodeTeacher(semantic_config(encoder.config))
    wanted = module.tokenizer.state_dict().keys()
    known = {name: tensor for name, tensor in encoder.state_dict().items() if name in wanted}
    module.tokenizer.load_state_dict(known, strict=False)
    module.to(device)
    learned = [
        item
        for part, times in ((utterances, 1), (natural, NATURAL_TIMES))
        for number, item in enumerate(part)
        if number % DEV_EVERY
        for _ in range(times)
    ]
    batches = SpeechBatches(learned, batch_s, loop.seed, varied=True)
    if loop.loading_processes:
        batches.load()
    dev = SpeechBatches([*utterances[::DEV_EVERY], *natural[::DEV_EVERY]], BATCH_S, 0, varied=False)
    dev_batches = [moved(dev(number), device) for number in range(min(12, len(dev.groups)))]

    def loss_of(batch: SpeechBatch, step: int) -> dict[str, Tensor]:
        if step < QUANTISE_FROM_STEP:
            return module.losses(batch, None, quantised=False)
        generator = generator_of(loop.seed, step)
        if step == QUANTISE_FROM_STEP:
            start_codebook(module, [batches(step + ahead) for ahead in range(math.ceil(START_S / batch_s))], generator)
        return module.losses(batch, generator, quantised=True)

    def evaluate() -> dict[str, float]:
        return {
            "per": module.error_rate(dev_batches),
            "per_plain": module.error_rate(dev_batches, quantised=False),
            **module.usage(dev_batches),
        }

    with Prefetch(batches, end=loop.steps, device=device, processes=loop.loading_processes) as coming:
        train(module, loss_of, coming, loop, folder, evaluate, 250)
    return module.cpu()


def main() -> None:
    """Train, and write the weights as the model folder holds them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, nargs="+", help="folders of recordings")
    parser.add_argument("--natural", type=Path, nargs="*", default=[], help="folders of natural voices, learned more")
    parser.add_argument("--whisper", required=True, help="Whisper of transformers: folder or hub id")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, default=LOOP.steps)
    parser.add_argument("--batch-s", type=float, default=BATCH_S, help="speech that is learned from at once")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--loading-processes", type=int, default=0, help="that make batches; a GPU outruns one thread")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    cache = arguments.out / "phonemes.json"
    utterances, natural = load_utterances(arguments.speech, cache), load_utterances(arguments.natural, cache)
    loop = replace(LOOP, steps=arguments.steps, loading_processes=arguments.loading_processes)
    module = train_codes(
        arguments.whisper,
        utterances,
        natural,
        arguments.out,
        loop,
        batch_s=arguments.batch_s,
        device=arguments.device,
    )
    save_weights(arguments.out / "model.safetensors", module.tokenizer.state_dict(), int8=True)


if __name__ == "__main__":
    main()
