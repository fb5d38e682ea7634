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
and on the hub.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from kimi_audio.core.config import Config, EncoderConfig, FlowConfig, LMConfig, SemanticConfig, Settings, VocoderConfig
from kimi_audio.core.files import copy_whole, read_json, read_yaml, write_json, write_yaml
from kimi_audio.core.units import ENCODER_FRAMES_PER_TOKEN, TOKENS_PER_WINDOW
from kimi_audio.core.weights import INDEX, PICKLE, WEIGHTS, fitting, holds_int8, read_shards, read_weights, save_weights
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN, from_released, to_released
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.empty import build_empty
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer

Module = TypeVar("Module", bound=nn.Module)
AnyConfig = TypeVar("AnyConfig", bound=Config)

NANO = "nano"
NANO_FOLDER = Path(__file__).parent / "nano"
WHISPER = "whisper-large-v3"
ENCODER = "model.encoder."  # before the names of the acoustic encoder in its file
SEMANTIC = "glm-4-voice-tokenizer"
FLOW = "audio_detokenizer"
VOCODER = "vocoder"
SEMANTIC_HUB_ID = "THUDM/glm-4-voice-tokenizer"
SEMANTIC_REVISION = "a5f2404e63c84e92f5238908e1706316324ebafa"  # other weights would give other codes
ENCODER_FRAMES_PER_WINDOW = ENCODER_FRAMES_PER_TOKEN * TOKENS_PER_WINDOW
SPEECH_MODEL = "speech_model."  # prefix of the flow-matching network in the release

_SMALL_FILES = [
    "config.json",
    "generation_config.json",
    "tiktoken.model",
    "tokenizer_config.json",
    f"{WHISPER}/config.json",
]
_FILES = [  # "*" in a pattern also matches "/"
    *_SMALL_FILES,
    "model*.safetensors",
    INDEX,
    f"{WHISPER}/{WEIGHTS}",
    f"{SEMANTIC}/config.json",
    f"{SEMANTIC}/{WEIGHTS}",
]
_DETOKENIZER_FILES = [f"{FLOW}/config.yaml", f"{FLOW}/model.*", f"{VOCODER}/config.json", f"{VOCODER}/model.*"]


# ---------------------------------------------------------------------------------------------------------------------
# Finding


def find_model(
    name: str | os.PathLike[str],
    *,
    with_detokenizer: bool = True,
    with_weights: bool = True,
    revision: str | None = None,
) -> Path:
    """Return the folder of a model: the bundled nano, a local folder, or a hub repository (downloaded if needed).

    Args:
        name: of the model.
        with_detokenizer: download the detokenizer, too.
        with_weights: download more than what tells the sizes of LLM and encoders, and the text tokenizer.
        revision: commit, tag or branch of a hub repository, by default its newest state.

    Raises:
        ValueError: the name is neither "nano" nor a folder nor a hub id, or the folder holds no model.
        ConnectionError: the hub cannot be reached and the model is not in its local cache.
    """
    is_local = str(name) == NANO or Path(name).exists()
    if is_local and revision is not None:
        raise ValueError(f"a revision is that of a hub repository, but {name} is on this machine")
    if str(name) == NANO:
        folder = NANO_FOLDER
    elif is_local:
        folder = Path(name)
        if not folder.is_dir():
            raise ValueError(f"{name} is a file; a model is a folder with config.json")
    else:
        wanted = _FILES + (_DETOKENIZER_FILES if with_detokenizer else [])
        folder = _download(str(name), wanted if with_weights else _SMALL_FILES, revision)
    if not (folder / "config.json").exists():
        if folder == NANO_FOLDER:
            raise ValueError("the nano model is not part of this installation; give the folder of another model")
        raise ValueError(f"{folder} is not a model folder: it has no config.json")
    return folder


