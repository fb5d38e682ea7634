"""Turns: found in speech, not in silence or noise, and ended after the silence that is wanted."""

from importlib.resources import files
from typing import Any

import pytest
import torch

from kimi_audio.audio import speech_gate
from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.serve.session_config import SemanticVad, ServerVad
from kimi_audio.serve.session_state import TICKS_PER_S, SpeechPaused, SpeechResumed, SpeechStarted, SpeechStopped
from kimi_audio.serve.turn_detection import (
    WINDOW_SAMPLES,
    GateActivity,
    PatientSilence,
    SileroActivity,
    TurnDetector,
)

QUESTION = files("kimi_audio") / "nano" / "questions" / "02-a-capital.wav"
ACTIVITIES = [
    GateActivity,
    pytest.param(
        SileroActivity,
        marks=pytest.mark.skipif(not speech_gate.vad_is_installed(), reason="silero-vad is not installed"),
    ),
]


def silence(seconds: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 1e-4 * torch.randn(int(seconds * INPUT_RATE_HZ), generator=generator)


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_a_question_between_silences_is_one_turn(activity):
    question = load_audio(str(QUESTION), INPUT_RATE_HZ)
    wav = torch.cat([silence(0.5), question, silence(0.8)])
    detector = TurnDetector(ServerVad(silence_duration_ms=500), 0, activity())
    news = [one for piece in wav.split(999) for one in detector.push(piece)]
    started, *pauses, stopped = news
    assert (type(started), type(stopped)) == (SpeechStarted, SpeechStopped)
    assert isinstance(pauses[-1], SpeechPaused)
    assert started.start / TICKS_PER_S == pytest.approx(0.5, abs=0.25)
    assert stopped.speech_end / TICKS_PER_S == pytest.approx(0.5 + len(question) / INPUT_RATE_HZ, abs=0.35)
    assert (stopped.end - stopped.speech_end) / TICKS_PER_S == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("activity", ACTIVITIES)
@pytest.mark.parametrize("level", [0.0, 0.05])
def test_silence_and_noise_are_no_turns(activity, level):
    wav = level * torch.randn(INPUT_RATE_HZ, generator=torch.Generator().manual_seed(1))
    assert TurnDetector(ServerVad(), 0, activity()).push(wav) == []


class Script:
    """Is as sure as it was told to be."""

    def __init__(self, *probabilities: float) -> None:
        self._rest = iter(probabilities)

    def probability(self, window: torch.Tensor) -> float:
        return next(self._rest)


def found(by: ServerVad | SemanticVad, *probabilities: float, start: int = 0) -> list[Any]:
    wav = torch.zeros(WINDOW_SAMPLES * len(probabilities))
    return TurnDetector(by, start, Script(*probabilities)).push(wav)


def test_a_click_begins_no_turn():
    assert found(ServerVad(), 0.1, 0.9, 0.1, 0.9, 0.1) == []
    assert found(ServerVad(), 0.1, 0.9, 0.9, start=24_000) == [SpeechStarted(24_000 + 768)]


def test_speech_goes_on_at_less_than_it_begins_at():
    vad = ServerVad(silence_duration_ms=64)
    assert len(found(vad, 0.9, 0.9, 0.4, 0.4, 0.4, 0.4)) == 1
    assert len(found(vad, 0.9, 0.9, 0.3, 0.9, 0.3, 0.9)) == 1  # pauses shorter than the silence
    assert found(vad, 0.9, 0.9, 0.3, 0.3)[-1] == SpeechStopped(2 * 768, 4 * 768)


def test_a_pause_is_told_once_and_so_is_its_end():
    news = found(ServerVad(), *[0.9] * 3, *[0.0] * 10, *[0.9] * 3, *[0.0] * 16)
    assert news == [
        SpeechStarted(0),
        SpeechPaused(7 * 768),
        SpeechResumed(),
        SpeechPaused(20 * 768),
        SpeechStopped(16 * 768, 32 * 768),
    ]
    assert found(ServerVad(silence_duration_ms=128), 0.9, 0.9, *[0.0] * 4)[1:] == [SpeechStopped(2 * 768, 6 * 768)]


def test_the_threshold_is_the_clients():
    assert found(ServerVad(threshold=0.8), 0.7, 0.7, 0.7) == []
    assert len(found(ServerVad(threshold=0.6), 0.7, 0.7, 0.7)) == 1


def test_other_wishes_hold_for_the_turn_that_is_under_way():
    detector = TurnDetector(ServerVad(silence_duration_ms=2000), 0, Script(*[0.9] * 3, *[0.0] * 6))
    assert detector.push(torch.zeros(5 * WINDOW_SAMPLES)) == [SpeechStarted(0)]
    detector.change(ServerVad(silence_duration_ms=160))
    assert detector.push(torch.zeros(4 * WINDOW_SAMPLES))[-1] == SpeechStopped(3 * 768, 8 * 768)


def test_who_is_eager_waits_less():
    def waited(eagerness: str, speech: int) -> int:
        stopped = found(SemanticVad(eagerness=eagerness), *[0.9] * speech, *[0.0] * 100)[-1]
        return (stopped.end - stopped.speech_end) // 768

    assert waited("high", 50) < waited("auto", 50) == waited("medium", 50) < waited("low", 50)
    assert waited("medium", 10) > waited("medium", 90)  # more is likely to follow a short turn
    assert PatientSilence(100, 300, 1000).silence_ms(500) == 200
