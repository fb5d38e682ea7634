"""The LLM and the acoustic encoder, trained together."""

from pathlib import Path

import pytest
import soundfile
import torch

from kimi_audio.checkpoint import load_acoustic, load_lm
from kimi_audio.core.sequence import Sequence, SequenceBuilder, pack
from kimi_audio.data.pretraining import samples_of_tokens
from kimi_audio.train.hearing import HearingLM, RecordingReader, heard_lengths
from kimi_audio.train.runs import load_encoder

LENGTHS = (1280 * 3, 1280 * 2 + 7, 900, 1280 * 4)  # samples: 3, 3, 1 and 4 tokens


@pytest.fixture(scope="module")
def module(reference: Path) -> HearingLM:
    folder = reference / "checkpoint"
    return HearingLM(load_lm(folder), load_acoustic(folder)).requires_grad_(True)


def wav(number: int) -> torch.Tensor:
    return 0.1 * torch.randn(LENGTHS[number], generator=torch.Generator().manual_seed(number))


def heard(*numbers: int, in_features: HearingLM | None = None) -> Sequence:
    """Write recordings with text between them, as sound or as the features that inference makes."""
    rows = SequenceBuilder(0)
    for number in numbers:
        sound = samples_of_tokens(wav(number))
        block = sound if in_features is None else in_features.acoustic.features(wav(number))
        rows.add([900 + number] * len(sound), features=block)
        rows.add(text=[5, 6], text_loss=True)
    return rows.build()


def test_recordings_are_found_in_packed_rows():
    ends_heard = SequenceBuilder(0).add([900], features=torch.zeros(1, 1280)).build()
    rows = [[ends_heard, heard(0, 2), ends_heard], [heard(1)], [heard(3), ends_heard]]
    assert heard_lengths(pack(rows, 0, 20)) == [1, 3, 1, 1, 3, 4, 1]
    assert heard_lengths(pack([[SequenceBuilder(0).add(text=[1, 2]).build()]], 0)) == []


def test_what_training_hears_is_what_inference_hears(module: HearingLM):
    rows = [[(0, 2), (1,)], [(3,)]]
    with torch.no_grad():
        found = module.loss(pack([[heard(*numbers) for numbers in row] for row in rows], 0))
        batch = pack([[heard(*numbers, in_features=module) for numbers in row] for row in rows], 0)
        features = module.features(*_parts(pack([[heard(*n) for n in row] for row in rows], 0)))
    torch.testing.assert_close(features, batch.features)
    assert torch.isfinite(found.mean)


def _parts(batch):
    return batch.features, heard_lengths(batch)


def test_the_encoder_has_gradients_through_the_llm(module: HearingLM):
    module.zero_grad()
    module.loss(pack([[heard(0)]], 0)).mean.backward()
    gradients = [p.grad for p in module.acoustic.parameters()]
    assert sum(g is not None and bool(g.abs().sum() > 0) for g in gradients) > len(gradients) / 2


def test_a_batch_without_sound_teaches_the_encoder_nothing(module: HearingLM):
    silent = SequenceBuilder(0).add(text=[1, 2, 3], text_loss=True).build()
    module.zero_grad()
    module.lm.requires_grad_(False)
    found = module.loss(pack([[silent]], 0)).mean
    module.lm.requires_grad_(True)
    found.backward()
    assert torch.isfinite(found)
    assert all(not p.grad.any() for p in module.acoustic.parameters() if p.grad is not None)


def test_a_recording_whose_codes_are_not_prepared_is_decoded_once(reference: Path, tmp_path, monkeypatch):
    encoder = load_encoder(reference / "checkpoint", "cpu")
    path = tmp_path / "heard.wav"
    soundfile.write(path, wav(1).numpy(), 16_000)
    expected = encoder.codes(path).codes
    monkeypatch.setattr("kimi_audio.data.encoding.load_audio", lambda *_, **__: pytest.fail("decoded again"))
    found = RecordingReader(encoder, samples_of_tokens)(path)
    assert torch.equal(found.codes, expected)
    assert found.features is not None
    assert found.features.shape == (len(expected), 1280)
