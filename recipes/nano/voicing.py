"""nano learns to sound: flow matching and vocoder, on recordings of the voices that it speaks in.

``python -m recipes.nano.voicing FOLDER … --base FOLDER --out FOLDER`` goes on from the detokenizer of the base and
writes a model folder. The two do not need each other, so ``--only`` trains them side by side.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from kimi_audio import checkpoint
from kimi_audio.core.config import FlowConfig
from kimi_audio.data.recordings import Recording, store_speech
from kimi_audio.data.split import COMPLETED, Split
from kimi_audio.detokenizer.discriminators import Discriminators
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.vocoder import BigVGAN
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.speech.flow_stage import FlowExample, FlowStage, load_examples, save_examples, train_flow
from kimi_audio.train.speech.vocoder_stage import VocoderStage, train_vocoder
from kimi_audio.train.speech.voice_adaptation import voice_examples
from recipes.nano.recording import recordings

HELD_OUT_EVERY = 50
FLOW = LoopConfig(steps=2000, peak_lr=1.5e-3, final_lr=3e-5, warmup_steps=50, weight_decay=0.0, muon=True)
# Most replies are shorter than a chunk of the stream, so most steps know no earlier chunks.
FLOW_STAGE = FlowStage(batch_frames=2000, whole_share=0.6)
VOCODER = LoopConfig(steps=2000, peak_lr=8e-4, final_lr=3e-5, warmup_steps=50, betas=(0.8, 0.99), clip_norm=3.0)
VOCODER_STAGE = VocoderStage(batch_size=8)
# Small ones, of few frames, for a CPU.
RESOLUTIONS = ((512, 100, 400), (1024, 240, 960), (2048, 480, 1920))
PERIOD_CHANNELS, RESOLUTION_CHANNELS = (8, 32, 64, 128, 128), 8


def stored(folders: Sequence[Path], work: Path) -> tuple[Split, Split]:
    """Return (learned, held out) recordings at both rates, read once into ``work``."""
    spoken = [item for folder in folders for item in recordings(folder) if 0.5 < item.duration_s < 30]
    parts = {
        "held-out": spoken[::HELD_OUT_EVERY],
        "learned": [item for number, item in enumerate(spoken) if number % HELD_OUT_EVERY],
    }
    for name, items in parts.items():
        if not (work / name / COMPLETED).exists():
            named = [
                Recording(item.audio, item.line.text, f"{item.audio.parent.name}/{item.audio.name}") for item in items
            ]
            store_speech(named, work / name)
    return Split(work / "learned"), Split(work / "held-out")


@dataclass(frozen=True)
class Place:
    """Where a part is trained, and how much of the speech is learned from at once."""

    device: str = "cpu"
    batches: int = 1  # as large as a CPU's together


def train_flow_of(
    base: Path, learned: Split, held_out: Split, work: Path, loop: LoopConfig, place: Place
) -> tuple[DiT, FlowConfig]:
    """Train flow matching from the base's, or go on with what ``work`` holds."""
    dit, config = checkpoint.load_flow(base)
    trained = train_flow(
        config,
        loop,
        replace(FLOW_STAGE, batch_frames=place.batches * FLOW_STAGE.batch_frames),
        _examples(base, learned, work / "learned.safetensors"),
        _examples(base, held_out, work / "held-out.safetensors"),
        work / "flow",
        dit,
        place.device,
    )
    return trained, config


def train_vocoder_of(
    base: Path,
    learned: Split,
    held_out: Split,
    work: Path,
    loop: LoopConfig,
    place: Place,
    adversarial_from_step: int | None = None,
) -> BigVGAN:
    """Train the vocoder from the base's, or go on with what ``work`` holds; discriminators judge it from a step on."""
    vocoder, config = checkpoint.load_vocoder(base)
    stage = replace(
        VOCODER_STAGE,
        batch_size=place.batches * VOCODER_STAGE.batch_size,
        adversarial_from_step=adversarial_from_step,
    )
    judges = None
    if adversarial_from_step is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(loop.seed)
            judges = Discriminators(
                period_channels=PERIOD_CHANNELS, resolutions=RESOLUTIONS, resolution_channels=RESOLUTION_CHANNELS
            )
    return train_vocoder(
        config, loop, stage, [learned], [held_out], work / "vocoder", judges, start=vocoder, device=place.device
    )


def _examples(base: Path, split: Split, path: Path) -> list[FlowExample]:
    if not path.exists():
        semantic = checkpoint.load_semantic(checkpoint.find_semantic_tokenizer(base))
        save_examples(path, voice_examples(split, semantic, checkpoint.load_vocoder(base)[1]))
    return load_examples(path)


def main() -> None:
    """Train, and write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, nargs="+", help="folders of recordings")
    parser.add_argument("--base", type=Path, required=True, help="model folder to begin with")
    parser.add_argument("--out", type=Path, required=True, help="model folder; what a run keeps lies in its work/")
    parser.add_argument("--only", choices=("recordings", "flow", "vocoder"), help="do this part and write no model")
    parser.add_argument("--flow-steps", type=int, default=FLOW.steps)
    parser.add_argument("--vocoder-steps", type=int, default=VOCODER.steps)
    parser.add_argument("--adversarial-from", type=int, help="step of the vocoder from which discriminators judge it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, default=1, help="learned from at once; a GPU has time for more")
    parser.add_argument("--loading-processes", type=int, default=0, help="that make batches")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    base, work = arguments.base, arguments.out / "work"
    learned, held_out = stored(arguments.speech, work)
    place, loaders = Place(arguments.device, arguments.batches), arguments.loading_processes
    of = base, learned, held_out, work
    flow_loop = replace(FLOW, steps=arguments.flow_steps, loading_processes=loaders)
    vocoder_loop = replace(VOCODER, steps=arguments.vocoder_steps, loading_processes=loaders)
    flow = partial(train_flow_of, *of, flow_loop, place)
    vocoder = partial(train_vocoder_of, *of, vocoder_loop, place, arguments.adversarial_from)
    if arguments.only == "recordings":
        return
    if arguments.only == "flow":
        flow()
    elif arguments.only == "vocoder":
        vocoder()
    else:
        dit, config = flow()
        checkpoint.save_with_detokenizer(arguments.out, base, dit=dit, flow_config=config, vocoder=vocoder())


if __name__ == "__main__":
    main()
