"""Models in processes of their own, with stand-ins that answer, fail, hang, die and print rubbish."""

import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.types import EvalSample, Options
from kimi_audio.evals.models import subprocess_model, vendor_worker
from kimi_audio.evals.models.subprocess_model import MAX_DEATHS, VENDORS, ProcessError, SubprocessModel

HERE = Path(__file__).parent
STAND_IN = [sys.executable, "-S", str(HERE / "standin.py"), str(Path(vendor_worker.__file__).parent)]
PATIENT_S = 300.0


def started(command=STAND_IN, start_s=PATIENT_S, **limits):
    return SubprocessModel(replace(VENDORS["other"], start_timeout_s=start_s, **limits), command)


@pytest.fixture(scope="module")
def model():
    found = started()
    yield found
    found.close()


def ask(model, *texts, options=None, **fields):
    return model.generate([EvalSample(text, text=text, **fields) for text in texts], options or Options())


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_process_says_who_it_is_and_answers_in_order(model):
    assert (model.name, model.family) == ("stand-in", "other")
    options = Options("both", "Be kind.", {"temperature": 0.2}, seed=4)
    answers = ask(model, "one", "two", options=options)
    for name, answer in zip(("one", "two"), answers, strict=True):
        expected = [name, "both", "Be kind.", {"temperature": 0.2}, options.seed_of(EvalSample(name))]
        assert (answer.text, answer.error) == (repr(expected), "")
        assert answer.total_s > 0


def test_speech_and_times_come_back(model, tmp_path):
    path = tmp_path / "reply.wav"
    (answer,) = ask(model, f"speak {path}", options=Options("both"))
    assert (answer.text, answer.speech) == ("spoken", path)
    assert (answer.first_text_s, answer.first_sound_s) == (0.1, 0.2)


def test_sound_reaches_it_as_files(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(160), 16000)
    monkeypatch.chdir(tmp_path)
    wave = np.linspace(-0.5, 0.5, 80, dtype=np.float32)
    sample = EvalSample("a", audio=(Path("a.wav"), Samples(wave, 8000)))
    request = subprocess_model._request(sample, Options(), tmp_path)
    first, second = request["audio"]
    assert first == str(tmp_path / "a.wav")
    written, rate_hz = soundfile.read(second, dtype="float32")
    assert rate_hz == 8000
    assert np.allclose(written, wave, atol=1e-4)


def test_what_it_raises_is_the_error_of_one_sample(model):
    before = model.revision
    bad, malformed, good = ask(model, "raise", "malformed", "one")
    assert bad.error == "ValueError: RuntimeError: the audio is too long"
    assert "malformed" in malformed.error
    assert (good.error, model.revision) == ("", before)


def test_what_its_libraries_print_does_no_harm(model):
    (answer,) = ask(model, "print")
    assert answer.text.startswith("['print'")


def test_rubbish_and_answers_to_others_are_passed_over():
    model = started([sys.executable, "-S", str(HERE / "rude.py"), "rubbish"])
    assert (model.name, model.revision, model.family) == ("rubbish", "r", "f")
    assert [answer.text for answer in ask(model, "x", "y")] == ["this", "this"]
    model.close()


def test_after_a_death_it_is_started_again():
    model = started()
    dead, alive = ask(model, "die", "one")
    assert dead.error == "ProcessError: the process died (exit code 7): out of memory"
    assert alive.error == ""
    model.close()


def test_a_process_that_keeps_dying_is_left_dead():
    model = started()
    answers = ask(model, *["die"] * (MAX_DEATHS + 1))
    assert all("exit code 7" in answer.error for answer in answers[:-1])
    assert f"died {MAX_DEATHS} times in a row" in answers[-1].error


def test_a_process_that_hangs_is_ended_with_its_children(tmp_path):
    model = started()
    model.vendor = replace(model.vendor, timeout_s=3.0)
    note = tmp_path / "pids"
    while not (note.exists() and note.read_text()):  # on a busy machine, it may have had no time to begin
        (answer,) = ask(model, f"hang {note}")
        assert answer.error == "ProcessError: no answer within 3 s"
        model.deaths = 0
    pids = [int(pid) for pid in note.read_text().split()]
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in pids)


@pytest.mark.parametrize(
    ("kind", "limit_s", "reason"),
    [("silent", 0.2, "no answer within 0.2 s"), ("old", PATIENT_S, "protocol 0"), ("gone", PATIENT_S, "died")],
)
def test_a_process_without_a_proper_hello_is_no_model(kind, limit_s, reason):
    with pytest.raises(ProcessError, match=reason):
        started([sys.executable, "-S", str(HERE / "rude.py"), kind], start_s=limit_s)


def test_a_command_that_does_not_exist_is_named():
    with pytest.raises(ProcessError, match=r"no-such-program cannot be started"):
        started(["no-such-program"])


def test_names():
    found = subprocess_model.load(f"glm-4-voice {shlex.join(STAND_IN)}", None)
    assert (found.name, found.family) == ("stand-in", "glm-4-voice")
    found.close()
    with pytest.raises(ValueError, match="none of baichuan-audio"):
        subprocess_model.load("python serve.py", None)


@pytest.mark.parametrize("name", VENDORS)
def test_a_preset_without_a_command_says_what_to_do(name):
    with pytest.raises(ValueError, match=r"worker\.py") as told:
        subprocess_model.load(name, None)
    assert f"--model 'subprocess:{name} /path" in str(told.value)
    assert VENDORS[name].weights in str(told.value)
