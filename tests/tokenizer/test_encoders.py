"""The two encoders: parity with the official code, and what their outputs may depend on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kimi_audio import checkpoint
from kimi_audio.audio.io import load_audio
from kimi_audio.core.config import EncoderConfig, SemanticConfig
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN, SAMPLES_PER_WINDOW, tokens_in_audio
from kimi_audio.tokenizer import semantic as semantic_module
from kimi_audio.tokenizer.acoustic import AcousticEncoder, stack_frames
from kimi_audio.tokenizer.encoder import sinusoids
from kimi_audio.tokenizer.semantic import SemanticTokenizer

RELEASED = {"num_mel_bins": 128, "hidden_size": 1280, "num_layers": 32, "num_heads": 20, "ffn_size": 5120}


@pytest.fixture(scope="module")
def semantic(reference: Path) -> SemanticTokenizer:
    return checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(reference / "checkpoint"))


@pytest.fixture(scope="module")
def acoustic(reference: Path) -> AcousticEncoder:
    return checkpoint.load_acoustic(reference / "checkpoint")


@pytest.fixture(scope="module")
def expected(reference: Path) -> dict[str, Tensor]:
    return load_file(reference / "expected" / "tokenizers.safetensors")


@pytest.fixture(scope="module")
def recordings(reference: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    names = sorted({key.split(".")[0] for key in expected})
    assert names
    return {name: load_audio(reference / "audio" / f"{name}.wav", INPUT_RATE_HZ) for name in names}


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.reference
def test_codes_equal_official(semantic, recordings, expected):
    for name, wav in recordings.items():
        assert semantic.encode_wav(wav).tolist() == expected[f"{name}.semantic_codes"].tolist(), name


@pytest.mark.reference
def test_features_equal_official(acoustic, recordings, expected):
    for name, wav in recordings.items():
        wanted = expected[f"{name}.acoustic_features"]
        features = acoustic.features(wav)
        assert features.shape == wanted.shape, name
        assert (features - wanted).abs().max() < 1e-4 * wanted.std(), name


@pytest.mark.reference
def test_codes_do_not_depend_on_the_batching_of_windows(semantic, recordings, monkeypatch):
    wav = torch.cat([*recordings.values()] * 2)
    assert len(wav) > 2 * SAMPLES_PER_WINDOW
    together = semantic.encode_wav(wav)
    monkeypatch.setattr(semantic_module, "WINDOWS_PER_BATCH", 1)
    assert torch.equal(semantic.encode_wav(wav), together)


@pytest.mark.parametrize("pad_windows", [False, True])
def test_windows_are_encoded_together_as_alone(acoustic, pad_windows):
    encoder = AcousticEncoder(replace(acoustic.config, pad_windows=pad_windows)).eval()
    encoder.load_state_dict(acoustic.state_dict())
    windows = [noise(samples, seed) for seed, samples in enumerate((6000, 5121, 9000, 6400, 40_000, 6000, 1))]
    with torch.no_grad():
        together = encoder.window_features(windows)
        alone = [encoder.window_features([window])[0] for window in windows]
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_recordings_are_encoded_together_as_alone(semantic):
    wavs = [noise(samples, seed) for seed, samples in enumerate((6000, 5121, 9000, 6400, 31 * INPUT_RATE_HZ, 6000))]
    assert [codes.tolist() for codes in semantic.encode_wavs(wavs)] == [semantic.encode_wav(w).tolist() for w in wavs]
    with pytest.raises(ValueError, match="at least one sample"):
        semantic.encode_wavs([wavs[0], torch.zeros(0)])


def test_released_sizes():
    with torch.device("meta"):
        config = SemanticConfig(**RELEASED, num_used_layers=16, num_codes=16384, block_frames=200)
        semantic, acoustic = SemanticTokenizer(config), AcousticEncoder(EncoderConfig(**RELEASED))
    used = sum(p.numel() for p in semantic.parameters())
    # The official module also has positions for layers behind the pooling, which are never run; with the buffers of
    # the codebook's training, all of it in float32, that is the released file of 1.46 GB.
    positions2 = 375 * 1280
    assert used + positions2 == 343_599_360
    buffers = 16384 + 16384 * 1280
    assert round(4 * (used + positions2 + buffers) / 1e9, 2) == 1.46
    assert sum(p.numel() for p in acoustic.parameters()) == 636_968_960
    assert {tuple(p.shape) for p in acoustic.layers[31].fc1.parameters()} == {(5120, 1280), (5120,)}
    assert acoustic.layers[0].self_attn.k_proj.bias is None


# ---------------------------------------------------------------------------------------------------------------------
# Lengths


@pytest.mark.parametrize(
    "samples", [1, 1279, 1280, 1281, 16_000, SAMPLES_PER_WINDOW - 1, SAMPLES_PER_WINDOW, SAMPLES_PER_WINDOW + 1]
)
def test_both_encoders_give_one_vector_per_80_ms(semantic, acoustic, samples):
    wav = noise(samples)
    codes, features = semantic.encode_wav(wav), acoustic.features(wav)
    assert codes.shape == (tokens_in_audio(samples),)
    assert features.shape == (tokens_in_audio(samples), 4 * acoustic.config.hidden_size)
    assert features.isfinite().all()


@pytest.mark.parametrize("shape", [(0,), (2, 16_000)])
def test_no_samples_and_several_channels_are_refused(semantic, acoustic, shape):
    for encode in (semantic.encode_wav, acoustic.features):
        with pytest.raises(ValueError, match="row of at least one sample"):
            encode(torch.zeros(shape))


def test_windows_do_not_see_each_other(semantic, acoustic):
    first, second, other = noise(SAMPLES_PER_WINDOW), noise(40_000, 1), noise(40_000, 2)
    for encode in (semantic.encode_wav, acoustic.features):
        one, two = encode(torch.cat([first, second])), encode(torch.cat([first, other]))
        assert torch.equal(one[:375], two[:375])
        assert not torch.equal(one[375:], two[375:])


# ---------------------------------------------------------------------------------------------------------------------
# Attention


def test_codes_see_their_block_and_the_past(semantic):
    """Frames of a block of 4 s see each other and everything before; convolutions look back only."""
    block = semantic.config.block_frames
    mel = torch.randn(1, semantic.config.num_mel_bins, 4 * block, generator=torch.Generator().manual_seed(0))
    valid = torch.tensor([2 * block])
    before = semantic(mel, valid)
    later = mel.clone()
    later[..., 2 * block :] += 1
    after = semantic(later, valid)
    tokens = block // 4
    assert torch.equal(after[:, :tokens], before[:, :tokens])
    assert (after[:, tokens:] != before[:, tokens:]).any(-1).all()
    end_of_block = mel.clone()
    end_of_block[..., 2 * block - 2] += 1  # the last that a frame of the first block looks at
    assert (semantic(end_of_block, valid) != before).any(-1).all()


def test_padding_is_not_attended_to(semantic, acoustic):
    mel = torch.randn(1, semantic.config.num_mel_bins, 800, generator=torch.Generator().manual_seed(0))
    changed = mel.clone()
    changed[..., 400:] = 9  # behind 200 valid frames
    valid = torch.tensor([200])
    torch.testing.assert_close(semantic(changed, valid)[:, :50], semantic(mel, valid)[:, :50])
    # The symmetric convolutions of the acoustic encoder still see the neighbours of the last valid frame.
    kept = 199
    difference = acoustic(changed, valid)[:, :kept] - acoustic(mel, valid)[:, :kept]
    assert difference.abs().max() < acoustic(changed)[:, :kept].sub(acoustic(mel)[:, :kept]).abs().max()
    torch.testing.assert_close(acoustic(mel[..., :400]), acoustic(changed[..., :400]))


def test_windows_are_padded_as_the_config_says(acoustic):
    bare = AcousticEncoder(replace(acoustic.config, pad_windows=False)).eval()
    bare.load_state_dict(acoustic.state_dict())
    wav = noise(20 * SAMPLES_PER_TOKEN)
    assert not torch.allclose(bare.features(wav), acoustic.features(wav))
    filled = noise(SAMPLES_PER_WINDOW)
    torch.testing.assert_close(bare.features(filled), acoustic.features(filled))


# ---------------------------------------------------------------------------------------------------------------------
# Parts


def test_nearest_code_is_chosen(semantic):
    codebook = semantic.codebook.weight
    chosen = torch.tensor([[3, 0], [7, 3]])
    near = codebook[chosen] + 1e-3 * codebook.std()
    assert torch.equal(semantic.quantise(near), chosen)


def test_stacked_frames_keep_their_order():
    frames = torch.arange(24).view(1, 8, 3)
    assert stack_frames(frames).tolist() == [[list(range(12)), list(range(12, 24))]]


def test_sinusoids_have_the_periods_of_whisper():
    table = sinusoids(50, 8)
    assert table[0].tolist() == [0.0] * 4 + [1.0] * 4
    torch.testing.assert_close(table[:, 0], torch.arange(50).sin())
    torch.testing.assert_close(table[:, 7], (torch.arange(50) / 10_000).cos())
