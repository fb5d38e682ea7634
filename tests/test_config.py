"""Configs: what the released files say, and back."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from kimi_audio.config import EncoderConfig, FlowConfig, LMConfig, SemanticConfig, Settings, VocoderConfig

FILES = {
    "checkpoint/config.json": LMConfig,
    "checkpoint/whisper-large-v3/config.json": EncoderConfig,
    "glm-4-voice-tokenizer/config.json": SemanticConfig,
    "checkpoint/audio_detokenizer/config.yaml": FlowConfig,
    "checkpoint/vocoder/config.json": VocoderConfig,
}


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else json.loads(path.read_text())


@pytest.fixture
def lm_values(reference: Path) -> dict:
    return read(reference / "checkpoint/config.json")


@pytest.mark.parametrize(("file", "kind"), FILES.items())
def test_released_files_are_read_and_written_back(reference: Path, file: str, kind: type):
    values = read(reference / file)
    config = kind.from_dict(values, file)
    written = config.to_dict()
    again = kind.from_dict(json.loads(json.dumps(written)))  # tuples become lists in a file
    assert again == config
    for name, value in json.loads(json.dumps(written)).items():
        assert values.get(name, value) == value, name


@pytest.mark.parametrize(("file", "kind"), FILES.items())
def test_configs_are_frozen_and_hashable(reference: Path, file: str, kind: type):
    config = kind.from_dict(read(reference / file))
    hash(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, None)


@pytest.mark.parametrize("kind", FILES.values())
def test_tiny_configs_are_written_and_read_like_any_other(kind: type):
    tiny = kind.tiny()
    assert kind.from_dict(json.loads(json.dumps(tiny.to_dict()))) == tiny
    name = dataclasses.fields(kind)[0].name
    assert getattr(kind.tiny(**{name: 12345}), name) == 12345


def test_meaning_of_the_names(lm_values: dict):
    config = LMConfig.from_dict(lm_values)
    assert config.num_layers == lm_values["num_hidden_layers"]
    assert config.branch_layer_index == lm_values["kimia_mimo_transformer_from_layer_index"]
    assert config.num_codes == lm_values["vocab_size"] - lm_values["kimia_token_offset"]
    assert config.head_size == lm_values["hidden_size"] // lm_values["num_attention_heads"]


def test_every_field_is_read_from_the_file(lm_values: dict):
    for field in dataclasses.fields(LMConfig):
        name = field.metadata.get("key", field.name)
        assert name in lm_values
        assert getattr(LMConfig.from_dict(lm_values | {name: 12345}), field.name) == 12345


def test_missing_keys_are_named(lm_values: dict):
    del lm_values["hidden_size"], lm_values["kimia_token_offset"]
    with pytest.raises(ValueError, match=r"config\.json lacks hidden_size, kimia_token_offset"):
        LMConfig.from_dict(lm_values, "config.json")


@pytest.mark.parametrize(("name", "value"), [("tie_word_embeddings", True), ("hidden_act", "gelu")])
def test_what_is_not_implemented_is_refused(lm_values: dict, name: str, value: object):
    with pytest.raises(ValueError, match=rf"config: {name}={value!r} is not supported"):
        LMConfig.from_dict(lm_values | {name: value})


def test_delay_defaults_to_the_release(lm_values: dict):
    lm_values.pop("kimia_mimo_audiodelaytokens", None)
    assert LMConfig.from_dict(lm_values).delay_tokens == 6


def test_pooling_position_is_checked(reference: Path):
    values = read(reference / "glm-4-voice-tokenizer/config.json")
    for position in (0, values["encoder_layers"] + 1):
        with pytest.raises(ValueError, match=f"pooling_position {position}"):
            SemanticConfig.from_dict(values | {"pooling_position": position})


def test_flow_config_needs_its_network(reference: Path):
    values = read(reference / "checkpoint/audio_detokenizer/config.yaml")
    for broken in ({}, {"model": None}, {"model": {"other": 1}}):
        with pytest.raises(ValueError, match=r"x lacks model\.dit"):
            FlowConfig.from_dict(broken, "x")
    with pytest.raises(ValueError, match="x lacks mel_std"):
        FlowConfig.from_dict({name: value for name, value in values.items() if name != "mel_std"}, "x")
    values["model"]["dit"]["rope_params"]["rope_interpolation_factor"] = 2.0
    with pytest.raises(ValueError, match=r"rope_interpolation_factor must be 1\.0"):
        FlowConfig.from_dict(values)


def test_mel_without_normalisation(reference: Path):
    values = read(reference / "checkpoint/audio_detokenizer/config.yaml")
    config = FlowConfig.from_dict(values)
    assert (config.mel_mean, config.mel_std) == (values["mel_mean"], values["mel_std"])
    bare = FlowConfig.from_dict(values | {"normalize_mel": False})
    assert (bare.mel_mean, bare.mel_std) == (0.0, 1.0)
    assert FlowConfig.from_dict(bare.to_dict()) == bare


def test_settings():
    release = Settings(segment_s=30.0, ode_steps=30, guidance_scale=1.0, audio_temperature=0.8, audio_top_k=10)
    assert Settings.from_dict({}) == release
    settings = Settings(segment_s=10.0, ode_steps=8)
    assert Settings.from_dict(settings.to_dict()) == settings
