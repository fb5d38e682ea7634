"""What holds for every session, whatever happens to it: an oracle that looks at all actions of all steps."""

from dataclasses import dataclass, field
from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from kimi_audio.serve.session import begin, step
from kimi_audio.serve.session_config import SessionConfig
from kimi_audio.serve.session_state import (
    Action,
    CancelReply,
    Close,
    Connected,
    Discard,
    Happening,
    Hear,
    HearSoFar,
    Prepare,
    Rules,
    Send,
    SessionState,
    StartReply,
    Store,
)
from kimi_audio.serve.settings import ServeLimits

OPENAI_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
OWN = {"session.expiring"}
PAIRS = {
    "response.output_item.added": "response.output_item.done",
    "response.content_part.added": "response.content_part.done",
}


@dataclass
class Watched:
    """A session on a virtual clock; every step is checked."""

    config: SessionConfig = field(default_factory=SessionConfig)
    limits: ServeLimits = field(default_factory=ServeLimits)
    now_s: float = 100.0
    has_tracks: bool = False

    def __post_init__(self) -> None:
        self.state: SessionState = begin(
            "sess_test",
            self.config,
            Rules(self.limits, lambda name: name != "nobody"),
            self.now_s,
            has_tracks=self.has_tracks,
        )
        self.sent: list[dict] = []
        self.actions: list[Action] = []
        self.live: str | None = None
        self.ended: set[str] = set()
        self.open_parts: list[str] = []
        self.stored = self.taken = 0  # ticks
        self.running: set[str] = set()  # replies that the model makes
        self.ids: set[str] = set()
        self.do(Connected())

    def do(self, happening: Happening, after_s: float = 0.0) -> list[Action]:
        """Let something happen; returns what is to be done."""
        self.now_s += after_s
        was_closed = self.state.is_closed
        self.state, actions = step(self.state, happening, self.now_s)
        assert not (was_closed and actions)
        for number, action in enumerate(actions):
            self._look_at(action)
            assert not isinstance(action, Close) or number == len(actions) - 1
        assert (self.state.response.id if self.state.response else None) == self.live
        assert self.running <= {self.live}, "the model works on what nobody waits for"
        assert self.state.buffer_start <= self.state.received == self.stored
        self.actions += actions
        return list(actions)

    def types(self) -> list[str]:
        """Return the names of all events that were sent."""
        return [event["type"] for event in self.sent]

    def last(self, type: str) -> dict:
        """Return the latest event of a name."""
        return next(event for event in reversed(self.sent) if event["type"] == type)

    def _look_at(self, action: Action) -> None:
        match action:
            case Send(event):
                self._event(dict(event))
            case Store(start, _):
                assert start == self.stored, "sound is lost or doubled"
                self.stored = self.state.received  # all of this step
            case Hear(_, start, end, _):
                assert self.taken <= start < end <= self.stored, "sound is committed twice or was thrown away"
                self.taken = end
            case HearSoFar(start, since, end):
                assert self.taken <= start <= since <= end <= self.stored, "heard early is what may be committed"
            case Prepare(item_id, start, end, items):
                assert self.taken <= start < end <= self.stored
                assert items[-1].id == item_id
                assert self.live is None, "a reply is prepared beside another"
            case Discard(before):
                assert before >= self.taken
                self.taken = before
            case StartReply(id, items, _):
                self.running.add(id)
                assert len({item.id for item in items}) == len(items)
            case CancelReply(id):
                self.running.discard(id)

    def _event(self, event: dict) -> None:
        assert event["event_id"] not in self.ids
        self.ids.add(event["event_id"])
        self.sent.append(event)
        type = event["type"]
        if type not in OWN:
            parsed = OPENAI_EVENTS.validate_python(event)
            assert parsed.type == type
        if type == "response.created":
            assert self.live is None, "two responses at once"
            self.live = event["response"]["id"]
            assert self.live not in self.ended
        elif type == "response.done":
            assert event["response"]["id"] == self.live
            assert not self.open_parts, "something was opened and not closed"
            assert event["response"]["status"] != "in_progress"
            self.ended.add(event["response"]["id"])
            self.running.discard(event["response"]["id"])
            self.live = None
        elif type.startswith("response."):
            assert event["response_id"] == self.live, "an event of a response that has ended"
        if type in PAIRS:
            self.open_parts.append(PAIRS[type])
        elif type in PAIRS.values():
            assert self.open_parts.pop() == type
