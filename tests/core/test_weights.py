"""Files of weights: what is broken, or costs more than it should, is refused in one sentence before it does harm."""

import io
import json
import math
import os
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from kimi_audio import KimiAudio, checkpoint
from kimi_audio.core.quantized import quantise_int8
from kimi_audio.core.weights import SCALE_SUFFIX, fitting, read_safetensors, read_shards, read_weights


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    """A model folder to be damaged, with its semantic tokenizer in it."""
    folder = shutil.copytree(reference / "checkpoint", tmp_path / "checkpoint")
    shutil.copytree(reference / "glm-4-voice-tokenizer", folder / "glm-4-voice-tokenizer")
    return folder


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


# ---------------------------------------------------------------------------------------------------------------------
# Tensors


def test_int8_weights_need_their_row_scales(tmp_path: Path):
    quantised = quantise_int8(torch.randn(4, 6))
    weight, scale = quantised.codes, quantised.scale
    path = tmp_path / "model.safetensors"
    save_file({"a": weight}, path)
    with pytest.raises(ValueError, match=r"wrong type: a int8"):
        fitting(read_safetensors(path), {"a": weight}, "x", "cpu", torch.float32)
    for broken in (
        {"a": weight, "scale": scale[:3]},
        {"a": weight, "scale": scale.int()},
        {"a": weight.float(), "scale": scale},
        {"scale": scale},
    ):
        save_file({("a" + SCALE_SUFFIX if name == "scale" else name): t for name, t in broken.items()}, path)
        with pytest.raises(ValueError, match=r"one scale per row|but not their weight"):
            list(read_safetensors(path))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (torch.tensor([1.0, math.nan]), "not finite: a$"),
        (torch.tensor([1.0, -math.inf]), "not finite: a$"),
        (torch.tensor([math.inf, -math.inf]), "not finite: a$"),
        (torch.tensor([1.0, 1e6]), r"not finite: a in float16"),
        (torch.tensor([1, 2]), "wrong type: a int64"),
        (torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn), "wrong type: a float8_e4m3fn"),
        (torch.tensor([1.0]), r"wrong shape: a \(1,\) instead of \(2,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(given, problem):
    with pytest.raises(ValueError, match=f"^the tensors in x do not fit its config: {problem}"):
        fitting([("a", given)], {"a": torch.empty(2, device="meta")}, "x", "cpu", torch.float16)


def test_a_large_sum_of_finite_weights_is_no_fault():
    (tensor,) = fitting([("a", torch.full((4,), 3e38))], {"a": torch.empty(4)}, "x", "cpu", torch.float32).values()
    assert tensor.isfinite().all()


def test_tensors_that_come_twice_are_named():
    pairs = [("a", torch.zeros(2)), ("a", torch.ones(2))]
    with pytest.raises(ValueError, match=r"given twice: a$"):
        fitting(pairs, {"a": torch.empty(2)}, "x", "cpu", torch.float32)


@pytest.mark.parametrize("file", ["model-2-of-2", "whisper-large-v3/model", "glm-4-voice-tokenizer/model"])
def test_a_model_with_a_broken_weight_is_not_loaded(copy: Path, file: str):
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = sorted(name for name in tensors if "layer" in name and "decoder" not in name)[0]
        tensors[name].view(-1)[3] = math.nan

    edit(copy / f"{file}.safetensors", change)
    with pytest.raises(ValueError, match="do not fit its config: not finite: "):
        KimiAudio(copy, load_detokenizer=False)


def test_a_vocoder_without_half_of_its_weight_norm_is_named(reference: Path, copy: Path):
    values = torch.load(reference / "checkpoint/vocoder/model.pt", weights_only=True)
    del values["generator"]["conv_pre.weight_v"]
    torch.save(values, copy / "vocoder/model.pt")
    with pytest.raises(ValueError, match=r"missing: conv_pre.weight; unexpected: conv_pre.weight_g"):
        checkpoint.load_vocoder(copy)


def test_loading_draws_no_values_that_are_overwritten(copy: Path):
    seen = set()

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.add(func.name())
            return func(*args, **(kwargs or {}))

    with Recorder():
        KimiAudio(copy)
        checkpoint.list_components(copy)
    assert len(seen) > 10
    assert not {name for name in seen if "normal" in name or "uniform" in name}


# ---------------------------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc/passwd", "../x.safetensors", "a/b.safetensors", 3, None, ["a"], {}]
)
def test_odd_names_of_shards_are_refused(copy: Path, name: object):
    edit(copy / "model.safetensors.index.json", lambda values: values["weight_map"].update(extra=name))
    with pytest.raises(ValueError, match=r"index.json names .*, which is no .safetensors file in the same folder"):
        list(read_shards(copy))


