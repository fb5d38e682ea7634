"""Pre-training on the seven tasks, from documents to a model folder, on the miniature checkpoint."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kimi_audio import KimiAudio
from kimi_audio.checkpoint import load_acoustic, load_lm
from kimi_audio.train.export import export_adapter, export_model
from kimi_audio.train.hearing import HearingLM
from kimi_audio.train.loop.loop import LoopConfig, load_module_state
from kimi_audio.train.pretrain import PRETRAINING, HeldSegment, PretrainConfig, pretrain
from tests.train.documents import write_documents, write_lines

LOOP = LoopConfig(
    steps=5,
    peak_lr=1e-2,
    warmup_steps=1,
    bf16=False,
    checkpoint_every_steps=1,
    keep_last=9,
    log_every_steps=1,
    frozen={"acoustic.": 0.4},
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(reference: Path) -> PretrainConfig:
    return PretrainConfig(
        loop=LOOP,
        base=str(reference / "checkpoint"),
        row_positions=64,
        rows=2,
        held_out=0,
        scored_spans=2,
        evaluate_every_steps=5,
    )


def encoder_at(run: Path, step: int) -> dict[str, torch.Tensor]:
    name = "checkpoint.pt" if step == LOOP.steps else f"checkpoint-{step:08d}.pt"
    state = torch.load(run / name, weights_only=True)["module"]
    return {name: tensor for name, tensor in state.items() if name.startswith("acoustic.")}


def test_the_encoder_rests_first_then_learns_and_is_exported(config, data, tmp_path):
    run, model = tmp_path / "run", tmp_path / "model"
    pretrain(config, [data], run)
    base = load_acoustic(Path(config.base)).state_dict()
    for step, moves in ((1, False), (2, False), (3, True), (5, True)):
        found = encoder_at(run, step).items()
        same = [torch.equal(tensor, base[name.removeprefix("acoustic.")]) for name, tensor in found]
        assert all(same) != moves, step

    export_model(run, model)
    trained = HearingLM(load_lm(Path(config.base)), load_acoustic(Path(config.base)))
    load_module_state(run, trained)
    assert not torch.equal(load_lm(model).lm_head.weight, load_lm(Path(config.base)).lm_head.weight)
    dtype = load_dtype(Path(config.base) / "whisper-large-v3" / "model.safetensors")
    for name, tensor in load_acoustic(model).state_dict().items():
        assert torch.equal(tensor, trained.acoustic.state_dict()[name].to(dtype).float()), name
    exported, composed = (KimiAudio.from_pretrained(folder, device="cpu") for folder in (model, config.base))
    composed.lm, composed.acoustic = load_lm(model), load_acoustic(model)
    question = data.parent / "street.wav", "What is it?"
    assert exported.ask(*question) == composed.ask(*question)
    with pytest.raises(ValueError, match="was pre-training and has no adapter"):
        export_adapter(run, tmp_path / "adapter")


def load_dtype(path: Path) -> torch.dtype:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.get_tensor(next(iter(file.keys()))).dtype


def test_every_task_is_learned_and_scored(config, data, tmp_path):
    loop = replace(LOOP, steps=1, best_score="dev_loss")
    pretrain(replace(config, loop=loop, held_out=0.34), [data], tmp_path / "run")
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"text", "audio", "dev_loss", "dev_audio_audio"} <= set(row)
    assert row["dev_wer"] > 0  # the miniature knows nothing
    assert (tmp_path / "run" / "best.pt").exists()


def test_a_model_that_repeats_what_was_said_makes_no_word_errors(config, data, tmp_path, monkeypatch):
    said = []

    def question(segment, module):
        prompt, ids = usual(segment, module)
        assert prompt.is_continuous.all()
        assert prompt.features[0].shape == (len(prompt), module.lm.config.adaptor_input_size)
        said.append(ids)
        return prompt, ids

    def repeat(_lm, prompts, _special, _options):
        return [SimpleNamespace(text_ids=ids) for ids in said[-len(prompts) :]]

    usual = HeldSegment.question
    monkeypatch.setattr(HeldSegment, "question", question)
    monkeypatch.setattr("kimi_audio.train.pretrain.generate", repeat)
    pretrain(replace(config, loop=replace(LOOP, steps=1), held_out=0.34), [data], tmp_path / "run")
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert said
    assert row["dev_wer"] == 0


def test_a_killed_run_resumes_to_the_same_weights(config, data, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    pretrain(config, [data], whole)
    usual, calls = HearingLM.loss, iter(range(3))

    def fails_in_the_fourth_step(self, batch):
        if next(calls, None) is None:
            raise MemoryError("killed")
        return usual(self, batch)

    monkeypatch.setattr(HearingLM, "loss", fails_in_the_fourth_step)
    with pytest.raises(MemoryError):
        pretrain(config, [data], killed)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="begun with another weights"):
        pretrain(replace(config, weights={"asr": 1.0}), [data], killed, resume=True)
    pretrain(config, [data], killed, resume=True)
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["module"] for run in (whole, killed)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_broken_batch_is_named_by_file_and_line(config, data, tmp_path, monkeypatch):
    usual = HearingLM.features
    monkeypatch.setattr(HearingLM, "features", lambda self, *parts: usual(self, *parts) * torch.nan)
    with pytest.raises(FloatingPointError, match=r"not finite, with .*documents\.jsonl:\d"):
        pretrain(config, [data], tmp_path / "run")


def test_nothing_is_left_behind_by_bad_data(config, tmp_path):
    bad = write_lines(tmp_path, {"conversation": []})
    with pytest.raises(ValueError, match="holds conversations, which are for fine-tuning"):
        pretrain(config, [bad], tmp_path / "run")
    with pytest.raises(ValueError, match="nothing that any of the tasks could learn"):
        pretrain(replace(config, weights={"asr": 1.0}), [write_lines(tmp_path, {"text": "words"})], tmp_path / "run")
    with pytest.raises(ValueError, match="there is no task ocr; there are text, audio"):
        pretrain(replace(config, weights={"ocr": 1.0}), [write_lines(tmp_path, {"text": "words"})], tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_budget_knows_the_encoder(config):
    needed = PRETRAINING.budget(config)
    base = Path(config.base)
    modules = (load_lm(base), load_acoustic(base))
    assert needed.parameters == sum(p.numel() for module in modules for p in module.parameters())
    assert needed.tokens_per_step == 128


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(config, data, tmp_path):
    changes = {"base": config.base, "row_positions": 64, "held_out": 0.3, "loop.steps": 5, "loop.micro_batches": 2}
    changes |= {"loop.bf16": "false", "loop.log_every_steps": 1, "loop.warmup_steps": 1}
    command = ["-m", "kimi_audio.cli", "train", "pretrain", "--data", str(data)]
    for name, value in changes.items():
        command += ["--set", f"{name}={value}"]
    starts = {"one": [], "two": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]}
    logs = {}
    for name, start in starts.items():
        folder = tmp_path / name
        arguments = [sys.executable, *start, *command, "--out", str(folder)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(arguments, env=environment, check=True, capture_output=True, timeout=600)
        logs[name] = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(logs["two"]) == 5
    for one, two in zip(logs["one"], logs["two"], strict=True):
        for key in one.keys() - {"step_s"}:
            assert two[key] == pytest.approx(one[key], rel=1e-4), (one["step"], key)
