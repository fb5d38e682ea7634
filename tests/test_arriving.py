"""Sound that is heard while it is spoken gives what the whole recording gives."""

import numpy as np
import pytest
import torch

from kimi_audio import Answer, GenerationOptions, KimiAudio, Message
from kimi_audio.checkpoint import NANO_FOLDER
from kimi_audio.core.units import SAMPLES_PER_WINDOW

TOLERANCE = 1e-4  # of features; windows are encoded one by one, which rounds otherwise
SHORT = GenerationOptions("both", max_new_tokens=4)


@pytest.fixture(scope="module")
def model(reference):
    return KimiAudio(reference / "checkpoint", load_detokenizer=True, device="cpu")


def sound(seconds, rate_hz=16_000, level=0.3):
    return level * np.random.default_rng(0).uniform(-1, 1, int(seconds * rate_hz)).astype(np.float32)


def heard(model, wav, rate_hz, piece, history=()):
    arriving = model.hear(history, rate_hz=rate_hz)
    for start in range(0, len(wav), piece):
        arriving.push(wav[start : start + piece])
    return arriving.finish()


def assert_equal(found, expected):
    assert torch.equal(found.codes, expected.codes)
    torch.testing.assert_close(found.features, expected.features, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("seconds", "rate_hz", "piece"),
    [(1.3, 16_000, 700), (1.3, 24_000, 480), (0.7, 48_000, 10**6), (31.7, 16_000, 9_600)],
)
def test_pieces_give_what_the_whole_gives(model, seconds, rate_hz, piece):
    wav = sound(seconds, rate_hz)
    assert_equal(heard(model, wav, rate_hz, piece), model.encode_audio((wav, rate_hz)))


@pytest.mark.skipif(not (NANO_FOLDER / "config.json").exists(), reason="nano is not bundled with this checkout")
def test_pieces_give_what_the_whole_gives_in_nano():
    nano = KimiAudio("nano", load_detokenizer=False, device="cpu")
    for level in (0.3, 0.01):  # nano makes quiet sound louder, which only the whole recording can tell
        wav = sound(31.0, level=level)
        assert_equal(heard(nano, wav, 16_000, 16_000), nano.encode_audio((wav, 16_000)))


def test_windows_are_encoded_once_and_as_soon_as_they_are_final(model, monkeypatch):
    encoded = []
    encode = model._encoded
    monkeypatch.setattr(model, "_encoded", lambda wav, *rest: encoded.append(len(wav)) or encode(wav, *rest))
    arriving = model.hear()
    wav = sound(30.5)
    arriving.push(wav[:100])
    assert encoded == []
    arriving.push(wav[100:])
    assert encoded == [SAMPLES_PER_WINDOW]
    arriving.finish()
    assert encoded == [SAMPLES_PER_WINDOW, len(wav) - SAMPLES_PER_WINDOW]


def test_quiet_sound_waits_until_it_is_known_how_loud_the_loudest_is(model, monkeypatch):
    encoded = []
    encode = model._encoded
    monkeypatch.setattr(model, "_encoded", lambda wav, *rest: encoded.append(len(wav)) or encode(wav, *rest))
    arriving = model.hear()
    arriving._least_peak = 0.2
    arriving.push(sound(30.5, level=0.1))
    assert encoded == []
    arriving.push(sound(0.1, level=0.9))
    assert encoded == [SAMPLES_PER_WINDOW]


def test_what_was_computed_meanwhile_is_not_computed_again(model):
    wav = sound(1.0)
    history = [Message("user", "text", "hello"), Message("assistant", "text", "good morning to you")]
    tokens = heard(model, wav, 16_000, 4000, history)
    chunks = list(model.stream([*history, Message("user", "audio", tokens)], SHORT, seed=0))
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.cached_tokens >= model.count_tokens(history) - 2
    other = KimiAudio(model.folder, device="cpu")
    fresh = other.answer([*history, Message("user", "audio", (wav, 16_000))], SHORT, seed=0)
    assert Answer.of(chunks).codes == fresh.codes
    assert Answer.of(chunks).text == fresh.text


def test_what_cannot_be_heard_is_told(model):
    arriving = model.hear()
    for wrong in (np.full(3, np.nan), np.full(3, 1000.0), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="rows of finite samples"):
            arriving.push(wrong)
    with pytest.raises(ValueError, match="holds no samples"):
        arriving.finish()
    with pytest.raises(ValueError, match="is over"):
        arriving.push(np.zeros(3))
    with pytest.raises(ValueError, match="the rate must be"):
        model.hear(rate_hz=0)
