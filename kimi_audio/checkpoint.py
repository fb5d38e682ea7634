"""Model folders in the released layout: find them, load their components, write them.

```
config.json, model.safetensors.index.json + shards | model.safetensors      audio LLM
tiktoken.model, tokenizer_config.json                                       text tokenizer
whisper-large-v3/{config.json, model.safetensors}                           acoustic encoder
glm-4-voice-tokenizer/{config.json, model.safetensors}                      semantic tokenizer (see below)
audio_detokenizer/{config.yaml, model.safetensors | model.pt}               flow matching
vocoder/{config.json, model.safetensors | model.pt}                         BigVGAN
```

The release keeps the semantic tokenizer in a hub repository of its own; it is looked for inside the folder, beside it,
and on the hub. Only tensors and settings are read: no code, and no pickled objects (``weights_only``).
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kimi_audio.config import EncoderConfig, FlowConfig, LMConfig, SemanticConfig, Settings, VocoderConfig
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN, from_released, to_released
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer

logger = logging.getLogger(__name__)
Module = TypeVar("Module", bound=nn.Module)

NANO = "nano"
NANO_FOLDER = Path(__file__).parent / "nano"
WHISPER = "whisper-large-v3"
SEMANTIC = "glm-4-voice-tokenizer"
FLOW = "audio_detokenizer"
VOCODER = "vocoder"
SEMANTIC_HUB_ID = "THUDM/glm-4-voice-tokenizer"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SPEECH_MODEL = "speech_model."  # prefix of the flow-matching network in the release
SCALE_SUFFIX = "_int8_scale"  # row scales of a weight that is stored as int8
INT8_MIN_SIZE = 4096  # smaller matrices are not worth their row scales
KEPT_FLOAT = ("codebook.weight",)  # near codes are told apart by it

_COMMON_FILES = [
    "config.json",
    "*.safetensors",
    INDEX,
    "tiktoken.model",
    "tokenizer_config.json",
]
_DETOKENIZER_FILES = [
    f"{FLOW}/config.yaml",
    f"{FLOW}/model.*",
    f"{VOCODER}/config.json",
    f"{VOCODER}/model.*",
]


# ---------------------------------------------------------------------------------------------------------------------
# Finding


def find_model(name: str | os.PathLike[str], *, with_detokenizer: bool = True) -> Path:
    """Return the folder of a model: the bundled nano, a local folder, or a hub repository (downloaded if needed).

    Raises:
        ValueError: the name is neither "nano" nor a folder nor a hub id, or the folder holds no model.
        ConnectionError: the hub cannot be reached and the model is not in its local cache.
    """
    if str(name) == NANO:
        folder = NANO_FOLDER
    elif Path(name).exists():
        folder = Path(name)
        if not folder.is_dir():
            raise ValueError(f"{name} is a file; a model is a folder with config.json")
    else:
        patterns = [*_COMMON_FILES, f"{WHISPER}/config.json", f"{WHISPER}/model.safetensors"]
        folder = _download(str(name), patterns + (_DETOKENIZER_FILES if with_detokenizer else []))
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} is not a model folder: it has no config.json")
    return folder


def find_semantic_tokenizer(folder: Path) -> Path:
    """Return the folder of the semantic tokenizer that belongs to the model in ``folder``."""
    for candidate in (folder / SEMANTIC, folder.resolve().parent / SEMANTIC):
        if (candidate / "config.json").exists():
            return candidate
    return _download(SEMANTIC_HUB_ID, ["config.json", WEIGHTS])


def is_base_model(name: str | os.PathLike[str]) -> bool:
    """Tell whether the name is that of the released base model, which was not tuned for instructions."""
    return re.search(r"Kimi-Audio-7B(?!-Instruct)", str(name)) is not None


def _download(hub_id: str, patterns: list[str]) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", hub_id):
        raise ValueError(f'there is no model "{hub_id}": give "{NANO}", a folder, or a hub id such as owner/name')
    from huggingface_hub import (
        snapshot_download,
    )  # imported late: it costs 0.3 s that local models need not pay
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except HfHubHTTPError as error:
        raise ValueError(f"the hub has no model {hub_id} that may be read ({error.response.status_code})") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise ConnectionError(
            f"{hub_id} is not on this machine and the hub cannot be reached; download it elsewhere and give its folder"
        ) from error


# ---------------------------------------------------------------------------------------------------------------------
# Loading components


def load_settings(folder: Path) -> Settings:
    """Load the model's own settings; the release has none."""
    path = folder / "generation_config.json"
    return Settings.from_dict(read_json(path), str(path)) if path.exists() else Settings()


