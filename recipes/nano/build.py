"""Build the nano model: ``python -m recipes.nano``, from nothing, or with ``--base nano`` from the bundled one.

Every stage leaves its result under the output folder and is skipped, or resumed, when the command is given again. The
speech engines come from ``make speech-tools``.
"""

import argparse
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from rich.progress import track

from kimi_audio.audio.augment import Augmentation, augment
from kimi_audio.checkpoint import (
    find_model,
    find_semantic_tokenizer,
    load_acoustic,
    load_flow,
    load_lm,
    load_semantic,
    load_vocoder,
    save_model,
)
from kimi_audio.core.config import (
    DiTConfig,
    EncoderConfig,
    FlowConfig,
    LMConfig,
    SemanticConfig,
    Settings,
    VocoderConfig,
)
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.core.weights import read_safetensors, save_weights
from kimi_audio.data.split import Split
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer, train_bpe
from kimi_audio.train.loop.loop import LoopConfig, load_module_state
from kimi_audio.train.speech.flow_stage import (
    FlowExample,
    FlowStage,
    flow_example,
    load_examples,
    mel_statistics,
    save_examples,
    train_flow,
)
from kimi_audio.train.speech.vocoder_stage import VocoderStage, VocoderTrainer, train_vocoder
from recipes.nano.closed.corpus import build
from recipes.nano.closed.phonemes import MANNERS, labels_of
from recipes.nano.closed.qa import side
from recipes.nano.closed.speakers import CONVERT
from recipes.nano.closed.task_corpus import EXAMPLES, build_tasks, read_examples
from recipes.nano.closed.voices import SPEAKERS
from recipes.nano.stages.batches import load_splits
from recipes.nano.stages.encode import EncodedSplit, encode_split
from recipes.nano.stages.encoders import give_first_code, load_acoustic_run, train_acoustic, train_semantic
from recipes.nano.stages.lm import (
    ASR_INSTRUCTIONS,
    READING_INSTRUCTIONS,
    Lesson,
    assistant_replies,
    conversations,
    conversions,
    grown,
    reading,
    recognition,
    spoken_questions,
    train_lm,
    written_questions,
)
from recipes.nano.stages.recognition import AcousticRecogniser, SemanticRecogniser

Module = TypeVar("Module", bound=torch.nn.Module)

SEED = 0
TRAINING_SPLITS = ("asr-", "questions-", "assistant", "tasks-")  # by the start of their names
NOT_SPEECH = ("tasks-sounds", "tasks-counts", "tasks-scenes")
ANSWERED = ("tasks-replies", "tasks-manners")  # questions in any voice, and replies in the assistant's manners
# What the detokenizer learns to say.
SPOKEN_SPLITS = ("assistant", "tasks-assistant", "tasks-voices", "tasks-reading", *ANSWERED)
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
TEXT_RANKS = 2048


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
# Rooms would slow a small encoder down more than the time allows.
VARIED = Augmentation(
    speed_probability=0.5,
    speeds=(0.83, 1.2),
    equaliser_probability=0.5,
    reverb_probability=0.0,
    noise_probability=0.6,
    snr_db=(4.0, 35.0),
    gain_db=(-9.0, 3.0),
)
# The codes are said as well as heard, and clean then.
GENTLE = replace(VARIED, speeds=(0.86, 1.17), equaliser_probability=0.2, noise_probability=0.4, snr_db=(8.0, 40.0))
STEADY = replace(GENTLE, speed_probability=0.0, equaliser_probability=0.0)  # where pace and colour are asked for
# One clean voice first, where the alignment of sound and phonemes is found soon; then everything.
ACOUSTIC_START = LoopConfig(
    steps=200, peak_lr=1.5e-3, final_lr=1.2e-3, warmup_steps=20, checkpoint_every_steps=50, muon=True
)


@dataclass(frozen=True)
class Schedule:
    """How long every component is trained."""

    acoustic: LoopConfig
    semantic: LoopConfig
    lm: LoopConfig
    flow: LoopConfig
    vocoder: LoopConfig


