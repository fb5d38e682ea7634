"""Build the nano model from nothing: ``python -m recipes.nano --out runs/nano``.

Every stage leaves its result under the output folder and is skipped, or resumed, when the command is given again. The
speech engines come from ``make speech-tools``.
"""

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from rich.progress import track

from kimi_audio.checkpoint import save_model
from kimi_audio.config import DiTConfig, EncoderConfig, FlowConfig, LMConfig, SemanticConfig, Settings, VocoderConfig
from kimi_audio.data.augment import Augmentation, augment
from kimi_audio.data.corpus import build
from kimi_audio.data.qa import side
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer, train_bpe
from kimi_audio.train.batches import load_splits
from kimi_audio.train.encode import EncodedSplit, encode_split
from kimi_audio.train.encoders import load_acoustic_run, load_semantic_run, train_acoustic, train_semantic
from kimi_audio.train.flow import (
    FlowExample,
    FlowStage,
    flow_example,
    load_examples,
    mel_statistics,
    save_examples,
    train_flow,
)
from kimi_audio.train.lm import (
    ASR_INSTRUCTIONS,
    READING_INSTRUCTIONS,
    assistant_replies,
    reading,
    recognition,
    spoken_questions,
    train_lm,
    written_questions,
)
from kimi_audio.train.loop import LoopConfig, load_module_state
from kimi_audio.train.vocoder import VocoderStage, VocoderTrainer, train_vocoder
from kimi_audio.units import OUTPUT_RATE_HZ
from kimi_audio.weights import read_safetensors, save_weights

Module = TypeVar("Module", bound=torch.nn.Module)

SEED = 0
TRAINING_SPLITS = ("asr-", "questions-", "assistant")  # by the start of their names
NUM_CODES = 512

ACOUSTIC = EncoderConfig(num_mel_bins=80, hidden_size=256, num_layers=6, num_heads=4, ffn_size=1024, pad_windows=False)
SEMANTIC = SemanticConfig(
    num_mel_bins=80,
    hidden_size=256,
    num_layers=6,
    num_heads=4,
    ffn_size=1024,
    num_used_layers=4,
    num_codes=NUM_CODES,
    block_frames=200,
    loss_scale=1.0,
)
TEXT_RANKS = 1024


def lm_config(tokenizer: TextTokenizer) -> LMConfig:
    """Return the sizes of the audio LLM; the vocabulary is that of the text, then the codes."""
    return LMConfig(
        vocab_size=tokenizer.vocab_size + NUM_CODES,
        hidden_size=256,
        intermediate_size=704,
        num_layers=4,
        num_heads=4,
        num_kv_heads=2,
        rms_norm_eps=1e-6,
        rope_theta=10_000.0,
        max_positions=2048,
        num_audio_layers=2,
        branch_layer_index=1,
        delay_tokens=6,
        audio_offset=tokenizer.vocab_size,
        adaptor_input_size=4 * ACOUSTIC.hidden_size,
        pad_id=tokenizer.special.pad,
    )


DIT = DiTConfig(num_mel_bins=80, num_codes=NUM_CODES, hidden_size=192, num_layers=5, num_heads=4, mlp_ratio=4.0)
VOCODER = VocoderConfig(
    num_mels=80,
    n_fft=1024,
    win_size=1024,
    fmin=0,
    fmax=None,
    upsample_initial_channel=256,
    upsample_rates=(5, 4, 4, 3, 2),
    upsample_kernel_sizes=(9, 8, 8, 7, 4),
    resblock_kernel_sizes=(3, 7),
    resblock_dilation_sizes=((1, 3), (1, 3)),
)
# One clean voice first, where the alignment of sound and phonemes is found soon; then everything.
ACOUSTIC_START = LoopConfig(
    steps=200, peak_lr=1.5e-3, final_lr=1.2e-3, warmup_steps=20, checkpoint_every_steps=50, muon=True
)
ACOUSTIC_LOOP = LoopConfig(
    steps=2000, peak_lr=1.5e-3, final_lr=3e-5, warmup_steps=20, checkpoint_every_steps=100, muon=True
)
# Full augmentation slows a small encoder down more than the time allows; most of the training is gentler.
GENTLE = Augmentation(
    speed_probability=0.5, reverb_probability=0.0, noise_probability=0.3, snr_db=(12.0, 40.0), gain_db=(-9.0, 3.0)
)
VOCODER_LOOP = LoopConfig(
    steps=1000, peak_lr=1.5e-3, final_lr=1e-4, betas=(0.8, 0.99), clip_norm=10.0, checkpoint_every_steps=100
)
LM_LOOP = LoopConfig(steps=2800, peak_lr=2e-3, final_lr=5e-5, warmup_steps=50, checkpoint_every_steps=100, muon=True)
FLOW_LOOP = LoopConfig(
    steps=2800, peak_lr=1.5e-3, final_lr=3e-5, warmup_steps=50, weight_decay=0.0, checkpoint_every_steps=100, muon=True
)
SEMANTIC_LOOP = LoopConfig(
    steps=1700, peak_lr=1.2e-3, final_lr=3e-5, warmup_steps=20, checkpoint_every_steps=100, muon=True
)
# Guidance makes the speech clearer at twice the cost (docs/LOG.md).
SETTINGS = Settings(segment_s=5.0, ode_steps=12, guidance_scale=2.5, audio_temperature=0.0, audio_top_k=0)


