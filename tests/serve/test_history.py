"""What the model is told of a conversation."""

import asyncio

import pytest
import torch

from kimi_audio.chat import Message
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.serve.history import Sounds, within
from kimi_audio.serve.items import Content, ConversationItem, function_call, plain_name, plain_tools
from kimi_audio.serve.session_config import FunctionTool


def tokens(count: int) -> AudioTokens:
    return AudioTokens(torch.arange(count), torch.zeros(count, 2))


def heard(*counts: int, most: int) -> list[tuple[str, int | str]]:
    """Return type and length, or text, of the messages of as many items with sounds of these lengths."""

    async def messages() -> list[Message]:
        sounds = Sounds(most)
        for number, count in enumerate(counts):
            future = asyncio.get_running_loop().create_future()
            future.set_result(tokens(count))
            sounds.hear(f"item_{number}", 0, future)
        items = [
            ConversationItem(f"item_{number}", content=(Content("input_audio", f"words {number}"),))
            for number in range(len(counts))
        ]
        return await sounds.messages(items)

    return [
        (one.message_type, len(one.content.codes) if one.message_type == "audio" else one.content)
        for one in asyncio.run(messages())
    ]


def test_old_sounds_give_way_to_their_words():
    assert heard(10, 20, 30, most=60) == [("audio", 10), ("audio", 20), ("audio", 30)]
    assert heard(10, 20, 30, most=50) == [("text", "words 0"), ("audio", 20), ("audio", 30)]


def test_a_sound_that_cannot_be_heard_fails_its_own_answer_alone():
    async def messages(*items: ConversationItem) -> list[Message]:
        sounds = Sounds(100)
        future = asyncio.get_running_loop().create_future()
        future.set_exception(ValueError("too short"))
        sounds.hear("a", 0, future)
        return await sounds.messages(items)

    unheard = ConversationItem("a", content=(Content("input_audio", "its words"),))
    later = ConversationItem("b", content=(Content("input_text", "hello"),))
    assert [one.content for one in asyncio.run(messages(unheard, later))] == ["its words", "hello"]
    with pytest.raises(ValueError, match="too short"):
        asyncio.run(messages(unheard))


def test_what_is_cut_is_forgotten_token_by_token():
    sounds = Sounds(100)
    sounds.speak("a", range(10))
    sounds.cut("a", 250)
    item = ConversationItem("a", role="assistant", content=(Content("output_audio", "hello"),))
    (message,) = asyncio.run(sounds.messages([item]))
    assert message.content[0].codes.tolist() == [0, 1, 2]
    sounds.cut("a", 79)
    (message,) = asyncio.run(sounds.messages([item]))
    assert (message.message_type, message.content) == ("text", "hello")


def test_the_oldest_messages_go_and_the_opening_stays():
    opening = [Message("system", "text", "be brief")]
    messages = [Message("user", "text", str(number)) for number in range(5)]
    fitting = within(opening, messages, 3, len)
    assert [message.content for message in fitting] == ["be brief", "3", "4"]
    assert len(within(opening, messages, 0, len)) == 2  # the last one is always there


def test_functions_are_called_by_plain_names():
    tool = FunctionTool(name="getWeather", parameters={"properties": {"cityName": {}, "days": {}}})
    assert function_call("<call>get_weather city_name=new_york days=3</call>", (tool,)) == (
        "getWeather",
        '{"cityName": "new york", "days": 3}',
    )
    assert [plain_name(name) for name in ("HTTPGet", "a-b", "x.y", "lamp2", "7")] == [
        "h_t_t_p_get",
        "a_b",
        "x_y",
        "lamp2",
        "7",
    ]
    for wrong in ((tool, tool), (FunctionTool(name="7"),)):
        with pytest.raises(ValueError, match=r"called get_weather|no name"):
            plain_tools(wrong)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"minutes": 5, "room": "Living Room"}', "<call>set_timer minutes=5 room=living_room</call>"),
        ('{"list": [1], "on": true}', "<call>set_timer on=true</call>"),
        ("no json", "<call>set_timer</call>"),
        ("3", "<call>set_timer</call>"),
    ],
)
def test_calls_of_clients_are_written_as_far_as_they_can_be(arguments, text):
    item = ConversationItem("a", "function_call", "assistant", name="setTimer", arguments=arguments)
    (message,) = asyncio.run(Sounds(10).messages([item]))
    assert message.content == text


@pytest.mark.parametrize(("output", "text"), [("a\n<b>", "<result>a b</result>"), ("", "<result>done</result>")])
def test_results_are_one_line(output, text):
    (message,) = asyncio.run(Sounds(10).messages([ConversationItem("a", "function_call_output", output=output)]))
    assert (message.role, message.content) == ("user", text)
