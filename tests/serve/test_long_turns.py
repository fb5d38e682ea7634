"""Speech that goes on when its turn was ended otherwise than by silence; with a real detector."""

import pytest
import torch
from session_watcher import Watched
from test_session import actions_of, client, sound

from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.serve.session_config import SessionConfig
from kimi_audio.serve.session_state import PAUSE_TICKS, TICKS_PER_S, Detect, Hear, ListenAnew, SpeechStarted
from kimi_audio.serve.settings import ServeLimits
from kimi_audio.serve.turn_detection import TurnDetector

PIECE_S = 0.1
WINDOW_TICKS = 768


class Loudness:
    """Takes what is not zero for speech."""

    def probability(self, window: torch.Tensor) -> float:
        return float(window.abs().max() > 0)


class Spoken(Watched):
    """A session whose detector hears what is said in it."""

    def __init__(self, padding_ms: int = 300, **limits: float) -> None:
        vad = {"type": "server_vad", "create_response": False, "prefix_padding_ms": padding_ms}
        config = SessionConfig().updated({"audio": {"input": {"turn_detection": vad}}})
        super().__init__(config, ServeLimits(**limits))  # pyright: ignore
        (detect,) = actions_of(self, Detect)
        self.detector = TurnDetector(detect.by, 0, Loudness())

    def hear(self, seconds: float, level: float = 1.0) -> None:
        """Let some sound come, in pieces."""
        for _ in range(round(seconds / PIECE_S)):
            self._follow(self.do(sound(PIECE_S), after_s=PIECE_S))
            for news in self.detector.push(torch.full((round(PIECE_S * INPUT_RATE_HZ),), level)):
                self._follow(self.do(news))

    def wish(self, type: str) -> None:
        """Let the client want something."""
        self._follow(self.do(client(type)))

    def _follow(self, actions: list) -> None:
        for action in actions:
            if isinstance(action, ListenAnew):
                self.detector.begin_anew(action.start)

    @property
    def turns(self) -> list[tuple[int, int]]:
        return [(hear.start, hear.end) for hear in actions_of(self, Hear)]


def within_a_window(tick: int) -> object:
    return pytest.approx(tick, abs=WINDOW_TICKS)


@pytest.mark.parametrize("padding_ms", [0, 300])
def test_speech_that_is_longer_than_the_buffer_is_committed_whole_in_several_turns(padding_ms):
    session = Spoken(padding_ms, buffer_s=3.0)
    session.hear(1.0, level=0.0)
    session.hear(10.0)
    session.hear(1.0, level=0.0)
    turns = session.turns
    assert len(turns) >= 4
    assert [start for start, _ in turns[1:]] == [end for _, end in turns[:-1]]  # nothing lost, nothing twice
    assert turns[0][0] == within_a_window(TICKS_PER_S - padding_ms * TICKS_PER_S // 1000)
    assert turns[-1][1] == within_a_window(11 * TICKS_PER_S + PAUSE_TICKS)
    assert session.state.turn is None


@pytest.mark.parametrize("padding_ms", [0, 300])
def test_speech_goes_on_after_the_client_commits(padding_ms):
    session = Spoken(padding_ms)
    session.hear(1.5)
    session.wish("input_audio_buffer.commit")
    session.hear(4.0)
    session.hear(1.0, level=0.0)
    middle = round(1.5 * TICKS_PER_S)
    assert session.turns == [(0, middle), (middle, within_a_window(round(5.5 * TICKS_PER_S) + PAUSE_TICKS))]


def test_speech_goes_on_after_the_client_clears():
    session = Spoken()
    session.hear(1.5)
    session.wish("input_audio_buffer.clear")
    session.hear(4.0)
    session.hear(1.0, level=0.0)
    middle = round(1.5 * TICKS_PER_S)
    assert session.turns == [(middle, within_a_window(round(5.5 * TICKS_PER_S) + PAUSE_TICKS))]


@pytest.mark.parametrize("wish", ["input_audio_buffer.commit", "input_audio_buffer.clear"])
def test_no_turn_begins_where_the_speech_was_over(wish):
    session = Spoken()
    session.hear(1.5)
    session.wish(wish)
    session.hear(3.0, level=0.0)
    assert session.types().count("input_audio_buffer.speech_started") == 1
    assert session.state.turn is None
    session.hear(1.0)
    assert session.state.turn is not None


def test_who_goes_on_speaking_interrupts_the_answer_to_the_first_part():
    session = Watched(limits=ServeLimits(buffer_s=3.0))
    session.do(sound(0.5), after_s=0.5)
    session.do(SpeechStarted(0))
    for _ in range(3):
        session.do(sound(1.0), after_s=1.0)
    assert session.state.response is not None
    assert actions_of(session, ListenAnew) == [ListenAnew(session.state.received)]
    session.do(sound(0.1), after_s=0.1)
    session.do(SpeechStarted(session.state.received - TICKS_PER_S // 10))
    assert session.last("response.done")["response"]["status"] == "cancelled"
    assert session.state.turn.start == session.state.buffer_start
