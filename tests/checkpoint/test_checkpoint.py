"""Model folders: what is written is read back, and every defect is named in one sentence."""

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import huggingface_hub.utils
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kimi_audio import checkpoint
from kimi_audio.checkpoint import layout
from kimi_audio.core import weights
from kimi_audio.core.config import Settings
from kimi_audio.tokenizer.text import TextTokenizer


@pytest.fixture(scope="module")
def components(reference: Path) -> dict:
    """Everything that ``save_model`` takes, in float32."""
    folder = reference / "checkpoint"
    dit, flow_config = checkpoint.load_flow(folder)
    return {
        "lm": checkpoint.load_lm(folder),
        "text_tokenizer": TextTokenizer.load(folder),
        "acoustic": checkpoint.load_acoustic(folder),
        "semantic": checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(folder)),
        "dit": dit,
        "flow_config": flow_config,
        "vocoder": checkpoint.load_vocoder(folder)[0],
        "settings": Settings(segment_s=12.5, ode_steps=7),
    }


MODULES = ("lm", "acoustic", "semantic", "dit", "vocoder")


def load_all(folder: Path) -> dict[str, nn.Module]:
    semantic = checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(folder))
    return {
        "lm": checkpoint.load_lm(folder),
        "acoustic": checkpoint.load_acoustic(folder),
        "semantic": semantic,
        "dit": checkpoint.load_flow(folder)[0],
        "vocoder": checkpoint.load_vocoder(folder)[0],
    }


def test_saved_model_is_read_back_exactly(components: dict, tmp_path: Path):
    folder = tmp_path / "new" / "model"
    checkpoint.save_model(folder, **components)
    loaded = load_all(checkpoint.find_model(folder))
    for name in MODULES:
        assert loaded[name].config == components[name].config, name
        state = loaded[name].state_dict()
        for key, tensor in components[name].state_dict().items():
            # weight norm is folded again when the vocoder is read
            torch.testing.assert_close(state[key], tensor, atol=0, rtol=1e-6 if name == "vocoder" else 0)
    assert checkpoint.load_flow(folder)[1] == components["flow_config"]
    assert checkpoint.load_settings(folder) == components["settings"]
    text_tokenizer = TextTokenizer.load(folder)
    assert text_tokenizer.encode("你好, world") == components["text_tokenizer"].encode("你好, world")
    assert text_tokenizer.special == components["text_tokenizer"].special
    assert not list(folder.rglob("*.partial"))


def test_int8_model_is_small_and_near(components: dict, tmp_path: Path):
    checkpoint.save_model(tmp_path / "exact", **components)
    checkpoint.save_model(tmp_path / "int8", **components, int8=True)
    loaded = load_all(tmp_path / "int8")
    for name in MODULES:
        state = loaded[name].state_dict()
        for key, tensor in components[name].state_dict().items():
            near = state[key]
            error = (near - tensor).flatten(1 if tensor.dim() > 1 else 0).abs().amax(-1)
            largest = tensor.flatten(1 if tensor.dim() > 1 else 0).abs().amax(-1)
            allowed = 1 / 150 if name == "vocoder" else 1 / 220  # of int8, whose scales are rounded to float16
            assert (error <= allowed * largest + 1e-7).all(), (name, key)
    codebook = components["semantic"].codebook.weight
    assert torch.equal(loaded["semantic"].codebook.weight, codebook.half().float())  # near codes are told apart

    def size(folder: str, *path: str) -> int:
        return tmp_path.joinpath(folder, *path, "model.safetensors").stat().st_size

    assert size("int8") < 0.3 * size("exact")
    assert size("int8", "vocoder") < 0.6 * size("exact", "vocoder")
    for name, tensor in load_file(tmp_path / "int8" / "vocoder" / "model.safetensors").items():
        assert (tensor.dtype == torch.float32) == name.endswith(".filter"), name


def test_saved_names_are_those_of_the_release(components: dict, reference: Path, tmp_path: Path):
    checkpoint.save_model(tmp_path, **components)

    def shapes(tensors: dict[str, Tensor]) -> dict[str, torch.Size]:
        return {name: tensor.shape for name, tensor in tensors.items()}

    source = reference / "checkpoint"
    official = torch.load(source / "audio_detokenizer/model.pt", weights_only=True)["state_dict"]
    official = {name: tensor for name, tensor in official.items() if name.startswith("speech_model.")}
    assert shapes(load_file(tmp_path / "audio_detokenizer/model.safetensors")) == shapes(official)
    official = torch.load(source / "vocoder/model.pt", weights_only=True)["generator"]
    assert shapes(load_file(tmp_path / "vocoder/model.safetensors")) == shapes(official)
    official = load_file(source / "whisper-large-v3/model.safetensors")
    encoder = {name: tensor for name, tensor in official.items() if name.startswith("model.encoder.")}
    assert shapes(load_file(tmp_path / "whisper-large-v3/model.safetensors")) == shapes(encoder)
    named = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(load_file(tmp_path / "model.safetensors")) == {n for n in named if not n.endswith("inv_freq")}
    released, saved = (json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path))
    assert all(released[name] == value for name, value in saved.items() if name in released)


