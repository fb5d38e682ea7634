"""What clients send over Realtime, checked, as typed events."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from kimi_audio.serve.session_config import Frozen
from kimi_audio.serve.strict_json import read_json


class ClientEvent(Frozen):
    """Any event; its id comes back in errors."""

    event_id: str | None = Field(default=None, max_length=512)


class SessionUpdate(ClientEvent):
    """Changes the configuration."""

    type: Literal["session.update"]
    session: dict[str, Any]


class Append(ClientEvent):
    """Brings sound, in base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class Commit(ClientEvent):
    """Makes the sound of the buffer a message of the user."""

    type: Literal["input_audio_buffer.commit"]


class Clear(ClientEvent):
    """Throws the sound of the buffer away."""

    type: Literal["input_audio_buffer.clear"]


class ItemCreate(ClientEvent):
    """Puts an item into the conversation: at its end, its beginning ("root"), or behind another item."""

    type: Literal["conversation.item.create"]
    item: dict[str, Any]
    previous_item_id: str | None = None


class ItemRetrieve(ClientEvent):
    """Asks for an item."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class ItemTruncate(ClientEvent):
    """Tells how much of what the assistant said was heard."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = Field(default=0, ge=0)
    audio_end_ms: int = Field(ge=0)


class ItemDelete(ClientEvent):
    """Takes an item out of the conversation."""

    type: Literal["conversation.item.delete"]
    item_id: str


class ResponseCreate(ClientEvent):
    """Asks for a response."""

    type: Literal["response.create"]
    response: dict[str, Any] = Field(default_factory=dict)

    @field_validator("response", mode="before")
    @classmethod
    def _null_is_absent(cls, response: Any) -> Any:
        return {} if response is None else response


class ResponseCancel(ClientEvent):
    """Ends the response under way."""

    type: Literal["response.cancel"]
    response_id: str | None = None


class OutputClear(ClientEvent):
    """Ends the response and what is left of it to be played, where the server plays it."""

    type: Literal["output_audio_buffer.clear"]


AnyClientEvent = (
    SessionUpdate
    | Append
    | Commit
    | Clear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
    | OutputClear
)
_ADAPTER: TypeAdapter[AnyClientEvent] = TypeAdapter(Annotated[AnyClientEvent, Field(discriminator="type")])


class InvalidEventError(ValueError):
    """A message of a client that is no event, or one that cannot be."""

    def __init__(self, message: str, event_id: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.event_id, self.param = event_id, param


def parse_event(text: str | bytes) -> AnyClientEvent:
    """Return the event of one message.

    Raises:
        InvalidEventError: it is none.
    """
    try:
        values = read_json(text)
    except ValueError:
        raise InvalidEventError("The message is not JSON.") from None
    if not isinstance(values, dict):
        raise InvalidEventError("An event is a JSON object with a type.")
    given = values.get("event_id")
    event_id = given if isinstance(given, str) else None
    try:
        return _ADAPTER.validate_python(from_beta(values))
    except ValidationError as error:
        raise InvalidEventError(*described(error, values.get("type")), event_id) from None


def described(error: ValidationError, type: Any = None) -> tuple[str]:
    """Return one sentence about the first mistake."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] in ("union_tag_invalid", "union_tag_not_found") and len(first["loc"]) == 0:
        return (f"The event type {str(type)[:100]!r} is not known.",)
    tagged = {"server_vad", "semantic_vad"}  # tags of unions, which are no places in the message
    place = ".".join(str(part) for part in first["loc"] if part != type and part not in tagged)
    return (f"{place}: {first['msg']}." if place else f"{first['msg']}.",)


# ---------------------------------------------------------------------------------------------------------------------
# Earlier spellings

_BETA_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_BETA_PLACES = {
    "input_audio_format": ("input", "format"),
    "output_audio_format": ("output", "format"),
    "input_audio_transcription": ("input", "transcription"),
    "input_audio_noise_reduction": ("input", "noise_reduction"),
    "turn_detection": ("input", "turn_detection"),
    "voice": ("output", "voice"),
    "speed": ("output", "speed"),
}
_BETA_NAMES = {"modalities": "output_modalities", "max_response_output_tokens": "max_output_tokens"}


def from_beta(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with today's names for those of the beta."""
    if event.get("type") == "transcription_session.update" and isinstance(event.get("session"), dict):
        event = event | {"type": "session.update", "session": event["session"] | {"type": "transcription"}}
    for name in ("session", "response"):
        if isinstance(event.get(name), dict):
            event = event | {name: _config_from_beta(event[name])}
    return event


def _config_from_beta(config: dict[str, Any]) -> dict[str, Any]:
    values = {_BETA_NAMES.get(name, name): value for name, value in config.items() if name not in _BETA_PLACES}
    if not isinstance(values.get("audio", {}), dict):
        return values
    audio = {side: dict(given) for side, given in values.get("audio", {}).items() if isinstance(given, dict)}
    for name, (side, field) in _BETA_PLACES.items():
        if name in config:
            value = config[name]
            if field == "format" and isinstance(value, str):
                value = {"type": _BETA_FORMATS.get(value, value)}
            audio.setdefault(side, {}).setdefault(field, value)
    return values | ({"audio": audio} if audio else {})