# About what the bundled weights have seen, in runs that went on from each other; never run as a whole.
FROM_NOTHING = Schedule(
    acoustic=LoopConfig(steps=3200, peak_lr=1.5e-3, final_lr=3e-5, warmup_steps=20, muon=True),
    semantic=LoopConfig(steps=2800, peak_lr=1.2e-3, final_lr=3e-5, warmup_steps=20, muon=True),
    lm=LoopConfig(steps=12_000, peak_lr=2e-3, final_lr=5e-5, warmup_steps=50, muon=True),
    flow=LoopConfig(steps=8000, peak_lr=1.5e-3, final_lr=3e-5, warmup_steps=50, weight_decay=0.0, muon=True),
    vocoder=LoopConfig(steps=3500, peak_lr=8e-4, final_lr=3e-5, betas=(0.8, 0.99), clip_norm=3.0),
)
# From trained weights: shorter, mostly at lower rates. The layers behind the codebook are new, so it rests at first.
CONTINUED = Schedule(
    acoustic=replace(FROM_NOTHING.acoustic, steps=1500, peak_lr=1e-3),
    semantic=replace(FROM_NOTHING.semantic, steps=900, peak_lr=8e-4, frozen={"tokenizer.": 0.08}),
    lm=replace(FROM_NOTHING.lm, steps=5200, peak_lr=1.5e-3),
    flow=replace(FROM_NOTHING.flow, steps=2600, peak_lr=1e-3),
    vocoder=replace(FROM_NOTHING.vocoder, steps=2600),
)
# Shares of the positions of every task corpus; those of the other lessons are in ``lessons``.
TASK_SHARES = {
    "assistant": 0.3,
    "mandarin": 1.0,
    "questions": 1.8,
    "abroad": 1.5,
    "dialogues": 1.2,
    "memories": 0.8,
    "sounds": 1.6,
    "counts": 0.8,
    "scenes": 0.2,
    "styles": 0.8,
    "voices": 1.0,
    "reading": 4.0,
    "replies": 0.6,
    "manners": 1.5,
}
# Guidance makes the speech clearer at twice the cost, and quiet speech was no part of the training (docs/LOG.md).
SETTINGS = Settings(
    segment_s=5.0,
    ode_steps=10,
    solver="adams-bashforth",
    guidance_scale=3.0,
    audio_temperature=0.0,
    audio_top_k=0,
    least_peak=0.1,
    voices=tuple(SPEAKERS),
)


@dataclass(frozen=True)
class Run:
    """Where a run reads and writes, and which model it begins with.

    Args:
        corpus: generated speech.
        out: results of the stages.
        base: folder of a model of nano's sizes; None begins from nothing.
        workers: processes that encode.
    """

    corpus: Path
    out: Path
    base: Path | None = None
    workers: int = 1

    @property
    def schedule(self) -> Schedule:
        """How long to train."""
        return FROM_NOTHING if self.base is None else CONTINUED


def speech(run: Run) -> None:
    """Generate all texts and sounds."""
    build(run.corpus, seed=SEED)
    build_tasks(run.corpus, seed=SEED)


def start(run: Run) -> AcousticRecogniser:
    """Return what the acoustic encoder begins with: the base's, or one that has found sounds in one clean voice."""
    if run.base is not None:
        # Drawn from the seed of the base's training, the head is near to what the encoder learned to speak to: it goes
        # on from a loss of 1.6 per label instead of 17 (docs/LOG.md).
        torch.manual_seed(SEED)
        module = AcousticRecogniser(ACOUSTIC)
        module.encoder.load_state_dict(load_acoustic(run.base).state_dict())
        return module
    splits, held_out = load_splits(run.corpus, ["assistant"]), load_splits(run.corpus, ["dev-asr"])
    return train_acoustic(
        ACOUSTIC, ACOUSTIC_START, splits, held_out, run.out / "acoustic-start", 60, None, short_first=True
    )


def acoustic(run: Run) -> None:
    """Learn all voices, with noise and other speeds, and all other sounds."""
    splits, held_out = load_splits(run.corpus, TRAINING_SPLITS), load_splits(run.corpus, ["dev-asr"])
    varied = partial(augment, settings=VARIED)
    train_acoustic(ACOUSTIC, run.schedule.acoustic, splits, held_out, run.out / "acoustic", 48, varied, start(run))


def semantic(run: Run) -> None:
    """Train the semantic tokenizer on speech."""
    splits = [
        split for split in load_splits(run.corpus, TRAINING_SPLITS) if not split.folder.name.startswith(NOT_SPEECH)
    ]
    splits += 2 * [split for split in splits if split.folder.name.startswith("tasks-manners")]  # rare, and asked for
    held_out = load_splits(run.corpus, ["dev-asr"])
    gently = partial(augment, settings=GENTLE)
    if run.base is None:
        begin, quantise_from_step = load_acoustic_run(ACOUSTIC, run.out / "acoustic-start"), 300
    else:
        begin, quantise_from_step = load_semantic(find_semantic_tokenizer(run.base)), 0
    loop, folder = run.schedule.semantic, run.out / "semantic"
    module = train_semantic(SEMANTIC, begin, loop, splits, held_out, folder, 48, gently, quantise_from_step)
    (manners,) = load_splits(run.corpus, ["tasks-manners-0"])
    give_manners_codes(module, manners)
    as_stored(module.tokenizer, run.out / "semantic.safetensors")