def test_saving_refuses_broken_weights_and_leaves_the_old_file(components: dict, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    weights.save_weights(path, {"a": torch.ones(3)})
    for broken, int8 in (({"b": torch.tensor([1.0, torch.nan])}, False), ({"b": torch.full((3,), 1e6)}, True)):
        with pytest.raises(ValueError, match=r"model.safetensors was not written.*: b"):
            weights.save_weights(path, broken, int8=int8)
    with pytest.raises(ValueError, match="was not written"):
        weights.save_weights(path, {"b": torch.full((64, 64), torch.inf)}, int8=True)
    assert list(load_file(path)) == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_interrupted_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(weights, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        weights.save_weights(tmp_path / "model.safetensors", {"a": torch.ones(3)})
    assert not list(tmp_path.iterdir())


def test_unfinished_model_is_not_taken_for_one(components: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint.save_model(tmp_path, **components)
    monkeypatch.setattr("kimi_audio.checkpoint.save.to_released", lambda _: {"broken": torch.tensor(torch.nan)})
    with pytest.raises(ValueError, match="was not written"):
        checkpoint.save_model(tmp_path, **components)
    with pytest.raises(ValueError, match="not a model folder"):
        checkpoint.find_model(tmp_path)


def test_saving_beside_shards_is_refused(components: dict, tmp_path: Path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ValueError, match="holds a model in shards"):
        checkpoint.save_model(tmp_path, **components)


# ---------------------------------------------------------------------------------------------------------------------
# Finding


def test_local_models_are_found(reference: Path, tmp_path: Path):
    folder = reference / "checkpoint"
    assert checkpoint.find_model(str(folder)) == folder
    assert checkpoint.find_semantic_tokenizer(folder) == folder.resolve().parent / "glm-4-voice-tokenizer"
    inside = shutil.copytree(folder.parent / "glm-4-voice-tokenizer", tmp_path / "m" / "glm-4-voice-tokenizer")
    assert checkpoint.find_semantic_tokenizer(tmp_path / "m") == inside


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no such model", 'there is no model "no such model": give "nano", a folder, or a hub id'),
        ("./missing", "there is no model"),
        ("a/b/c", "there is no model"),
        ("https://somewhere/owner/name", "there is no model"),
        (Path(__file__), "is a file; a model is a folder"),
        (Path(__file__).parent, "is not a model folder: it has no config.json"),
    ],
)
def test_wrong_names(name: str | Path, message: str):
    with pytest.raises(ValueError, match=message):
        checkpoint.find_model(name)


def test_installations_without_nano(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kimi_audio.checkpoint.find.NANO_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="nano model is not part of this installation"):
        checkpoint.find_model("nano")


def http_error() -> HfHubHTTPError:
    error = HfHubHTTPError.__new__(HfHubHTTPError)  # constructors differ between the versions of the library
    OSError.__init__(error, "404 Client Error.\nand more")
    return error


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (LocalEntryNotFoundError("offline"), ConnectionError, "not on this machine and the hub cannot be reached"),
        (http_error(), ValueError, "the hub has no model owner/name that may be read: 404 Client Error"),
        (TimeoutError("read\noperation"), ConnectionError, r"broke off \(TimeoutError: read\)"),
        (OSError(28, "No space left on device"), ConnectionError, "No space left"),
    ],
)
def test_hub_failures(monkeypatch: pytest.MonkeyPatch, failure: Exception, error: type[Exception], message: str):
    def snapshot_download(*_, **__):
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(error, match=message) as caught:
        checkpoint.find_model("owner/name")
    assert "\n" not in str(caught.value)


