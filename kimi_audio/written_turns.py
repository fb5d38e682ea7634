"""Spoken turns that are written down before they are answered, so that the model reads what it heard.

A small LLM needs most of its layers to understand what is said, and has few left to find the answer; what it reads, it
understands in the first. Models that were trained to converse in this way say so in their settings
(``Settings.transcribe_first``).
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from kimi_audio.chat import Message
from kimi_audio.core.sequence import AudioTokens

MOST = 2048  # transcripts that are remembered

Made = TypeVar("Made")


def spoken_turns(messages: Sequence[Message]) -> list[int]:
    """Return the numbers of the user's messages that are recordings and whole turns: nothing else is asked in them."""
    roles = [None, *(message.role for message in messages), None]
    is_alone = [role not in (before, after) for before, role, after in zip(roles, roles[1:-1], roles[2:], strict=False)]
    return [
        number
        for number, (message, alone) in enumerate(zip(messages, is_alone, strict=True))
        if alone and message.role == "user" and message.message_type == "audio"
    ]


class WrittenTurns:
    """What was said in recordings, for any thread; the one that was asked for longest ago is forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, tokens: AudioTokens) -> str | None:
        """Return what was said in a recording, if it is known."""
        key = _digest(tokens)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, tokens: AudioTokens, text: str) -> None:
        """Remember what was said in a recording."""
        with self._lock:
            self._known[_digest(tokens)] = text
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def written_into(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages in which every spoken turn whose transcript is known is followed by it."""
        spoken, found = {*spoken_turns(messages)}, list[Message]()
        for number, message in enumerate(messages):
            found.append(message)
            if number in spoken and isinstance(message.audio, AudioTokens) and (text := self.get(message.audio)):
                found.append(Message("user", "text", text))
        return found


def _digest(tokens: AudioTokens) -> bytes:
    whole = hashlib.blake2b(tokens.codes.numpy().tobytes(), digest_size=16)
    if tokens.features is not None:
        whole.update(tokens.features.float().numpy().tobytes())
    return whole.digest()


def in_background(make: Callable[[], Made]) -> "Future[Made]":
    """Return what will be made in a thread of its own, which does not keep the process from ending."""
    future: Future[Made] = Future()

    def run() -> None:
        try:
            future.set_result(make())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is read
            future.set_exception(error)

    threading.Thread(target=run, name="kimi-audio transcripts", daemon=True).start()
    return future
