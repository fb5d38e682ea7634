"""nano's semantic tokenizer learns through its codes, and its batches follow from their number."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from kimi_audio.core.config import SemanticConfig
from kimi_audio.core.units import INPUT_RATE_HZ
from recipes.nano.semantic import CLASSES, CodeTeacher, SpeechBatch, SpeechBatches, Utterance, start_codebook

CONFIG = SemanticConfig.tiny(num_mel_bins=80, num_codes=8, max_frames=128)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory) -> list[Utterance]:
    folder: Path = tmp_path_factory.mktemp("speech")
    found = []
    for number in range(6):
        length = INPUT_RATE_HZ * (3 + number) // 4
        wav = np.sin(np.arange(length) * (0.05 + 0.05 * number)) * 0.3
        soundfile.write(folder / f"{number}.flac", wav, INPUT_RATE_HZ)
        found.append(Utterance(folder / f"{number}.flac", length / INPUT_RATE_HZ, (1 + number, 3, 2)))
    return found


def equal(one: SpeechBatch, other: SpeechBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_batches_follow_from_their_number_and_hold_everything_once_an_epoch(utterances):
    batches = SpeechBatches(utterances, 4.0, 0, varied=True)
    assert equal(batches(3), SpeechBatches(utterances, 4.0, 0, varied=True)(3))
    epoch = [batches(number) for number in range(len(batches.groups))]
    heard = [label for batch in epoch for label in batch.labels.tolist()]
    assert sorted(heard) == sorted(label for utterance in utterances for label in utterance.phonemes)
    for batch in epoch:
        assert batch.wav.shape[1] % 1280 == 0
        assert batch.mel.shape == (len(batch.wav), batch.wav.shape[1] // 320, 80)
        assert batch.wav.numel() <= 1.5 * 4 * INPUT_RATE_HZ


def test_changed_sound_is_heard_and_the_plain_one_is_drawn(utterances):
    plain, varied = (SpeechBatches(utterances, 100.0, 0, varied=varied)(0) for varied in (False, True))
    assert torch.equal(plain.mel, varied.mel)
    assert not torch.equal(plain.wav, varied.wav)


def test_learning_through_the_codes_lowers_the_losses(utterances):
    torch.manual_seed(0)
    module = CodeTeacher(CONFIG)
    batch = SpeechBatches(utterances, 100.0, 0, varied=False)(0)
    generator = torch.Generator().manual_seed(0)
    start_codebook(module, [batch], generator)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(40):
        named = module.losses(batch, generator, quantised=True)
        optimizer.zero_grad()
        named["loss"].backward()
        optimizer.step()
        losses.append({name: float(value.detach()) for name, value in named.items()})
    assert losses[-1]["ctc"] < 0.7 * losses[0]["ctc"]
    assert losses[-1]["mel"] < 0.7 * losses[0]["mel"]
    assert module.tokenizer.conv1.weight.grad is not None  # past the codebook, straight through
    logits, mel = module.draw(module.hidden(batch)[0], batch)
    assert logits.shape == (*batch.mel.shape[:2], CLASSES)
    assert mel.shape == batch.mel.shape
    usage = module.usage([batch])
    assert 1 <= usage["perplexity"] <= usage["codes"] <= CONFIG.num_codes
    assert 0 <= module.error_rate([batch]) <= 2
