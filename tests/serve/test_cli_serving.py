"""``kimi-audio serve`` and ``kimi-audio loadtest``."""

import json
from pathlib import Path
from typing import Any

import pytest
from serve_fakes import FakeAssistant, running
from typer.testing import CliRunner

from kimi_audio import cli
from kimi_audio.cli.options import ModelChoice
from kimi_audio.cli.serving import _keys

QUESTION = Path(__file__).parents[2] / "kimi_audio" / "nano" / "questions" / "02-a-capital.wav"


@pytest.fixture
def no_model(monkeypatch):
    monkeypatch.delenv("KIMI_AUDIO_API_KEY", raising=False)
    monkeypatch.setattr(ModelChoice, "load", lambda *_, **__: pytest.fail("a model was loaded for nothing"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "KIMI_AUDIO_API_KEY"),
        (["--api-key-file", "/nowhere"], "/nowhere"),
        (["--voices", "/nowhere"], "/nowhere"),
        (["--certificate", "a.pem"], "both"),
        (["--ssl", "--certificate", str(QUESTION), "--private-key", str(QUESTION)], "leave it out"),
    ],
)
def test_mistakes_are_found_before_a_model_is_loaded(no_model, arguments, message):
    done = CliRunner().invoke(cli.app, ["serve", *arguments])
    assert done.exit_code == 1
    assert message in done.output


def test_keys_come_from_a_file_and_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text("first-key\n\n  second-key \n")
    monkeypatch.setenv("KIMI_AUDIO_API_KEY", "third-key, fourth-key")
    assert _keys(file) == ("first-key", "second-key", "third-key", "fourth-key")
    file.write_text("\n")
    with pytest.raises(ValueError, match="holds no key"):
        _keys(file)


def test_a_server_is_tested_under_load(tmp_path):
    written = []

    class Writer(FakeAssistant):
        def write_down(self, passage: Any, *arguments: Any, **options: Any) -> Any:
            written.append(passage.seconds)
            return super().write_down(passage, *arguments, **options)

    with running(Writer(pause_s=0.01)) as address:
        arguments = [f"ws://{address}/v1/realtime", "--recording", str(QUESTION), "--clients", "2", "--turns", "1"]
        arguments += ["--transcripts", "--json", "--plot", str(tmp_path / "curve.png")]
        done = CliRunner().invoke(cli.app, ["loadtest", *arguments])
    assert done.exit_code == 0, done.output
    assert written
    summary = json.loads(done.stdout)
    assert (summary["clients"], summary["turns"], summary["failed"]) == (2, 2, 0)
    assert 0.2 < summary["first_sound_p50_s"] < 30  # 300 ms of silence at least, from the end of the speech
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_a_server_that_is_not_there(tmp_path):
    arguments = ["ws://127.0.0.1:9/v1/realtime", "--recording", str(QUESTION), "--turns", "1"]
    done = CliRunner().invoke(cli.app, ["loadtest", *arguments])
    assert done.exit_code == 1
    assert "no conversation had an answer" in done.output
