"""Fine-tuning of the audio LLM, from conversations to a model folder, on the miniature checkpoint."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from kimi_audio import KimiAudio
from kimi_audio.checkpoint import SEMANTIC, find_semantic_tokenizer, load_acoustic, load_lm
from kimi_audio.data.conversations import ConversationFile
from kimi_audio.data.encoding import encode_file, tokens_folder
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.train.export import export_adapter, export_model
from kimi_audio.train.hiding import Hiding
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.lora import LoraOptions
from kimi_audio.train.losses import lm_loss
from kimi_audio.train.runs import load_encoder
from kimi_audio.train.sft import FinetuneConfig, finetune
from tests.train.conversations import write_conversations

LOOP = LoopConfig(steps=3, peak_lr=1e-2, warmup_steps=1, bf16=False, checkpoint_every_steps=2, log_every_steps=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conversations(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(reference: Path) -> FinetuneConfig:
    return FinetuneConfig(
        loop=replace(LOOP, best_score="dev_loss"),
        base=str(reference / "checkpoint"),
        row_positions=64,
        held_out=0.5,
        transcribed_samples=1,
        evaluate_every_steps=2,
    )


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_is_scored_and_becomes_a_model(config, data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("kimi_audio.train.scores.MAX_TRANSCRIPT_TOKENS", 4)
    run, model = tmp_path / "run", tmp_path / "model"
    with caplog.at_level(logging.INFO):
        finetune(config, [data], run)
    assert "3 samples" in caplog.text
    log = rows(run)
    assert {"text", "audio", "loss", "lr"} <= set(log[0])
    scored = log[-1]
    tasks = {name.removeprefix("dev_") for name in scored if name.startswith("dev_")}
    assert "loss" in tasks
    assert any(name.endswith("_text") for name in tasks)
    assert any(name.endswith("_audio") for name in tasks)

    export_model(run, model)
    trained, before = load_lm(model), load_lm(Path(config.base))
    assert not torch.equal(trained.mimo_output.weight, before.mimo_output.weight)
    exported, composed = (KimiAudio.from_pretrained(folder, device="cpu") for folder in (model, config.base))
    composed.lm = trained
    chat = ConversationFile(data)[2]
    options = GenerationOptions(output_type="both", max_new_tokens=9)
    answer, expected = (one.answer(chat.messages[:-1], options, seed=0) for one in (exported, composed))
    assert (answer.text, answer.codes, answer.finish_reason) == (expected.text, expected.codes, expected.finish_reason)
    assert torch.equal(answer.audio, expected.audio)
    untouched = Path("whisper-large-v3") / "model.safetensors"
    assert (model / untouched).read_bytes() == (Path(config.base) / untouched).read_bytes()

    best = tmp_path / "best"
    export_model(run, best, best=True, int8=True)
    load_lm(best)
    quantised = tmp_path / "quantised"
    export_model(run, quantised, quantize="int4")
    answer = KimiAudio.from_pretrained(quantised, device="cpu", quantize="int4").answer(chat.messages[:-1], options)
    assert answer.finish_reason
    largest = trained.lm_head.weight.abs().amax(1, keepdim=True)
    assert ((load_lm(quantised).lm_head.weight - trained.lm_head.weight).abs() <= largest / 250).all()
    with pytest.raises(ValueError, match="ask for one of them"):
        export_model(run, tmp_path / "both", int8=True, quantize="int8")
    with pytest.raises(ValueError, match="is not empty"):
        export_model(run, model)
    with pytest.raises(ValueError, match="has no adapter"):
        export_adapter(run, tmp_path / "adapter")


def test_an_encoder_learns_alone_and_is_exported(config, tmp_path):
    data, base = write_conversations(tmp_path), Path(config.base)
    encode_file(data, load_encoder(base, "cpu"), tokens_folder(data))
    resting = replace(config, loop=replace(LOOP, steps=1), held_out=0)
    finetune(resting, [data], tmp_path / "rests")
    finetune(replace(resting, train_encoder=True), [data], tmp_path / "begins")
    # What is read from recordings is what was stored, but for the float16 of the store.
    (stored,), (read,) = rows(tmp_path / "rests"), rows(tmp_path / "begins")
    assert read["text"] == pytest.approx(stored["text"], rel=1e-3)

    run, model = tmp_path / "run", tmp_path / "model"
    finetune(replace(config, train_encoder=True, loop=replace(config.loop, frozen={"lm.": 1.0})), [data], run)
    scores = [row["dev_loss"] for row in rows(run) if "dev_loss" in row]
    assert scores[0] != scores[-1]
    export_model(run, model)
    before = load_lm(base).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_lm(model).state_dict().items())
    learned, untrained = (load_acoustic(folder).state_dict()["layers.0.fc1.weight"] for folder in (model, base))
    assert not torch.equal(learned, untrained)
    with pytest.raises(ValueError, match="has no adapter"):
        export_adapter(run, tmp_path / "adapter")

    # The codes are still those of the new model, the features are not.
    further = replace(resting, base=str(model))
    with pytest.raises(ValueError, match="holds the tokens of other tokenizers"):
        finetune(further, [data], tmp_path / "deaf")
    finetune(replace(further, train_encoder=True), [data], tmp_path / "further")


def test_adapters_and_an_encoder_are_not_trained_together(config):
    with pytest.raises(ValueError, match="leave out train_encoder or lora"):
        replace(config, lora=LoraOptions(), train_encoder=True)


def test_the_index_of_an_encoder_in_several_files_is_exported(config, data, tmp_path):
    base, encoder = tmp_path / "base", Path("whisper-large-v3")
    shutil.copytree(config.base, base)
    (tmp_path / SEMANTIC).symlink_to(find_semantic_tokenizer(Path(config.base)))
    with safe_open(base / encoder / "model.safetensors", framework="pt") as file:
        index = {"weight_map": dict.fromkeys(file.keys(), "model-1-of-1.safetensors")}
    (base / encoder / "model.safetensors").rename(base / encoder / "model-1-of-1.safetensors")
    (base / encoder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = replace(config, base=str(base), held_out=0, loop=replace(LOOP, steps=1))
    finetune(config, [data], tmp_path / "run")
    export_model(tmp_path / "run", tmp_path / "model")
    KimiAudio.from_pretrained(tmp_path / "model", device="cpu")
    assert not (tmp_path / "model" / "model.safetensors.index.json").exists()  # that of the LLM, which is one file now


def test_training_lowers_the_loss(config, data, tmp_path):
    config = replace(config, held_out=0, loop=replace(LOOP, steps=12, peak_lr=3e-3))
    finetune(config, [data], tmp_path / "run")
    log = rows(tmp_path / "run")
    assert log[-1]["text"] + log[-1]["audio"] < 0.8 * (log[0]["text"] + log[0]["audio"])


def test_what_is_hidden_makes_the_first_step_harder(config, data, tmp_path):
    config = replace(config, held_out=0, loop=replace(LOOP, steps=1))
    losses = {}
    for name, changes in {
        "plain": {},
        "hidden": {"hiding": Hiding(heard=1.0, text=1.0)},
        "smooth": {"text_smoothing": 0.5},
    }.items():
        finetune(replace(config, **changes), [data], tmp_path / name)
        losses[name] = rows(tmp_path / name)[0]["text"]
    assert len(set(losses.values())) == 3


def test_transcripts_of_what_is_heard_are_learned_beside_the_replies(config, data, tmp_path):
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    for line in lines:
        for message in line["conversation"]:
            if message["role"] == "user" and message["message_type"] == "audio":
                message["transcript"] = "hi"
    told = data.with_name("told.jsonl")
    told.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = replace(config, held_out=0, loop=replace(LOOP, steps=8))
    finetune(replace(config, heard_weight=0.5), [told], tmp_path / "told")
    log = rows(tmp_path / "told")
    assert log[-1]["heard"] < log[0]["heard"]
    finetune(config, [told], tmp_path / "plain")
    assert "heard" not in rows(tmp_path / "plain")[0]


def test_the_loss_of_the_audio_row_counts_by_its_weight(config, data, tmp_path):
    config = replace(config, held_out=0, loop=replace(LOOP, steps=1))
    logs = {}
    for weight in (1.0, 0.25):
        finetune(replace(config, audio_weight=weight), [data], tmp_path / str(weight))
        logs[weight] = rows(tmp_path / str(weight))[0]
    assert logs[0.25]["text"] == logs[1.0]["text"]
    assert logs[0.25]["audio"] == pytest.approx(logs[1.0]["audio"] / 4)
    assert logs[0.25]["grad_norm"] < logs[1.0]["grad_norm"]


def test_an_audio_row_without_weight_is_not_computed(config, data, tmp_path, monkeypatch):
    """But for one row, which processes that share the model need in every graph."""
    computed = []

    def noting(lm, batch, *arguments, **named):
        computed.append(int(batch.audio_loss.any(1).sum()))
        return lm_loss(lm, batch, *arguments, **named)

    monkeypatch.setattr("kimi_audio.train.sft.lm_loss", noting)
    config = replace(config, held_out=0, loop=replace(LOOP, steps=1))
    finetune(replace(config, audio_weight=1.0), [data], tmp_path / "both")
    assert any(computed)
    computed.clear()
    finetune(replace(config, audio_weight=0.0), [data], tmp_path / "text")
    assert computed
    assert not any(computed)
    both, text = (rows(tmp_path / name)[0] for name in ("both", "text"))
    assert text["text"] == both["text"]
    assert text["audio"] == 0


def test_a_killed_run_resumes_to_the_same_weights(config, data, tmp_path, monkeypatch):
    config = replace(config, held_out=0, loop=LOOP, hiding=Hiding(heard=0.5, text=0.2, codes=0.2))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finetune(config, [data], whole)
    steps_left = iter(range(2))

    def fails_in_the_third_step(*arguments, **named):
        if next(steps_left, None) is None:
            raise MemoryError("killed")
        return lm_loss(*arguments, **named)

    monkeypatch.setattr("kimi_audio.train.sft.lm_loss", fails_in_the_third_step)
    with pytest.raises(MemoryError):
        finetune(config, [data], killed)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="go on with --resume"):
        finetune(config, [data], killed)
    with pytest.raises(ValueError, match="begun with another loss"):
        finetune(replace(config, loss="last"), [data], killed, resume=True)
    finetune(config, [data], killed, resume=True)
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["module"] for run in (whole, killed)]
    assert [row["step"] for row in rows(killed)] == [1, 2, 3]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_from_scratch_starts_at_chance(config, data, tmp_path):
    finetune(replace(config, from_scratch=True, held_out=0, loop=replace(LOOP, steps=1)), [data], tmp_path / "run")
    (row,) = rows(tmp_path / "run")
    assert row["text"] == pytest.approx(torch.tensor(969.0).log().item(), rel=0.05)  # of the vocabulary


def test_nothing_is_left_behind_by_bad_data(config, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"conversation": []}\n')
    with pytest.raises(ValueError, match="no sample that can be learned"):
        finetune(config, [bad], tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
