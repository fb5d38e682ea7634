"""Distilling a flow-matching network to one to four evaluations, with guidance folded in.

A student takes a few fixed steps where the teacher takes many. From the noise that a stream would draw, the teacher
runs to the end; at each of the student's grid points, the student learns the average velocity that the teacher had up
to the next one (progressive distillation, Salimans & Ho, 2022, in one go; a MeanFlow whose interval follows from the
time). The interval needs no input of its own, so the student has the teacher's architecture and file, and is sampled by
``integrate`` with Euler's method and no guidance: the teacher's is in the target.

Shapes: B utterances, N tokens (12.5 Hz), T = 4 N mel frames (50 Hz), M mel bins.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kimi_audio.core.config import FlowConfig
from kimi_audio.core.units import MEL_FRAMES_PER_TOKEN
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.flow import TIMESTEPS, integrate, time_grid
from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.speech.flow_stage import (
    FlowBatch,
    FlowBatches,
    FlowExample,
    FlowStage,
    mean_over_frames,
    velocity_in_context,
)


@dataclass(frozen=True, kw_only=True)
class FewSteps:
    """What is distilled into what.

    Args:
        evaluations: of the student, for a whole chunk.
        teacher_steps: of the teacher for each of the student's.
        guidance_scale: of the teacher, see ``ChunkPlan``.
    """

    evaluations: int = 4
    teacher_steps: int = 4
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        if min(self.evaluations, self.teacher_steps) < 1:
            raise ValueError("student and teacher need at least one step each")

    @property
    def grid(self) -> list[tuple[int, float]]:
        """The integer time and the size of each of the student's steps."""
        return time_grid(self.evaluations + 1)


@torch.no_grad()
def teacher_states(teacher: DiT, batch: FlowBatch, few: FewSteps) -> Tensor:
    """Return the teacher's states at the student's grid points [K + 1, B, T, M], from the noise to the mel."""
    velocity_of = velocity_in_context(teacher, batch)
    unknown = torch.full_like(batch.codes, teacher.null_token)
    states = [batch.noise]

    def velocity(x: Tensor, time: int) -> Tensor:
        states.append(x)
        times = torch.full_like(batch.codes, time)
        known = velocity_of(x, batch.codes, times)
        if few.guidance_scale == 1:
            return known
        return torch.lerp(velocity_of(x, unknown, times), known, few.guidance_scale)

    points = few.evaluations * few.teacher_steps + 1
    end = integrate(velocity, batch.noise, points, "adams-bashforth")
    return torch.stack([*states[1 :: few.teacher_steps], end])


def few_step_loss(student: DiT, teacher: DiT, batch: FlowBatch, few: FewSteps) -> Tensor:
    """Return the mean squared error of the student's velocity, in each chunk at the step of the batch's time."""
    states = teacher_states(teacher, batch, few)
    step = batch.time * few.evaluations // TIMESTEPS  # [B, N]
    times, sizes = (torch.tensor(row, device=step.device) for row in zip(*few.grid, strict=True))
    per_frame = step.repeat_interleave(MEL_FRAMES_PER_TOKEN, 1)[None, ..., None].expand(1, *batch.noise.shape)
    x, later = states.gather(0, per_frame)[0], states.gather(0, per_frame + 1)[0]
    target = (later - x) / sizes[step].repeat_interleave(MEL_FRAMES_PER_TOKEN, 1)[..., None]
    velocity = velocity_in_context(student, batch)(x, batch.codes, times[step])
    return mean_over_frames((velocity - target).square().mean(-1), batch)


def train_few_steps(
    teacher: DiT,
    config: FlowConfig,
    loop: LoopConfig,
    stage: FlowStage,
    few: FewSteps,
    examples: Sequence[FlowExample],
    held_out: Sequence[FlowExample],
    folder: Path,
) -> DiT:
    """Distil a network, or go on with what ``folder`` holds; return the student.

    Args:
        teacher: what it is to do in fewer evaluations; its weights are where the student begins.
        config: its sizes and the normalisation of the mels.
        loop: schedule.
        stage: batches, see ``flow_stage``; nothing is dropped.
        few: the steps.
        examples: utterances; their codes and, as earlier chunks, their mels are used.
        held_out: what the loss is measured on, with the same noise every time.
        folder: checkpoints and log.

    Raises:
        ValueError: an example cannot be learnt from.
    """
    student = copy.deepcopy(teacher).requires_grad_(True)
    teacher.requires_grad_(False).eval()

    def loss_of(batch: FlowBatch, _step: int) -> dict[str, Tensor]:
        return {"loss": few_step_loss(student, teacher, batch, few)}

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        batches = FlowBatches(held_out, config, stage, seed=0)
        losses = [float(few_step_loss(student.eval(), teacher, batches(step), few)) for step in range(4)]
        return {"held_out_loss": float(np.mean(losses))}

    batches = FlowBatches(examples, config, replace(stage, drop_share=0.0), loop.seed)
    train(student, loss_of, batches, loop, folder, evaluate if held_out else None, 200)
    return student
