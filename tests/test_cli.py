"""The command line, on the reference model with replies of a few steps."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from filelock import FileLock
from typer.testing import CliRunner

import kimi_audio
from kimi_audio import Answer, GenerationOptions, KimiAudio, cli
from kimi_audio.audio.io import load_audio, save_audio
from kimi_audio.cli.options import ModelChoice
from kimi_audio.cli.report import Report
from kimi_audio.core.units import OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.lm.rules import DEFAULT_NEW_TOKENS
from kimi_audio.transcript.listening import Heard
from kimi_audio.transcript.timed_text import Segment, Word

COMMANDS = ("demo", "chat", "transcribe", "ask", "speak", "convert", "info")


class Brief(KimiAudio):
    """Says little, and remembers what it was asked."""

    limit = GenerationOptions(max_new_tokens=16)
    asked: list[list]

    def answer(self, messages: Any, options: Any = "text", **rest: Any) -> Answer:
        return Answer.of(self.stream(messages, options, **rest))

    def stream(self, messages: Any, options: Any = "both", **rest: Any) -> Any:
        self.asked.append(list(messages))
        output_type = options if isinstance(options, str) else options.output_type
        for chunk in super().stream(messages, replace(self.limit, output_type=output_type), **rest):
            if chunk.is_final and output_type == "both":  # an untrained model may happen to say nothing
                audio = torch.cat([chunk.audio, torch.zeros(OUTPUT_SAMPLES_PER_TOKEN)])
                yield replace(chunk, audio=audio, codes=(*chunk.codes, 1))
            else:
                yield chunk


@pytest.fixture(scope="module")
def loaded(reference: Path) -> Brief:
    return Brief(reference / "checkpoint", device="cpu")


@pytest.fixture
def model(loaded: Brief, monkeypatch: pytest.MonkeyPatch) -> Brief:
    """What the commands load."""
    loaded.asked = []
    monkeypatch.setattr(ModelChoice, "load", lambda *_, **__: (loaded, 0.5))
    return loaded


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if a command loads a model."""
    monkeypatch.setattr(ModelChoice, "load", lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.fixture
def question(reference: Path) -> Path:
    return reference / "audio" / "question.wav"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def results(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def assert_one_line_error(result: Result, text: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert text in line


# ---------------------------------------------------------------------------------------------------------------------
# Commands


def test_demo_asks_every_bundled_question(model, question, reference, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    (folder / "questions").mkdir(parents=True)
    for name in ("b", "a"):
        shutil.copy(question, folder / "questions" / f"{name}.wav")
    monkeypatch.setattr(model, "folder", folder)
    result = run("demo", "--out", tmp_path / "answers")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.endswith(".wav") and " " not in line] == ["a.wav", "b.wav"]
    assert lines[-1] == f"Listen to the answers: {tmp_path}/answers/*.wav"
    for name in ("loaded in", "heard", "answer", "time", "sound"):
        assert name in result.stdout, name
    for row in results(run("demo", "--out", tmp_path / "answers", "--json")):
        assert row["load_s"] == 0.5
        assert row["total_s"] > 0
        assert len(load_audio(row["sound"], OUTPUT_RATE_HZ)) == round(row["sound_s"] * OUTPUT_RATE_HZ)
        assert 0 < row["first_sound_s"] <= row["total_s"]


def test_the_versions_are_told_without_loading_anything(no_model):
    result = run("--version")
    assert result.exit_code == 0
    python = ".".join(map(str, sys.version_info[:3]))
    assert result.stdout == f"kimi-audio {kimi_audio.__version__} (Python {python}, torch {torch.__version__})\n"


def test_demo_without_questions(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "folder", tmp_path)
    monkeypatch.setattr("kimi_audio.checkpoint.NANO_FOLDER", tmp_path)
    assert_one_line_error(run("demo", "--out", tmp_path / "answers"), "no recorded questions")
    assert not (tmp_path / "answers").exists()


def test_chat_remembers_earlier_turns(model, question, tmp_path):
    rows = results(run("chat", question, question, "--out", tmp_path / "replies", "--json"))
    assert [len(messages) for messages in model.asked] == [1, 3]
    assert [message.role for message in model.asked[1]] == ["user", "assistant", "user"]
    assert len(rows) == 2
    written = sorted(str(file) for file in (tmp_path / "replies").iterdir())
    assert written == [row["sound"] for row in rows]


def test_chat_writes_replies_beside_the_files(model, question, tmp_path):
    file = Path(shutil.copy(question, tmp_path))
    result = run("chat", file)
    assert result.exit_code == 0
    (reply,) = (path for path in tmp_path.iterdir() if path != file)
    assert reply.name == "question-reply-01.wav"
    assert str(reply) in result.stdout


def test_chat_in_text(model, question, tmp_path):
    file = Path(shutil.copy(question, tmp_path))
    result = run("chat", file, "--text")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"  you      {file}\n  model ")
    assert list(tmp_path.iterdir()) == [file]


def test_transcribe_goes_on_after_a_bad_file(model, question, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    result = run("transcribe", question, bad, question, "--json")
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(question)] * 2
    assert rows[0]["text"] == rows[1]["text"]
    assert f"error: {bad} is not audio" in result.stderr
    single = run("transcribe", question)
    assert single.stdout.replace("\n", "") == "".join(c for c in rows[0]["text"] if c.isprintable() or c == "\t")


def test_transcribe_reads_standard_input(model, question):
    (file_row,) = results(run("transcribe", question, "--json"))
    arguments = ["transcribe", "-", "--json"]
    (row,) = results(CliRunner().invoke(cli.app, arguments, input=question.read_bytes()))
    assert row == file_row | {"file": "-"}
    assert row["text"] == row["segments"][0]["text"]
    assert CliRunner().invoke(cli.app, ["ask", "-", "What?"], input=question.read_bytes()).exit_code == 0


def test_transcribe_shows_the_text_as_it_comes(model, question, monkeypatch, capsys):
    shown = []

    def listen(*_, **__):
        for number, part in enumerate(("one", "two")):
            yield Heard((Segment(part, number, number + 1),), (number + 1) * 16_000)
            shown.append(capsys.readouterr().out)
        raise ValueError("damaged at 9.0 s")

    monkeypatch.setattr(model, "listen", listen)
    with pytest.raises(SystemExit):
        cli.app(["transcribe", str(question)])
    assert shown == ["one", " two"]
    rest = capsys.readouterr()
    assert rest.out == "\n"
    assert rest.err == "error: damaged at 9.0 s\n"


def test_transcribe_uses_what_can_be_read_of_damaged_files_on_request(model, question, tmp_path):
    content = bytearray(question.read_bytes())
    half, whole = tmp_path / "half.ogg", load_audio(question, 16_000)
    save_audio(half, torch.cat([whole] * 9), 16_000)
    content = half.read_bytes()
    place = len(content) // 2
    half.write_bytes(content[:place] + bytes(2000) + content[place + 2000 :])
    result = run("transcribe", half)
    assert result.exit_code == 1
    assert "half.ogg is damaged at" in result.stderr
    assert "Traceback" not in result.output
    assert run("transcribe", half, "--damaged").exit_code == 0


def test_transcribe_with_an_instruction(model, question):
    run("transcribe", question, "--instruction", "请将音频内容转换为文字。")
    assert model.asked[0][0].content == "请将音频内容转换为文字。"


def test_ask(model, question):
    (row,) = results(run("ask", question, "What [is] heard?", "--json"))
    assert [message.content for message in model.asked[0]] == ["What [is] heard?", question]
    expected = model.answer(model.asked[0])
    assert (row["text"], row["finish_reason"]) == (expected.text, expected.finish_reason)
    assert row["sound"] is None
    assert run("ask", question, "What?").exit_code == 0


@pytest.mark.parametrize("voice", [False, True])
def test_speak_and_convert_write_a_file(model, question, tmp_path, monkeypatch, voice):
    options = ["--voice", question] if voice else []
    converted = tmp_path / "converted.flac"
    result = run("convert", question, "--out", converted, *options)
    assert result.exit_code == 0, result.output
    assert (
        result.stdout == f"{converted}: {len(load_audio(converted, OUTPUT_RATE_HZ)) / OUTPUT_RATE_HZ:.2f} s of speech\n"
    )
    monkeypatch.setattr(model, "speak", lambda text, **_: torch.zeros(24_000))
    speech = tmp_path / "speech.wav"
    (row,) = results(run("speak", "Good morning.", "--out", speech, "--json", *options))
    assert row == {"sound": str(speech), "sound_s": 1.0}
    assert speech.exists()


def test_a_voice_that_is_neither_a_file_nor_one_of_the_model_is_named_before_it_is_loaded(no_model, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text('{"kimi_audio_voices": ["Ben", "Dora"]}')
    result = run("speak", "hello", "--voice", "Nobody", "--model", tmp_path)
    assert result.exit_code == 1
    assert "there is no file Nobody, and the model's voices are Ben, Dora" in " ".join(result.output.split())


def test_info_reads_no_weights(no_model, reference):
    folder = reference / "checkpoint"
    (facts,) = results(run("info", "--model", folder, "--json"))
    assert {part["name"] for part in facts["components"]} >= {"audio LLM", "vocoder"}
    assert facts["speech_delay_ms"] == 480
    assert facts["audio_codes"] > 0
    shown = run("info", "--model", folder).stdout
    for part in facts["components"]:
        assert f"{part['parameters']:,}" in shown


def test_a_model_is_loaded_as_asked(reference, question, monkeypatch):
    monkeypatch.setitem(DEFAULT_NEW_TOKENS, "text", 3)
    result = run("ask", question, "?", "--model", reference / "checkpoint", "--dtype", "bfloat16", "--device", "cpu")
    assert result.exit_code == 0, result.output


# ---------------------------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--model" in result.stdout


def test_profile_tells_what_fits():
    (facts,) = results(run("info", "--profile", "12gb", "--json"))
    assert facts["card_bytes"] == 12e9
    assert [(row["lm"], row["speech"]) for row in facts["profiles"]][-2:] == [("int4", True), ("int4", False)]
    assert all(row["fits"] and row["slots"] == 64 for row in facts["profiles"])
    shown = run("info", "--profile", "12gb").stdout
    assert "on a card of 12 GB" in shown
    assert "does not fit" not in shown


@pytest.mark.parametrize(
    "arguments", [["chat"], ["ask", "a.wav"], ["nothing"], ["info", "--depth"], ["demo", "--dtype", "int8"]]
)
def test_usage_errors(no_model, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcribe", "missing.wav"], "there is no file missing.wav"),
        (["chat", "missing.wav"], "there is no file missing.wav"),
        (["ask", "missing.wav", "what?"], "there is no file missing.wav"),
        (["convert", "missing.wav"], "there is no file missing.wav"),
        (["speak", "hello", "--voice", "missing.wav"], "there is no file missing.wav"),
        (["speak", "hello", "--out", "speech.m4a"], "use a file name that ends in .wav"),
        (["speak", "hello", "--out", "none/speech.wav"], "the folder none does not exist"),
        (["speak", "hello", "--out", "folder.wav"], "there is a folder or a device of that name"),
        (["demo", "--out", "file/below"], "cannot write to the folder file/below"),
        (["info", "--model", "no such model"], 'there is no model "no such model"'),
    ],
)
def test_errors_that_need_no_model(no_model, arguments, message, tmp_path, monkeypatch):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    assert_one_line_error(run(*arguments), message)


def test_errors_of_loading(reference, question, tmp_path):
    assert_one_line_error(run("ask", question, "?", "--model", "a b"), 'there is no model "a b"')
    assert_one_line_error(run("ask", question, "?", "--device", "quantum"), "there is no device 'quantum'")
    copy = shutil.copytree(reference / "checkpoint", tmp_path / "checkpoint")
    shutil.copytree(reference / "glm-4-voice-tokenizer", tmp_path / "glm-4-voice-tokenizer")
    (copy / "whisper-large-v3" / "model.safetensors").write_bytes(b"damaged")
    assert_one_line_error(run("demo", "--model", copy, "--out", tmp_path / "out"), "model.safetensors is damaged")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_missing_cuda(question):
    assert_one_line_error(run("ask", question, "?", "--device", "cuda"), "there is no CUDA device on this machine")


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("first line\nsecond line"), 1, "error: first line"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "error: CUDA out of memory"),
        (MemoryError(), 1, "error: MemoryError"),
        (ConnectionError("no hub"), 1, "error: no hub"),
    ],
)
def test_failures_in_the_middle_leave_nothing_behind(model, question, tmp_path, monkeypatch, failure, code, message):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(model, "convert_voice", fail)
    result = run("convert", question, "--out", tmp_path / "converted.wav")
    assert result.exit_code == code
    assert result.stderr.strip() == message
    assert not list(tmp_path.iterdir())


