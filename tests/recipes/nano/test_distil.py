"""The distilled model is a model folder that speaks in few evaluations without guidance."""

from dataclasses import replace

import pytest
import torch

from kimi_audio import checkpoint
from kimi_audio.checkpoint import load_flow, load_settings
from kimi_audio.train.speech.flow_stage import FlowExample, save_examples
from recipes.nano import distil as distilling
from recipes.nano.distil import LOOP, distil


def test_the_folder_holds_the_student_and_how_it_is_sampled(reference, tmp_path):
    base, work, out = reference / "checkpoint", tmp_path / "work", tmp_path / "out"
    teacher, config = load_flow(base)
    mel = torch.randn(40, config.dit.num_mel_bins)
    for name in ("learned", "held-out"):
        work.mkdir(exist_ok=True)
        save_examples(work / f"{name}.safetensors", [FlowExample(torch.arange(10), mel)] * 3)
    distil(base, work, out, replace(LOOP, steps=2, warmup_steps=1, bf16=False), evaluations=2)
    settings = load_settings(out)
    assert (settings.ode_steps, settings.solver, settings.guidance_scale) == (3, "euler", 1.0)
    student, _ = load_flow(out)
    assert not torch.equal(student.input_linear.weight, teacher.input_linear.weight)
    assert checkpoint.load_lm_config(out) == checkpoint.load_lm_config(base)


@pytest.mark.parametrize("guidance", [None, 3.0])
def test_a_base_without_guidance_may_be_distilled_with_it(reference, tmp_path, monkeypatch, guidance):
    base, asked = reference / "checkpoint", []
    monkeypatch.setattr(distilling, "load_examples", lambda _: [])
    monkeypatch.setattr(
        distilling, "train_few_steps", lambda teacher, *others: asked.append(others[3].guidance_scale) or teacher
    )
    distil(base, tmp_path / "work", tmp_path / "out", LOOP, evaluations=2, guidance=guidance)
    assert asked == [guidance or load_settings(base).guidance_scale]
