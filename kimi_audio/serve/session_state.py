"""What a Realtime session is at a moment, what may happen to it, and what it then wants done: plain, frozen data.

Positions in the user's sound are ticks since the session began, whatever its format: 1/24000 s, so that a sample of
24 kHz is one tick and one of 8 kHz is three. Moments are seconds of a clock that the caller chooses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kimi_audio.lm.rules import FinishReason
from kimi_audio.serve.client_events import AnyClientEvent, InvalidEventError
from kimi_audio.serve.items import Content, ConversationItem
from kimi_audio.serve.session_config import ResponseConfig, SessionConfig, TurnDetection
from kimi_audio.serve.settings import ServeLimits

TICKS_PER_S = 24_000
PAUSE_TICKS = TICKS_PER_S * 128 // 1000  # of silence after speech: what a turn keeps of it


def ms(ticks: int) -> int:
    """Return ticks as milliseconds."""
    return ticks * 1000 // TICKS_PER_S


# ---------------------------------------------------------------------------------------------------------------------
# The state


@dataclass(frozen=True)
class Rules:
    """What is the same for all sessions of a server."""

    limits: ServeLimits = field(default_factory=ServeLimits)
    is_voice: Callable[[str], bool] = lambda _: True


@dataclass(frozen=True)
class Turn:
    """The user is speaking."""

    item_id: str
    start: int  # tick
    written_end: int = 0  # the tick up to which it was to be written down so far
    is_written: bool = False  # at this moment
    guess: str = ""  # what was written down last; its end may change yet
    told: str = ""  # of it, to the client: what does not change any more
    pause_end: int | None = None  # where the turn ends if the user, who is silent now, says no more
    is_prepared: bool = False  # for that end

    @property
    def item(self) -> ConversationItem:
        """What becomes of it."""
        return ConversationItem(self.item_id, content=(Content("input_audio"),), told=self.told)


@dataclass(frozen=True)
class Moments:
    """When the parts of an exchange happened, for its latency; None has not happened."""

    speech_end_s: float | None = None
    commit_s: float | None = None
    created_s: float = 0.0
    first_text_s: float | None = None
    first_sound_s: float | None = None


@dataclass(frozen=True)
class Response:
    """The response under way. What it is, words or a call, is open until its first characters are known."""

    id: str
    config: ResponseConfig
    moments: Moments
    kind: Literal["open", "message", "call"] = "open"
    item: ConversationItem | None = None
    text: str = ""
    held: "tuple[ReplyChunk, ...]" = ()  # came while it was open
    sound_ticks: int = 0
    given_ids: tuple[str, ...] = ()  # of items that only it is to see

    @property
    def is_in_conversation(self) -> bool:
        """Whether it becomes part of the conversation, or stands beside it."""
        return self.config.conversation == "auto"


@dataclass(frozen=True)
class Playback:
    """What the server plays of one response."""

    response_id: str
    item_id: str
    is_started: bool = False


@dataclass(frozen=True)
class SessionState:
    """A session. Over WebRTC it has tracks: the user's sound comes by one, and the server plays replies on another."""

    id: str
    rules: Rules
    config: SessionConfig
    began_s: float
    active_s: float  # when the client last sent something
    appended_s: float  # when it last sent sound
    has_tracks: bool = False
    count: int = 0  # of ids that were given
    items: tuple[ConversationItem, ...] = ()
    received: int = 0  # ticks
    buffer_start: int = 0  # the first tick that is neither committed nor thrown away
    burst_s: float = 0.0  # how far the client is ahead of the speed at which it may send
    turn: Turn | None = None
    heard: tuple[int, int] | None = None  # ticks: from where to where the model hears what is not committed yet
    last_turn: Moments | None = None  # of the turn that the next response answers
    response: Response | None = None
    response_wanted: bool = False  # as soon as the one under way has ended
    playbacks: tuple[Playback, ...] = ()  # where there are tracks: what is not played to its end yet, in this order
    has_spoken: bool = False  # from then on the voice stays
    nudge_s: float | None = None  # when the silence of the user is taken for a turn
    is_warned: bool = False  # that it is about to expire
    is_draining: bool = False
    is_closed: bool = False


# ---------------------------------------------------------------------------------------------------------------------
# What happens


@dataclass(frozen=True)
class Connected:
    """The client is there."""


@dataclass(frozen=True)
class FromClient:
    """A message of the client."""

    event: AnyClientEvent


@dataclass(frozen=True)
class BadMessage:
    """A message of the client that is no event."""

    error: InvalidEventError


@dataclass(frozen=True)
class Appended:
    """Sound of the client, decoded."""

    ticks: int
    sound: bytes = b""
    event_id: str | None = None


@dataclass(frozen=True)
class SpeechStarted:
    """The turn detector heard speech begin."""

    start: int


@dataclass(frozen=True)
class SpeechPaused:
    """The turn detector hears silence; if it lasts, the turn is over, and ends here."""

    end: int


@dataclass(frozen=True)
class SpeechResumed:
    """The turn detector hears speech of the same turn again."""


@dataclass(frozen=True)
class SpeechStopped:
    """The turn detector heard a turn end: the last speech, and the silence after it."""

    speech_end: int
    end: int


@dataclass(frozen=True)
class ReplyChunk:
    """A piece of a reply: text, sound in base64, and the codes that it is made of."""

    response_id: str
    text: str = ""
    sound: str = ""
    ticks: int = 0
    codes: tuple[int, ...] = ()


