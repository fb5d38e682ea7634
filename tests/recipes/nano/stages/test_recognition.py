"""Speech recognition as a training task: phonemes, the loss, the two networks and how they are scored."""

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kimi_audio.core.config import EncoderConfig, SemanticConfig
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN
from kimi_audio.data.split import Split, SplitWriter
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.speech.codebook import EMACodebook
from recipes.nano.closed.phonemes import PHONEMES
from recipes.nano.stages.encoders import (
    check_speech,
    code_usage,
    give_first_code,
    load_semantic_run,
    phoneme_error_rate,
    start_codebook,
    train_acoustic,
    train_semantic,
)
from recipes.nano.stages.recognition import (
    CLASSES,
    AcousticRecogniser,
    SemanticRecogniser,
    SpeechBatch,
    Supervision,
    ctc_loss,
    phoneme_names,
    phoneme_numbers,
)

SIZES: dict[str, Any] = {"hidden_size": 16, "num_layers": 2, "ffn_size": 32}
CONFIG = EncoderConfig.tiny(**SIZES)
SEMANTIC = SemanticConfig.tiny(**SIZES, num_codes=8)
HI = phoneme_numbers("h aI")


def speech(*lengths: int, seed: int = 0) -> SpeechBatch:
    """Return noise of these lengths, every one said to be "h aI"."""
    generator = torch.Generator().manual_seed(seed)
    padded = -(-max(lengths) // SAMPLES_PER_TOKEN) * SAMPLES_PER_TOKEN
    wav = 0.1 * torch.randn(len(lengths), padded, generator=generator)
    for row, length in zip(wav, lengths, strict=True):
        row[length:] = 0
    labels = [HI] * len(lengths)
    return SpeechBatch(wav, torch.tensor(lengths), torch.cat(labels), torch.tensor([2] * len(lengths)))


def alone(batch: SpeechBatch, index: int) -> SpeechBatch:
    length = int(batch.samples[index])
    padded = -(-length // SAMPLES_PER_TOKEN) * SAMPLES_PER_TOKEN
    return SpeechBatch(batch.wav[index : index + 1, :padded], torch.tensor([length]), HI, torch.tensor([2]))


@pytest.fixture
def acoustic() -> AcousticRecogniser:
    torch.manual_seed(0)
    return AcousticRecogniser(CONFIG).eval()


@pytest.fixture
def semantic() -> SemanticRecogniser:
    torch.manual_seed(0)
    return SemanticRecogniser(SEMANTIC).eval()


# ---------------------------------------------------------------------------------------------------------------------
# Phonemes and the loss


@given(st.lists(st.sampled_from(PHONEMES)), st.data())
def test_names_undo_numbers_however_long_each_is_held(phonemes: list[str], data: st.DataObject):
    frames = []
    for number in phoneme_numbers(" ".join(phonemes)).tolist():
        held = data.draw(st.integers(1, 3))
        frames += [0] * data.draw(st.integers(0, 2))
        if frames and frames[-1] == number:
            frames.append(0)  # a doubled phoneme needs a blank between
        frames += [number] * held
    assert phoneme_names(torch.tensor([*frames, 0], dtype=torch.long)) == phonemes


def test_repetitions_are_merged_before_blanks_are_dropped():
    k, i = phoneme_numbers("k i:").tolist()
    assert phoneme_names(torch.tensor([0, k, k, i, 0, i, i, 0, 0])) == ["k", "i:", "i:"]
    assert phoneme_names(torch.tensor([0, 0])) == []


def test_unknown_phonemes_are_named():
    with pytest.raises(ValueError, match="holds ! xy, which HEARD lacks"):
        phoneme_numbers("h xy ! aI")


def test_the_loss_per_phoneme_is_that_of_all_alignments():
    """Sum the probabilities of all rows of frames that hold the phonemes."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, CLASSES, generator=generator)
    sounds, frames = ["a b", "a"], [4, 3]
    batch = SpeechBatch(
        wav=torch.zeros(2, SAMPLES_PER_TOKEN),
        samples=torch.tensor([1280, 900]),  # 4 frames, and 3 of which the last is not full
        labels=torch.cat([phoneme_numbers(sound) for sound in sounds]),
        label_lengths=torch.tensor([2, 1]),
    )
    total = 0.0
    used = [0, *phoneme_numbers("a b").tolist()]  # others cannot be part of an alignment
    for row, sound, count in zip(logits.softmax(-1), sounds, frames, strict=True):
        probability = sum(
            math.prod(float(row[t, number]) for t, number in enumerate(path))
            for path in product(used, repeat=count)
            if phoneme_names(torch.tensor(path)) == sound.split()
        )
        total -= math.log(probability)
    assert float(ctc_loss(logits, batch)) == pytest.approx(total / 3, rel=1e-4)


def test_an_utterance_too_fast_for_its_frames_teaches_nothing():
    logits = torch.zeros(1, 4, CLASSES, requires_grad=True)
    batch = SpeechBatch(torch.zeros(1, 1280), torch.tensor([1280]), phoneme_numbers("a a a"), torch.tensor([3]))
    loss = ctc_loss(logits, batch)  # three equal phonemes need five frames
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


# ---------------------------------------------------------------------------------------------------------------------
# The networks


def test_shapes(acoustic: AcousticRecogniser, semantic: SemanticRecogniser):
    batch = speech(5000, 2000)  # padded to 4 tokens, 16 frames; 7 frames make 2 tokens
    logits, statistics = semantic(batch)
    assert acoustic(batch).shape == logits.shape == semantic.recognise_unquantised(batch).shape == (2, 16, CLASSES)
    assert semantic.hidden(batch).shape == (2, 4, 16)
    assert semantic.valid_tokens(batch, 4).tolist() == [[True] * 4, [True, True, False, False]]
    assert set(statistics) == {"commit_loss", "active_codes", "perplexity"}


@pytest.mark.parametrize("kind", ["acoustic", "semantic", "semantic-unquantised"])
def test_what_is_recognised_does_not_depend_on_the_rest_of_the_batch(
    kind: str, acoustic: AcousticRecogniser, semantic: SemanticRecogniser
):
    logits_of = {
        "acoustic": acoustic,
        "semantic": lambda batch: semantic(batch)[0],
        "semantic-unquantised": semantic.recognise_unquantised,
    }[kind]
    # All end in some silence of their own, so that no convolution looks behind what is there alone.
    batch = speech(9600, 2000, 4600)
    together = logits_of(batch)
    for index, frames in enumerate(batch.valid_frames.tolist()):
        torch.testing.assert_close(together[index, :frames], logits_of(alone(batch, index))[0, :frames])


def test_the_semantic_recogniser_hears_through_its_codes_alone(semantic: SemanticRecogniser):
    """Vectors that are moved without changing their codes change nothing; without the codebook they do."""
    batch = speech(5000)
    hidden = semantic.hidden(batch)
    semantic.codebook.embedding.weight.data.normal_(generator=torch.Generator().manual_seed(1))
    codes = semantic.tokenizer.quantise(hidden)
    quantised, unquantised = semantic(batch)[0], semantic.recognise_unquantised(batch)
    shift = 1e-3 * torch.ones_like(hidden)
    assert torch.equal(semantic.tokenizer.quantise(hidden + shift), codes)
    semantic.hidden = lambda _batch: hidden + shift  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(semantic(batch)[0], quantised)
    assert (semantic.recognise_unquantised(batch) - unquantised).abs().max() > 1e-4


def test_recognition_trains_the_encoder_below_the_codebook(semantic: SemanticRecogniser):
    batch = speech(5000)
    for logits in (semantic(batch)[0], semantic.recognise_unquantised(batch)):
        semantic.zero_grad()
        ctc_loss(logits, batch).backward()
        gradient = semantic.tokenizer.conv1.weight.grad
        assert gradient is not None
        assert gradient.abs().max() > 0
        assert semantic.codebook.embedding.weight.grad is None


# ---------------------------------------------------------------------------------------------------------------------
# Supervision


EVERYTHING = Supervision(ctc=0.7, unquantised_ctc=0.3, decoder=0.5, decoder_layers=1)


@pytest.fixture
def supervised() -> SemanticRecogniser:
    torch.manual_seed(0)
    return SemanticRecogniser(SEMANTIC, EVERYTHING).eval()


def test_the_loss_weighs_what_is_wanted(supervised: SemanticRecogniser):
    batch = speech(5000, 2000)
    losses = supervised.losses(batch, None)
    assert {"ctc", "unquantised_ctc", "decoder", "commit_loss", "active_codes", "perplexity"} < set(losses)
    torch.testing.assert_close(losses["ctc"], ctc_loss(supervised(batch)[0], batch))
    torch.testing.assert_close(losses["unquantised_ctc"], ctc_loss(supervised.recognise_unquantised(batch), batch))
    expected = 0.7 * losses["ctc"] + 0.3 * losses["unquantised_ctc"] + 0.5 * losses["decoder"] + losses["commit_loss"]
    torch.testing.assert_close(losses["loss"], expected)


def test_without_the_codebook_everything_learns_from_vectors(supervised: SemanticRecogniser):
    batch = speech(5000)
    losses = supervised.losses(batch, None, quantised=False)
    assert set(losses) == {"loss", "ctc", "decoder"}
    torch.testing.assert_close(losses["ctc"], ctc_loss(supervised.recognise_unquantised(batch), batch))


def test_by_default_the_codes_are_taught_by_ctc_alone(semantic: SemanticRecogniser):
    losses = semantic.losses(speech(5000), None)
    torch.testing.assert_close(losses["loss"], losses["ctc"] + losses["commit_loss"])
    assert not [name for name in semantic.state_dict() if name.startswith("decoder")]


@pytest.mark.parametrize("weights", [{"ctc": 0.0}, {"ctc": -1.0, "decoder": 2.0}, {"unquantised_ctc": -0.1}])
def test_weights_that_teach_nothing_or_the_opposite_are_refused(weights: dict[str, Any]):
    with pytest.raises(ValueError, match="must not be negative, and one of them must be above 0"):
        Supervision(**weights)


def test_the_decoder_sees_the_sound_and_earlier_labels_only(supervised: SemanticRecogniser):
    decoder = supervised.decoder
    assert decoder is not None
    tokens = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0))
    valid, labels = torch.tensor([[True, True, True, False]]), torch.tensor([[0, 3, 5, 7]])
    logits = decoder(labels, tokens, valid)
    changed = decoder(torch.tensor([[0, 3, 5, 8]]), tokens, valid)
    torch.testing.assert_close(changed[:, :3], logits[:, :3])
    assert (changed[:, 3] - logits[:, 3]).abs().max() > 1e-4
    louder, beyond = tokens.clone(), tokens.clone()
    louder[0, 1] *= -2
    beyond[0, 3] *= -2
    assert (decoder(labels, louder, valid) - logits).abs().max() > 1e-4
    torch.testing.assert_close(decoder(labels, beyond, valid), logits)


def test_the_decoder_is_judged_by_labels_and_their_end(supervised: SemanticRecogniser):
    decoder = supervised.decoder
    assert decoder is not None
    tokens, valid = torch.randn(2, 4, 16), torch.ones(2, 4, dtype=torch.bool)
    labels, lengths = phoneme_numbers("h aI t"), torch.tensor([2, 1])
    total = 0.0
    for row, own in enumerate(labels.split([2, 1])):
        known, wanted = torch.cat([torch.tensor([0]), own]), torch.cat([own, torch.tensor([0])])
        logits = decoder(known[None], tokens[row : row + 1], valid[row : row + 1])[0]
        total += float(-logits.detach().log_softmax(-1)[range(len(wanted)), wanted].sum())
    torch.testing.assert_close(decoder.loss(labels, lengths, tokens, valid), torch.tensor(total / 5))


def test_the_decoder_teaches_the_encoder_through_the_codes():
    torch.manual_seed(0)
    module = SemanticRecogniser(SEMANTIC, Supervision(ctc=0.0, decoder=1.0, decoder_layers=1))
    losses = module.losses(speech(5000), None)
    losses["decoder"].backward()
    gradient = module.tokenizer.conv1.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    assert module.head.weight.grad is None


def test_too_many_labels_for_the_decoder_are_an_error(supervised: SemanticRecogniser):
    assert supervised.decoder is not None
    with pytest.raises(ValueError, match="has 2000 phonemes; cut it below 1024"):
        supervised.decoder.loss(torch.ones(2000), torch.tensor([2000]), torch.zeros(1, 4, 16), torch.ones(1, 4) > 0)


# ---------------------------------------------------------------------------------------------------------------------
# The start of the codebook


def test_codes_start_in_the_middle_of_clusters(semantic: SemanticRecogniser):
    """Vectors in eight tight groups: every group gets its code, with as many uses as a batch has members of it."""
    generator = torch.Generator().manual_seed(0)
    middles = 10 * torch.eye(16)[:8]
    batches = [speech(*[SAMPLES_PER_TOKEN * 8] * 2), speech(SAMPLES_PER_TOKEN * 8, 1000)]
    members = torch.arange(16).view(2, 8) % 8
    semantic.hidden = lambda batch: (  # pyright: ignore[reportAttributeAccessIssue]
        middles[members] + 0.01 * torch.randn(2, 8, 16, generator=generator)
    )
    # Eight random starts of 25 vectors rarely meet all groups: k-means ends in a worse place. Take one that does.
    for seed in range(200):
        start_codebook(semantic, batches, torch.Generator().manual_seed(seed))
        distance = torch.cdist(middles, semantic.codebook.embedding.weight)
        if distance.min(1).values.max() < 0.1:
            break
    else:
        pytest.fail("no start found the groups")
    group = distance.argmin(1)
    # The second batch counts one token of its second row only: 16 + 8 + 1 vectors.
    torch.testing.assert_close(semantic.codebook.ema_count[group], torch.tensor([4, 3, 3, 3, 3, 3, 3, 3]) / 2)
    assert semantic.training


def test_fewer_vectors_than_codes_are_an_error(semantic: SemanticRecogniser):
    with pytest.raises(ValueError, match="8 codes cannot start from the 7 tokens of 2 batches; use larger batches"):
        start_codebook(semantic, [speech(5000), speech(3000)], torch.Generator())


# ---------------------------------------------------------------------------------------------------------------------
# Stages


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Three utterances of 3 tokens each."""
    writer = SplitWriter(tmp_path / "asr-0", (INPUT_RATE_HZ,))
    for number, phonemes in enumerate(["a b", "a k", "b"]):
        samples = {INPUT_RATE_HZ: speech(3800, seed=number).wav[0].numpy()}
        values = {"text": "x", "transcript": "x", "kind": "sentence", "voice": "x", "rate": 1.0, "pitch": 1.0}
        writer.add(samples, id=str(number), phonemes=phonemes, **values)
    writer.close(completed=True)
    return Split(tmp_path / "asr-0")


def test_a_manner_begins_with_its_own_code(semantic: SemanticRecogniser, split: Split):
    utterances = split.utterances
    semantic.codebook.ema_count[3] = 1e-4
    code = give_first_code(semantic, split, utterances[:1])
    assert code == 3
    firsts = [semantic.tokenizer.encode_wav(torch.from_numpy(split.samples(u)))[0].item() for u in utterances]
    assert firsts[0] == code
    assert give_first_code(semantic, split, utterances) != code  # another manner takes another code


@pytest.mark.parametrize("batch_size", [1, 2, 25])
def test_phoneme_error_rate_counts_phonemes_of_all_utterances(split: Split, batch_size: int):
    a, b, z = phoneme_numbers("a b z").tolist()
    always = torch.tensor([a, a, 0, b] + [0] * 8 + [z] * 4)  # what is heard behind the end of the sound must not count

    def logits_of(batch: SpeechBatch) -> Tensor:
        return nn.functional.one_hot(torch.stack([always] * len(batch.samples)), CLASSES).float()

    # "a b" for "a b", "a k", "b": no error, one substitution, one insertion; 5 phonemes.
    assert phoneme_error_rate(nn.Identity(), logits_of, split, batch_size) == pytest.approx(2 / 5)


def test_both_stages_learn_three_utterances_and_hand_over(split: Split, tmp_path: Path):
    loop = LoopConfig(steps=25, peak_lr=5e-3, warmup_steps=2, bf16=False, log_every_steps=1)
    recogniser = train_acoustic(CONFIG, loop, [split], [split], tmp_path / "acoustic", 5.0, None)
    log = _rows(tmp_path / "acoustic")
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert 0 <= log[-1]["per_asr-0"] <= 1

    short = LoopConfig(steps=4, peak_lr=0.0, bf16=False, log_every_steps=1)  # nothing moves but the codebook
    module = train_semantic(SEMANTIC, recogniser, short, [split], [split], tmp_path / "semantic", 5.0, None, 2)
    for name in ("conv1.weight", "layers.0.fc1.weight", "embed_positions.weight"):
        torch.testing.assert_close(module.tokenizer.state_dict()[name], recogniser.encoder.state_dict()[name])
    torch.testing.assert_close(module.head.weight, recogniser.head.weight)
    rows = _rows(tmp_path / "semantic")
    assert ["commit_loss" in row for row in rows] == [False, False, True, True]
    assert int(module.codebook.updates) == 2
    assert "per_asr-0" in rows[-1]


def test_a_trained_tokenizer_keeps_its_codes_and_counts_their_use(split: Split, tmp_path: Path):
    loop = LoopConfig(steps=1, peak_lr=0.0, bf16=False, log_every_steps=1, frozen={"tokenizer.": 1.0})
    known = SemanticRecogniser(SEMANTIC).tokenizer
    module = train_semantic(SEMANTIC, known, loop, [split], [split], tmp_path, 5.0, None, 0)
    for name, tensor in known.state_dict().items():
        if name != "codebook.weight":
            torch.testing.assert_close(module.tokenizer.state_dict()[name], tensor)
    # Nine tokens, and 0.01 for every code that nothing chose: the average has moved by a hundredth of them.
    moved = (module.tokenizer.codebook.weight - known.codebook.weight).norm(dim=1)
    unused = module.codebook.ema_count < 0.1
    assert 0 < unused.sum() < SEMANTIC.num_codes
    assert (moved[unused] < 1e-2).all()


def _rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_supervised_stage_is_loaded_as_it_was_trained_and_leaves_dead_codes_in_the_end(split: Split, tmp_path: Path):
    config = replace(SEMANTIC, restart_interval_steps=1, num_codes=4)
    loop = LoopConfig(steps=8, peak_lr=0.0, warmup_steps=0, bf16=False, log_every_steps=1)
    restarts: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EMACodebook, "_restart_dead_codes", lambda self, *_: restarts.append(int(self.updates)))
        acoustic = AcousticRecogniser(CONFIG)
        wanted = replace(EVERYTHING, restart_until=0.5)
        module = train_semantic(config, acoustic, loop, [split], [split], tmp_path, 5.0, None, 2, wanted)
    assert restarts == [1, 2]  # of the steps 2 to 7, those before half of the training
    last = _rows(tmp_path)[-1]
    assert {"ctc", "decoder", "unquantised_ctc"} < set(last)
    assert 1 <= last["perplexity_asr-0"] <= last["codes_asr-0"] <= 4
    loaded = load_semantic_run(config, tmp_path, wanted)
    for name, tensor in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_code_usage_counts_codes_in_use(split: Split):
    module = SemanticRecogniser(SEMANTIC)
    sounds = iter([0, 0, 5])
    module.codes = lambda batch: torch.full((4,), next(sounds))  # pyright: ignore[reportAttributeAccessIssue]
    used, perplexity = code_usage(module, split, batch_size=1)
    assert used == 2
    expected = math.exp(-sum(share * math.log(share) for share in (2 / 3, 1 / 3)))
    assert perplexity == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length_samples": 64 * 320 + 2}, "1 lasts 1.3 s, longer than the encoder's window of 1.28 s; cut it"),
        ({"phonemes": ""}, "'1' has no pronunciation; build its split again"),
        ({"phonemes": None}, "'1' has no pronunciation; build its split again"),
    ],
)
def test_speech_that_cannot_be_learnt_from_is_named_before_training(split: Split, changes: dict, message: str):
    split.utterances[1] = replace(split.utterances[1], **changes)
    with pytest.raises(ValueError, match=message):
        check_speech([split], CONFIG)