def test_errors_in_the_program_are_not_hidden(model, question, monkeypatch):
    def fail(*_, **__):
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(model, "stream", fail)
    assert repr(run("ask", question, "?").exception) == "TypeError('a mistake of ours')"


def test_results_are_strict_json(capsys):
    Report(as_json=True).result({"a": math.nan, "b": [1, -math.inf], "c": {"d": (0.5, math.inf)}, "e": "NaN"})
    assert capsys.readouterr().out == '{"a": null, "b": [1, null], "c": {"d": [0.5, null]}, "e": "NaN"}\n'


@pytest.mark.parametrize("method", ["text", "line"])
def test_control_characters_are_not_printed(capsys, method):
    getattr(Report(as_json=False), method)(
        "red \x1b[31m[bold]alert\x07\x9b2J :smile: 你\u3000好 👩\u200d👧 \u202egnp.exe\udcff\n"
    )
    assert capsys.readouterr().out == "red [31m[bold]alert2J :smile: 你\u3000好 👩\u200d👧 gnp.exe\n\n"


def test_names_of_files_are_shown_as_they_are_but_cannot_steer_the_terminal(model, question, tmp_path):
    odd = tmp_path / "a [:b] [red]\x1b]0;title\x07 café \udcff.wav"
    shutil.copy(question, odd)
    bad = tmp_path / "bad\x1b[2J [" / "].wav"
    bad.parent.mkdir()
    bad.write_text("no sound")
    result = run("transcribe", odd, bad, odd)
    assert result.exit_code == 1
    assert result.stdout.count("a [:b] [red]]0;title café") == 2
    assert "bad[2J [/].wav is not audio" in result.stderr
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