@pytest.mark.parametrize(
    "file", ["config.json", "model-1-of-2.safetensors", "vocoder/model.pt", "audio_detokenizer/config.yaml"]
)
def test_pipes_are_not_waited_for(copy: Path, file: str):
    (copy / file).unlink()
    os.mkfifo(copy / file)
    with pytest.raises(ValueError, match=f"{Path(file).name} is not a regular file"):
        KimiAudio(copy)


class Large:
    """Asks the unpickler for a large buffer."""

    def __reduce__(self) -> tuple:
        return bytearray, (2_000_000_000,)


def zipped(pickled: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def lying_zip() -> bytes:
    """Two directory entries of one part: the sizes add up to more than the file."""
    data = zipped(pickle.dumps("x" * 2000, protocol=2))
    archive = zipfile.ZipFile(io.BytesIO(data))
    entry = data[archive.start_dir : data.index(b"PK\5\6")]
    end = bytearray(data[data.index(b"PK\5\6") :])
    end[8:12] = (4).to_bytes(2, "little") * 2
    end[12:16] = (2 * len(entry)).to_bytes(4, "little")
    return data[: archive.start_dir] + entry * 2 + bytes(end)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(pickle.dumps({"generator": Large()}, protocol=2)), "holds more than tensors.*bytearray"),
        (zipped(pickle.dumps({"generator": {}, "x": b"0" * 10_000_000}, 2), zipfile.ZIP_DEFLATED), "are compressed"),
        (lying_zip(), "parts are larger than the file"),
        (zipped(b"\x80\x02garbage"), "is damaged"),
        (zipped(b""), "is damaged"),
        (zipped(pickle.dumps({"generator": {"a": 3}}, 2)), "holds 'a' among its tensors"),
        (zipped(pickle.dumps({"generator": [1]}, 2)), "holds a list"),
        (pickle.dumps({"generator": {}}), "is damaged"),
        (b"PK\5\6" + bytes(18), "is damaged"),
    ],
)
def test_pickles_are_looked_into_before_memory_is_spent(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "model.pt").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"model.pt .*{message}") as caught:
        list(read_weights(tmp_path, "generator"))
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


# ---------------------------------------------------------------------------------------------------------------------
# Parts that must fit together


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"kimia_token_offset": 840}, "kimia_token_offset 840, but 841 ids of the text tokenizer"),
        ("config.json", {"vocab_size": 970}, "129 audio codes .*, but 128 codes of the semantic tokenizer"),
        ("config.json", {"kimia_adaptor_input_dim": 64}, "64, but 128 features of the acoustic encoder"),
        ("glm-4-voice-tokenizer/config.json", {"quantize_vocab_size": 127}, "but 127 codes of the semantic tokenizer"),
        ("vocoder/config.json", {"num_mels": 100}, "100 mel bands of the vocoder, but 80 mel bands of the flow"),
        ("whisper-large-v3/config.json", {"max_source_positions": 1499}, "1499 of the acoustic encoder is less than"),
        ("whisper-large-v3/config.json", {"d_model": "32"}, "d_model must be a whole number"),
    ],
)
def test_parts_that_do_not_fit_together_are_told_before_weights_are_read(
    copy: Path, monkeypatch: pytest.MonkeyPatch, file: str, changes: dict, message: str
):
    monkeypatch.setattr("kimi_audio.checkpoint.load.read_shards", None)
    edit(copy / file, lambda values: values.update(changes))
    with pytest.raises(ValueError, match=message):
        KimiAudio(copy)