def find_semantic_tokenizer(folder: Path) -> Path:
    """Return the folder of the semantic tokenizer that belongs to the model in ``folder``."""
    for candidate in (folder / SEMANTIC, folder.resolve().parent / SEMANTIC):
        if (candidate / "config.json").exists():
            return candidate
    return _download(SEMANTIC_HUB_ID, ["config.json", WEIGHTS], SEMANTIC_REVISION)


def is_base_model(name: str | os.PathLike[str]) -> bool:
    """Tell whether the name is that of the released base model, which was not tuned for instructions."""
    return re.search(r"Kimi-Audio-7B(?!-Instruct)", str(name)) is not None


def _download(hub_id: str, patterns: list[str], revision: str | None = None) -> Path:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", hub_id):
        raise ValueError(f'there is no model "{hub_id}": give "{NANO}", a folder, or a hub id such as owner/name')
    # Imported late: it costs 0.3 s that local models need not pay.
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=patterns, revision=revision))
    except LocalEntryNotFoundError:
        raise ConnectionError(
            f"{hub_id} is not on this machine and the hub cannot be reached; download it elsewhere and give its folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise ValueError(f"the hub has no model {hub_id} that may be read: {_first_line(error)}") from error
    except Exception as error:  # every transport has its own; a full disk ends here, too
        raise ConnectionError(
            f"the download of {hub_id} broke off ({type(error).__name__}: {_first_line(error)}); try again to go on"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]


# ---------------------------------------------------------------------------------------------------------------------
# Describing


@dataclass(frozen=True)
class Component:
    """One network of a model folder."""

    name: str
    parameters: int
    file_bytes: int


def list_components(folder: Path) -> list[Component]:
    """Return the networks of a model folder and their sizes, from its configs, without reading weights.

    Raises:
        ValueError: a config is missing, damaged or not supported.
    """
    builders: dict[str, tuple[Path, Callable[[Path], nn.Module]]] = {
        "audio LLM": (folder / "config.json", lambda path: AudioLM(load_lm_config(path.parent))),
        "acoustic encoder": (
            folder / WHISPER / "config.json",
            lambda path: AcousticEncoder(_config(EncoderConfig, path)),
        ),
        "semantic tokenizer": (
            find_semantic_tokenizer(folder) / "config.json",
            lambda path: SemanticTokenizer(_config(SemanticConfig, path)),
        ),
        "flow matching": (folder / FLOW / "config.yaml", lambda path: DiT(_config(FlowConfig, path).dit)),
        "vocoder": (folder / VOCODER / "config.json", lambda path: BigVGAN(_config(VocoderConfig, path))),
    }
    components = []
    for name, (path, build) in builders.items():
        place = path.parent
        if not place.exists():  # a model without its detokenizer still writes
            continue
        parameters = sum(parameter.numel() for parameter in build_empty(partial(build, path)).parameters())
        files = [*place.glob("*.safetensors"), *place.glob(PICKLE)]
        components.append(Component(name, parameters, sum(file.stat().st_size for file in files)))
    return components


# ---------------------------------------------------------------------------------------------------------------------
# Loading components


def load_settings(folder: Path) -> Settings:
    """Load the model's own settings; the release has none, so its defaults apply."""
    path = folder / "generation_config.json"
    return _config(Settings, path) if path.exists() else Settings()


def _config(kind: type[AnyConfig], path: Path) -> AnyConfig:
    values = read_yaml(path) if path.suffix == ".yaml" else read_json(path)
    return kind.from_dict(values, str(path))


def load_lm_config(folder: Path) -> LMConfig:
    """Load the sizes of the audio LLM."""
    return _config(LMConfig, folder / "config.json")


def check_parts(
    folder: Path, semantic_folder: Path, text_tokenizer: TextTokenizer, *, with_detokenizer: bool = True
) -> None:
    """Check by the configs that the components of a model speak of the same ids and sizes.

    Ids that are off by one would not fail but be wrong in silence.

    Raises:
        ValueError: they do not fit together, or a config is missing, damaged or not supported.
    """
    lm, acoustic, semantic = load_lm_config(folder), load_acoustic_config(folder), _semantic_config(semantic_folder)
    codes = f"{lm.num_codes} audio codes (vocab_size less kimia_token_offset)"
    equal = [
        (
            lm.audio_offset,
            text_tokenizer.vocab_size,
            f"kimia_token_offset {lm.audio_offset}",
            "ids of the text tokenizer",
        ),
        (lm.num_codes, semantic.num_codes, codes, "codes of the semantic tokenizer"),
        (
            lm.adaptor_input_size,
            ENCODER_FRAMES_PER_TOKEN * acoustic.hidden_size,
            f"kimia_adaptor_input_dim {lm.adaptor_input_size}",
            "features of the acoustic encoder",
        ),
    ]
    if with_detokenizer:
        flow, vocoder = _flow_config(folder), _config(VocoderConfig, folder / VOCODER / "config.json")
        bands = f"{vocoder.num_mels} mel bands of the vocoder"
        equal += [
            (lm.num_codes, flow.dit.num_codes, codes, "codes of the flow matching"),
            (vocoder.num_mels, flow.dit.num_mel_bins, bands, "mel bands of the flow matching"),
        ]
    for value, other, name, other_name in equal:
        if value != other:
            raise ValueError(f"the parts of {folder} do not fit together: {name}, but {other} {other_name}")
    for name, encoder in (("acoustic encoder", acoustic), ("semantic tokenizer", semantic)):
        if encoder.max_frames < ENCODER_FRAMES_PER_WINDOW:
            raise ValueError(
                f"max_source_positions {encoder.max_frames} of the {name} is less than a window, "
                f"which has {ENCODER_FRAMES_PER_WINDOW} frames"
            )


def load_lm(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> AudioLM:
    """Load the audio LLM."""
    config = load_lm_config(folder)
    # The rotary frequencies in the files are placeholders that the official code never reads.
    tensors = ((name, t) for name, t in read_shards(folder) if not name.endswith("rotary_emb.inv_freq"))
    return load_module(lambda: AudioLM(config), tensors, str(folder), device, dtype)


def load_acoustic_config(folder: Path) -> EncoderConfig:
    """Load the sizes of the acoustic encoder."""
    return _config(EncoderConfig, folder / WHISPER / "config.json")


def _semantic_config(folder: Path) -> SemanticConfig:
    return _config(SemanticConfig, folder / "config.json")


def _flow_config(folder: Path) -> FlowConfig:
    return _config(FlowConfig, folder / FLOW / "config.yaml")


def load_acoustic(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AcousticEncoder:
    """Load the acoustic encoder; the decoder that Whisper files also hold is skipped."""
    config, folder = load_acoustic_config(folder), folder / WHISPER
    # Whisper files name the encoder "model.encoder.", exports of it "encoder.", and some have no prefix at all.
    tensors = (
        (re.sub(r"^(model\.)?(encoder\.)?", "", name), tensor)
        for name, tensor in read_shards(folder)
        if not re.match(r"(model\.)?decoder\.|proj_out\.", name)
    )
    return load_module(lambda: AcousticEncoder(config), tensors, str(folder), device, dtype)


def load_semantic(folder: Path, device: torch.device | str = "cpu") -> SemanticTokenizer:
    """Load the semantic tokenizer from its own folder, always in float32; training-only tensors are skipped."""
    config = _semantic_config(folder)
    training_only = ("ema_count", "ema_weight", "embed_positions2.weight")
    tensors = ((name, t) for name, t in read_shards(folder) if name not in training_only)
    return load_module(lambda: SemanticTokenizer(config), tensors, str(folder), device, torch.float32)


def load_flow(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[DiT, FlowConfig]:
    """Load the flow-matching network and the normalisation of its mels."""
    config, folder = _flow_config(folder), folder / FLOW
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
    config = _config(VocoderConfig, folder / "config.json")
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
        ValueError: as for ``fitting``.
        MemoryError: they do not fit into the free memory.
    """
    module = build_empty(build)
    expected = module.state_dict()
    _check_memory(sum(t.numel() for t in expected.values()) * dtype.itemsize, torch.device(device), source)
    module.load_state_dict(fitting(tensors, expected, source, device, dtype), assign=True)
    return module.requires_grad_(False).eval()


def _check_memory(needed_bytes: int, device: torch.device, source: str) -> None:
    free_bytes = _free_bytes(device)
    if free_bytes is not None and needed_bytes > free_bytes:
        raise MemoryError(
            f"{source} needs {needed_bytes / 1e9:.3g} GB but {free_bytes / 1e9:.3g} GB are free on {device}; "
            "use a smaller dtype, another device, or the nano model"
        )


def _free_bytes(device: torch.device) -> int | None:
    """Return the free memory, or None where there is no portable way to ask."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.exists():
        return None
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


# ---------------------------------------------------------------------------------------------------------------------
# Saving


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
    write_json(folder / "generation_config.json", (settings or Settings()).to_dict())

    encoder = {f"{ENCODER}{name}": tensor for name, tensor in acoustic.state_dict().items()}
    save_weights(folder / WHISPER / WEIGHTS, encoder, int8=int8)
    write_json(folder / WHISPER / "config.json", acoustic.config.to_dict())
    save_weights(folder / SEMANTIC / WEIGHTS, semantic.state_dict(), int8=int8)
    write_json(folder / SEMANTIC / "config.json", semantic.config.to_dict())

    _save_detokenizer(folder, dit, flow_config, vocoder, int8=int8)

    marks = {
        "kimia_media_begin": text_tokenizer.special.media_begin,
        "kimia_media_end": text_tokenizer.special.media_end,
    }
    write_json(folder / "config.json", lm.config.to_dict() | marks)


def save_with_detokenizer(folder: Path, base: Path, *, dit: DiT, flow_config: FlowConfig, vocoder: BigVGAN) -> None:
    """Write a model folder that is ``base`` with another detokenizer; everything else is copied as it is.

    The detokenizer is stored as that of ``base`` is: exactly, or small. ``config.json`` comes last, as in
    ``save_model``, and the semantic tokenizer comes along.

    Raises:
        ValueError: both folders are the same, the folder holds another model in shards, or tensors are not finite.
    """
    if folder.resolve() == base.resolve():
        raise ValueError(f"{folder} is the base model itself; write to another folder")
    if (folder / INDEX).exists() and not (base / INDEX).exists():
        raise ValueError(f"{folder} holds a model in shards; save to another folder")
    config = folder / "config.json"
    config.unlink(missing_ok=True)
    semantic = find_semantic_tokenizer(base)
    copied = {path: folder / path.relative_to(base) for pattern in _FILES for path in base.glob(pattern)}
    copied |= {semantic / name: folder / SEMANTIC / name for name in ("config.json", WEIGHTS)}
    for source, target in copied.items():
        if target != config:
            copy_whole(source, target)
    _save_detokenizer(folder, dit, flow_config, vocoder, int8=holds_int8(base / FLOW / WEIGHTS))
    copy_whole(base / "config.json", config)


def _save_detokenizer(folder: Path, dit: DiT, flow_config: FlowConfig, vocoder: BigVGAN, *, int8: bool) -> None:
    flow = {SPEECH_MODEL + name: tensor for name, tensor in dit.state_dict().items()}
    save_weights(folder / FLOW / WEIGHTS, flow, int8=int8)
    write_yaml(folder / FLOW / "config.yaml", flow_config.to_dict())
    # Convolutions of few channels lose audibly by int8; the filters are compared with exact ones when loading.
    generator = {
        name: tensor.half() if int8 and not name.endswith(".filter") else tensor
        for name, tensor in to_released(vocoder.state_dict()).items()
    }
    save_weights(folder / VOCODER / WEIGHTS, generator)
    write_json(folder / VOCODER / "config.json", vocoder.config.to_dict())