def speech(corpus: Path, _out: Path) -> None:
    """Generate all texts and their speech."""
    build(corpus, seed=SEED)


def acoustic_start(corpus: Path, out: Path) -> None:
    """Find the alignment of sound and phonemes."""
    splits, held_out = load_splits(corpus, ["assistant"]), load_splits(corpus, ["dev-asr"])
    train_acoustic(ACOUSTIC, ACOUSTIC_START, splits, held_out, out / "acoustic-start", 60, None, short_first=True)


def acoustic(corpus: Path, out: Path) -> None:
    """Learn all voices, with noise and other speeds."""
    splits, held_out = load_splits(corpus, TRAINING_SPLITS), load_splits(corpus, ["dev-asr"])
    start = load_acoustic_run(ACOUSTIC, out / "acoustic-start")
    gently = partial(augment, settings=GENTLE)
    train_acoustic(ACOUSTIC, ACOUSTIC_LOOP, splits, held_out, out / "acoustic", 48, gently, start)


def semantic(corpus: Path, out: Path) -> None:
    """Train the semantic tokenizer."""
    splits, held_out = load_splits(corpus, TRAINING_SPLITS), load_splits(corpus, ["dev-asr"])
    start = load_acoustic_run(ACOUSTIC, out / "acoustic-start")  # so that both encoders can be trained at once
    gently = partial(augment, settings=GENTLE)
    train_semantic(
        SEMANTIC, start, SEMANTIC_LOOP, splits, held_out, out / "semantic", 48, gently, quantise_from_step=300
    )


def text_tokenizer(corpus: Path, out: Path) -> None:
    """Train the text tokenizer on all training texts."""
    if (out / "text-tokenizer").exists():
        return
    splits = load_splits(corpus, TRAINING_SPLITS)
    utterances = [utterance for split in splits for utterance in split.utterances]
    texts = [text for u in utterances for text in (u.text, u.transcript)]
    train_bpe([*texts, *ASR_INSTRUCTIONS, *READING_INSTRUCTIONS], TEXT_RANKS).save(out / "text-tokenizer")


def as_stored(module: Module, path: Path) -> Module:
    """Write the weights as the model folder will hold them (int8), and return the module with what comes back.

    What is trained on codes and features then learns from exactly those that it will meet.
    """
    if not path.exists():
        save_weights(path, module.state_dict(), int8=True)
    module.load_state_dict(dict(read_safetensors(path)))
    return module.requires_grad_(False).eval()


def semantic_tokenizer(out: Path) -> SemanticTokenizer:
    """Return the trained semantic tokenizer as it is stored."""
    return as_stored(load_semantic_run(SEMANTIC, out / "semantic").tokenizer, out / "semantic.safetensors")


def acoustic_encoder(out: Path) -> AcousticEncoder:
    """Return the trained acoustic encoder as it is stored."""
    return as_stored(load_acoustic_run(ACOUSTIC, out / "acoustic").encoder, out / "acoustic.safetensors")


