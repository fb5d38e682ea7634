"""What follows from the data: rows, steps, shares of files, scores; and what is refused before long work."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kimi_audio.checkpoint import SEMANTIC, load_lm_config
from kimi_audio.data.encoding import encode_file, tokens_folder
from kimi_audio.lm.model import AudioLM
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.lora import LoraOptions
from kimi_audio.train.pretrain import PretrainConfig, pretrain
from kimi_audio.train.released import LM, RELEASED
from kimi_audio.train.runs import check_loading, load_encoder, random_lm
from kimi_audio.train.sft import FINETUNING, FinetuneConfig, finetune
from kimi_audio.train.speech.voice_adaptation import train_own_voice
from tests.train.conversations import user, write_conversations

LOOP = LoopConfig(steps=3, peak_lr=1e-3, warmup_steps=100, bf16=False, log_every_steps=1)


@pytest.fixture
def config(reference: Path) -> FinetuneConfig:
    return FinetuneConfig(loop=LOOP, base=str(reference / "checkpoint"), row_positions=64, held_out=0)


def texts(file: Path, count: int, words: int = 1, task: str = "chat") -> Path:
    reply = {"role": "assistant", "message_type": "text", "content": "yes " * words}
    line = {"task_type": task, "conversation": [user("text", "well?"), reply]}
    file.write_text((json.dumps(line) + "\n") * count)
    return file


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------------------------------------------------------------
# Rows, steps, shares


def test_epochs_set_the_steps(config, tmp_path, caplog):
    file = texts(tmp_path / "a.jsonl", 40)
    with caplog.at_level(logging.INFO):
        outcome = finetune(replace(config, epochs=4), [file], tmp_path / "run")
    samples = json.loads((tmp_path / "run" / "samples.json").read_text())["files"][0]
    positions = sum(samples["positions"])
    assert outcome.steps == len(rows(tmp_path / "run")) == -(-4 * positions // 64)
    assert f"4 epochs are {outcome.steps} steps" in caplog.text
    assert json.loads((tmp_path / "run" / "loop.json").read_text())["warmup_steps"] == outcome.steps // 10


@pytest.mark.parametrize(
    ("words", "count", "expected"), [(1, 6, 512), (150, 3, 1024), (600, 3, None), (1, 2000, 2048), (1, 900, 1024)]
)
def test_the_data_chooses_the_length_of_rows(config, tmp_path, caplog, monkeypatch, words, count, expected):
    monkeypatch.setattr("kimi_audio.train.stage.train_rows", lambda *_arguments, **_options: None)
    file = texts(tmp_path / "a.jsonl", count, words)
    with caplog.at_level(logging.INFO):
        if expected is None:
            with pytest.raises(ValueError, match="too long: 2409 positions, and at most 2048 fit"):
                finetune(replace(config, row_positions=None), [file], tmp_path / "run")
            return
        finetune(replace(config, row_positions=None), [file], tmp_path / "run")
    assert f"rows of {expected} positions" in caplog.text


def test_a_long_run_on_little_data_is_warned_of(config, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("kimi_audio.train.stage.train_rows", lambda *_arguments, **_options: None)
    file = texts(tmp_path / "a.jsonl", 2)
    finetune(config, [file], tmp_path / "few")
    assert "learns it by heart" not in caplog.text
    finetune(replace(config, loop=replace(LOOP, steps=60)), [file], tmp_path / "many")
    assert "60 steps see a.jsonl" in caplog.text


def test_weights_set_the_shares_of_files(config, tmp_path, monkeypatch):
    files = [texts(tmp_path / "new.jsonl", 300), texts(tmp_path / "replay.jsonl", 300)]
    drawn = []

    def look(_module, _loss_of, mixture, **_options):
        lengths = [0, 0]
        for step in range(200):
            for draw in (draw for row in mixture.plan(step) for draw in row):
                lengths[draw.source] += draw.piece.length
        drawn.append(lengths[1] / sum(lengths))

    monkeypatch.setattr("kimi_audio.train.stage.train_rows", look)
    finetune(replace(config, weights={"new.jsonl": 4, "replay.jsonl": 1}), files, tmp_path / "weighed")
    finetune(config, files, tmp_path / "plain")
    assert drawn == [pytest.approx(0.2, abs=0.03), pytest.approx(0.5, abs=0.03)]
    for wrong in ({"new.jsonl": 1}, {"new.jsonl": 1, "old.jsonl": 1}):
        with pytest.raises(ValueError, match=r"weights are by the names of the files.* are new\.jsonl, replay\.jsonl"):
            finetune(replace(config, weights=wrong), files, tmp_path / "wrong")


def test_every_task_is_scored_and_the_transcribed_ones_are_among_them(config, tmp_path, monkeypatch):
    file = texts(tmp_path / "many.jsonl", 60)
    file.write_text(file.read_text() + texts(tmp_path / "few.jsonl", 4, task="rare").read_text())
    found = []
    monkeypatch.setattr("kimi_audio.train.stage.train_rows", lambda *_a, scores, **_o: found.append(scores))
    finetune(replace(config, held_out=0.3, scored_samples=4, transcribed_samples=3), [file], tmp_path / "run")
    (scores,) = found
    assert {task: len(samples) for task, samples in scores._tasks.items()} in ({"chat": 3, "rare": 1},)
    assert len(scores._transcribed) == 3
    assert all(sample in [s for some in scores._tasks.values() for s in some] for sample in scores._transcribed)
    assert set(scores.names) >= {"dev_loss", "dev_rare_text", "dev_wer"}


# ---------------------------------------------------------------------------------------------------------------------
# Tokens beside the files


def test_tokens_are_found_beside_every_file(config, tmp_path, monkeypatch, caplog):
    files = [write_conversations(tmp_path / name) for name in ("one", "two", "three")]
    encoder = load_encoder(Path(config.base), "cpu")
    for file in files[:2]:
        encode_file(file, encoder, tokens_folder(file))
    encoded = []
    usual = type(encoder).encode_wav
    monkeypatch.setattr(
        type(encoder), "encode_wav", lambda self, wav, **o: encoded.append(len(wav)) or usual(self, wav, **o)
    )
    with caplog.at_level(logging.INFO):
        finetune(config, files[:2], tmp_path / "prepared")
        assert not encoded
        assert "has no prepared tokens" not in caplog.text
        finetune(config, files, tmp_path / "partly")
    assert encoded
    assert f"{files[2]} has no prepared tokens" in caplog.text


def test_a_recording_that_could_not_be_encoded_says_why(config, tmp_path):
    file = write_conversations(tmp_path / "data", copies=4)
    broken = tmp_path / "data" / "heard-0.wav"
    broken.write_bytes(broken.read_bytes()[:444])
    assert encode_file(file, load_encoder(Path(config.base), "cpu"), tokens_folder(file)).problems
    outcome = finetune(replace(config, max_left_out=0.5), [file], tmp_path / "run")
    assert outcome.left_out
    assert all("heard-0.wav could not be encoded: " in reason for reason in outcome.left_out.values())


# ---------------------------------------------------------------------------------------------------------------------
# Refused before long work, and planned


@pytest.mark.parametrize(
    "changes",
    [
        {"held_out": -1.0},
        {"held_out": 1.0},
        {"rows": 0},
        {"row_positions": 0},
        {"epochs": 0.0},
        {"scored_samples": -1},
        {"scored_samples": 0, "held_out": 0.1},
        {"transcribed_samples": -1},
        {"evaluate_every_steps": -1},
        {"max_left_out": 1.5},
        {"weights": {"a.jsonl": 0.0}},
        {"from_scratch": True, "lora": LoraOptions()},
        {"loop": replace(LOOP, best_score="dev_loss", patience=2)},
    ],
)
def test_settings_that_cannot_work_are_refused(config, changes):
    with pytest.raises(ValueError, match=r"must be|adapters need a trained model|held_out=0 gives none|scores nothing"):
        replace(config, **changes)


def test_settings_of_pretraining_that_cannot_work_are_refused():
    for changes in (
        {"rows": 0},
        {"held_out": -0.1},
        {"weights": {"asr": -1.0}},
        {"weights": {"asr": 0.0}},
        {"scored_spans": 0},
    ):
        with pytest.raises(ValueError, match=r"must be|there is nothing to learn|scores nothing"):
            PretrainConfig(loop=LOOP, **changes)  # pyright: ignore[reportArgumentType]


def test_adapters_stand_beside_bfloat16_only_where_it_is_computed(config, monkeypatch):
    def weights_bytes(*, bf16: bool) -> float:
        planned = replace(config, lora=LoraOptions(), loop=replace(LOOP, bf16=bf16))
        return FINETUNING.budget(planned, on_gpu=True).weights_bytes

    monkeypatch.setattr("kimi_audio.train.sft.gpus_compute_bf16", lambda: True)
    in_float32 = weights_bytes(bf16=False)
    assert weights_bytes(bf16=True) < in_float32
    monkeypatch.setattr("kimi_audio.train.sft.gpus_compute_bf16", lambda: False)
    assert weights_bytes(bf16=True) == in_float32


def test_processes_do_not_encode_on_a_gpu(config):
    loop, encoder = replace(LOOP, loading_processes=2), load_encoder(Path(config.base), "cpu")
    check_loading(loop, torch.device("cpu"), [encoder])
    check_loading(LOOP, torch.device("cuda"), [encoder])
    with pytest.raises(ValueError, match="prepare the tokens first"):
        check_loading(loop, torch.device("cuda"), [encoder])


@pytest.mark.parametrize("changes", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_sizes_of_adapters_that_cannot_work_are_refused(changes):
    with pytest.raises(ValueError, match=r"lora\..* must be"):
        LoraOptions(**changes)


@pytest.mark.parametrize("name", ["dev_los", "dev_chat_audio"])
def test_a_score_that_there_is_not_is_refused_before_the_first_step(config, tmp_path, name):
    file = texts(tmp_path / "a.jsonl", 10)
    config = replace(config, held_out=0.3, loop=replace(LOOP, best_score=name))
    with pytest.raises(ValueError, match=f"has no score '{name}'; it has dev_loss, dev_chat_text$"):
        finetune(config, [file], tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("base", RELEASED)
def test_the_released_models_are_planned_without_a_network(base, monkeypatch):
    monkeypatch.setattr("kimi_audio.checkpoint.find._download", None)
    loop = replace(LOOP, micro_batches=8)
    plain = FinetuneConfig(loop=loop, base=base)
    adapters = replace(plain, lora=LoraOptions(), loop=replace(loop, bf16=True))
    whole = FINETUNING.budget(plain, on_gpu=True)
    assert whole.weights_bytes == whole.loading_bytes == 4 * whole.parameters
    assert 9.7e9 < whole.parameters < 9.8e9
    pytest.importorskip("peft")
    half, single = FINETUNING.budget(adapters, on_gpu=True), FINETUNING.budget(adapters)
    adapter_bytes = 4 * half.trained_parameters
    assert half.weights_bytes == 2 * whole.parameters + adapter_bytes
    assert single.weights_bytes == 4 * whole.parameters + adapter_bytes
    four_bit = replace(adapters, lora=LoraOptions(four_bit=True))
    assert 0 < FINETUNING.budget(four_bit, on_gpu=True).weights_bytes < half.weights_bytes / 2
    for planned, processes in ((four_bit, 8), (plain, 6)):
        with pytest.raises(ValueError, match=r"trains in one process|6 processes cannot share 8 micro-batches"):
            FINETUNING.budget(planned, processes=processes)
    assert FINETUNING.budget(plain, processes=8).weights_bytes == 4 * whole.parameters // 8


def test_masks_are_counted():
    short, long = (
        FINETUNING.budget(
            FinetuneConfig(loop=replace(LOOP, checkpoint_layers=True), base=RELEASED[0], row_positions=size, rows=rows)
        )
        for size, rows in ((1024, 8), (8192, 1))
    )
    masks = 8192**2 - 8 * 1024**2
    assert long.activations_bytes - short.activations_bytes == masks * (1 + 4)  # of bits, and of numbers in one layer


def test_the_released_vocabulary_has_all_codes():
    assert LM.num_codes == 16_384


# ---------------------------------------------------------------------------------------------------------------------
# The base


@pytest.mark.parametrize("stage", ["sft", "pretrain", "own voice"])
def test_a_base_whose_parts_do_not_fit_together_is_refused(stage, reference, tmp_path):
    shutil.copytree(reference / "checkpoint", tmp_path / "base")
    shutil.copytree(reference / SEMANTIC, tmp_path / SEMANTIC)
    sizes = tmp_path / "base" / "config.json"
    sizes.write_text(json.dumps(json.loads(sizes.read_text()) | {"kimia_token_offset": 840}))
    data, run, base = write_conversations(tmp_path / "data"), tmp_path / "run", str(tmp_path / "base")
    begin = {
        "sft": lambda: finetune(FinetuneConfig(loop=LOOP, base=base), [data], run),
        "pretrain": lambda: pretrain(PretrainConfig(loop=LOOP, base=base), [data], run),
        "own voice": lambda: train_own_voice(data, run, base),
    }
    with pytest.raises(ValueError, match="fit together: kimia_token_offset 840, but 841 ids of the text tokenizer"):
        begin[stage]()
    assert not (run / "run.json").exists()


def test_a_model_from_scratch_is_drawn_whole(reference):
    base = reference / "checkpoint"
    drawn = random_lm(base, 5, torch.device("cpu"))
    expected = AudioLM(load_lm_config(base))
    expected.reset_parameters(torch.Generator().manual_seed(5))
    for name, tensor in expected.state_dict().items():
        assert torch.equal(drawn.state_dict()[name], tensor), name
