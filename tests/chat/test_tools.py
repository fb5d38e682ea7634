"""Tool calls as text: writing and parsing undo each other, and nothing else is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.chat.tools import (
    Tool,
    ToolCall,
    is_call,
    parse_call,
    parse_result,
    parse_tools,
    write_call,
    write_result,
    write_tools,
)

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
WORDS = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=3).map(" ".join)
CALLS = st.builds(ToolCall, NAMES, st.dictionaries(NAMES, st.integers() | WORDS, max_size=4))
TOOLS = st.lists(
    st.builds(Tool, NAMES, st.lists(NAMES, unique=True, max_size=4).map(tuple)),
    min_size=1,
    max_size=4,
    unique_by=lambda tool: tool.name,
).map(tuple)
HOUSE = (Tool("time"), Tool("timer", ("minutes", "seconds")), Tool("lamp", ("state", "room")))


def test_texts_as_documented():
    assert write_call(ToolCall("time")) == "<call>time</call>"
    assert write_call(ToolCall("timer", {"minutes": 5})) == "<call>timer minutes=5</call>"
    assert write_call(ToolCall("lamp", {"state": "on", "room": "living room"})) == (
        "<call>lamp state=on room=living_room</call>"
    )
    assert write_tools(HOUSE) == "<tools>time; timer minutes seconds; lamp state room</tools>"
    assert write_result("twenty past four") == "<result>twenty past four</result>"


@given(CALLS)
def test_calls_round_trip(call: ToolCall):
    text = write_call(call)
    assert parse_call(text) == call
    assert list(parse_call(text).arguments) == list(call.arguments)
    assert is_call(text)


@given(TOOLS)
def test_tools_round_trip(tools: tuple[Tool, ...]):
    assert parse_tools(write_tools(tools)) == tools


@given(st.text())
def test_results_round_trip_or_are_refused(text: str):
    try:
        message = write_result(text)
    except ValueError:
        assert not text or set(text) & set("<>\n")
    else:
        assert parse_result(message) == text


@given(st.text(alphabet="<call>/=_ ;timer0519-", max_size=30).map(lambda text: f"<call>{text}</call>"))
def test_what_parses_is_what_would_be_written(text: str):
    try:
        call = parse_call(text)
    except ValueError:
        return
    assert write_call(call) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<call></call>",
        "<call>time",
        "<call>time</call> ",
        "<call>time</call><call>time</call>",
        "it is <call>time</call>",
        "<call>timer  minutes=5</call>",
        "<call>timer minutes=05</call>",
        "<call>timer minutes=-0</call>",
        "<call>timer minutes=5 minutes=6</call>",
        "<call>timer minutes= 5</call>",
        "<call>timer minutes</call>",
        "<call>lamp room=living__room</call>",
        "<call>lamp room=_room</call>",
        "<call>Timer minutes=5</call>",
        "<call>timer\nminutes=5</call>",
        "<call>timer minutes=5\n</call>",
        "<call>timer minutes=٥</call>",
    ],
)
def test_anything_else_is_no_call(text: str):
    with pytest.raises(ValueError, match=r"."):
        parse_call(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<call>oven</call>", "no tool oven"),
        ("<call>timer hours=1</call>", "no argument hours"),
        ("<call>time zone=london</call>", "it has none"),
        ("<call>timer seconds=1 minutes=2</call>", "not in their order"),
    ],
)
def test_only_listed_tools_are_called(text: str, problem: str):
    parse_call(text)
    with pytest.raises(ValueError, match=problem):
        parse_call(text, HOUSE)
    assert parse_call("<call>timer seconds=2</call>", HOUSE) == ToolCall("timer", {"seconds": 2})


@pytest.mark.parametrize("text", ["<tools></tools>", "<tools>time; </tools>", "<tools>time; time</tools>", "time"])
def test_lists_of_tools_are_strict(text: str):
    with pytest.raises(ValueError, match=r"."):
        parse_tools(text)


@pytest.mark.parametrize("arguments", [{"on": True}, {"x": 1.5}, {"x": "Up"}, {"x": "a_b"}, {"x": ""}, {"X": 1}])
def test_values_that_cannot_be_written(arguments: dict):
    with pytest.raises(ValueError, match=r"argument"):
        ToolCall("tool", arguments)


def test_a_call_is_known_from_its_first_characters():
    assert all(is_call("<call>timer"[:end]) for end in range(1, 11))
    assert not any(map(is_call, ("", "<result>", "It is four.", "<cat>")))