@dataclass(frozen=True)
class ReplyEnded:
    """A reply is complete."""

    response_id: str
    reason: FinishReason
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ReplyFailed:
    """A reply could not be made."""

    response_id: str
    message: str
    code: str = "internal_error"


@dataclass(frozen=True)
class PlaybackStarted:
    """The first sound of a response is played."""

    response_id: str


@dataclass(frozen=True)
class PlaybackStopped:
    """The last sound of a response was played."""

    response_id: str


@dataclass(frozen=True)
class PlaybackCleared:
    """All that was to be played is thrown away; how much was played of the responses that had begun."""

    played_ms: Mapping[str, int]


@dataclass(frozen=True)
class TranscriptSoFar:
    """What the user has said so far in a turn that goes on; None: there was no time to find out."""

    item_id: str
    text: str | None


@dataclass(frozen=True)
class TranscriptPart:
    """More of what the user said."""

    item_id: str
    text: str


@dataclass(frozen=True)
class TranscriptEnded:
    """All of what the user said."""

    item_id: str
    text: str
    seconds: float


@dataclass(frozen=True)
class TranscriptFailed:
    """What the user said could not be written down."""

    item_id: str
    message: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class Drain:
    """The server is about to stop."""

    within_s: float


Happening = (
    Connected
    | FromClient
    | BadMessage
    | Appended
    | SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | SpeechStopped
    | ReplyChunk
    | ReplyEnded
    | ReplyFailed
    | PlaybackStarted
    | PlaybackStopped
    | PlaybackCleared
    | TranscriptSoFar
    | TranscriptPart
    | TranscriptEnded
    | TranscriptFailed
    | Tick
    | Drain
)


# ---------------------------------------------------------------------------------------------------------------------
# What is to be done


@dataclass(frozen=True)
class Send:
    """Tell the client."""

    event: Mapping[str, Any]

    @property
    def type(self) -> str:
        """The event's name."""
        return self.event["type"]


@dataclass(frozen=True)
class Store:
    """Keep sound of the client; it begins at a tick."""

    start: int
    sound: bytes


@dataclass(frozen=True)
class Discard:
    """Forget the client's sound before a tick."""

    before: int


@dataclass(frozen=True)
class Detect:
    """Listen for turns in this way from now on; None listens no more.

    ``goes_on``: a turn has begun, which ends as the new way would have it.
    """

    by: TurnDetection | None
    goes_on: bool = False


@dataclass(frozen=True)
class ListenAnew:
    """The turn was ended otherwise: take speech from a tick on, even if it goes on there, for the begin of another."""

    start: int


@dataclass(frozen=True)
class Hear:
    """Make a part of the client's sound the sound of an item, and write it down if the client wants that."""

    item_id: str
    start: int
    end: int
    is_transcribed: bool


@dataclass(frozen=True)
class HearSoFar:
    """Let the model hear more of a turn that goes on, which it is to reply to after these items."""

    start: int  # of the turn
    since: int  # up to here it was heard before
    end: int
    items: tuple[ConversationItem, ...]
    config: ResponseConfig


@dataclass(frozen=True)
class Prepare:
    """Hear a turn that is probably over, and begin a reply that nobody is told yet, if nobody waits for the model."""

    item_id: str
    start: int
    end: int
    items: tuple[ConversationItem, ...]  # the turn is the last of them
    config: ResponseConfig


@dataclass(frozen=True)
class GiveUp:
    """Forget what was heard and prepared of the turn that goes on."""


@dataclass(frozen=True)
class WriteSoFar:
    """Write down a turn that goes on, if there is nothing more important to do."""

    item_id: str
    start: int
    end: int


@dataclass(frozen=True)
class HearGiven:
    """Make a recording in base64, which is in the format of the client's sound, the sound of a part of an item."""

    item_id: str
    index: int
    sound: str


@dataclass(frozen=True)
class Forget:
    """Forget the sound of an item."""

    item_id: str


@dataclass(frozen=True)
class KeepSpeech:
    """Remember codes that the assistant speaks in an item."""

    item_id: str
    codes: tuple[int, ...]


@dataclass(frozen=True)
class CutSpeech:
    """Remember only the beginning of what the assistant spoke in an item."""

    item_id: str
    end_ms: int


@dataclass(frozen=True)
class StartReply:
    """Let the model reply to some items."""

    response_id: str
    items: tuple[ConversationItem, ...]
    config: ResponseConfig


@dataclass(frozen=True)
class CancelReply:
    """Let the model stop."""

    response_id: str


@dataclass(frozen=True)
class Play:
    """Play sound of a response, in base64, after what is to be played already."""

    response_id: str
    sound: str


@dataclass(frozen=True)
class EndPlayback:
    """No more sound of a response comes."""

    response_id: str


@dataclass(frozen=True)
class ClearPlayback:
    """Play nothing of what is to be played; ``PlaybackCleared`` follows at once."""


@dataclass(frozen=True)
class Measure:
    """Take note of how a response went: how it ended and how long its parts took."""

    status: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Close:
    """End the connection."""

    code: int
    reason: str


Action = (
    Send
    | Store
    | Discard
    | Detect
    | ListenAnew
    | Hear
    | HearSoFar
    | Prepare
    | GiveUp
    | WriteSoFar
    | HearGiven
    | Forget
    | KeepSpeech
    | CutSpeech
    | StartReply
    | CancelReply
    | Play
    | EndPlayback
    | ClearPlayback
    | Measure
    | Close
)
