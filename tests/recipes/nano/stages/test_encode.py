"""Encoding a split once: what is on disk equals what the encoders give."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.core.config import EncoderConfig, SemanticConfig
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN, tokens_in_audio
from kimi_audio.data.split import Split, SplitWriter
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from recipes.nano.stages.encode import EncodedSplit, encode_split

Encoders = tuple[SemanticTokenizer, AcousticEncoder]
LENGTHS = [4000, 1280, 2600, 1000, 3000, 1282]


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    torch.manual_seed(0)
    semantic = SemanticTokenizer(SemanticConfig.tiny())
    noise = 0.1 * torch.randn(20, 15 * SAMPLES_PER_TOKEN)
    with torch.no_grad():  # codes amid what is heard: random ones would all lie on one side of it
        heard = semantic(whisper_log_mel(noise, 16), torch.full((20,), 60))  # [20, 15, D]
        semantic.codebook.weight.copy_(heard.flatten(0, 1))
    return semantic.eval(), AcousticEncoder(EncoderConfig.tiny()).eval()


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("corpus") / "asr-0"
    generator = np.random.default_rng(0)
    writer = SplitWriter(folder, (INPUT_RATE_HZ,))
    for number, length in enumerate(LENGTHS):
        samples = {INPUT_RATE_HZ: 0.1 * generator.standard_normal(length).astype(np.float32)}
        writer.add(samples, id=str(number), text="a", transcript="a", kind="sentence", voice="x", rate=1.0, pitch=1.0)
    writer.close(completed=True)
    return Split(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def quieter(samples: Tensor, generator: torch.Generator, others) -> Tensor:
    return samples * torch.rand((), generator=generator)


def test_stored_tokens_are_those_of_the_encoders(encoders: Encoders, split: Split, tmp_path: Path):
    semantic, acoustic = encoders
    encoded = encode_split(split, semantic, acoustic, tmp_path)
    assert len({code for index in range(len(split)) for code in encoded.tokens(index).codes.tolist()}) > 5
    for index, utterance in enumerate(split.utterances):
        wav = torch.from_numpy(split.samples(utterance))
        tokens = encoded.tokens(index)
        assert encoded.counts[index] == len(tokens.codes) == tokens_in_audio(len(wav))
        assert torch.equal(tokens.codes, semantic.encode_wav(wav))
        features = acoustic.features(wav)
        assert tokens.features is not None
        assert tokens.features.dtype == torch.float32
        # Half the precision in computing and in storing.
        assert (tokens.features - features).abs().max() < 0.05 * features.std()


def test_what_only_the_assistant_says_gets_codes_alone_and_is_not_augmented(
    encoders: Encoders, split: Split, tmp_path: Path
):
    semantic, acoustic = encoders
    whole = encode_split(split, semantic, acoustic, tmp_path / "whole", quieter)
    partial = encode_split(split, semantic, acoustic, tmp_path / "partial", quieter, spoken={"1", "4"})
    for index in (0, 2, 3, 5):
        heard = partial.tokens(index).features
        assert heard is not None
        assert torch.equal(heard, whole.tokens(index).features)
    for index in (1, 4):
        wav = torch.from_numpy(split.samples(split.utterances[index]))
        assert torch.equal(partial.find(str(index)).spoken().codes, semantic.encode_wav(wav))
        with pytest.raises(ValueError, match=f"{index} was encoded as the assistant's speech"):
            partial.tokens(index)
    assert [len(partial.recording(index)) for index in range(len(split))] == whole.counts


def test_each_utterance_is_augmented_by_its_own_draws(encoders: Encoders, split: Split, tmp_path: Path):
    semantic, acoustic = encoders
    heard: list[Tensor] = []
    pools: list[list[int]] = []

    def augment(samples: Tensor, generator: torch.Generator, others) -> Tensor:
        pools.append(sorted(len(other) for other in others))
        heard.append(quieter(samples, generator, others))
        return heard[-1]

    encoded = encode_split(split, semantic, acoustic, tmp_path / "one", augment, seed=3)
    for index, wav in enumerate(heard):
        assert torch.equal(encoded.tokens(index).codes, semantic.encode_wav(wav))
    loudness = {
        round(float(wav.abs().max() / np.abs(split.samples(utterance)).max()), 4)
        for wav, utterance in zip(heard, split.utterances, strict=True)
    }
    assert len(loudness) == len(LENGTHS)
    # Babble is made of the latest four utterances.
    assert pools == [sorted(LENGTHS[max(0, i - 3) : max(4, i + 1)]) for i in range(len(LENGTHS))]
    encode_split(split, semantic, acoustic, tmp_path / "two", augment, seed=3)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    encode_split(split, semantic, acoustic, tmp_path / "three", augment, seed=4)
    assert files(tmp_path / "one") != files(tmp_path / "three")


def test_what_is_finished_is_opened_and_what_is_not_is_done_again(encoders: Encoders, split: Split, tmp_path: Path):
    semantic, acoustic = encoders
    encode_split(split, semantic, acoustic, tmp_path / "whole")
    whole = files(tmp_path / "whole")

    class Killed(Exception):
        pass

    def dying(samples: Tensor, generator: torch.Generator, others) -> Tensor:
        if generator.initial_seed() == 3:  # the fourth utterance
            raise Killed
        return samples

    with pytest.raises(Killed):
        encode_split(split, semantic, acoustic, tmp_path / "killed", dying)
    assert "tokens.json" not in files(tmp_path / "killed")
    encode_split(split, semantic, acoustic, tmp_path / "killed")
    assert files(tmp_path / "killed") == whole

    class Never:
        def __getattr__(self, name: str):
            raise AssertionError("encoded before")

    encoded = encode_split(split, Never(), Never(), tmp_path / "killed")  # pyright: ignore[reportArgumentType]
    assert torch.equal(
        encoded.tokens(5).codes, semantic.encode_wav(torch.from_numpy(split.samples(split.utterances[5])))
    )
    assert files(tmp_path / "killed") == whole


def test_tokens_of_another_corpus_are_refused(encoders: Encoders, split: Split, tmp_path: Path):
    encode_split(split, *encoders, tmp_path / "encoded")
    shutil.copytree(split.folder, tmp_path / "asr-0")
    manifest = tmp_path / "asr-0" / "manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=r"holds the tokens of 6 utterances, but .*asr-0 has 5; delete it"):
        EncodedSplit(Split(tmp_path / "asr-0"), tmp_path / "encoded")
