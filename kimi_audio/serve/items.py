"""Items of a conversation: messages, calls of functions, and their results. Sounds are kept elsewhere, by item."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from kimi_audio.chat.tools import Tool, parse_call
from kimi_audio.serve.session_config import FunctionTool

Role = Literal["user", "assistant", "system"]
Status = Literal["in_progress", "completed", "incomplete"]
ContentType = Literal["input_text", "input_audio", "output_text", "output_audio"]

_CONTENT = {
    "user": ("input_text", "input_audio"),
    "system": ("input_text",),
    "assistant": ("output_text", "output_audio"),
}
_BETA_CONTENT = {"text": "output_text", "audio": "output_audio"}  # of the assistant


@dataclass(frozen=True)
class Content:
    """A part of a message: text, or sound with what is said in it, if that is known."""

    type: ContentType
    text: str | None = None

    @property
    def is_audio(self) -> bool:
        """Whether it is sound."""
        return self.type.endswith("audio")

    def wire(self) -> dict[str, Any]:
        """Return what clients see."""
        return {"type": self.type, ("transcript" if self.is_audio else "text"): self.text}


@dataclass(frozen=True)
class ConversationItem:
    """An item of a conversation."""

    id: str
    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Role = "user"
    status: Status = "completed"
    content: tuple[Content, ...] = ()
    audio_ms: int = 0  # of what the assistant says
    speed: float = 1.0  # at which it is said
    written: str = ""  # of what the user said, while that is being written down
    told: str = ""  # of it, to the client
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    output: str = ""

    @property
    def chars(self) -> int:
        """How much text it holds."""
        return sum(len(part.text or "") for part in self.content) + len(self.output) + len(self.arguments)

    def wire(self) -> dict[str, Any]:
        """Return what clients see."""
        common = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        if self.type == "function_call":
            return common | {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        if self.type == "function_call_output":
            return common | {"call_id": self.call_id, "output": self.output}
        return common | {"role": self.role, "content": [part.wire() for part in self.content]}

    def with_text(self, index: int, text: str | None) -> "ConversationItem":
        """Return the item with another text in one of its parts."""
        content = tuple(replace(part, text=text) if place == index else part for place, part in enumerate(self.content))
        return replace(self, content=content)


def parse_item(values: Mapping[str, Any], id: str) -> tuple[ConversationItem, dict[int, str]]:
    """Return an item that a client made, and its sounds in base64 by their place in it.

    Raises:
        ValueError: it is none.
    """
    type = values.get("type", "message")
    if type == "function_call_output":
        return ConversationItem(id, type, call_id=_string(values, "call_id"), output=_string(values, "output")), {}
    if type == "function_call":
        texts: dict[str, Any] = {name: _string(values, name) for name in ("call_id", "name", "arguments")}
        return ConversationItem(id, type, role="assistant", **texts), {}
    if type != "message":
        raise ValueError(f"an item of type {str(type)[:50]!r} is not known; use message or function_call_output")
    asked: Any = values.get("role")
    role: Role | None = next((known for known in get_args(Role) if known == asked), None)
    if role is None:
        raise ValueError(f"an item has the role {', '.join(_CONTENT)}, not {str(asked)[:50]!r}")
    parts = values.get("content")
    if not isinstance(parts, list) or not parts:
        raise ValueError("the content of a message must be a list of parts")
    content, sounds = [], {}
    for index, part in enumerate(parts):
        made, sound = _parse_part(part, role)
        content.append(made)
        if sound is not None:
            sounds[index] = sound
    return ConversationItem(id, "message", role, content=tuple(content)), sounds


def _parse_part(part: Any, role: str) -> tuple[Content, str | None]:
    if not isinstance(part, Mapping):
        raise ValueError("a part of a message must be an object")
    type: Any = part.get("type")
    type = _BETA_CONTENT.get(str(type), type) if role == "assistant" else type
    if type not in _CONTENT[role]:
        raise ValueError(f"a message of the {role} holds {' or '.join(_CONTENT[role])}, not {str(type)[:50]!r}")
    if type == "input_audio":
        transcript = None if part.get("transcript") is None else _string(part, "transcript")
        return Content(type, transcript), _string(part, "audio")
    if type == "output_audio":  # what was said is all that a client can bring back
        return Content("output_text", _string(part, "transcript")), None
    return Content(type, _string(part, "text")), None


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string")
    return value


# ---------------------------------------------------------------------------------------------------------------------
# Functions


def plain_tools(tools: tuple[FunctionTool, ...]) -> dict[Tool, FunctionTool]:
    """Return the tools as the model knows them, by the functions that they stand for.

    Raises:
        ValueError: two functions or parameters have the same plain name, or one has no letter.
    """
    known: dict[Tool, FunctionTool] = {}
    for tool in tools:
        plain = Tool(plain_name(tool.name), tuple(plain_name(name) for name in tool.argument_names))
        if plain.name in {other.name for other in known}:
            raise ValueError(f"two functions are called {plain.name}")
        known[plain] = tool
    return known


def plain_name(name: str) -> str:
    """Return a name in the model's letters: ``getWeather`` is ``get_weather``."""
    words = "".join(f"_{char}" if char.isupper() and number else char for number, char in enumerate(name))
    kept = "".join(char if char.isascii() and char.isalnum() else "_" for char in words.lower())
    return "_".join(filter(None, kept.split("_")))


def function_call(text: str, tools: tuple[FunctionTool, ...]) -> tuple[str, str]:
    """Return name and arguments, as JSON, of the call that the model wrote.

    Raises:
        ValueError: it is no call of these functions.
    """
    known = plain_tools(tools)
    call = parse_call(text, list(known))
    plain, tool = next((plain, tool) for plain, tool in known.items() if plain.name == call.name)
    names = dict(zip(plain.arguments, tool.argument_names, strict=True))
    return tool.name, json.dumps({names[name]: value for name, value in call.arguments.items()})