def give_manners_codes(module: SemanticRecogniser, split: Split) -> None:
    """Let every manner of a speaker that a split holds begin with a code of its own."""
    for manner in MANNERS:
        spoken = [utterance for utterance in split.utterances if labels_of(utterance).startswith(manner + " ")]
        if spoken:
            give_first_code(module, split, spoken[:100])


def text_tokenizer(run: Run) -> None:
    """Train the text tokenizer on all training texts; the ranks of the base stay."""
    if (run.out / "text-tokenizer").exists():
        return
    splits = load_splits(run.corpus, TRAINING_SPLITS)
    texts = [text for split in splits for u in split.utterances for text in (u.text, u.transcript)]
    for split in splits:
        if (split.folder / EXAMPLES).exists():
            texts += [part.text for example in read_examples(split) for part in example.parts if part.text]
    known = None if run.base is None else TextTokenizer.load(run.base)
    tokenizer = train_bpe([*texts, *ASR_INSTRUCTIONS, *READING_INSTRUCTIONS], TEXT_RANKS, start=known)
    tokenizer.save(run.out / "text-tokenizer")


def stored(module: Module, path: Path) -> Module:
    """Return the module with the weights of a file."""
    module.load_state_dict(dict(read_safetensors(path)))
    return module.requires_grad_(False).eval()


def as_stored(module: Module, path: Path) -> Module:
    """Write the weights as the model folder will hold them (int8), and return the module with what comes back.

    What is trained on codes and features then learns from exactly those that it will meet.
    """
    if not path.exists():
        save_weights(path, module.state_dict(), int8=True)
    return stored(module, path)


def semantic_tokenizer(out: Path) -> SemanticTokenizer:
    """Return the trained semantic tokenizer as it is stored."""
    return stored(SemanticTokenizer(SEMANTIC), out / "semantic.safetensors")


def acoustic_encoder(out: Path) -> AcousticEncoder:
    """Return the trained acoustic encoder as it is stored."""
    return as_stored(load_acoustic_run(ACOUSTIC, out / "acoustic").encoder, out / "acoustic.safetensors")


def spoken_ids(split: Split) -> frozenset[str]:
    """Return the utterances that only the assistant says: they are never heard, and get codes alone."""
    if not (split.folder / EXAMPLES).exists():
        return frozenset()
    parts = [part for example in read_examples(split) for part in example.parts if part.sound]
    ids = {role: {part.sound for part in parts if part.role == role} for role in ("user", "assistant")}
    return frozenset(str(sound) for sound in ids["assistant"] - ids["user"])


def encode_one(out: Path, folder: Path) -> None:
    """Encode one split; what users say is changed at random, and what is asked about is left as it is."""
    torch.set_num_threads(1)
    split, name = Split(folder), folder.name
    settings = STEADY if name.startswith("tasks-styles") else VARIED
    is_plain = name.startswith(("assistant", "tasks-voices", *NOT_SPEECH))
    changed = None if is_plain else partial(augment, settings=settings)
    tokenizer, encoder = semantic_tokenizer(out), acoustic_encoder(out)
    encode_split(split, tokenizer, encoder, out / "encoded" / name, changed, SEED, spoken_ids(split))


def encode(run: Run) -> list[EncodedSplit]:
    """Encode the LLM's training splits once, several side by side."""
    for write in (semantic_tokenizer, acoustic_encoder):  # before several processes read them
        write(run.out)
    splits = sorted(load_splits(run.corpus, TRAINING_SPLITS), key=lambda split: -split.duration_s)
    with ProcessPoolExecutor(run.workers) as pool:
        list(pool.map(partial(encode_one, run.out), [split.folder for split in splits]))
    return [EncodedSplit(split, run.out / "encoded" / split.folder.name) for split in splits]


