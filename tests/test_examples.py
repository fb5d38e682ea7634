"""Every example runs, with the miniature model in place of nano."""

import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kimi_audio import Answer, KimiAudio
from kimi_audio.lm.rules import GenerationOptions
from tests.train.speech.test_voice_adaptation import CONFIG, data  # noqa: F401 - a fixture

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = {path.name for path in EXAMPLES.glob("*.py")}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reference: Path):
    """Run a script in an empty folder; the miniature, which is not trained, says little."""
    stream = KimiAudio.stream

    def brief(self, messages, options="both", **rest):
        output_type = options if isinstance(options, str) else options.output_type
        return stream(self, messages, GenerationOptions(output_type=output_type, max_new_tokens=16), **rest)

    monkeypatch.setattr(KimiAudio, "stream", brief)
    monkeypatch.setattr(
        KimiAudio,
        "answer",
        lambda self, messages, options="text", **more: Answer.of(brief(self, messages, options, **more)),
    )
    monkeypatch.setattr(KimiAudio, "transcribe", lambda self, source: "one question")
    monkeypatch.chdir(tmp_path)

    def start(script: str, *arguments: object, with_model: bool = True) -> None:
        model = ("--model", reference / "checkpoint") if with_model else ()
        monkeypatch.setattr(sys, "argv", [script, *map(str, (*arguments, *model))])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")

    return start


@pytest.fixture
def question(reference: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(next((reference / "audio").glob("*.wav")), tmp_path / "question.wav"))


def test_a_folder_is_transcribed_and_gone_on_with(run, question: Path, tmp_path: Path, capsys):
    (tmp_path / "broken.wav").write_bytes(b"broken")
    (tmp_path / "known.wav").write_bytes(question.read_bytes())
    (tmp_path / "known.txt").write_text("as it was")
    run("transcribe_folder.py", tmp_path)
    assert (tmp_path / "question.txt").read_text() == "one question\n"
    assert (tmp_path / "known.txt").read_text() == "as it was"
    assert "known" not in capsys.readouterr().out


def test_a_dialogue_is_held(run, question: Path, capsys):
    run("spoken_dialogue.py", question, question)
    assert capsys.readouterr().out.count("question.wav: ") == 2


def test_a_reply_is_streamed(run, question: Path, capsys):
    run("stream_to_speakers.py", question, "--silent")
    assert capsys.readouterr().out.endswith("\n")


def test_a_voice_is_learned(run, data: Path, tmp_path: Path, reference: Path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("kimi_audio.train.speech.voice_adaptation.OwnVoiceConfig", lambda: CONFIG)
    monkeypatch.setattr(KimiAudio, "speak", lambda self, text, seed: self.synthesise([1, 2, 3, 4, 5, 6], seed=seed))
    run("own_voice.py", data, tmp_path / "mine", "--flow-steps", 2, "--vocoder-steps", 1)
    assert (tmp_path / "mine" / "hello.wav").exists()
    assert (tmp_path / "mine" / "config.json").exists()


def test_an_adapter_is_learned_and_used(run, tmp_path: Path, monkeypatch):
    from kimi_audio.recipes import finetune

    chat = [
        {"role": "user", "message_type": "text", "content": "hello"},
        {"role": "assistant", "message_type": "text", "content": "good day"},
    ]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"conversation": chat}) + "\n")
    lora = finetune.lora
    monkeypatch.setattr(finetune, "lora", lambda: replace(lora(), loop=replace(lora().loop, warmup_steps=1)))
    run("finetune_adapter.py", tmp_path / "talk.jsonl", "--steps", 2)
    assert (tmp_path / "my-adapter" / "adapter_model.safetensors").exists()


def test_a_model_is_scored(run, question: Path, tmp_path: Path, capsys):
    rows = [{"audio": "question.wav", "text": "One question."}, {"audio": "question.wav", "text": "no question"}]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run("evaluate_model.py", tmp_path / "mine.jsonl")
    assert "word error rate 25.0 % of 4 words" in capsys.readouterr().out


def test_a_model_is_not_scored_in_a_language_that_the_example_does_not_count(run, question: Path, tmp_path: Path):
    (tmp_path / "mine.jsonl").write_text(json.dumps({"audio": "question.wav", "text": "一个问题"}))
    with pytest.raises(SystemExit, match="counts English words only"):
        run("evaluate_model.py", tmp_path / "mine.jsonl")


def test_every_example_is_listed_and_tested():
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    tested = Path(__file__).read_text("utf-8")
    assert SCRIPTS
    for name in SCRIPTS:
        assert f"]({name})" in listed
        assert f'run("{name}"' in tested


def test_the_notebook_runs(run, question: Path, reference: Path):
    notebook = json.loads((EXAMPLES / "first_steps.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    scope: dict = {}
    for cell in cells:
        code = cell.replace('"nano"', repr(str(reference / "checkpoint")))
        exec(compile(code, "first_steps.ipynb", "exec"), scope)
    assert scope["codes"]
