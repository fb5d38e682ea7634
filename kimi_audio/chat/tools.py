r"""Tool calls as text: what the assistant may call, how it calls, and what it is told in return.

A system message lists the tools with the names of their arguments; without it the model calls nothing. A message of
the assistant is either one call and nothing else, or what it says to the user. The result of a call is a message of
the user, which the assistant then puts into words::

    system     <tools>time; timer minutes seconds; lamp state room</tools>
    user       (says "please wake me in five minutes")
    assistant  <call>timer minutes=5</call>
    user       <result>started</result>
    assistant  (says "the timer is set for five minutes")

The grammar (ABNF, case-sensitive, one space wherever a space stands)::

    tools    = "<tools>" tool *("; " tool) "</tools>"
    tool     = name *(" " name)                         ; its name, then those of its arguments
    call     = "<call>" name *(" " name "=" value) "</call>"
    result   = "<result>" 1*character "</result>"       ; any text of one line without "<" and ">"
    value    = number / words
    number   = ["-"] ("0" / nonzero *digit)             ; "-0" is none
    words    = 1*letter *("_" 1*letter)                 ; "living_room" is "living room"
    name     = letter *(letter / digit / "_")
    letter   = "a" to "z"

Every call has exactly one text: arguments stand in the order of the tool's list, so that ``write_call`` and
``parse_call`` undo each other. Quotes, brackets and escapes, on which small models stumble, are not needed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Value = int | str

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NUMBER = re.compile(r"-?[1-9][0-9]*|0")
_WORDS = re.compile(r"[a-z]+(?:_[a-z]+)*")
_RESULT = re.compile(r"<result>([^<>\n]+)</result>")
_CALL_START = "<call>"


@dataclass(frozen=True)
class Tool:
    """A tool and the names of its arguments, in their order.

    Raises:
        ValueError: a name is not lower-case letters, digits and underscores, or stands twice.
    """

    name: str
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.arguments):
            _check_name(name)
        if len(set(self.arguments)) < len(self.arguments):
            raise ValueError(f"the tool {self.name} names an argument twice")


@dataclass(frozen=True)
class ToolCall:
    """A call: the tool's name and the arguments given, numbers or lower-case words with single spaces.

    Raises:
        ValueError: a name or a value cannot be written in the grammar.
    """

    name: str
    arguments: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.name, *self.arguments):
            _check_name(name)
        for name, value in self.arguments.items():
            is_number = isinstance(value, int) and not isinstance(value, bool)
            if not is_number and not (isinstance(value, str) and _WORDS.fullmatch(value.replace(" ", "_"))):
                raise ValueError(f"the argument {name} must be a whole number or lower-case words, not {value!r}")
            if isinstance(value, str) and "_" in value:
                raise ValueError(f"the argument {name} must have spaces between its words, not underscores")


def write_tools(tools: Sequence[Tool]) -> str:
    """Return the system message that lists the tools.

    Raises:
        ValueError: there is none, or two have the same name.
    """
    if not tools:
        raise ValueError("no tools to list; leave the system message out")
    if len({tool.name for tool in tools}) < len(tools):
        raise ValueError("two tools have the same name")
    return "<tools>" + "; ".join(" ".join((tool.name, *tool.arguments)) for tool in tools) + "</tools>"


def parse_tools(text: str) -> tuple[Tool, ...]:
    """Read what ``write_tools`` writes.

    Raises:
        ValueError: the text is anything else.
    """
    body = _body(text, "tools")
    tools = []
    for entry in body.split("; "):
        name, *arguments = entry.split(" ")
        tools.append(Tool(name, tuple(arguments)))
    write_tools(tools)  # no name twice
    return tuple(tools)


def is_call(text: str) -> bool:
    """Tell whether a message of the assistant means to be a call, well formed or not; true for its first characters."""
    return text.startswith(_CALL_START) or (bool(text) and _CALL_START.startswith(text))


def write_call(call: ToolCall) -> str:
    """Return the assistant's message."""
    values = {name: str(value).replace(" ", "_") for name, value in call.arguments.items()}
    return "<call>" + " ".join((call.name, *(f"{name}={value}" for name, value in values.items()))) + "</call>"


def parse_call(text: str, tools: Sequence[Tool] | None = None) -> ToolCall:
    """Read what ``write_call`` writes.

    Args:
        text: the whole message of the assistant.
        tools: if given, only these may be called, with these arguments in their order; any may be left out.

    Raises:
        ValueError: the text is no call, or calls what is not there.
    """
    name, *parts = _body(text, "call").split(" ")
    arguments: dict[str, Value] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key in arguments:
            raise ValueError(f"{part!r} in the call is not one argument=value that was not there before")
        arguments[key] = _value(value)
    call = ToolCall(name, arguments)
    if tools is not None:
        _check_call(call, tools)
    return call


def write_result(text: str) -> str:
    """Return the user's message with the result of a call.

    Raises:
        ValueError: the text is empty, has a line break, or has "<" or ">".
    """
    message = f"<result>{text}</result>"
    parse_result(message)
    return message


def parse_result(text: str) -> str:
    """Read what ``write_result`` writes.

    Raises:
        ValueError: the text is anything else.
    """
    match = _RESULT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no result of a call: one line between <result> and </result>, without < and >")
    return match[1]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a tool or argument; use lower-case letters, digits and underscores")


def _body(text: str, tag: str) -> str:
    start, end = f"<{tag}>", f"</{tag}>"
    if not (text.startswith(start) and text.endswith(end)) or len(text) <= len(start) + len(end):
        raise ValueError(f"{text!r} does not stand between {start} and {end}")
    return text[len(start) : -len(end)]


def _value(text: str) -> Value:
    if _NUMBER.fullmatch(text):
        return int(text)
    if _WORDS.fullmatch(text):
        return text.replace("_", " ")
    raise ValueError(f"{text!r} in the call is neither a whole number nor lower-case words joined by underscores")


def _check_call(call: ToolCall, tools: Sequence[Tool]) -> None:
    known = {tool.name: tool for tool in tools}
    if call.name not in known:
        raise ValueError(f"there is no tool {call.name}; there are {', '.join(known)}")
    allowed = known[call.name].arguments
    if unknown := [name for name in call.arguments if name not in allowed]:
        raise ValueError(f"the tool {call.name} has no argument {unknown[0]}; it has {', '.join(allowed) or 'none'}")
    if [name for name in allowed if name in call.arguments] != list(call.arguments):
        raise ValueError(f"the arguments of {call.name} are not in their order: {', '.join(allowed)}")