def test_only_needed_files_are_downloaded(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked, revisions = {}, []

    def snapshot_download(hub_id: str, allow_patterns: list[str], revision: str | None) -> str:
        asked[hub_id] = allow_patterns
        revisions.append(revision)
        return str(reference / "checkpoint")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert checkpoint.find_model("owner/whole") == reference / "checkpoint"
    checkpoint.find_model("owner/text", with_detokenizer=False)
    checkpoint.find_model("owner/sizes", with_weights=False, revision="v1")
    lonely = tmp_path / "model"
    lonely.mkdir()
    checkpoint.find_semantic_tokenizer(lonely)
    assert revisions == [None, None, "v1", layout.SEMANTIC_REVISION]
    assert re.fullmatch(r"[0-9a-f]{40}", layout.SEMANTIC_REVISION), "a branch would move"
    for local in ("nano", reference / "checkpoint"):
        with pytest.raises(ValueError, match="is on this machine"):
            checkpoint.find_model(local, revision="v1")
    released = [
        *("config.json", "tiktoken.model", "model-35-of-35.safetensors", "whisper-large-v3/model.safetensors"),
        *("audio_detokenizer/model.pt", "vocoder/config.json"),
    ]
    unwanted = ["modeling_moonshot_kimia.py", "whisper-large-v3/model.fp32-00001-of-00002.safetensors"]

    def taken(hub_id: str, files: list[str]) -> list[str]:
        return list(huggingface_hub.utils.filter_repo_objects(files, allow_patterns=asked[hub_id]))

    assert taken("owner/whole", released + unwanted) == released
    assert taken("owner/text", released + unwanted) == released[:4]
    assert taken("owner/sizes", [*released, "whisper-large-v3/config.json"]) == [
        *("config.json", "tiktoken.model", "whisper-large-v3/config.json"),
    ]


def test_base_model_is_recognised():
    assert checkpoint.is_base_model("moonshotai/Kimi-Audio-7B")
    assert checkpoint.is_base_model(Path("/models/Kimi-Audio-7B"))
    assert not checkpoint.is_base_model("moonshotai/Kimi-Audio-7B-Instruct")
    assert not checkpoint.is_base_model("nano")


# ---------------------------------------------------------------------------------------------------------------------
# Loading


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    return shutil.copytree(reference / "checkpoint", tmp_path / "checkpoint")


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change the tensors or the JSON values of a file."""
    if path.suffix == ".json":
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))
    else:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)


def test_tensors_that_do_not_fit_are_named(copy: Path):
    shard = copy / "model-1-of-2.safetensors"

    def change(tensors: dict[str, Tensor]) -> None:
        tensors["model.extra.weight"] = tensors.pop("model.layers.0.mlp.down_proj.weight")
        tensors["model.layers.0.mlp.gate_proj.weight"] = torch.zeros(3, 4)

    edit(shard, change)
    with pytest.raises(ValueError, match="do not fit its config") as caught:
        checkpoint.load_lm(copy)
    message = str(caught.value)
    assert "missing: model.layers.0.mlp.down_proj.weight;" in message
    assert "unexpected: model.extra.weight;" in message
    assert "wrong shape: model.layers.0.mlp.gate_proj.weight (3, 4) instead of (128, 64)" in message


def test_many_missing_tensors_are_counted(copy: Path):
    edit(copy / "whisper-large-v3/model.safetensors", lambda tensors: tensors.clear())
    with pytest.raises(ValueError, match=r"missing: conv1.weight, .* and \d+ more"):
        checkpoint.load_acoustic(copy)


@pytest.mark.parametrize(
    ("file", "load"),
    [
        ("config.json", checkpoint.load_lm),
        ("model-2-of-2.safetensors", checkpoint.load_lm),
        ("whisper-large-v3/config.json", checkpoint.load_acoustic),
        ("whisper-large-v3/model.safetensors", checkpoint.load_acoustic),
        ("audio_detokenizer/config.yaml", checkpoint.load_flow),
        ("audio_detokenizer/model.pt", checkpoint.load_flow),
        ("vocoder/config.json", checkpoint.load_vocoder),
        ("vocoder/model.pt", checkpoint.load_vocoder),
    ],
)
def test_missing_and_damaged_files_are_named(copy: Path, file: str, load: Callable):
    path = copy / file
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\xff\xfe{not at all"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=path.name) as caught:
            load(copy)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(ValueError, match=f"lacks .*{path.name}"):
        load(copy)


def test_pickled_code_is_refused(copy: Path):
    class Attack:
        def __reduce__(self) -> tuple:
            return (print, ("code was run",))

    path = copy / "vocoder/model.pt"
    torch.save({"generator": Attack()}, path, pickle_module=pickle)
    with pytest.raises(ValueError, match="holds more than tensors") as caught:
        checkpoint.load_vocoder(copy)
    assert "weights_only" not in str(caught.value)  # the advice of torch is to run the code


def test_wrong_contents_are_named(copy: Path):
    torch.save({"other": {}}, copy / "vocoder/model.pt")
    with pytest.raises(ValueError, match=r"model.pt lacks generator"):
        checkpoint.load_vocoder(copy)
    torch.save([torch.zeros(1)], copy / "vocoder/model.pt")
    with pytest.raises(ValueError, match="holds a list"):
        checkpoint.load_vocoder(copy)
    edit(copy / "model.safetensors.index.json", lambda values: values["weight_map"].update(a="../x.safetensors"))
    with pytest.raises(ValueError, match="in the same folder"):
        checkpoint.load_lm(copy)
    (copy / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match=r"index.json is damaged: it holds a list"):
        checkpoint.load_lm(copy)
    edit(copy / "config.json", lambda values: values.pop("hidden_size"))
    with pytest.raises(ValueError, match=r"config.json lacks hidden_size"):
        checkpoint.load_lm(copy)


def test_too_little_memory(reference: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kimi_audio.checkpoint.load.free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"checkpoint needs \S+ GB .* free on cpu; use a smaller dtype"):
        checkpoint.load_lm(reference / "checkpoint")


@pytest.mark.parametrize("prefix", ["model.encoder.", "encoder.", ""])
def test_names_of_whisper_exports(copy: Path, prefix: str):
    before = checkpoint.load_acoustic(copy).state_dict()
    path = copy / "whisper-large-v3/model.safetensors"
    tensors = {name.replace("model.encoder.", prefix): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    after = checkpoint.load_acoustic(copy).state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_dtype_is_that_asked_for(reference: Path):
    lm = checkpoint.load_lm(reference / "checkpoint", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in lm.parameters()} == {torch.bfloat16}
    assert not lm.training
    assert not any(parameter.requires_grad for parameter in lm.parameters())


def test_settings_default_to_those_of_the_release(reference: Path):
    assert checkpoint.load_settings(reference / "checkpoint") == Settings()


def test_words_are_known_where_there_is_a_list(copy: Path):
    tokenizer = TextTokenizer.load(copy)
    assert checkpoint.load_lexicon(copy, tokenizer) is None
    (copy / "lexicon.txt").write_text("Boat\nit's\n")
    lexicon = checkpoint.load_lexicon(copy, tokenizer)
    assert lexicon is not None
    texts = [tokenizer.encode(text) for text in ("a boat", "a boot", "boot it's")]
    assert [lexicon.ends_in_unknown(text) for text in texts] == [False, True, False]


def test_components_are_listed_without_loading(components: dict, reference: Path, copy: Path):
    shutil.copytree(checkpoint.find_semantic_tokenizer(reference / "checkpoint"), copy / "glm-4-voice-tokenizer")
    for shard in copy.glob("*.safetensors"):
        shard.write_bytes(b"damaged")
    listed = {component.name: component for component in checkpoint.list_components(copy)}
    names = {
        "audio LLM": "lm",
        "acoustic encoder": "acoustic",
        "semantic tokenizer": "semantic",
        "flow matching": "dit",
        "vocoder": "vocoder",
    }
    for name, module in names.items():
        assert listed[name].parameters == sum(p.numel() for p in components[module].parameters())
    assert listed["audio LLM"].file_bytes == 3 * len("damaged")
    assert listed["vocoder"].file_bytes == (copy / "vocoder/model.pt").stat().st_size
    shutil.rmtree(copy / "vocoder")
    assert "vocoder" not in {component.name for component in checkpoint.list_components(copy)}


def test_memory_is_that_of_the_loaded_parts(components: dict, tmp_path: Path):
    checkpoint.save_model(tmp_path, **components)
    memory = checkpoint.memory_of(tmp_path)
    assert list(memory.lm_bytes) == ["bfloat16", "int8", "int4"]
    assert memory.lm_bytes["bfloat16"] == sum(2 * tensor.numel() for tensor in components["lm"].parameters())
    sizes = {name: sum(t.numel() for t in components[name].parameters()) for name in MODULES}
    assert memory.encoders_bytes == 2 * sizes["acoustic"] + 4 * sizes["semantic"]
    assert memory.detokenizer_bytes == 2 * sizes["dit"] + 4 * sizes["vocoder"]
    spoken, text = (memory.total_bytes("int4", speech=speech) for speech in (True, False))
    assert spoken - text == memory.detokenizer_bytes
    # Slots take a quarter of what is left beside everything but the ordinary cache.
    for slots in (1, 5):
        card = spoken - memory.cache_bytes + 4 * slots * memory.slot_bytes
        assert memory.num_slots(max(card, spoken), "int4", speech=True) == slots
    assert memory.num_slots(spoken - 1, "int4", speech=True) == 0
    for name in ("audio_detokenizer", "vocoder"):
        shutil.rmtree(tmp_path / name)
    assert checkpoint.memory_of(tmp_path).detokenizer_bytes == 0
