"""Configs: what the released files say, and back."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import yaml

from kimi_audio.core.config import (
    DiTConfig,
    EncoderConfig,
    FlowConfig,
    LMConfig,
    SemanticConfig,
    Settings,
    VocoderConfig,
)

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
    name, value = ("mel_mean", 0.5) if kind is FlowConfig else (dataclasses.fields(kind)[0].name, 123)
    assert getattr(kind.tiny(**{name: value}), name) == value


def test_meaning_of_the_names(lm_values: dict):
    config = LMConfig.from_dict(lm_values)
    assert config.num_layers == lm_values["num_hidden_layers"]
    assert config.branch_layer_index == lm_values["kimia_mimo_transformer_from_layer_index"]
    assert config.num_codes == lm_values["vocab_size"] - lm_values["kimia_token_offset"]
    assert config.head_size == lm_values["hidden_size"] // lm_values["num_attention_heads"]


def test_every_field_is_read_from_the_file(lm_values: dict):
    for field in dataclasses.fields(LMConfig):
        name = field.metadata.get("key", field.name)
        other = lm_values[name] * 2 if name not in ("num_key_value_heads", "kimia_token_offset") else 1
        allowed = {"vocab_size": 10**6, "num_hidden_layers": 100, "hidden_size": 2**10, "num_attention_heads": 8}
        values = lm_values | {key: value for key, value in allowed.items() if key != name} | {name: other}
        assert getattr(LMConfig.from_dict(values), field.name) == other


def test_missing_keys_are_named(lm_values: dict):
    del lm_values["hidden_size"], lm_values["kimia_token_offset"]
    with pytest.raises(ValueError, match=r"config\.json lacks hidden_size, kimia_token_offset"):
        LMConfig.from_dict(lm_values, "config.json")


def numbers(values: dict, kind: type) -> list[str]:
    return [
        name
        for item in dataclasses.fields(kind)
        if isinstance(values.get(name := item.metadata.get("key", item.name)), int | float)
        and not isinstance(values[name], bool)
    ]


@pytest.mark.parametrize(("file", "kind"), FILES.items())
@pytest.mark.parametrize("wrong", ["8", None, [8], {}, True, -1, math.nan, math.inf, 1e30, 10**30, "x" * 10_000])
def test_values_of_a_wrong_type_or_range_are_told_in_a_sentence(reference: Path, file: str, kind: type, wrong: object):
    values = read(reference / file)
    if kind is FlowConfig:
        values, kind = values["model"]["dit"], DiTConfig
    for name in numbers(values, kind):
        if wrong is None and name in ("fmax", "fmin"):
            continue
        with pytest.raises(ValueError, match=rf"^a file: {name} must be .*, not") as caught:
            kind.from_dict(values | {name: wrong}, "a file")
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("wrong", ["5", 5, [], ["5"], [5.0], [[5]], [480] * 2, [5, 4, 4, 3], [1] * 10**5 + [480]])
def test_lists_of_a_wrong_type_are_told(reference: Path, wrong: object):
    values = read(reference / "checkpoint/vocoder/config.json")
    with pytest.raises(ValueError, match=r"^v: upsample_(rates|kernel)"):
        VocoderConfig.from_dict(values | {"upsample_rates": wrong}, "v")


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("checkpoint/config.json", {"kimia_mimo_transformer_from_layer_index": 99}, "from_layer_index 99 is none of"),
        ("checkpoint/config.json", {"num_hidden_layers": 100_000}, "num_hidden_layers must be"),
        ("checkpoint/config.json", {"kimia_token_offset": 969}, "kimia_token_offset 969 is outside the vocab_size 969"),
        ("checkpoint/config.json", {"pad_token_id": 969}, "pad_token_id 969 is outside"),
        ("checkpoint/config.json", {"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of"),
        ("checkpoint/config.json", {"hidden_size": 65}, "hidden_size 65 is not a multiple of num_attention_heads 4"),
        ("checkpoint/config.json", {"hidden_size": 60}, "an odd number of channels"),
        ("checkpoint/whisper-large-v3/config.json", {"d_model": 63}, "d_model 63 is not a multiple of"),
        ("checkpoint/vocoder/config.json", {"resblock_kernel_sizes": [3, 4]}, "must be odd"),
        ("checkpoint/vocoder/config.json", {"resblock_dilation_sizes": [[1]]}, "one list per kernel"),
        ("checkpoint/vocoder/config.json", {"resblock_kernel_sizes": [3] * 40}, "resblock_dilation_sizes must be"),
        ("checkpoint/vocoder/config.json", {"upsample_kernel_sizes": [1] * 5}, "upsample_kernel_sizes must be"),
        ("checkpoint/vocoder/config.json", {"upsample_initial_channel": 31}, "is not a multiple of 2 per stage"),
        ("checkpoint/vocoder/config.json", {"win_size": 2**20}, "win_size 1048576 is more than n_fft"),
        ("checkpoint/vocoder/config.json", {"fmax": 20_000}, "are no range up to 12000 Hz"),
        ("checkpoint/vocoder/config.json", {"fmin": 12_000}, "are no range up to 12000 Hz"),
    ],
)
def test_values_that_do_not_fit_together_are_told(reference: Path, file: str, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        FILES[file].from_dict(read(reference / file) | changes)


@pytest.mark.parametrize("changes", [{"mel_std": 0}, {"mel_std": "1"}, {"mel_mean": math.nan}, {"mel_std": math.inf}])
def test_normalisation_must_be_finite(reference: Path, changes: dict):
    values = read(reference / "checkpoint/audio_detokenizer/config.yaml")
    with pytest.raises(ValueError, match=f"^c: {next(iter(changes))} must be a number"):
        FlowConfig.from_dict(values | changes, "c")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("segment_s", value) for value in (0, 1e-5, -1, math.nan, math.inf, 1e9, "5")),
        *(("guidance_scale", value) for value in (math.inf, math.nan, -1.0, "3")),
        *(("ode_steps", value) for value in (0, 1, 2.0, 10**9)),
        *(("first_chunk_tokens", value) for value in (0, 2.0, 10**9)),
        *((name, value) for name in ("look_ahead_tokens", "vocoder_context_frames") for value in (-1, "4")),
        *(("solver", value) for value in ("heun", "", 2, None, [])),
        *(("temperature", value) for value in (math.nan, -0.5)),
        *(("voices", value) for value in ("Ben", [1], {"Ben": 1})),
    ],
)
def test_settings_are_bounded(name: str, value: object):
    with pytest.raises(ValueError, match=f"generation_config.json: kimi_audio_{name} must be"):
        Settings.from_dict({f"kimi_audio_{name}": value}, "generation_config.json")


def test_something_of_the_first_chunk_is_heard():
    with pytest.raises(ValueError, match="first_chunk_tokens=4 must be more than kimi_audio_look_ahead_tokens=4"):
        Settings(first_chunk_tokens=4, look_ahead_tokens=4)


@pytest.mark.parametrize(
    ("name", "lacking"), [("speak", "text"), ("speak_as", "voice"), ("speak_as", "text"), ("convert", "voice")]
)
def test_prompts_say_where_text_and_voice_go(name: str, lacking: str):
    prompt = "{voice} {text}".replace(f"{{{lacking}}}", "")
    with pytest.raises(ValueError, match=f"kimi_audio_{name}_prompt must say where the {lacking} goes"):
        Settings.from_dict({f"kimi_audio_{name}_prompt": prompt})


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
        with pytest.raises(ValueError, match=f"pooling_position .*{position}"):
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
    flow = {"ode_steps": 30, "solver": "euler", "guidance_scale": 1.0}
    release = Settings(segment_s=30.0, **flow, audio_temperature=0.8, audio_top_k=10)
    assert Settings.from_dict({}) == release
    settings = Settings(
        segment_s=10.0, ode_steps=8, solver="adams-bashforth", first_chunk_tokens=8, look_ahead_tokens=4
    )
    assert Settings.from_dict(settings.to_dict()) == settings
