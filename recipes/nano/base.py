"""The model that nano's LLM begins from: encoders that can hear, a text tokenizer, an LLM that knows nothing.

``python -m recipes.nano.base OUT --whisper FOLDER --semantic FILE`` writes it; ``--set from_scratch=true`` of the
trainings begins with random weights of its sizes.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kimi_audio.checkpoint import LEXICON, load_flow, load_lm, load_vocoder, save_model
from kimi_audio.core.config import EncoderConfig, FlowConfig, LMConfig, Settings
from kimi_audio.core.files import copy_whole, write_whole
from kimi_audio.core.random import generator_of
from kimi_audio.core.weights import read_safetensors
from kimi_audio.core.words import normalise
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer, train_bpe
from recipes.nano.corpora import ALOUD_IN_VOICE, ALOUD_REQUESTS, ASR_REQUESTS, NAMES, written
from recipes.nano.semantic import SEMANTIC, semantic_config
from recipes.nano.stock import bible_verses, learned, proper_names, wordnet_definitions, wordnet_examples, wordnet_words
from recipes.nano.talks import learned_talks
from recipes.nano.whisper import bare_encoder


@dataclass(frozen=True)
class Size:
    """The one dial: the width of the LLM and its layers; heads have 64 channels."""

    width: int = 256
    layers: int = 6  # from the embedding to the text
    shared: int = 4  # of them, below the audio branch
    audio_layers: int = 2
    text_ranks: int = 512


NANO = Size()
HEAD = 64  # channels
FRAMES_PER_VECTOR = 4  # of the acoustic encoder, side by side in one vector for the LLM
SETTINGS = Settings(
    segment_s=10.0,
    ode_steps=10,
    solver="adams-bashforth",
    guidance_scale=3.0,
    first_chunk_tokens=8,
    look_ahead_tokens=4,
    vocoder_context_frames=8,  # no sample depends on what is further away
    audio_temperature=0.0,
    audio_top_k=0,
    voices=tuple(dict.fromkeys(NAMES.values())),
    transcribe_prompt=ASR_REQUESTS[0],
    transcribe_beams=4,
    reply_beams=4,
    transcribe_first=True,
    quantize="int8",
    speak_prompt=ALOUD_REQUESTS[0] + "{text}",
    speak_as_prompt=ALOUD_IN_VOICE[0].format("{voice}") + "{text}",
)


def lm_config(tokenizer: TextTokenizer, size: Size, acoustic: EncoderConfig) -> LMConfig:
    """Return the sizes of the audio LLM over an encoder; the vocabulary is that of the text, then the codes."""
    return LMConfig(
        vocab_size=tokenizer.vocab_size + SEMANTIC.num_codes,
        hidden_size=size.width,
        intermediate_size=size.width * 11 // 4,
        num_layers=size.layers,
        num_heads=size.width // HEAD,
        num_kv_heads=size.width // HEAD // 2,
        rms_norm_eps=1e-6,
        rope_theta=10_000.0,
        max_positions=2048,
        num_audio_layers=size.audio_layers,
        branch_layer_index=size.shared - 1,
        delay_tokens=6,
        audio_offset=tokenizer.vocab_size,
        adaptor_input_size=FRAMES_PER_VECTOR * acoustic.hidden_size,
        pad_id=tokenizer.special.pad,
    )


def texts() -> Iterator[str]:
    """Yield what nano reads and writes."""
    for text in learned([*wordnet_examples(), *wordnet_definitions(), *bible_verses()]):
        yield normalise(text)
        yield written(text)
    for talk in learned_talks():
        for turn in talk.turns:
            yield from (
                turn.said,
                written(turn.said),
                normalise(turn.said),
                written(turn.reply),
                turn.call,
                turn.result,
            )


def lexicon() -> list[str]:
    """Return words of WordNet, names, and what stands in two texts at least: what stands in one may be a slip."""
    found = Counter(word for text in {normalise(text) for text in texts()} for word in set(text.split()))
    return sorted(wordnet_words() | proper_names() | {word for word, count in found.items() if count > 1})


def build_base(
    out: Path,
    whisper: str,
    semantic: Path,
    detokenizer: Path,
    size: Size,
    llm: Path | None = None,
    seed: int = 0,
) -> None:
    """Write the folder.

    Args:
        out: receives the model.
        whisper: folder or hub id of the acoustic encoder.
        semantic: weights of the semantic tokenizer.
        detokenizer: the model whose detokenizer it begins with; if it has other codes, their embedding is drawn anew.
        size: of an LLM that knows nothing.
        llm: the model that has the LLM, its text tokenizer and the words that it knows, in the place of that.
        seed: of all that is drawn.
    """
    acoustic = bare_encoder(whisper)
    if llm is None:
        tokenizer = train_bpe(texts(), size.text_ranks)
        lm = AudioLM(lm_config(tokenizer, size, acoustic.config))
        lm.reset_parameters(generator_of(seed, 0))
    else:
        tokenizer, lm = TextTokenizer.load(llm), load_lm(llm)
    codes = SemanticTokenizer(semantic_config(acoustic.config))
    codes.load_state_dict(dict(read_safetensors(semantic)))
    dit, flow_config = with_codes(*load_flow(detokenizer), SEMANTIC.num_codes, seed)
    save_model(
        out,
        lm=lm,
        text_tokenizer=tokenizer,
        acoustic=acoustic,
        semantic=codes,
        dit=dit,
        flow_config=flow_config,
        vocoder=load_vocoder(detokenizer)[0],
        settings=SETTINGS,
        int8=True,
    )
    if llm is None:
        with write_whole(out / LEXICON) as partial:
            partial.write_text("\n".join(lexicon()) + "\n", "utf-8")
    elif (llm / LEXICON).exists():
        copy_whole(llm / LEXICON, out / LEXICON)


def with_codes(dit: DiT, config: FlowConfig, num_codes: int, seed: int) -> tuple[DiT, FlowConfig]:
    """Return a flow-matching network for other codes: their embedding is drawn anew, the rest is kept."""
    config = replace(config, dit=replace(config.dit, num_codes=num_codes))
    larger = DiT(config.dit)
    known = dit.state_dict()
    for name, tensor in larger.state_dict().items():
        if tensor.shape == known[name].shape:
            tensor.copy_(known[name])
        else:
            tensor.normal_(0.0, float(known[name].std()), generator=generator_of(seed, 1))
    return larger, config


def all_sizes(arguments: argparse.Namespace) -> Size:
    """Return the sizes that the command line asks for."""
    return replace(NANO, width=arguments.width, layers=arguments.layers, shared=arguments.layers - 2)


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="model folder")
    parser.add_argument("--whisper", required=True, help="Whisper of transformers: folder or hub id")
    parser.add_argument("--semantic", type=Path, required=True, help="what recipes.nano.semantic wrote")
    parser.add_argument("--detokenizer", type=Path, default=Path("kimi_audio/nano"), help="model to begin with")
    parser.add_argument("--llm", type=Path, help="model whose LLM goes on; by default, one that knows nothing")
    parser.add_argument("--width", type=int, default=NANO.width, help="of the LLM")
    parser.add_argument("--layers", type=int, default=NANO.layers, help="of the LLM")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with torch.no_grad():
        build_base(
            arguments.out,
            arguments.whisper,
            arguments.semantic,
            arguments.detokenizer,
            all_sizes(arguments),
            arguments.llm,
        )


if __name__ == "__main__":
    main()
