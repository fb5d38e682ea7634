"""The model that nano's LLM begins from: one dial of sizes, and a detokenizer that learns other codes."""

import argparse
import json
from dataclasses import replace

import pytest
import torch

from kimi_audio.checkpoint import NANO_FOLDER, SEMANTIC, load_acoustic, load_lm, load_semantic
from kimi_audio.core.config import DiTConfig, EncoderConfig, FlowConfig
from kimi_audio.core.weights import save_weights
from kimi_audio.core.words import normalise
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.text import train_bpe
from kimi_audio.train.hearing import HearingLM
from recipes.nano import training
from recipes.nano.base import NANO, all_sizes, build_base, lexicon, lm_config, with_codes
from recipes.nano.corpora import written
from recipes.nano.semantic import semantic_config
from recipes.nano.training import acoustic, begin, further, hearing, speaking, together
from recipes.nano.whisper import bare_encoder


@pytest.mark.parametrize(("width", "layers"), [(128, 4), (256, 6), (512, 8)])
def test_one_dial_sets_the_sizes_of_the_llm(width, layers):
    size = all_sizes(argparse.Namespace(width=width, layers=layers))
    config = lm_config(train_bpe(["hello hello"], 260), size, EncoderConfig.tiny())
    assert config.head_size == 64
    assert (config.hidden_size, config.num_layers, config.num_audio_layers) == (width, layers, NANO.audio_layers)
    assert config.branch_layer_index == layers - 3  # two layers serve the text alone, as two serve the sound
    assert config.num_codes == 2048
    assert config.adaptor_input_size == 4 * EncoderConfig.tiny().hidden_size


def test_words_of_the_lexicon_are_names_or_stand_in_two_texts_or_in_the_dictionary(monkeypatch):
    said = [
        "A boat on the sea",
        "a boat on the sea",
        "The boat, at sea!",
        "sea sea 2",
        "2 boats",
    ]  # the first is one text
    monkeypatch.setattr("recipes.nano.base.texts", lambda: iter(said))
    monkeypatch.setattr("recipes.nano.base.wordnet_words", lambda: {"latte", "sea"})
    monkeypatch.setattr("recipes.nano.base.proper_names", lambda: {"kevin"})
    assert lexicon() == ["boat", "kevin", "latte", "sea", "the", "two"]


def test_the_bundled_lexicon_is_that_of_transcripts():
    words = (NANO_FOLDER / "lexicon.txt").read_text().splitlines()
    assert words == sorted(set(words))
    assert all(normalise(word) == word and " " not in word for word in words)


def test_an_llm_that_goes_on_keeps_its_words(tmp_path, monkeypatch):
    """Without drawing any text: what they are made of is not on a GPU's machine."""
    codes = tmp_path / "semantic.safetensors"
    save_weights(codes, load_semantic(NANO_FOLDER / SEMANTIC).state_dict())
    monkeypatch.setattr("recipes.nano.base.bare_encoder", lambda _: load_acoustic(NANO_FOLDER))
    monkeypatch.setattr("recipes.nano.base.texts", None)
    build_base(tmp_path / "base", "whisper", codes, NANO_FOLDER, NANO, llm=NANO_FOLDER)
    assert (tmp_path / "base" / "lexicon.txt").read_bytes() == (NANO_FOLDER / "lexicon.txt").read_bytes()


def test_any_whisper_is_heard_through_without_filled_windows(tmp_path):
    config = replace(EncoderConfig.tiny(), pad_windows=True, num_layers=2)
    encoder = AcousticEncoder(config)
    weights = {f"model.encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    save_weights(tmp_path / "model.safetensors", weights | {"model.decoder.embed_tokens.weight": torch.zeros(3, 8)})
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    bare = bare_encoder(str(tmp_path))
    assert not bare.config.pad_windows
    assert all(torch.equal(bare.state_dict()[name], tensor) for name, tensor in encoder.state_dict().items())
    assert semantic_config(bare.config).hidden_size == config.hidden_size
    with pytest.raises(ValueError, match="no model"):
        bare_encoder("nowhere to be found")


def test_other_codes_leave_the_rest_of_the_detokenizer_as_it_is():
    config = FlowConfig(dit=DiTConfig.tiny(), mel_mean=-3.0)
    dit = DiT(config.dit)
    with torch.no_grad():
        larger, grown = with_codes(dit, config, 300, seed=0)
    assert (grown.dit.num_codes, grown.mel_mean) == (300, -3.0)
    known = dit.state_dict()
    changed = {name for name, tensor in larger.state_dict().items() if tensor.shape != known[name].shape}
    assert changed == {"semantic_token_embedding.weight"}
    assert all(torch.equal(larger.state_dict()[name], known[name]) for name in known.keys() - changed)
    table = larger.semantic_token_embedding.weight.detach()
    assert len(table) == 301
    assert float(table.std()) == pytest.approx(float(known["semantic_token_embedding.weight"].std()), rel=0.2)


def test_everything_is_learned_in_shares_that_add_to_one():
    talking = (training.TALKING_SHARES, training.HEARING_SHARES, training.SPEAKING_SHARES)
    ears = (training.ACOUSTIC_SHARES, training.TOGETHER_SHARES)
    for shares in (training.FIRST_SHARES, training.SHARES, *talking, *ears, training.GPU_SHARES):
        assert sum(shares.values()) == pytest.approx(1)
    assert begin().from_scratch
    assert not further().from_scratch
    assert further().loop.peak_lr < begin().loop.peak_lr
    assert written("It is Paris, I think.") == "it is paris, i think."


def test_hearing_and_speaking_leave_alone_what_the_other_learns_or_begins_with():
    names = set(load_lm(NANO_FOLDER).state_dict())
    free = []
    for config in (hearing(), speaking()):
        assert set(config.loop.frozen.values()) == {1.0}
        free.append({name for name in names if not name.startswith(tuple(config.loop.frozen))})
    assert not free[0] & free[1]
    shared = names - free[0] - free[1]
    assert {name.removesuffix(".weight").split(".")[1] for name in shared} == {"embed_tokens", "layers"}
    assert all(name.startswith(("model.embed_tokens", "model.layers.0.")) for name in shared)
    assert any("mimo" in name for name in free[1])
    assert not any("mimo" in name for name in free[0])
    assert hearing().audio_weight == 0


def test_the_encoder_learns_alone_but_for_positions_that_may_be_computed():
    config = acoustic()
    assert config.train_encoder
    names = HearingLM(load_lm(NANO_FOLDER), load_acoustic(NANO_FOLDER)).state_dict()
    rest = {name for name in names if name.startswith(tuple(config.loop.frozen))}
    assert {name.split(".")[0] for name in names.keys() - rest} == {"acoustic"}
    assert "acoustic.embed_positions.weight" in rest


def test_llm_and_encoder_learn_together_as_each_learns_alone():
    config = together()
    assert config.train_encoder
    names = HearingLM(load_lm(NANO_FOLDER), load_acoustic(NANO_FOLDER)).state_dict()
    rest = {name for name in names if name.startswith(tuple(config.loop.frozen))}
    of_llm = {name.removeprefix("lm.") for name in rest if name.startswith("lm.")}
    assert of_llm == {
        name for name in load_lm(NANO_FOLDER).state_dict() if name.startswith(tuple(hearing().loop.frozen))
    }
    assert rest - {f"lm.{name}" for name in of_llm} == {"acoustic.embed_positions.weight"}
    rates = config.loop.rates
    assert rates["acoustic."] * config.loop.peak_lr == pytest.approx(acoustic().loop.peak_lr)
    assert all(any(name.startswith(prefix) for name in names) for prefix in rates)