@pytest.mark.parametrize(
    "environment", [{"COLUMNS": "0"}, {"COLUMNS": "x"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}]
)
def test_results_arrive_whatever_the_terminal(reference, tmp_path, environment):
    """In a process of its own, because the streams are its own."""
    code = """
import sys, typer
from kimi_audio.cli.command import app, command
from kimi_audio.cli.report import Report, print_error, status, warn

@command()
def show(json: bool = typer.Option(False, "--json")) -> None:
    report = Report(json)
    with status("loading [/] 你"):
        report.line("one é", style="bold")
    report.field("two", "你好 \\udcff")
    report.components([{"name": "你", "parameters": 3, "file_bytes": 4}])
    report.result({"text": "你好 \\udcff"})
    warn("three 你")
    raise ValueError("four 你")

@command()
def other() -> None: ...

app()
"""
    for arguments in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "show", *arguments],
            env=os.environ | environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert b"three" in done.stderr
        assert b"error: four" in done.stderr
        assert b"Traceback" not in done.stderr
        if arguments:
            assert json.loads(done.stdout) == {"text": "你好 \udcff"}
        else:
            assert done.stdout.startswith(b"one ")
            assert b"two" in done.stdout
            assert b"together" in done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# Files that are written


def test_a_reply_does_not_replace_a_recording_that_is_still_to_be_heard(no_model, question, tmp_path):
    first = shutil.copy(question, tmp_path / "talk.wav")
    second = shutil.copy(question, tmp_path / "talk-reply-01.wav")
    before = second.read_bytes()
    for options in ([], ["--overwrite"], ["--out", tmp_path]):
        assert_one_line_error(run("chat", first, second, *options), "is to be read; give another place by --out")
    assert second.read_bytes() == before