def load_lm(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> AudioLM:
    """Load the audio LLM."""
    config = LMConfig.from_dict(read_json(folder / "config.json"), str(folder / "config.json"))
    # The rotary frequencies in the files are placeholders that the official code never reads.
    tensors = ((name, t) for name, t in read_shards(folder) if not name.endswith("rotary_emb.inv_freq"))
    return load_module(lambda: AudioLM(config), tensors, str(folder), device, dtype)


def load_acoustic(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AcousticEncoder:
    """Load the acoustic encoder; the decoder that Whisper files also hold is skipped."""
    folder = folder / WHISPER
    config = EncoderConfig.from_dict(read_json(folder / "config.json"), str(folder / "config.json"))
    # Whisper files name the encoder "model.encoder.", exports of it "encoder.", and some have no prefix at all.
    tensors = (
        (re.sub(r"^(model\.)?(encoder\.)?", "", name), tensor)
        for name, tensor in read_shards(folder)
        if not re.match(r"(model\.)?decoder\.|proj_out\.", name)
    )
    return load_module(lambda: AcousticEncoder(config), tensors, str(folder), device, dtype)


def load_semantic(folder: Path, device: torch.device | str = "cpu") -> SemanticTokenizer:
    """Load the semantic tokenizer from its own folder, always in float32; training-only tensors are skipped."""
    config = SemanticConfig.from_dict(read_json(folder / "config.json"), str(folder / "config.json"))
    training_only = ("ema_count", "ema_weight", "embed_positions2.weight")
    tensors = ((name, t) for name, t in read_shards(folder) if name not in training_only)
    return load_module(lambda: SemanticTokenizer(config), tensors, str(folder), device, torch.float32)


def load_flow(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[DiT, FlowConfig]:
    """Load the flow-matching network and the normalisation of its mels."""
    folder = folder / FLOW
    config = FlowConfig.from_dict(read_yaml(folder / "config.yaml"), str(folder / "config.yaml"))
    # The released pickle holds optimiser states and a resampler kernel beside the network.
    tensors = (
        (name.removeprefix(SPEECH_MODEL), t)
        for name, t in read_weights(folder, "state_dict")
        if name.startswith(SPEECH_MODEL)
    )
    return load_module(lambda: DiT(config.dit), tensors, str(folder), device, dtype), config


def load_vocoder(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[BigVGAN, VocoderConfig]:
    """Load the vocoder, its weight normalisation folded into plain weights."""
    folder = folder / VOCODER
    config = VocoderConfig.from_dict(read_json(folder / "config.json"), str(folder / "config.json"))
    tensors = from_released(dict(read_weights(folder, "generator")))
    return load_module(lambda: BigVGAN(config), tensors.items(), str(folder), device, dtype), config


def load_module(
    build: Callable[[], Module],
    tensors: Iterable[tuple[str, Tensor]],
    source: str,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Module:
    """Build a module without memory, give it the tensors, one by one in the wanted dtype, and set it to evaluation.

    Raises:
        ValueError: tensors are missing, unexpected or of the wrong shape; the message names them.
        MemoryError: they do not fit into the free memory.
    """
    with torch.device("meta"):
        module = build()
    expected = module.state_dict()
    _check_memory(sum(t.numel() for t in expected.values()) * dtype.itemsize, torch.device(device), source)
    state, unexpected, misshapen = {}, [], []
    for name, tensor in tensors:
        if name not in expected:
            unexpected.append(name)
        elif tensor.shape != expected[name].shape:
            misshapen.append(f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}")
        else:
            state[name] = tensor.to(device, dtype)
    missing = [name for name in expected if name not in state and not any(m.startswith(name + " ") for m in misshapen)]
    problems = {"missing": missing, "unexpected": unexpected, "wrong shape": misshapen}
    if any(problems.values()):
        listed = "; ".join(f"{what}: {_few(names)}" for what, names in problems.items() if names)
        raise ValueError(f"the tensors in {source} do not fit its config: {listed}")
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(False).eval()


def _few(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _check_memory(needed_bytes: int, device: torch.device, source: str) -> None:
    if device.type == "cuda":
        free_bytes = torch.cuda.mem_get_info(device)[0]
    elif os.path.exists("/proc/meminfo"):
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free_bytes = int(fields["MemAvailable"].split()[0]) * 1024
    else:
        return  # no portable way to ask; the allocation itself will tell
    if needed_bytes > free_bytes:
        raise MemoryError(
            f"{source} needs {needed_bytes / 1e9:.1f} GB but {free_bytes / 1e9:.1f} GB are free on {device}; "
            "use a smaller dtype, another device, or the nano model"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Reading files


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} lacks {path.name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of plain values."""
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} lacks {path.name}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def read_shards(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of ``model.safetensors``, or of the shards that the index names (their names are irregular)."""
    index = folder / INDEX
    if not index.exists():
        yield from read_safetensors(folder / WEIGHTS)
        return
    for shard in sorted(set(read_json(index)["weight_map"].values())):
        if Path(shard).name != shard:
            raise ValueError(f"{index} names {shard}, which is outside the folder")
        yield from read_safetensors(folder / shard)


def read_weights(folder: Path, pickle_key: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of ``model.safetensors``, else those under ``pickle_key`` of ``model.pt``."""
    if (folder / WEIGHTS).exists():
        yield from read_safetensors(folder / WEIGHTS)
        return
    path = folder / "model.pt"
    if not path.exists():
        raise ValueError(f"{folder} lacks model.safetensors or model.pt")
    try:
        # mmap: the released file also holds two optimiser moments per weight, which are never touched
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)[pickle_key]
    except (RuntimeError, KeyError, OSError, EOFError) as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    except Exception as error:  # pickle.UnpicklingError names what it refuses
        if type(error).__name__ != "UnpicklingError":
            raise
        raise ValueError(f"{path} holds more than tensors or is damaged, and was not loaded: {error}") from None
    yield from state.items()


def read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one file, int8 weights multiplied with their row scales."""
    if not path.exists():
        raise ValueError(f"{path.parent} lacks {path.name}")
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name in sorted(names):
                if name.endswith(SCALE_SUFFIX):
                    continue
                tensor = file.get_tensor(name)
                if name + SCALE_SUFFIX in names:
                    tensor = dequantise(tensor, file.get_tensor(name + SCALE_SUFFIX))
                yield name, tensor
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def save_model(
    folder: Path,
    *,
    lm: AudioLM,
    text_tokenizer: TextTokenizer,
    acoustic: AcousticEncoder,
    semantic: SemanticTokenizer,
    dit: DiT,
    flow_config: FlowConfig,
    vocoder: BigVGAN,
    settings: Settings | None = None,
    int8: bool = False,
) -> None:
    """Write a model folder in the released layout, semantic tokenizer included.

    ``config.json`` comes last, and an older one goes first: a folder that was not finished is not taken for a model.

    Args:
        folder: made if needed; files of other names in it are left alone.
        lm: the audio LLM.
        text_tokenizer: the text tokenizer.
        acoustic: the acoustic encoder.
        semantic: the semantic tokenizer.
        dit: the flow-matching network.
        flow_config: with the normalisation of its mels.
        vocoder: the vocoder.
        settings: how the model is best used.
        int8: store the matrices of LLM, encoders and flow matching as int8 with row scales and all else, the vocoder
            included, in float16; by default everything is stored exactly as it is.

    Raises:
        ValueError: the folder holds a model in shards, or tensors are not finite.
    """
    if (folder / INDEX).exists():
        raise ValueError(f"{folder} holds a model in shards; save to another folder")
    (folder / "config.json").unlink(missing_ok=True)
    text_tokenizer.save(folder)
    save_weights(folder / WEIGHTS, lm.state_dict(), int8=int8)
    _write_json(folder / "generation_config.json", (settings or Settings()).to_dict())

    encoder = {f"model.encoder.{name}": tensor for name, tensor in acoustic.state_dict().items()}
    save_weights(folder / WHISPER / WEIGHTS, encoder, int8=int8)
    _write_json(folder / WHISPER / "config.json", acoustic.config.to_dict())
    save_weights(folder / SEMANTIC / WEIGHTS, semantic.state_dict(), int8=int8)
    _write_json(folder / SEMANTIC / "config.json", semantic.config.to_dict())

    flow = {SPEECH_MODEL + name: tensor for name, tensor in dit.state_dict().items()}
    save_weights(folder / FLOW / WEIGHTS, flow, int8=int8)
    with _replacing(folder / FLOW / "config.yaml") as partial:
        partial.write_text(yaml.safe_dump(flow_config.to_dict()), "utf-8")
    # Convolutions of few channels lose audibly by int8; the filters are compared with exact ones when loading.
    generator = {
        name: tensor.half() if int8 and not name.endswith(".filter") else tensor
        for name, tensor in to_released(vocoder.state_dict()).items()
    }
    save_weights(folder / VOCODER / WEIGHTS, generator)
    _write_json(folder / VOCODER / "config.json", vocoder.config.to_dict())

    marks = {
        "kimia_media_begin": text_tokenizer.special.media_begin,
        "kimia_media_end": text_tokenizer.special.media_end,
    }
    _write_json(folder / "config.json", lm.config.to_dict() | marks)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix [R, ...] as int8 with one float32 scale per row, the rows' largest values at 127."""
    rows = weight.float().flatten(1)
    scale = rows.abs().amax(1).clamp(min=1e-12) / 127
    return (rows / scale[:, None]).round().to(torch.int8).view(weight.shape), scale


def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    """Undo ``quantise``."""
    return weight.float() * scale.view(-1, *[1] * (weight.dim() - 1))


def save_weights(path: Path, tensors: Mapping[str, Tensor], *, int8: bool = False) -> None:
    """Write one safetensors file, whole or not at all.

    Args:
        path: of the file.
        tensors: by name; stored exactly unless ``int8``.
        int8: store large matrices as int8 with row scales, and all else in float16.

    Raises:
        ValueError: a tensor is not finite, or not in the range of float16.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if int8 and tensor.dim() >= 2 and tensor.numel() >= INT8_MIN_SIZE and name not in KEPT_FLOAT:
            stored[name], stored[name + SCALE_SUFFIX] = quantise(tensor)
        else:
            stored[name] = tensor.half() if int8 else tensor
    broken = [name for name, tensor in stored.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"{path} was not written: not finite, at least in float16: {_few(broken)}")
    with _replacing(path) as partial:
        # clone: safetensors refuses views of shared memory
        save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in stored.items()}, partial)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` if all goes well and else disappears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with _replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8")