def encode(corpus: Path, out: Path) -> list[EncodedSplit]:
    """Encode the LLM's training splits once: the users' speech changed at random, the assistant's as it is."""
    tokenizer, encoder = semantic_tokenizer(out), acoustic_encoder(out)
    gently = partial(augment, settings=GENTLE)
    encoded = []
    for split in load_splits(corpus, TRAINING_SPLITS):
        changed = None if split.folder.name == "assistant" else gently
        encoded.append(encode_split(split, tokenizer, encoder, out / "encoded" / split.folder.name, changed, SEED))
    return encoded


def lm(corpus: Path, out: Path) -> None:
    """Train the audio LLM."""
    encoded = {item.split.folder.name: item for item in encode(corpus, out)}
    replies = assistant_replies(encoded["assistant"])
    samples = recognition(encoded["assistant"], every=4) + reading(replies)
    samples += written_questions([(item.question, item.answer) for item in side(reserved=False)][::3], replies)
    for name, split in encoded.items():
        if name.startswith("asr-"):
            samples += recognition(split)
        elif name.startswith("questions-"):
            samples += recognition(split, every=2)
            samples += spoken_questions(split, replies, "both") + spoken_questions(split, replies, "text", every=3)
    tokenizer = TextTokenizer.load(out / "text-tokenizer")
    train_lm(lm_config(tokenizer), tokenizer, LM_LOOP, samples, out / "lm", positions=2000)


def flow_examples(corpus: Path, out: Path) -> list[FlowExample]:
    """Return codes and mels of the assistant's voice."""
    path = out / "flow-examples.safetensors"
    if not path.exists():
        (split,) = load_splits(corpus, ["assistant"])
        tokenizer = semantic_tokenizer(out)
        examples = []
        for utterance in track(split.utterances, "codes and mels of the assistant"):
            codes = tokenizer.encode_wav(torch.from_numpy(split.samples(utterance))).tolist()
            examples.append(flow_example(codes, torch.from_numpy(split.samples(utterance, OUTPUT_RATE_HZ)), VOCODER))
        save_examples(path, examples)
    return load_examples(path)


def flow_config(examples: list[FlowExample]) -> FlowConfig:
    """Return the sizes of the flow-matching network and the normalisation of its mels."""
    mean, std = mel_statistics(examples)
    return FlowConfig(dit=DIT, mel_mean=round(mean, 4), mel_std=round(std, 4))


def flow(corpus: Path, out: Path) -> None:
    """Train the flow-matching network on the assistant's voice."""
    examples = flow_examples(corpus, out)
    # Most replies are shorter than a chunk of the stream, so most steps know no earlier chunks.
    stage = FlowStage(batch_frames=2000, whole_share=0.6)
    train_flow(flow_config(examples), FLOW_LOOP, stage, examples[64:], examples[:64], out / "flow")


def vocoder(corpus: Path, out: Path) -> None:
    """Train the vocoder on the assistant's voice."""
    splits = load_splits(corpus, ["assistant"])
    train_vocoder(VOCODER, VOCODER_LOOP, VocoderStage(batch_size=8), splits, [], out / "vocoder")


def export(corpus: Path, out: Path) -> None:
    """Write the model folder."""
    tokenizer = TextTokenizer.load(out / "text-tokenizer")
    model, vocoder_run = AudioLM(lm_config(tokenizer)), VocoderTrainer(BigVGAN(VOCODER))
    config = flow_config(flow_examples(corpus, out))
    dit = DiT(config.dit)
    for name, module in {"lm": model, "flow": dit, "vocoder": vocoder_run}.items():
        load_module_state(out / name, module)
    save_model(
        out / "model",
        lm=model,
        text_tokenizer=tokenizer,
        acoustic=acoustic_encoder(out),
        semantic=semantic_tokenizer(out),
        dit=dit,
        flow_config=config,
        vocoder=vocoder_run.vocoder,
        settings=SETTINGS,
        int8=True,
    )


STAGES = {
    "speech": speech,
    "acoustic-start": acoustic_start,
    "acoustic": acoustic,
    "semantic": semantic,
    "text-tokenizer": text_tokenizer,
    "encode": encode,
    "lm": lm,
    "flow": flow,
    "vocoder": vocoder,
    "export": export,
}


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--stage", choices=STAGES, help="run this stage only")
    parser.add_argument("--threads", type=int, help="cores to use")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    for name, stage in STAGES.items():
        if arguments.stage in (None, name):
            partial(stage, arguments.corpus, arguments.out)()


if __name__ == "__main__":
    main()