def test_a_reply_does_not_replace_a_recording_by_another_name(no_model, question, tmp_path):
    first = shutil.copy(question, tmp_path / "talk.wav")
    (tmp_path / "talk-reply-01.wav").symlink_to(first)
    assert_one_line_error(run("chat", first, "--overwrite"), "is to be read")
    assert_one_line_error(run("chat", first, "--voice", tmp_path / "talk-reply-01.wav"), "is to be read")


def test_earlier_replies_are_replaced_only_when_asked(model, question, tmp_path):
    file = Path(shutil.copy(question, tmp_path))
    reply = tmp_path / "question-reply-01.wav"
    reply.write_text("an earlier one")
    assert_one_line_error(run("chat", file), "question-reply-01.wav exists already; --overwrite replaces it")
    assert run("chat", file, "--text").exit_code == 0
    assert reply.read_text() == "an earlier one"
    assert run("chat", file, "--overwrite").exit_code == 0
    assert len(load_audio(reply, OUTPUT_RATE_HZ)) > 0


def test_speech_does_not_replace_what_it_is_made_of(no_model, question, tmp_path):
    file, voice = (Path(shutil.copy(question, tmp_path / name)) for name in ("a.wav", "b.wav"))
    (tmp_path / "link.wav").hardlink_to(voice)
    assert_one_line_error(run("convert", file, "--out", file), "is to be read")
    assert_one_line_error(run("convert", file, "--voice", voice, "--out", tmp_path / "link.wav"), "is to be read")
    assert_one_line_error(run("speak", "hello", "--voice", voice, "--out", voice), "is to be read")


