"""The commands that prepare, train and export, on the miniature checkpoint: the example of docs/FINETUNING.md."""

import io
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from kimi_audio import GenerationOptions, KimiAudio, Message, cli
from kimi_audio.cli import training
from kimi_audio.cli.recipes import find_recipe, with_changes
from kimi_audio.core.units import OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.train.pretrain import PretrainConfig
from kimi_audio.train.sft import FinetuneConfig
from tests.train.conversations import write_conversations
from tests.train.documents import write_documents

DOCS = Path(__file__).parent.parent / "docs"
DOCUMENT = (DOCS / "FINETUNING.md").read_text("utf-8")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def result_of(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def assert_one_line_error(result: Result, text: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert text in line


@pytest.fixture
def base(reference: Path) -> Path:
    return reference / "checkpoint"


# ---------------------------------------------------------------------------------------------------------------------
# The example of the document


def test_the_lines_of_the_document_are_valid(base, tmp_path):
    write_conversations(tmp_path)
    (lines,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    file = tmp_path / "document.jsonl"
    file.write_text(lines)
    checked = result_of(run("prepare", "validate", file, "--model", base, "--json"))
    assert checked["valid"] == checked["lines"] == 3
    assert checked["learned_audio_tokens"] > 0


@pytest.mark.parametrize("name", ["FINETUNING.md", "PRETRAINING.md"])
def test_the_commands_of_the_documents_exist(name: str):
    commands = re.findall(r"^kimi-audio (.*)$", (DOCS / name).read_text("utf-8"), re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = command.split()
        name = words[:2] if words[0] == "prepare" else words[:1]
        shown = run(*name, "--help")
        assert shown.exit_code == 0, command
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.stdout, command


def test_the_recipes_of_the_document_exist():
    for recipe in re.findall(r"`(\w+)`(?=[,|\w` ]*\|)", DOCUMENT[DOCUMENT.index("| recipe") :]):
        assert isinstance(find_recipe(recipe)(), FinetuneConfig)


def test_from_conversations_to_a_model_that_speaks(base, tmp_path):
    data, folder, model = write_conversations(tmp_path / "data"), tmp_path / "run", tmp_path / "model"
    assert result_of(run("prepare", "validate", data, "--model", base, "--json"))["skipped"] == 0
    encoded = result_of(run("prepare", "tokens", data, "--model", base, "--json"))
    assert encoded["encoded"] == 5
    assert Path(encoded["tokens"]) == tmp_path / "data" / "talk.tokens"
    command = ["train", "speech_to_speech", "--data", data, "--out", folder]
    for change in (f"base={base}", "loop.steps=2", "loop.bf16=false", "row_positions=64", "held_out=0.3"):
        command += ["--set", change]
    needed = result_of(run(*command, "--dry-run", "--json"))
    assert needed["tokens_per_step"] == 64
    assert not folder.exists()
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert_one_line_error(run(*command), "go on with --resume")
    assert result_of(run("export", folder, "--out", model, "--best", "--json"))["model"] == str(model)

    assistant = KimiAudio.from_pretrained(model, device="cpu")
    history = [
        Message("user", "audio", tmp_path / "data" / "heard-1.wav"),
        Message("assistant", "audio-text", (tmp_path / "data" / "reply-0.wav", "hello")),
        Message("user", "audio", tmp_path / "data" / "heard-2.wav"),
    ]
    answer = assistant.answer(history, GenerationOptions(output_type="both", max_new_tokens=12), seed=0)
    assert len(answer.audio) == len(answer.codes) * OUTPUT_SAMPLES_PER_TOKEN


def test_from_documents_to_a_model(base, tmp_path):
    data, folder, model = write_documents(tmp_path / "data"), tmp_path / "run", tmp_path / "model"
    checked = result_of(run("prepare", "validate", data, "--model", base, "--json"))
    assert checked["valid"] == checked["lines"] == 6
    encoded = result_of(run("prepare", "tokens", data, "--model", base, "--json"))
    assert encoded["encoded"] == 5
    assert encoded["found"] == 5
    command = ["train", "pretrain", "--data", data, "--out", folder]
    for change in (f"base={base}", "loop.steps=2", "loop.bf16=false", "row_positions=64", "held_out=0.3"):
        command += ["--set", change]
    assert result_of(run(*command, "--dry-run", "--json"))["tokens_per_step"] == 64
    assert not folder.exists()
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert_one_line_error(run(*command), "go on with --resume")
    assert run(*command, "--resume").exit_code == 0
    assert result_of(run("export", folder, "--out", model, "--json"))["model"] == str(model)
    heard = data.parent / "talk.wav"
    text = KimiAudio.from_pretrained(model, device="cpu").transcribe(heard)
    assert result_of(run("transcribe", heard, "--model", model, "--device", "cpu", "--json"))["text"] == text


def test_pretraining_has_the_settings_of_the_report():
    config = find_recipe("pretrain_7b")()
    assert isinstance(config, PretrainConfig)
    assert list(config.weights.values()) == [7, 1, 1, 1, 1, 1, 2]
    loop = config.loop
    assert (loop.peak_lr, loop.final_lr, loop.muon) == (2e-5, 2e-6, False)
    assert loop.warmup_steps / loop.steps == 0.01
    assert loop.frozen == find_recipe("pretrain")().loop.frozen == {"acoustic.": 0.2}


def short(base: Path, data: Path, out: Path, *more: str) -> list[object]:
    changes = [f"base={base}", "loop.steps=2", "loop.bf16=false", "loop.log_every_steps=1", "row_positions=64", *more]
    return ["train", "tts", "--data", data, "--out", out, *(word for change in changes for word in ("--set", change))]


def test_a_run_is_json_on_stdout_and_lines_on_stderr(base, tmp_path):
    command = short(base, write_conversations(tmp_path / "data"), tmp_path / "run")
    arguments = [sys.executable, "-m", "kimi_audio.cli", *map(str, command), "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=600)
    assert json.loads(done.stdout) == {"run": str(tmp_path / "run"), "steps": 2, "left_out": []}
    assert "run: step 1 of 2: loss " in done.stderr
    assert "run: step 2 of 2, 0:00:00 left: loss " in done.stderr


def test_a_run_that_ends_early_tells_the_steps_that_it_made(base, tmp_path):
    still = ["loop.peak_lr=0.0", "loop.final_lr=0.0", "loop.best_score=dev_loss", "loop.patience=1", "loop.steps=50"]
    still += ["held_out=0.3", "evaluate_every_steps=1"]
    command = short(base, write_conversations(tmp_path / "data"), tmp_path / "run", *still)
    done = result_of(run(*command, "--json"))
    assert done["steps"] == 2  # the best score, and one that is no better
    assert result_of(run(*command, "--resume", "--json"))["steps"] == 2


def test_sigterm_ends_a_run_that_goes_on_with_the_command_it_names(base, tmp_path):
    command = short(base, write_conversations(tmp_path / "data"), tmp_path / "run", "loop.steps=1000")
    arguments = [sys.executable, "-m", "kimi_audio.cli", *map(str, command)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = ""
        while "step 2 of" not in seen:
            seen = process.stderr.readline()
            assert seen, "the run has ended"
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(600) == 143
    assert "the same command goes on from here with --resume" in rest
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    steps = len((tmp_path / "run" / "log.jsonl").read_text().splitlines())
    finished = short(base, tmp_path / "data" / "talk.jsonl", tmp_path / "run", f"loop.steps={steps + 1}")
    assert result_of(run(*finished, "--resume", "--json"))["steps"] == steps + 1


def test_the_bar_shows_time_and_scores_in_a_narrow_terminal(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(training, "err", Console(file=shown, force_terminal=True, width=80))
    with training._bar("mine") as watch:
        watch(5, 10, {"loss": 1.5, "text": 1.0, "audio": 0.5, "grad_norm": 2.0, "lr": 0.1, "step_s": 1.0})
    lines = shown.getvalue().splitlines()
    assert any("5/10" in line and "loss 1.5" in line and ":" in line for line in lines)


def test_a_foreign_file_is_converted_checked_and_planned(base, tmp_path):
    write_conversations(tmp_path)
    sample = {"messages": [{"role": "user", "content": "<audio>What?"}, {"role": "assistant", "content": "hello"}]}
    file = tmp_path / "swift.jsonl"
    file.write_text(json.dumps(sample | {"audios": ["heard-0.wav"]}) + "\n" + json.dumps(sample) + "\n")
    shown = run("prepare", "validate", file, "--model", base)
    assert f"kimi-audio prepare convert {file}" in shown.stderr
    partly = run("prepare", "convert", file)
    assert partly.exit_code == 1
    assert "sample 2: there are more <audio> than recordings" in partly.stdout
    assert_one_line_error(run("prepare", "convert", file), "conversations.jsonl is there already")
    file.write_text(json.dumps(sample | {"audios": ["heard-0.wav"]}) + "\n")
    done = result_of(run("prepare", "convert", file, "--overwrite", "--json"))
    assert done["converted"] == done["samples"] == 1
    assert result_of(run("prepare", "validate", done["conversations"], "--model", base, "--json"))["valid"] == 1


def test_plans_for_gpus_and_for_this_machine(base, tmp_path):
    data = write_conversations(tmp_path)
    command = ["train", "lora", "--data", data, "--out", tmp_path / "run", "--set", f"base={base}", "--dry-run"]
    here = result_of(run(*command, "--device", "cpu", "--json"))
    there = result_of(run(*command, "--gpus", 1, "--json"))
    assert (here["on_gpu"], there["on_gpu"]) == (False, True)
    assert there["weights_bytes"] < 0.7 * here["weights_bytes"]
    assert_one_line_error(run(*command, "--gpus", 2), "2 processes cannot share 1 micro-batches")


def test_addresses_are_refused(tmp_path):
    for arguments in (
        ["prepare", "validate", "s3://bucket/a.jsonl"],
        ["prepare", "tokens", "s3://bucket/a.jsonl"],
        ["train", "sft", "--data", "s3://bucket/a.jsonl", "--out", tmp_path],
        ["train", "sft", "--data", __file__, "--out", "gs://bucket/run"],
    ):
        assert_one_line_error(run(*arguments), "is an address")


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_bad_lines_are_shown_with_their_reasons(base, tmp_path):
    data = write_conversations(tmp_path)
    data.write_text('{"conversation": []}\nno json\n' + data.read_text())
    shown = run("prepare", "validate", data, "--model", base)
    assert shown.exit_code == 1
    assert "line 1: there is no assistant turn to learn" in shown.stdout
    assert "line 2: the line is not JSON" in shown.stdout
    assert "6 of 8 lines can be learned" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "validate", "missing.jsonl"], "there is no file missing.jsonl"),
        (["prepare", "tokens", "missing.jsonl"], "there is no file missing.jsonl"),
        (["train", "sft", "--data", "missing.jsonl", "--out", "run"], "there is no file missing.jsonl"),
        (["train", "sfd", "--data", __file__, "--out", "run"], "there is no recipe 'sfd'; there are sft, lora"),
        (["train", "a.py:sft", "--data", __file__, "--out", "run"], "there is no file a.py"),
        (["train", "sft", "--data", __file__, "--out", "run", "--set", "loop.step=1"], "there is no field loop.step"),
        (["export", "missing", "--out", "model"], "missing holds no training run"),
    ],
)
def test_errors_that_need_no_model(arguments, message):
    assert_one_line_error(run(*arguments), message)


# ---------------------------------------------------------------------------------------------------------------------
# Recipes and changes


@dataclass(frozen=True)
class Part:
    size: int = 1


@dataclass(frozen=True)
class Settings:
    part: Part = Part()
    extra: Part | None = None
    rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    names: tuple[str, ...] = ()
    choice: Literal["all", "last"] = "all"
    limit: int | None = 3
    shares: dict[str, float] = field(default_factory=dict)
    switch: bool = False
    title: str = ""


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        ("rate=1", "rate", 1.0),
        ("rate=2e-5", "rate", 2e-5),
        ("part.size=4", "part", Part(4)),
        ("extra.size=4", "extra", Part(4)),
        ("extra=null", "extra", None),
        ("betas=[0.5, 1]", "betas", (0.5, 1.0)),
        ('names=["a", "b"]', "names", ("a", "b")),
        ("choice=last", "choice", "last"),
        ("limit=none", "limit", ValueError("limit must be int | None, not none")),
        ("limit=None", "limit", None),
        ("switch=true", "switch", True),
        ("switch=1", "switch", ValueError("switch must be bool, not 1")),
        ("title=17", "title", "17"),
        ("title=a=b", "title", "a=b"),
        ("part.size=1.5", "part", ValueError("part.size must be int, not 1.5")),
        ("choice=first", "choice", ValueError("choice must be 'all' or 'last', not first")),
        ("betas=[1]", "betas", ValueError("betas must be tuple[float, float], not [1]")),
        ("rate.x=1", "rate", ValueError("rate has no fields of its own; the fields of Settings are part, extra")),
        ("rates=1", "rate", ValueError("there is no field rates; the fields of Settings are part, extra")),
        ("rate", "rate", ValueError("'rate' is not a change; write it as name=value")),
    ],
)
def test_changes_of_fields(change, name, value):
    if isinstance(value, ValueError):
        with pytest.raises(ValueError, match=re.escape(str(value))):
            with_changes(Settings(), [change])
    else:
        assert getattr(with_changes(Settings(), [change]), name) == value


def test_values_of_mappings():
    assert dict(with_changes(find_recipe("sft")(), ['loop.frozen={"model.": 1}']).loop.frozen) == {"model.": 1.0}
    with pytest.raises(ValueError, match=r"loop\.frozen must be"):
        with_changes(find_recipe("sft")(), ['loop.frozen={"model.": "long"}'])


def test_a_recipe_of_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import kimi_audio.recipes.finetune as recipes\n\ndef quiet():\n    return recipes.tts()\n")
    assert find_recipe(f"{file}:quiet")() == find_recipe("tts")()
    with pytest.raises(ValueError, match=r"there is no recipe .*; there are quiet"):
        find_recipe(f"{file}:loud")
