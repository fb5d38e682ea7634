"""Recordings that break after they were checked, or that nobody decoded: left out, counted, up to a share."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from kimi_audio.checkpoint import SEMANTIC, find_semantic_tokenizer
from kimi_audio.data.checked import check_file
from kimi_audio.train.export import export_model
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.losses import lm_loss
from kimi_audio.train.pretrain import PretrainConfig, pretrain
from kimi_audio.train.sft import FinetuneConfig, finetune
from tests.train.conversations import record, user, write_conversations

LOOP = LoopConfig(steps=4, peak_lr=1e-3, warmup_steps=1, bf16=False, checkpoint_every_steps=100, log_every_steps=1)


@pytest.fixture
def config(reference: Path) -> FinetuneConfig:
    return FinetuneConfig(loop=LOOP, base=str(reference / "checkpoint"), row_positions=64, held_out=0)


def not_finite(path: Path) -> None:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    samples[100] = np.nan
    soundfile.write(path.with_suffix(".tmp.wav"), samples, rate_hz, subtype="FLOAT")
    path.with_suffix(".tmp.wav").replace(path)


def gone(path: Path) -> None:
    path.unlink()


def longer(path: Path) -> None:
    samples, rate_hz = soundfile.read(path)
    soundfile.write(path, np.concatenate([samples] * 3), rate_hz)


def many(folder: Path, good: int = 12) -> tuple[Path, Path]:
    """Write good samples and one that is to break; return the file and the recording of that one."""
    folder.mkdir()
    names = [record(folder / f"{number}.wav", 200 + 50 * number, 0.3) for number in range(good + 1)]
    reply = {"role": "assistant", "message_type": "text", "content": "one two"}
    lines = [{"task_type": "asr", "conversation": [user("audio", name), reply]} for name in names]
    (folder / "asr.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "asr.jsonl", folder / names[-1]


@pytest.mark.parametrize("held_out", [0, 0.3])
@pytest.mark.parametrize("breaks", [not_finite, longer, gone])
def test_one_broken_recording_of_many_is_left_out(config, tmp_path, caplog, breaks, held_out):
    file, recording = many(tmp_path / "data")
    check_file(file, Path(config.base))  # of the header only
    breaks(recording)
    config = replace(config, held_out=held_out, loop=replace(LOOP, best_score="dev_loss"))
    outcome = finetune(config, [file], tmp_path / "run")
    assert list(outcome.left_out) == ["asr.jsonl:13"]
    assert outcome.steps == 4
    (told,) = [record.message for record in caplog.records if "asr.jsonl:13 is left out" in record.message]
    assert "\n" not in told


def test_what_a_check_has_found_is_not_met_again(config, tmp_path, caplog):
    file, recording = many(tmp_path / "data")
    not_finite(recording)
    check_file(file, Path(config.base), decode=True)
    assert not finetune(config, [file], tmp_path / "run").left_out
    assert "1 of 13 lines are left out" in caplog.text


def test_too_many_end_the_run_and_nothing_is_lost(config, tmp_path):
    file, _ = many(tmp_path / "data")
    check_file(file, Path(config.base))
    for number in range(6):
        not_finite(tmp_path / "data" / f"{number}.wav")
    with pytest.raises(
        ValueError, match=r"4 of 13 lines cannot be learned, and max_left_out=0.1 allows 3: .*asr\.jsonl:"
    ):
        finetune(config, [file], tmp_path / "run")
    with pytest.raises(ValueError, match="4 of 13 lines cannot be learned"):  # not three more with every attempt
        finetune(config, [file], tmp_path / "run", resume=True)
    outcome = finetune(replace(config, max_left_out=0.5), [file], tmp_path / "run", resume=True)
    assert len(outcome.left_out) == len(json.loads((tmp_path / "run" / "left_out.json").read_text())) == 6


@pytest.mark.parametrize("held_out", [0.0, 0.5])
def test_a_run_that_too_many_ended_goes_on_when_they_are_mended(config, tmp_path, held_out):
    file, _ = many(tmp_path / "data")
    check_file(file, Path(config.base))
    whole = {number: (tmp_path / "data" / f"{number}.wav").read_bytes() for number in range(6)}
    for number in whole:
        not_finite(tmp_path / "data" / f"{number}.wav")
    config = replace(config, held_out=held_out)
    with pytest.raises(ValueError, match="4 of 13 lines cannot be learned"):
        finetune(config, [file], tmp_path / "run")
    for number in range(5):
        (tmp_path / "data" / f"{number}.wav").write_bytes(whole[number])
    assert list(finetune(config, [file], tmp_path / "run", resume=True).left_out) == ["asr.jsonl:6"]


def test_bad_lines_count_before_a_run_begins(config, tmp_path):
    file, _ = many(tmp_path / "data")
    for number in range(6):
        gone(tmp_path / "data" / f"{number}.wav")
    with pytest.raises(ValueError, match=r"6 of 13 lines cannot be learned, .*asr\.jsonl, line 1: "):
        finetune(config, [file], tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_with_broken_samples_resumes_to_the_same_weights(config, tmp_path, monkeypatch):
    file, recording = many(tmp_path / "data")
    check_file(file, Path(config.base))
    not_finite(recording)
    finetune(config, [file], tmp_path / "whole")
    calls = iter(range(2))

    def fails_in_the_third_step(*arguments, **named):
        if next(calls, None) is None:
            raise MemoryError
        return lm_loss(*arguments, **named)

    monkeypatch.setattr("kimi_audio.train.sft.lm_loss", fails_in_the_third_step)
    with pytest.raises(MemoryError):
        finetune(config, [file], tmp_path / "broken")
    monkeypatch.undo()
    check_file(file, Path(config.base), decode=True, again=True)  # finds it now, which must not change the run
    finetune(config, [file], tmp_path / "broken", resume=True)
    states = [torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("whole", "broken")]
    assert states[0]["step"] == states[1]["step"] == 4
    assert all(torch.equal(tensor, states[1]["module"][name]) for name, tensor in states[0]["module"].items())


def test_documents_that_break_are_left_out(reference, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(8):
        record(folder / f"{number}.wav", 200 + 50 * number, 0.4)
    lines = [{"segments": [{"audio": f"{number}.wav", "text": "one two"}]} for number in range(8)]
    file = folder / "documents.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    base = reference / "checkpoint"
    check_file(file, base)
    not_finite(folder / "3.wav")
    config = PretrainConfig(loop=LOOP, base=str(base), row_positions=64, held_out=0.3, weights={"asr": 1, "tts": 1})
    outcome = pretrain(config, [file], tmp_path / "run")
    assert list(outcome.left_out) == ["documents.jsonl:4"]


def test_files_of_the_wrong_kind_are_named(config, tmp_path):
    file = tmp_path / "documents.jsonl"
    file.write_text('{"text": "once upon a time"}\n')
    with pytest.raises(ValueError, match="holds documents, which are for pre-training"):
        finetune(config, [file], tmp_path / "run")


def test_a_changed_file_is_refused(config, tmp_path):
    file = write_conversations(tmp_path / "data")
    finetune(config, [file], tmp_path / "run")
    file.write_text("".join(line + "\n" for line in file.read_text().splitlines()[:4]))
    longer = replace(config, loop=replace(LOOP, steps=6))
    with pytest.raises(ValueError, match=r"talk\.jsonl has changed since the run in .* began"):
        finetune(longer, [file], tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r"was begun with loop\.seed=0, not 1"):
        finetune(replace(config, loop=replace(LOOP, seed=1)), [file], tmp_path / "run", resume=True)


def test_an_exported_model_is_used_as_its_base(config, reference, tmp_path):
    base = shutil.copytree(reference / "checkpoint", tmp_path / "base")
    (tmp_path / SEMANTIC).symlink_to(find_semantic_tokenizer(reference / "checkpoint"))
    used = {"generation_config.json": '{"kimi_audio_transcribe_beams": 3}', "lexicon.txt": "boat\n"}
    for name, text in used.items():
        (base / name).write_text(text)
    finetune(replace(config, base=str(base)), [write_conversations(tmp_path / "data")], tmp_path / "run")
    export_model(tmp_path / "run", tmp_path / "model")
    assert {name: (tmp_path / "model" / name).read_text() for name in used} == used


def test_another_base_of_the_same_name_is_refused(config, reference, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(reference / "checkpoint", base)
    (tmp_path / SEMANTIC).symlink_to(find_semantic_tokenizer(reference / "checkpoint"))
    file = write_conversations(tmp_path / "data")
    config = replace(config, base=str(base))
    finetune(config, [file], tmp_path / "run")
    (base / "audio_detokenizer" / "model.safetensors").write_bytes(b"downloaded later")
    finetune(replace(config, loop=replace(LOOP, steps=5)), [file], tmp_path / "run", resume=True)
    weights = sorted(base.glob("*.safetensors"))[0]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    for place in range(2000, len(content), 2000):
        content[place] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="begun with another base weights"):
        finetune(config, [file], tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="begun with another base weights"):
        export_model(tmp_path / "run", tmp_path / "model")
    assert not (tmp_path / "model").exists()
