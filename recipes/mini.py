"""A Kimi-Audio of one's own: a text model learns to hear and to speak.

``python -m recipes.mini OUT --text HuggingFaceTB/SmolLM2-135M --whisper openai/whisper-small`` writes the folder that
the trainings begin with, as the report begins (section 3): the layers of the text model below both branches, its last
ones once more as the audio branch, the encoder of a Whisper, and codes and voice of another Kimi-Audio. What is new
(special tokens, codes, adaptor, audio head) is drawn at random; text is continued as the text model continues it.

Text models: those of transformers with the layers of Qwen2 or Llama and a byte-level BPE (Qwen2.5, SmolLM2, Llama 3).
"""

import argparse
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kimi_audio import checkpoint
from kimi_audio.core.config import LMConfig
from kimi_audio.core.files import read_json
from kimi_audio.core.random import generator_of
from kimi_audio.core.tokens import special_token_names
from kimi_audio.core.weights import read_shards
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.text import TextTokenizer

LAYOUTS = ("qwen2", "llama")
DELAY_TOKENS = 6
FRAMES_PER_VECTOR = 4  # of the encoder, side by side in one vector for the LLM
CONTEXT = 8192  # positions; text models state more than anybody trains here
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same between digits, which are cut out first, one by one: the split of SmolLM2.
DIGITS_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"


# ---------------------------------------------------------------------------------------------------------------------
# Text tokenizer


def text_tokenizer(folder: Path) -> tuple[TextTokenizer, Tensor]:
    """Return the tokenizer of a text model in the released layout, and the model's id of its first ranks [R].

    Raises:
        ValueError: it is no byte-level BPE whose ids follow its merges, or splits words in a way that is not known.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no tokenizer.json; save the text model with a fast tokenizer of transformers")
    content = read_json(path)
    if content["model"].get("type") != "BPE":
        raise ValueError(f"{path} is no byte-level BPE, which the text tokenizer of a Kimi-Audio is")
    added = {token["content"] for token in content.get("added_tokens", ()) if token["special"]}
    vocabulary = {text: id_ for text, id_ in content["model"]["vocab"].items() if text not in added}
    byte_of = {character: byte for byte, character in _characters().items()}
    if not all(set(text) <= byte_of.keys() for text in vocabulary):
        raise ValueError(f"{path} is no byte-level BPE, which the text tokenizer of a Kimi-Audio is")
    by_id = sorted(vocabulary.items(), key=lambda item: item[1])
    _check_order(content["model"]["merges"], vocabulary, path)
    ranks = {bytes(byte_of[character] for character in text): rank for rank, (text, _) in enumerate(by_id)}
    # SmolLM2 lacks bytes that UTF-8 never or hardly has; they become new tokens, so that any text can be written.
    lacking = [bytes([byte]) for byte in range(256) if bytes([byte]) not in ranks]
    ranks |= {byte: len(ranks) + number for number, byte in enumerate(lacking)}
    special = {name: len(ranks) + number for number, name in enumerate(special_token_names())}
    return TextTokenizer(ranks, special, _pattern(content, path)), torch.tensor([id_ for _, id_ in by_id])


def _characters() -> dict[int, str]:
    """Return the printable character that stands for each byte in the files of byte-level BPEs (GPT-2's table)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def _check_order(merges: list[Any], vocabulary: Mapping[str, int], path: Path) -> None:
    """Check that earlier merges have lower ids: ours are chosen by rank, and there is no list of merges."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
    ids = [vocabulary["".join(pair)] for pair in pairs if "".join(pair) in vocabulary]
    if any(after < before for before, after in pairwise(ids)):
        raise ValueError(f"the ids of {path} do not follow its merges, so its ranks cannot be told from them")


def _pattern(content: Mapping[str, Any], path: Path) -> str:
    """Return how a tokenizer splits text into words."""
    steps = (content.get("pre_tokenizer") or {}).get("pretokenizers", [content.get("pre_tokenizer") or {}])
    kinds = [step.get("type") for step in steps]
    if kinds == ["Split", "ByteLevel"] and "Regex" in steps[0]["pattern"]:
        return steps[0]["pattern"]["Regex"]
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return DIGITS_PATTERN
    if kinds == ["ByteLevel"]:
        return GPT2_PATTERN
    raise ValueError(f"{path} splits words by {json.dumps(kinds)}, which is not known here")


# ---------------------------------------------------------------------------------------------------------------------
# LLM


def lm_config(folder: Path, tokenizer: TextTokenizer, num_codes: int, audio_layers: int, features: int) -> LMConfig:
    """Return the sizes of the audio LLM of a text model.

    Args:
        folder: of the text model.
        tokenizer: of the text model, see ``text_tokenizer``.
        num_codes: of the semantic tokenizer.
        audio_layers: of the audio branch.
        features: size of the vectors that the acoustic encoder gives.

    Raises:
        ValueError: the text model has other layers than Qwen2 or Llama.
    """
    values = read_json(folder / "config.json")
    if values.get("model_type") not in LAYOUTS:
        raise ValueError(f"{folder} holds a {values.get('model_type')}; known are {' and '.join(LAYOUTS)}")
    rope = values.get("rope_parameters") or {}
    scaling = values.get("rope_scaling") or (rope if rope.get("rope_type", "default") != "default" else None)
    width, heads = values["hidden_size"], values["num_attention_heads"]
    if scaling or (values.get("head_dim") or width // heads) * heads != width:
        raise ValueError(f"the rotary positions or heads of {folder} are not those of Kimi-Audio")
    layers = values["num_hidden_layers"]
    if not 0 < audio_layers < layers:
        raise ValueError(f"the audio branch can have 1 to {layers - 1} layers, not {audio_layers}")
    return LMConfig(
        vocab_size=tokenizer.vocab_size + num_codes,
        hidden_size=width,
        intermediate_size=values["intermediate_size"],
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=values.get("num_key_value_heads", heads),
        rms_norm_eps=values["rms_norm_eps"],
        rope_theta=float(values.get("rope_theta", rope.get("rope_theta", 10_000.0))),
        max_positions=min(CONTEXT, values["max_position_embeddings"]),
        num_audio_layers=audio_layers,
        branch_layer_index=layers - audio_layers - 1,
        delay_tokens=DELAY_TOKENS,
        audio_offset=tokenizer.vocab_size,
        adaptor_input_size=features,
        pad_id=tokenizer.special.pad,
    )


@torch.no_grad()
def audio_lm(folder: Path, config: LMConfig, blank: int, ids: Tensor, seed: int = 0) -> AudioLM:
    """Return the audio LLM that begins as a text model.

    Args:
        folder: of the text model.
        config: sizes, see ``lm_config``.
        blank: id of "nothing here", whose embedding is added to that of every text token, and therefore begins as zero.
        ids: the text model's ids of the first ranks [R].
        seed: of what is drawn.

    Raises:
        ValueError: a tensor is missing or has another shape.
    """
    lm = AudioLM(config)
    lm.reset_parameters(generator_of(seed, 0))
    known = dict(read_shards(folder))
    embedding = known["model.embed_tokens.weight"]
    head = known.get("lm_head.weight", embedding)
    generator = generator_of(seed, 1)
    for target, source in ((lm.model.embed_tokens.weight, embedding), (lm.lm_head.weight, head)):
        # New rows are like an average token, so that they neither attract nor disturb what the model knows.
        new = target[len(ids) :]
        new.normal_(0.0, 0.1 * float(source.float().std()), generator=generator).add_(source.float().mean(0))
        target[: len(ids)] = source[ids].float()
    lm.model.embed_tokens.weight[blank] = 0.0
    own = lm.state_dict()
    for name, tensor in _layers(known, config):
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"{folder} holds {name} {list(tensor.shape)}, which has no place in an audio LLM")
        own[name].copy_(tensor)
    return lm


def _layers(known: Mapping[str, Tensor], config: LMConfig) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of all layers and norms by their names in the audio LLM."""
    first_copied = config.num_layers - config.num_audio_layers
    for name, tensor in known.items():
        if match := re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name):
            layer, rest = int(match[1]), match[2]
            if rest.endswith("rotary_emb.inv_freq"):
                continue
            yield name, tensor
            if layer >= first_copied:
                yield f"model.mimo_layers.{layer - first_copied}.{rest}", tensor
        elif name == "model.norm.weight":
            yield name, tensor
            yield "model.mimo_norm.weight", tensor


