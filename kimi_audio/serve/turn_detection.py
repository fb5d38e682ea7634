"""When does the user begin to speak, and when is it the assistant's turn? Shapes: L samples at 16 kHz.

Something tells for every window of 32 ms how likely it is speech: silero-vad where it is installed, else the plain gate
of the core. From that and from how long it has been silent follow the turns. How long one waits is a decision of its
own: a fixed time (``server_vad``), or what an ``EndOfTurn`` thinks of the turn so far (``semantic_vad``).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kimi_audio.audio import speech_gate
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.serve.session_config import SemanticVad, ServerVad, TurnDetection
from kimi_audio.serve.session_state import (
    PAUSE_TICKS,
    TICKS_PER_S,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
)

WINDOW_SAMPLES = 512
HYSTERESIS = 0.15  # speech goes on at so much less than it begins at
BEGINNING_WINDOWS = 2  # in a row: one alone is a click
_TICKS_PER_WINDOW = WINDOW_SAMPLES * TICKS_PER_S // INPUT_RATE_HZ

TurnNews = SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped


class SpeechActivity(Protocol):
    """Tells for one stream of sound how likely each window is speech."""

    def probability(self, window: Tensor) -> float:
        """Return it for the next window [512]."""
        ...


class SileroActivity:
    """The network of silero-vad; every stream has a copy, which remembers what it heard."""

    def __init__(self) -> None:
        self._network = copy.deepcopy(speech_gate.vad_network())
        self._network.reset_states()

    @torch.inference_mode()
    def probability(self, window: Tensor) -> float:
        """Return it for the next window [512]."""
        return float(self._network(window[None], INPUT_RATE_HZ))


class GateActivity:
    """The plain gate of the core over the latest seconds: what is louder than before, and neither flat nor a click."""

    HEARD_SAMPLES = 3 * INPUT_RATE_HZ
    LATEST_FRAMES = 6  # 100 ms

    def __init__(self) -> None:
        self._heard = torch.zeros(0)

    def probability(self, window: Tensor) -> float:
        """Return the share of the latest 100 ms that are like speech."""
        self._heard = torch.cat([self._heard, window])[-self.HEARD_SAMPLES :]
        frames = speech_gate.speech_like_frames(self._heard)[-self.LATEST_FRAMES :]
        return float(frames.float().mean()) if len(frames) else 0.0


def new_activity() -> SpeechActivity:
    """Return the best that is installed."""
    return SileroActivity() if speech_gate.vad_is_installed() else GateActivity()


class EndOfTurn(Protocol):
    """Judges whether a turn is over."""

    def silence_ms(self, speech_ms: int) -> int:
        """Return how long it has to be silent, after speech of some length, for the turn to be over."""
        ...


@dataclass(frozen=True)
class FixedSilence:
    """The same for all turns."""

    silence_duration_ms: int

    def silence_ms(self, speech_ms: int) -> int:
        """Return the fixed time."""
        return self.silence_duration_ms


@dataclass(frozen=True)
class PatientSilence:
    """More after a short turn, of which more is likely to come, than after a long one. Needs no weights."""

    shortest_ms: int
    longest_ms: int
    long_turn_ms: int = 3000

    def silence_ms(self, speech_ms: int) -> int:
        """Return a time between the longest and the shortest one."""
        share = min(1.0, speech_ms / self.long_turn_ms)
        return round(self.longest_ms + share * (self.shortest_ms - self.longest_ms))


_EAGERNESS = {"low": PatientSilence(1000, 2000), "medium": PatientSilence(600, 1200), "high": PatientSilence(300, 600)}


def end_of_turn(by: TurnDetection) -> EndOfTurn:
    """Return what judges the end of turns."""
    if isinstance(by, ServerVad):
        return FixedSilence(by.silence_duration_ms)
    return _EAGERNESS["medium" if by.eagerness == "auto" else by.eagerness]


class TurnDetector:
    """Finds the turns in one stream of sound.

    Args:
        by: the client's wishes.
        start: the tick at which the stream begins.
        activity: tells speech.
    """

    def __init__(self, by: TurnDetection, start: int, activity: SpeechActivity) -> None:
        self.change(by)
        self._activity = activity
        self._rest = torch.zeros(0)
        self._tick = start  # where the next window begins
        self._since = start  # what is before belongs to no turn that is still to come
        self._windows = 0  # of speech in a row, before a turn
        self._turn_start: int | None = None
        self._speech_end = 0
        self._is_paused = False

    def change(self, by: TurnDetection) -> None:
        """Follow other wishes, in a turn under way, too."""
        self._threshold = 0.5 if isinstance(by, SemanticVad) else by.threshold
        self._end_of_turn = end_of_turn(by)

    def begin_anew(self, start: int) -> None:
        """Take speech from a tick on, even if it goes on there, for the begin of another turn."""
        self._since = start
        self._turn_start, self._windows, self._is_paused = None, 0, False

    def push(self, wav: Tensor) -> list[TurnNews]:
        """Return what the next sound [L] tells of turns."""
        wav = torch.cat([self._rest, wav])
        whole = len(wav) - len(wav) % WINDOW_SAMPLES
        self._rest = wav[whole:]
        return [news for window in wav[:whole].split(WINDOW_SAMPLES) if whole for news in self._window(window)]

    def _window(self, window: Tensor) -> Iterator[TurnNews]:
        probability = self._activity.probability(window)
        self._tick += _TICKS_PER_WINDOW
        if self._turn_start is None:
            is_new = self._tick - _TICKS_PER_WINDOW >= self._since
            self._windows = self._windows + 1 if is_new and probability >= self._threshold else 0
            if self._windows >= BEGINNING_WINDOWS:
                start = self._tick - self._windows * _TICKS_PER_WINDOW
                self._turn_start = self._since if start < self._since + _TICKS_PER_WINDOW else start
                self._speech_end = self._tick
                yield SpeechStarted(self._turn_start)
            return
        if probability >= max(0.01, self._threshold - HYSTERESIS):
            self._speech_end = self._tick
            if self._is_paused:
                self._is_paused = False
                yield SpeechResumed()
            return
        speech_ms = (self._speech_end - self._turn_start) * 1000 // TICKS_PER_S
        silence_ticks = self._tick - self._speech_end
        if silence_ticks * 1000 // TICKS_PER_S >= self._end_of_turn.silence_ms(speech_ms):
            yield SpeechStopped(self._speech_end, self._tick)
            self._turn_start, self._windows, self._is_paused = None, 0, False
        elif silence_ticks >= PAUSE_TICKS and not self._is_paused:
            self._is_paused = True
            yield SpeechPaused(self._speech_end + PAUSE_TICKS)
