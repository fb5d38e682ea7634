"""What the model is told of a conversation: its items as messages, with their sounds as tokens."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from kimi_audio.chat import Message
from kimi_audio.chat.tools import ToolCall, Value, write_call, write_result, write_tools
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.serve.items import ConversationItem, plain_name, plain_tools
from kimi_audio.serve.session_config import ResponseConfig
from kimi_audio.serve.strict_json import read_json

logger = logging.getLogger(__name__)

TOKEN_MS = 1000 * OUTPUT_SAMPLES_PER_TOKEN // OUTPUT_RATE_HZ
MAX_RESULT_CHARS = 2000


class Sounds:
    """The sounds of the items of one conversation: tokens of what was heard, codes of what was said.

    Args:
        most_tokens: of what was heard; the oldest goes. More than the model's context is of no use.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most_tokens = most_tokens
        self._heard: dict[tuple[str, int], asyncio.Future[AudioTokens]] = {}
        self._spoken: dict[str, list[int]] = {}

    def hear(self, item_id: str, index: int, tokens: "asyncio.Future[AudioTokens]") -> None:
        """Take what will be known of a sound of the user."""
        self._heard[item_id, index] = tokens
        known = {key: len(one.result().codes) for key, one in self._heard.items() if _is_known(one)}
        total = sum(known.values())
        for key, count in known.items():
            if total <= self._most_tokens:
                break
            total -= count
            del self._heard[key]

    def speak(self, item_id: str, codes: Iterable[int]) -> None:
        """Take more of what the assistant says."""
        self._spoken.setdefault(item_id, []).extend(codes)

    def cut(self, item_id: str, end_ms: float) -> None:
        """Keep of what the assistant said only the tokens that were heard to their end."""
        codes = self._spoken.get(item_id, [])
        del codes[int(end_ms) // TOKEN_MS :]

    def forget(self, item_id: str) -> None:
        """Forget the sounds of an item."""
        self._spoken.pop(item_id, None)
        for key in [key for key in self._heard if key[0] == item_id]:
            del self._heard[key]

    def known(self) -> tuple[dict[tuple[str, int], AudioTokens], dict[str, list[int]]]:
        """Return what is known by now: what was heard, by item and part, and what was spoken, by item."""
        heard = {key: one.result() for key, one in self._heard.items() if _is_known(one)}
        return heard, {item_id: [*codes] for item_id, codes in self._spoken.items()}

    def restore(self, heard: Mapping[tuple[str, int], AudioTokens], spoken: Mapping[str, list[int]]) -> None:
        """Take what was known of a conversation that goes on."""
        for (item_id, index), tokens in heard.items():
            future = asyncio.get_running_loop().create_future()
            future.set_result(tokens)
            self.hear(item_id, index, future)
        for item_id, codes in spoken.items():
            self.speak(item_id, codes)

    async def messages(self, items: Iterable[ConversationItem]) -> list[Message]:
        """Return the items as messages; sounds that are not encoded yet are waited for.

        Of a sound that was forgotten, or that could not be heard, what was said in it stands there, if it is known.

        Raises:
            Exception: a sound of the last item, which is to be answered, could not be heard.
        """
        found, listed = [], [*items]
        for number, item in enumerate(listed):
            for index, part in enumerate(item.content):
                tokens = await self._tokens(item.id, index, is_answered=number == len(listed) - 1)
                if tokens is not None:
                    found.append(Message("user", "audio", tokens))
                elif item.role != "assistant" and part.text:
                    found.append(Message(item.role, "text", part.text))
                elif part.text:
                    found.append(self._said(item, part.text))
            found += _function_messages(item)
        return found

    async def _tokens(self, item_id: str, index: int, *, is_answered: bool) -> AudioTokens | None:
        sound = self._heard.get((item_id, index))
        if sound is None:
            return None
        try:
            return await asyncio.shield(sound)
        except Exception as error:
            if is_answered:
                raise
            # It was told when it was to be answered, and must not be the end of all later replies.
            logger.warning("a sound of a conversation cannot be heard: %s", type(error).__name__)
            return None

    def _said(self, item: ConversationItem, text: str) -> Message:
        codes = self._spoken.get(item.id)
        if not codes:
            return Message("assistant", "text", text)
        return Message("assistant", "audio-text", (AudioTokens(torch.tensor(codes)), text))


def _is_known(tokens: "asyncio.Future[AudioTokens]") -> bool:
    return tokens.done() and not tokens.cancelled() and tokens.exception() is None


def opening(config: ResponseConfig) -> list[Message]:
    """Return what stands before the conversation: the instructions, and the functions that may be called."""
    found = [Message("system", "text", config.instructions)] if config.instructions.strip() else []
    if config.usable_tools:
        found.append(Message("system", "text", write_tools(list(plain_tools(config.usable_tools)))))
    return found


def within(opening: list[Message], messages: list[Message], room_tokens: int, count: Any) -> list[Message]:
    """Return the opening and the latest messages, as many as there is room for, at least the last one.

    Args:
        opening: stays.
        messages: the oldest of them go.
        room_tokens: of the model.
        count: returns the tokens of messages.
    """
    first = 0
    while first < len(messages) - 1 and count([*opening, *messages[first:]]) > room_tokens:
        first += 1
    return [*opening, *messages[first:]]


def _function_messages(item: ConversationItem) -> Iterator[Message]:
    if item.type == "function_call":
        yield Message(
            "assistant", "text", write_call(ToolCall(plain_name(item.name) or "unknown", _plain_arguments(item)))
        )
    elif item.type == "function_call_output":
        text = " ".join(item.output.replace("<", " ").replace(">", " ").split())[:MAX_RESULT_CHARS]
        yield Message("user", "text", write_result(text or "done"))


def _plain_arguments(item: ConversationItem) -> dict[str, Value]:
    """Return the arguments of a call as the model writes them; what it cannot write is left out."""
    try:
        values = read_json(item.arguments or "{}")
    except ValueError:
        return {}
    plain = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        key = plain_name(name)
        words = value if isinstance(value, int) and not isinstance(value, bool) else plain_name(str(value))
        words = words.replace("_", " ") if isinstance(words, str) else words
        try:
            ToolCall("any", {key: words})
        except ValueError:
            continue
        plain[key] = words
    return plain