def lessons(encoded: list[EncodedSplit]) -> list[Lesson]:
    """Return what the LLM learns, and how much of each."""
    by_name = {item.split.folder.name: item for item in encoded}
    replies = assistant_replies(by_name["assistant"])

    def named(start: str) -> list[EncodedSplit]:
        return [item for name, item in sorted(by_name.items()) if name.startswith(start)]

    questions = named("questions-")
    transcribed = [sample for item in named("asr-") for sample in recognition(item)]
    transcribed += [sample for item in questions for sample in recognition(item, every=2)]
    written = written_questions([(item.question, item.answer) for item in side(reserved=False)][::3], replies)
    ways = {speaker.voice.name: tuple(way.format(name) for way in CONVERT) for name, speaker in SPEAKERS.items()}
    converted = conversions(named("asr-"), named("tasks-reading-"), ways)
    found = [
        Lesson("asr", transcribed + recognition(by_name["assistant"], every=4), 6.0),
        Lesson("conversion", converted, 2.5),
        Lesson("questions", [s for item in questions for s in spoken_questions(item, replies, "both")], 3.0),
        Lesson("questions-text", [s for item in questions for s in spoken_questions(item, replies, "text")], 1.0),
        Lesson("written-questions", written, 0.3),
        Lesson("reading-replies", reading(replies), 1.0),
    ]
    for name, share in TASK_SHARES.items():
        samples = [s for item in named(f"tasks-{name}") for s in conversations(item, read_examples(item.split))]
        found.append(Lesson(name, samples, share))
    return found


def lm(run: Run) -> None:
    """Train the audio LLM."""
    tokenizer = TextTokenizer.load(run.out / "text-tokenizer")
    config = lm_config(tokenizer)
    if run.base is None:
        model = AudioLM(config)
        model.reset_parameters(torch.Generator().manual_seed(SEED))
    else:
        model = grown(load_lm(run.base), TextTokenizer.load(run.base), tokenizer, config, SEED)
    train_lm(model, tokenizer, run.schedule.lm, lessons(encode(run)), run.out / "lm", row_positions=256, rows=8)


def flow_examples(run: Run) -> list[FlowExample]:
    """Return codes and mels of all voices that are spoken."""
    path = run.out / "flow-examples.safetensors"
    if not path.exists():
        examples = []
        for encoded in encode(run):
            split, is_answered = encoded.split, encoded.split.folder.name.startswith(ANSWERED)
            if not split.folder.name.startswith(SPOKEN_SPLITS):
                continue
            repeated = 2 if is_answered else 1  # few against the assistant's ordinary speech, and harder
            for index, utterance in enumerate(track(split.utterances, f"mels of {split.folder.name}")):
                if is_answered and index not in encoded.spoken:
                    continue
                codes = encoded.tokens(index, features=False).codes.tolist()  # of the plain sound: it is not augmented
                wav = torch.from_numpy(split.samples(utterance, OUTPUT_RATE_HZ))
                examples += [flow_example(codes, wav, VOCODER)] * repeated
        save_examples(path, examples)
    return load_examples(path)


def flow_config(run: Run, examples: list[FlowExample]) -> FlowConfig:
    """Return the sizes of the flow-matching network and the normalisation of its mels, which a base has already."""
    if run.base is not None:
        return load_flow(run.base)[1]
    mean, std = mel_statistics(examples)
    return FlowConfig(dit=DIT, mel_mean=round(mean, 4), mel_std=round(std, 4))


def flow(run: Run) -> None:
    """Train the flow-matching network on the voices that are spoken."""
    examples = flow_examples(run)
    # Most replies are shorter than a chunk of the stream, so most steps know no earlier chunks.
    stage = FlowStage(batch_frames=2000, whole_share=0.6)
    begin = None if run.base is None else load_flow(run.base)[0]
    config, loop = flow_config(run, examples), run.schedule.flow
    train_flow(config, loop, stage, examples[64:], examples[:64], run.out / "flow", begin)


def vocoder(run: Run) -> None:
    """Train the vocoder on the voices that are spoken, and on all that ask for replies: it has to follow any pitch."""
    splits = load_splits(run.corpus, SPOKEN_SPLITS)
    splits += [split for split in splits if split.folder.name.startswith(("tasks-voices", *ANSWERED))]
    begin = None if run.base is None else load_vocoder(run.base)[0]
    train_vocoder(
        VOCODER, run.schedule.vocoder, VocoderStage(batch_size=8), splits, [], run.out / "vocoder", start=begin
    )


def export(run: Run) -> None:
    """Write the model folder."""
    out = run.out
    tokenizer = TextTokenizer.load(out / "text-tokenizer")
    model, vocoder_run = AudioLM(lm_config(tokenizer)), VocoderTrainer(BigVGAN(VOCODER))
    config = flow_config(run, flow_examples(run))
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
    parser.add_argument("--base", help="go on from this model: nano or a folder")
    parser.add_argument("--stage", choices=STAGES, help="run this stage only")
    parser.add_argument("--threads", type=int, help="cores to use")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    base = None if arguments.base is None else find_model(arguments.base)
    run = Run(arguments.corpus, arguments.out, base, arguments.threads or os.cpu_count() or 1)
    for name, stage in STAGES.items():
        if arguments.stage in (None, name):
            stage(run)


if __name__ == "__main__":
    main()