def test_help_needs_no_torch():
    code = "import sys; import kimi_audio.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_threads_of_torch_sleep_while_they_wait_unless_the_user_says_how():
    code = "import os, kimi_audio.cli as c; c.app = lambda: print(os.environ.get('GOMP_SPINCOUNT')); c.main()"
    unset = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}

    def spins(**chosen: str) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=unset | chosen, capture_output=True, text=True, check=True).stdout.strip()

    assert int(spins()) <= 10_000
    assert spins(GOMP_SPINCOUNT="7") == "7"
    assert spins(OMP_WAIT_POLICY="ACTIVE") == "None"


# ---------------------------------------------------------------------------------------------------------------------
# Transcripts with times


@pytest.fixture
def heard(model, monkeypatch):
    """Let the model hear a word each second; a list tells from which sample on it was asked to listen."""
    starts: list[int] = []
    stops_at: list[int] = []

    def listen(_source: object, timestamps: str = "segment", *, start_samples: int = 0, **options: object):
        starts.append(start_samples)
        for second in range(start_samples // 16_000, 4):
            if stops_at and second == stops_at[0]:
                raise KeyboardInterrupt
            text = " ".join(["word", str(second), *options["hotwords"]])
            words = (Word(text, second, second + 0.5),) if timestamps == "word" else ()
            yield Heard((Segment(text, second, second + 0.5, words),), (second + 1) * 16_000)

    monkeypatch.setattr(model, "listen", listen)
    return starts, stops_at


def test_subtitles_beside_the_recording(model, question, tmp_path, heard):
    file = shutil.copy(question, tmp_path / "a.wav")
    result = run("transcribe", file, "--srt", "--vtt")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("word 0 word 1 word 2 word 3\n")
    assert (tmp_path / "a.srt").read_text().endswith("4\n00:00:03,000 --> 00:00:03,500\nword 3\n\n")
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nword 0\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.srt", "a.vtt", "a.wav"]
    assert "a.srt exists already; --overwrite replaces it" in run("transcribe", file, "--srt").stderr
    assert run("transcribe", file, "--srt", "--overwrite").exit_code == 0


def test_times_as_json(model, question, heard):
    result = run("transcribe", question, "--json", "--words")
    values = json.loads(result.stdout)
    assert values["text"] == "word 0 word 1 word 2 word 3"
    word = {"text": "word 1", "start_s": 1, "end_s": 1.5}
    assert values["segments"][1] == word | {"words": [word]}
    assert "words" not in json.loads(run("transcribe", question, "--json").stdout)["segments"][0]


def test_an_interrupted_transcript_goes_on(model, question, tmp_path, heard):
    starts, stops_at = heard
    stops_at.append(2)
    file = shutil.copy(question, tmp_path / "a.wav")
    result = run("transcribe", file, "--srt")
    assert result.exit_code == 130
    assert "heard until 0:00:02; the same command goes on from there" in result.stderr
    assert not (tmp_path / "a.srt").exists()
    stops_at.clear()
    with (tmp_path / "a.srt.partial").open("a") as torn:
        torn.write('{"until_samples": 48000, "segm')
    result = run("transcribe", file, "--srt")
    assert "going on from 0:00:02" in result.stderr
    assert starts == [0, 32_000]
    assert (tmp_path / "a.srt").read_text().count(" --> ") == 4
    assert not (tmp_path / "a.srt.partial").exists()


def test_what_was_kept_of_another_way_to_listen_is_not_taken_up(model, question, tmp_path, heard):
    starts, stops_at = heard
    stops_at.append(2)
    file = shutil.copy(question, tmp_path / "a.wav")
    run("transcribe", file, "--srt")
    stops_at.clear()
    run("transcribe", file, "--srt", "--words")
    assert starts == [0, 0]


def test_hotwords_come_from_a_file(model, question, tmp_path, heard):
    (tmp_path / "names.txt").write_text("Nguyen\n\nNew York\n")
    result = run("transcribe", question, "--hotwords", tmp_path / "names.txt")
    assert result.stdout.startswith("word 0 Nguyen New York word 1 ")
    assert "there is no file" in run("transcribe", question, "--hotwords", tmp_path / "none.txt").stderr


def test_beams_come_from_the_command_line(model, question, monkeypatch):
    asked = []
    monkeypatch.setattr(model, "listen", lambda *_, **options: asked.append(options["beams"]) or iter(()))
    run("transcribe", question)
    run("transcribe", question, "--beams", "3")
    assert asked == [None, 3]


def test_recordings_of_one_name_do_not_share_subtitles(model, question, tmp_path, heard):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(question, tmp_path / folder / "x.wav")
    result = run("transcribe", tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav", "--srt", "--out", tmp_path)
    assert "two recordings would have their subtitles in" in result.stderr
    (tmp_path / "link").symlink_to(tmp_path / "a")
    shutil.copy(question, tmp_path / "a" / "x.flac")
    result = run("transcribe", tmp_path / "a" / "x.wav", tmp_path / "link" / "x.flac", "--srt")
    assert "two recordings would have their subtitles in" in result.stderr


def test_of_several_recordings_those_that_were_written_down_before_an_interruption_stay(
    model, question, tmp_path, heard
):
    starts, stops_at = heard
    first, second = (shutil.copy(question, tmp_path / name) for name in ("a.wav", "b.wav"))
    run("transcribe", first, "--srt")
    stops_at.append(2)
    assert run("transcribe", first, second, "--srt").exit_code == 130
    stops_at.clear()
    result = run("transcribe", first, second, "--srt")
    assert result.exit_code == 0, result.output
    assert "a.srt is there already, and stays" in result.stderr
    assert starts == [0, 0, 32_000]
    assert (tmp_path / "b.srt").read_text().count(" --> ") == 4
    os.utime(first, ns=(2**62, 2**62))  # the recording is another one now
    (tmp_path / "b.srt").unlink()
    assert "a.srt exists already" in run("transcribe", first, second, "--srt").stderr


def test_what_was_heard_before_damage_is_not_heard_again(model, question, tmp_path, heard):
    starts, stops_at = heard
    stops_at.append(2)
    file = shutil.copy(question, tmp_path / "a.wav")
    run("transcribe", file, "--srt")
    stops_at.clear()
    assert run("transcribe", file, "--srt", "--damaged").exit_code == 0
    assert starts == [0, 32_000]


def test_a_file_of_the_user_is_not_taken_for_a_transcript_under_way(model, question, tmp_path, heard):
    file = shutil.copy(question, tmp_path / "a.wav")
    (tmp_path / "a.srt.partial").write_text("my notes\n")
    assert "a.srt.partial is no transcript under way" in run("transcribe", file, "--srt").stderr
    assert (tmp_path / "a.srt.partial").read_text() == "my notes\n"


def test_two_processes_do_not_write_down_one_recording_together(model, question, tmp_path, heard):
    file = shutil.copy(question, tmp_path / "a.wav")
    with FileLock(tmp_path / "a.srt.lock"):
        result = run("transcribe", file, "--srt")
    assert result.exit_code == 1
    assert "another process is writing" in result.stderr
    assert run("transcribe", file, "--srt").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.srt", "a.wav"]


def test_what_is_no_recording_leaves_nothing_behind(model, tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    assert run("transcribe", tmp_path / "notes.txt", "--srt").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_standard_input_is_not_said_to_go_on(model, question, tmp_path, heard, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heard[1].append(2)
    result = CliRunner().invoke(cli.app, ["transcribe", "-", "--srt"], input=question.read_bytes())
    assert result.exit_code == 130
    assert "goes on" not in result.stderr


def test_subtitles_that_cannot_be_written_are_refused_before_any_work(no_model, question, tmp_path, monkeypatch):
    def refuse(folder):
        raise ValueError(f"{folder} is read-only")

    monkeypatch.setattr("kimi_audio.audio.io.check_folder", refuse)
    file = shutil.copy(question, tmp_path / "a.wav")
    assert_one_line_error(run("transcribe", file, "--srt"), "is read-only")
    assert_one_line_error(run("chat", file), "is read-only")


def test_speech_that_was_cut_off_is_told(model, question, tmp_path, caplog):
    run("speak", "hello", "--out", tmp_path / "speech.wav")
    assert "the speech was cut off (length)" in caplog.text
    caplog.clear()
    run("transcribe", question)
    assert "the transcript from 0 s on was cut off (length)" in caplog.text


def test_a_long_text_is_read_in_pieces(model, tmp_path):
    sentences = [f"Sentence number {number} of a text that does not end soon." for number in range(60)]
    run("speak", " ".join(sentences), "--out", tmp_path / "speech.wav")
    asked = [messages[-1].content for messages in model.asked]
    assert len(asked) > 1
    assert all(sum(sentence in text for text in asked) == 1 for sentence in sentences)


def test_detect_goes_on_after_a_bad_file(question, tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    result = run("detect", tmp_path / "notes.txt", question)
    assert result.exit_code == 2
    assert "notes.txt is not audio" in result.stderr
    assert f"{question}: no mark found" in result.stdout
    assert run("detect", question).exit_code == 1


def test_convert_reads_standard_input(model, question, tmp_path):
    target = tmp_path / "c.wav"
    result = CliRunner().invoke(cli.app, ["convert", "-", "--out", str(target)], input=question.read_bytes())
    assert result.exit_code == 0, result.output
    assert target.exists()


def test_the_log_cannot_steer_the_terminal():
    code = """
import logging
from kimi_audio.cli.command import app, command

@command()
def show() -> None:
    logging.getLogger("kimi_audio").warning("red \\x1b[31m.wav is not complete")

@command()
def other() -> None: ...

app()
"""
    done = subprocess.run([sys.executable, "-c", code, "show"], capture_output=True, check=True)
    assert done.stderr == b"red [31m.wav is not complete\n"