# ---------------------------------------------------------------------------------------------------------------------
# Model folder


def build(out: Path, text: Path, whisper: Path, voice: Path, audio_layers: int, seed: int = 0) -> None:
    """Write the model folder.

    Args:
        out: the folder.
        text: folder of the text model.
        whisper: folder of a Whisper.
        voice: folder of a Kimi-Audio whose semantic tokenizer and detokenizer are taken.
        audio_layers: of the audio branch.
        seed: of what is drawn.
    """
    tokenizer, ids = text_tokenizer(text)
    acoustic = checkpoint.load_whisper(whisper)
    semantic = checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(voice))
    features = FRAMES_PER_VECTOR * acoustic.config.hidden_size
    config = lm_config(text, tokenizer, semantic.config.num_codes, audio_layers, features)
    dit, flow_config = checkpoint.load_flow(voice)
    settings = checkpoint.load_settings(voice)
    checkpoint.save_model(
        out,
        lm=audio_lm(text, config, tokenizer.special.blank, ids, seed),
        text_tokenizer=tokenizer,
        acoustic=acoustic,
        semantic=semantic,
        dit=dit,
        flow_config=flow_config,
        vocoder=checkpoint.load_vocoder(voice)[0],
        settings=replace(settings, voices=()),  # it has none of them until it has learned them
    )


def main() -> None:
    """Write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="model folder")
    parser.add_argument("--text", required=True, help="text model: folder or hub id")
    parser.add_argument("--whisper", required=True, help="Whisper: folder or hub id")
    parser.add_argument("--voice", default="nano", help="Kimi-Audio whose codes and detokenizer are taken")
    parser.add_argument("--audio-layers", type=int, default=6, help="of the audio branch")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    build(
        arguments.out,
        checkpoint.find_transformers(arguments.text),
        checkpoint.find_transformers(arguments.whisper),
        checkpoint.find_model(arguments.voice),
        arguments.audio_layers,
    )


if __name__ == "__main__":
    main()
