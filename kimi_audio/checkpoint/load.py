"""Load the components of a model folder, and check that they fit together."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from kimi_audio.checkpoint.layout import FLOW, LEXICON, SPEECH_MODEL, VOCODER, WHISPER
from kimi_audio.core.config import Config, EncoderConfig, FlowConfig, LMConfig, SemanticConfig, Settings, VocoderConfig
from kimi_audio.core.files import read_json, read_yaml
from kimi_audio.core.lines import read_lines
from kimi_audio.core.quantized import Format, Stored, dequantised, quantized
from kimi_audio.core.units import ENCODER_FRAMES_PER_TOKEN, TOKENS_PER_WINDOW
from kimi_audio.core.weights import fitting, read_shards, read_stored_shards, read_weights, stored_fitting
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN, from_released
from kimi_audio.lm.lexicon import Lexicon
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.quantize import formats_of, give_weights, num_bytes
from kimi_audio.nn.empty import build_empty
from kimi_audio.nn.memory import free_bytes
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer

Module = TypeVar("Module", bound=nn.Module)
AnyConfig = TypeVar("AnyConfig", bound=Config)

ENCODER_FRAMES_PER_WINDOW = ENCODER_FRAMES_PER_TOKEN * TOKENS_PER_WINDOW


def load_settings(folder: Path) -> Settings:
    """Load the model's own settings; the release has none, so its defaults apply."""
    path = folder / "generation_config.json"
    return read_config(Settings, path) if path.exists() else Settings()


def load_lexicon(folder: Path, tokenizer: TextTokenizer) -> Lexicon | None:
    """Load the words that texts are made of; the release has no list of them."""
    path = folder / LEXICON
    if not path.exists():
        return None
    return Lexicon(frozenset(), tokenizer).with_words([" ".join(read_lines(path))])  # faster than line by line


def read_config(kind: type[AnyConfig], path: Path) -> AnyConfig:
    """Read one of the configs of a model folder, YAML or JSON."""
    values = read_yaml(path) if path.suffix == ".yaml" else read_json(path)
    return kind.from_dict(values, str(path))


def load_lm_config(folder: Path) -> LMConfig:
    """Load the sizes of the audio LLM."""
    return read_config(LMConfig, folder / "config.json")


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
        flow, vocoder = _flow_config(folder), read_config(VocoderConfig, folder / VOCODER / "config.json")
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


def load_lm(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    quantize: Format | None = None,
) -> AudioLM:
    """Load the audio LLM, its matrices in a format of fewer bits if that is wanted.

    Then one matrix at a time is converted on its way from the file, and no other copy of the weights is made.

    Raises:
        ValueError, MemoryError: as for ``load_module``.
    """
    config = load_lm_config(folder)
    # The rotary frequencies in the files are placeholders that the official code never reads.
    tensors = ((name, t) for name, t in read_stored_shards(folder) if not name.endswith("rotary_emb.inv_freq"))
    if quantize is None:
        plain = ((name, dequantised(tensor)) for name, tensor in tensors)
        return load_module(lambda: AudioLM(config), plain, str(folder), device, dtype)
    lm = build_empty(lambda: AudioLM(config))
    formats = formats_of(lm, quantize)
    _check_memory(num_bytes(lm, quantize, dtype), torch.device(device), str(folder))

    def store(name: str, tensor: Stored) -> Stored:
        if name not in formats:
            return dequantised(tensor).to(device, dtype, copy=True)  # a view would keep its whole file in memory
        return quantized(tensor.to(device), formats[name])

    give_weights(lm, stored_fitting(tensors, lm.state_dict(), str(folder), store))
    return lm.requires_grad_(False).eval()


def load_acoustic_config(folder: Path) -> EncoderConfig:
    """Load the sizes of the acoustic encoder."""
    return read_config(EncoderConfig, folder / WHISPER / "config.json")


def _semantic_config(folder: Path) -> SemanticConfig:
    return read_config(SemanticConfig, folder / "config.json")


def _flow_config(folder: Path) -> FlowConfig:
    return read_config(FlowConfig, folder / FLOW / "config.yaml")


def load_acoustic(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AcousticEncoder:
    """Load the acoustic encoder of a model folder."""
    return load_whisper(folder / WHISPER, device, dtype)


def load_whisper(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    config: EncoderConfig | None = None,
) -> AcousticEncoder:
    """Load the encoder of a Whisper folder of transformers; the decoder that it also holds is skipped.

    Args:
        folder: with ``config.json`` and ``model.safetensors``, or its shards.
        device: where it is to be.
        dtype: of its weights.
        config: instead of that of the folder.
    """
    sizes = config or read_config(EncoderConfig, folder / "config.json")
    # Whisper files name the encoder "model.encoder.", exports of it "encoder.", and some have no prefix at all.
    tensors = (
        (re.sub(r"^(model\.)?(encoder\.)?", "", name), tensor)
        for name, tensor in read_shards(folder)
        if not re.match(r"(model\.)?decoder\.|proj_out\.", name)
    )
    return load_module(lambda: AcousticEncoder(sizes), tensors, str(folder), device, dtype)


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
    config = read_config(VocoderConfig, folder / "config.json")
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
    available = free_bytes(device)
    if available is not None and needed_bytes > available:
        raise MemoryError(
            f"{source} needs {needed_bytes / 1e9:.3g} GB but {available / 1e9:.3g} GB are free on {device}; "
            "use a smaller dtype, quantize it, use another device, or the nano model"
        )
