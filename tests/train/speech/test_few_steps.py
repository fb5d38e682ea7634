"""A student of few steps comes near what its teacher makes in many, with guidance folded in."""

import json
from dataclasses import replace

import pytest
import torch

from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.stream import Call, ChunkPlan, Detokenizer
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.speech.few_steps import FewSteps, few_step_loss, teacher_states, train_few_steps
from kimi_audio.train.speech.flow_stage import FlowBatches, train_flow
from tests.train.speech.test_flow_stage import CONFIG, STAGE, batch, examples, random_dit

GUIDANCE = 2.0
LOOP = LoopConfig(steps=80, peak_lr=5e-3, warmup_steps=5, bf16=False, log_every_steps=10)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    stage = replace(STAGE, whole_share=0.3, drop_share=0.2, batch_frames=150)
    return train_flow(CONFIG, LOOP, stage, examples(40), [], tmp_path_factory.mktemp("teacher"))


def mels(dit: DiT, plan: ChunkPlan) -> torch.Tensor:
    """What a stream without a past makes of the codes of some utterances."""
    detokenizer = Detokenizer(dit.eval(), None, CONFIG, None, plan)  # pyright: ignore[reportArgumentType]
    draw = torch.Generator().manual_seed(5)
    calls = [
        Call(row.codes.tolist(), detokenizer.init_state(), True, noise=torch.randn(len(row.log_mel), 6, generator=draw))
        for row in examples(60)[50:]
    ]
    return torch.cat(detokenizer._denoise(calls))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "evaluations", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_the_student_is_nearer_to_the_reference_than_the_teacher_in_as_many_evaluations(teacher, evaluations, tmp_path):
    few = FewSteps(evaluations=evaluations, teacher_steps=8 // evaluations, guidance_scale=GUIDANCE)
    stage = replace(STAGE, whole_share=0.5, batch_frames=150)
    student = train_few_steps(teacher, CONFIG, LOOP, stage, few, examples(50), examples(4), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert "held_out_loss" in rows[-1]
    reference = mels(teacher, ChunkPlan(ode_steps=30, guidance_scale=GUIDANCE))
    untrained = mels(teacher, ChunkPlan(ode_steps=evaluations + 1, guidance_scale=GUIDANCE))
    distilled = mels(student, ChunkPlan(ode_steps=evaluations + 1))
    far, near = ((mel - reference).abs().mean() for mel in (untrained, distilled))
    assert near < 0.8 * far


def test_targets_are_what_the_teacher_makes_of_the_same_noise():
    torch.manual_seed(0)
    dit, drawn = random_dit(), batch(replace(STAGE, whole_share=1.0))
    few = FewSteps(evaluations=3, teacher_steps=2, guidance_scale=GUIDANCE)
    states = teacher_states(dit, drawn, few)
    assert len(states) == 4
    assert torch.equal(states[0], drawn.noise)
    plan = ChunkPlan(ode_steps=7, solver="adams-bashforth", guidance_scale=GUIDANCE)
    detokenizer = Detokenizer(dit, None, CONFIG, None, plan)  # pyright: ignore[reportArgumentType]
    row = int(drawn.valid.sum(1).argmax())
    tokens = drawn.codes[row, drawn.valid[row]].tolist()
    call = Call(tokens, detokenizer.init_state(), True, noise=drawn.noise[row, : 4 * len(tokens)])
    (mel,) = detokenizer._denoise([call])  # pyright: ignore[reportPrivateUsage]
    torch.testing.assert_close(states[-1][row, : len(mel)], mel, atol=1e-4, rtol=1e-4)


def test_a_student_that_takes_the_teachers_steps_has_no_loss():
    """One Euler step each, no guidance: the average velocity is the teacher's own, in every chunk at its own time."""
    torch.manual_seed(0)
    dit, drawn = random_dit(), FlowBatches(examples(20), CONFIG, STAGE, seed=1)(0)
    assert drawn.chunks.any()
    same, other = (few_step_loss(dit, dit, drawn, FewSteps(evaluations=1, teacher_steps=steps)) for steps in (1, 4))
    assert same.item() < 1e-9
    assert other.item() > 1e-4


def test_steps_that_are_none_are_refused():
    with pytest.raises(ValueError, match="at least one step"):
        FewSteps(evaluations=0)
