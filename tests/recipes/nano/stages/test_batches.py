"""Which items make up the batch of a step, and what a batch of speech holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN
from kimi_audio.data.split import Split, SplitWriter
from kimi_audio.train.loop.epochs import EpochPlan
from recipes.nano.closed.phonemes import PHONEMES
from recipes.nano.stages.batches import BABBLE_POOL, SpeechBatches, load_splits, speech_batch
from recipes.nano.stages.recognition import phoneme_names

lengths_of_items = st.lists(st.floats(0.5, 12), min_size=1, max_size=60)
limits = st.floats(1, 60)


def epochs(plan: EpochPlan, number: int) -> list[list[list[int]]]:
    """Return the groups of the first epochs, found by counting items."""
    found, step = [], 0
    for _ in range(number):
        groups: list[list[int]] = []
        while sum(map(len, groups)) < len(plan.lengths):
            groups.append(plan(step))
            step += 1
        found.append(groups)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The plan


@given(lengths_of_items, limits, st.integers(0, 99), st.booleans())
def test_every_item_comes_once_per_epoch_and_groups_fit(
    lengths: list[float], limit: float, seed: int, short_first: bool
):
    for groups in epochs(EpochPlan(lengths, limit, seed, short_first=short_first), 3):
        assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
        for group in groups:
            assert len(group) == 1 or max(lengths[index] for index in group) * len(group) <= limit


@settings(max_examples=25)
@given(lengths_of_items, limits, st.integers(0, 99))
def test_a_step_depends_on_the_seed_and_on_no_earlier_question(lengths: list[float], limit: float, seed: int):
    steps = range(10)
    in_order = [EpochPlan(lengths, limit, seed)(step) for step in steps]
    plan = EpochPlan(lengths, limit, seed)
    assert [plan(step) for step in reversed(steps)] == in_order[::-1]


def test_epochs_and_seeds_differ():
    lengths = np.random.default_rng(0).uniform(1, 10, 100).tolist()
    first, second = epochs(EpochPlan(lengths, 40, 0), 2)
    assert sorted(first) != sorted(second)  # not only another order of the same groups
    assert epochs(EpochPlan(lengths, 40, 1), 1)[0] != first


def test_groups_hold_items_of_similar_length():
    lengths = np.random.default_rng(0).uniform(1, 10, 1000).tolist()
    (groups,) = epochs(EpochPlan(lengths, 40, 0), 1)
    padded = sum(max(lengths[i] for i in group) * len(group) for group in groups)
    assert padded < 1.12 * sum(lengths)


@settings(max_examples=15)
@given(st.integers(0, 99))
def test_only_the_first_epoch_goes_from_short_to_long_and_only_when_asked(seed: int):
    lengths = np.random.default_rng(seed).uniform(1, 10, 200).tolist()

    def is_ascending(groups: list[list[int]]) -> bool:
        means = [float(np.mean([lengths[i] for i in group])) for group in groups]
        return means == sorted(means)

    ordered, shuffled = EpochPlan(lengths, 40, seed, short_first=True), EpochPlan(lengths, 40, seed)
    assert [is_ascending(groups) for groups in epochs(ordered, 3)] == [True, False, False]
    assert [is_ascending(groups) for groups in epochs(shuffled, 2)] == [False, False]
    # Later epochs do not remember how the first one went.
    assert epochs(ordered, 2)[1] == epochs(shuffled, 2)[1]


def test_no_items_are_an_error():
    with pytest.raises(ValueError, match="nothing to train on"):
        EpochPlan([], 40, 0)


# ---------------------------------------------------------------------------------------------------------------------
# Speech


def write_split(folder: Path, lengths: list[int], *, completed: bool = True) -> None:
    """Write utterances whose samples all have one value, by which they can be told apart."""
    writer = SplitWriter(folder, (INPUT_RATE_HZ,))
    for number, length in enumerate(lengths, 1):
        values = {"text": "x", "transcript": "x", "kind": "sentence", "voice": "x", "rate": 1.0, "pitch": 1.0}
        samples = {INPUT_RATE_HZ: np.full(length, number / 16, np.float32)}
        writer.add(samples, id=str(number), phonemes=f"n {PHONEMES[number]}", **values)
    writer.close(completed)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    write_split(tmp_path / "asr-0", [4000, 1000, 3000, 2000, 5000])
    return Split(tmp_path / "asr-0")


def test_a_batch_is_padded_to_whole_tokens_and_knows_what_is_sound(split: Split):
    utterances = split.utterances[:3]
    batch = speech_batch([torch.from_numpy(split.samples(utterance)) for utterance in utterances], utterances)
    assert batch.wav.shape == (3, 4 * SAMPLES_PER_TOKEN)  # 4000 samples are 3.125 tokens
    assert batch.samples.tolist() == [4000, 1000, 3000]
    assert batch.ids == ("1", "2", "3")
    assert batch.valid_frames.tolist() == [13, 4, 10]  # of 320 samples, a begun one counting
    for number, (wav, samples) in enumerate(zip(batch.wav, batch.samples, strict=True), 1):
        assert (wav[:samples] == number / 16).all()
        assert (wav[samples:] == 0).all()
    labels = batch.labels.split(batch.label_lengths.tolist())
    assert [phoneme_names(label) for label in labels] == [["n", PHONEMES[number]] for number in (1, 2, 3)]


def test_an_utterance_without_pronunciation_is_named(split: Split):
    (first, *_) = split.utterances
    with pytest.raises(ValueError, match="utterance '1' has no pronunciation; build its split again"):
        speech_batch([torch.from_numpy(split.samples(first))], [replace(first, phonemes=None)])


def test_an_epoch_reads_every_utterance_of_every_split_with_its_pronunciation(split: Split, tmp_path: Path):
    write_split(tmp_path / "asr-1", [2500, 3500])
    batches = SpeechBatches([split, Split(tmp_path / "asr-1")], 0.6, seed=0)
    seen = []
    step = 0
    while len(seen) < 7:
        batch = batches(step)
        assert len(batch.samples) * int(batch.samples.max()) <= 0.6 * INPUT_RATE_HZ
        labels = batch.labels.split(batch.label_lengths.tolist())
        for wav, samples, label in zip(batch.wav, batch.samples.tolist(), labels, strict=True):
            number = round(float(wav[0]) * 16)
            assert phoneme_names(label) == ["n", PHONEMES[number]]
            seen.append((number, samples))
        step += 1
    assert sorted(seen) == [(1, 2500), (1, 4000), (2, 1000), (2, 3500), (3, 3000), (4, 2000), (5, 5000)]


def test_augmentation_follows_from_the_step_and_may_change_lengths(split: Split):
    pools = []

    def longer(samples: torch.Tensor, generator: torch.Generator, others) -> torch.Tensor:
        pools.append([len(other) for other in others])
        return torch.cat([samples, torch.rand(100, generator=generator)])

    batches = SpeechBatches([split], 5.0, 0, longer)  # everything in one batch
    one, again, later = batches(0), batches(0), batches(1)
    assert sorted(one.samples.tolist()) == [1100, 2100, 3100, 4100, 5100]
    assert torch.equal(one.wav, again.wav)

    def drawn(batch) -> set[float]:
        return {float(wav[samples - 1]) for wav, samples in zip(batch.wav, batch.samples, strict=True)}

    assert len(drawn(one) | drawn(later)) == 10  # every utterance of every step gets its own
    # Babble is made of the utterances as they are.
    assert all(len(pool) == BABBLE_POOL and set(pool) < {1000, 2000, 3000, 4000, 5000} for pool in pools)


def test_splits_are_found_by_the_start_of_their_names(tmp_path: Path):
    for name in ("asr-1", "asr-0", "eval-asr-seen", "assistant"):
        write_split(tmp_path / name, [1000])
    assert [split.folder.name for split in load_splits(tmp_path, ["asr-", "assistant"])] == [
        "asr-0",
        "asr-1",
        "assistant",
    ]
    assert load_splits(tmp_path, ["questions-"]) == []
    write_split(tmp_path / "asr-2", [1000], completed=False)
    with pytest.raises(ValueError, match="asr-2 is not a finished corpus split"):
        load_splits(tmp_path, ["asr-"])
