"""A detokenizer of few evaluations: ``python -m recipes.nano.distil WORK --base FOLDER --out FOLDER``.

Distils the flow matching of a model with guidance, on what ``recipes.nano.voicing`` left in its ``work`` folder, and
writes a model folder whose settings take the few steps. Any folder in the released layout can be the base. See
``kimi_audio/train/speech/few_steps.py``.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from kimi_audio import checkpoint
from kimi_audio.core.files import write_json
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.speech.few_steps import FewSteps, train_few_steps
from kimi_audio.train.speech.flow_stage import FlowStage, load_examples

# Half an hour of one core, although the student begins as the teacher: 600 updates lost half of what a longer trained
# teacher had gained.
LOOP = LoopConfig(steps=1200, peak_lr=5e-4, final_lr=2e-5, warmup_steps=20, weight_decay=0.0)
STAGE = FlowStage(batch_frames=600, whole_share=0.6, drop_share=0.0)
TEACHER_STEPS = 2  # for each of the student's


def distil(
    base: Path, work: Path, out: Path, loop: LoopConfig, evaluations: int, guidance: float | None = None
) -> None:
    """Train the student, or go on with what ``out`` holds of it, and write the model folder.

    Raises:
        ValueError: see ``train_few_steps`` and ``checkpoint.save_with_detokenizer``.
    """
    teacher, config = checkpoint.load_flow(base)
    settings = checkpoint.load_settings(base)
    guidance = settings.guidance_scale if guidance is None else guidance
    few = FewSteps(evaluations=evaluations, teacher_steps=TEACHER_STEPS, guidance_scale=guidance)
    learned, held_out = (load_examples(work / f"{name}.safetensors") for name in ("learned", "held-out"))
    student = train_few_steps(teacher, config, loop, STAGE, few, learned, held_out, out / "work" / "few-steps")
    vocoder, _ = checkpoint.load_vocoder(base)
    checkpoint.save_with_detokenizer(out, base, dit=student, flow_config=config, vocoder=vocoder)
    settings = replace(settings, ode_steps=evaluations + 1, solver="euler", guidance_scale=1.0)
    write_json(out / "generation_config.json", settings.to_dict())


def main() -> None:
    """Read the arguments and distil."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder with learned.safetensors and held-out.safetensors")
    parser.add_argument("--base", type=Path, required=True, help="model folder with the teacher")
    parser.add_argument("--out", type=Path, required=True, help="model folder; what the run keeps lies in its work/")
    parser.add_argument("--evaluations", type=int, default=4)
    parser.add_argument("--steps", type=int, default=LOOP.steps)
    parser.add_argument(
        "--guidance",
        type=float,
        help="of the teacher; without it, that of the base's settings, which is none if the base goes back to a "
        "distilled model",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    loop = replace(LOOP, steps=arguments.steps)
    distil(arguments.base, arguments.work, arguments.out, loop, arguments.evaluations, arguments.guidance)


if __name__ == "__main__":
    main()
