"""Where conversations outlive their connection: in memory, or in Redis, which outlives the server too.

A conversation is kept as one safetensors file: its items and the codes that were spoken as JSON in its head, what was
heard as tensors. Stores keep bytes under the session's id for some time and up to some size, and know nothing else.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from kimi_audio.core.sequence import AudioTokens
from kimi_audio.serve.items import Content, ConversationItem

logger = logging.getLogger(__name__)

VERSION = "1"
KEY_PREFIX = "kimi-audio:session:"
STORE_S = 5.0  # until Redis has answered


@dataclass(frozen=True)
class KeptSession:
    """What is kept of a conversation."""

    items: tuple[ConversationItem, ...] = ()
    count: int = 0  # of ids that were given
    has_spoken: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    spoken: Mapping[str, list[int]] = field(default_factory=dict)  # codes by item
    heard: Mapping[tuple[str, int], AudioTokens] = field(default_factory=dict)

    def to_bytes(self, most_bytes: int) -> bytes:
        """Return it as a file; where that is too large, without the oldest sounds."""
        heard = list(self.heard.items())
        while True:
            content = self._file(dict(heard))
            if len(content) <= most_bytes or not heard:
                return content
            del heard[: max(1, len(heard) // 4)]

    def _file(self, heard: Mapping[tuple[str, int], AudioTokens]) -> bytes:
        tensors: dict[str, torch.Tensor] = {}
        for number, tokens in enumerate(heard.values()):
            tensors[f"{number}.codes"] = tokens.codes.to(torch.int32).contiguous()
            if tokens.features is not None:
                tensors[f"{number}.features"] = tokens.features.half().cpu().contiguous()
        head = {
            "items": [asdict(item) for item in self.items],
            "count": self.count,
            "has_spoken": self.has_spoken,
            "config": self.config,
            "spoken": self.spoken,
            "heard": list(heard),
        }
        return save(tensors, {"version": VERSION, "session": json.dumps(head)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "KeptSession":
        """Return what was kept.

        Raises:
            ValueError: it is damaged, or of another version.
        """
        try:
            head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            if head["version"] != VERSION:
                raise ValueError(f"version {head['version']} is not known")
            values = json.loads(head["session"])
            arrays = load(content)
            heard = {
                (item_id, index): AudioTokens(arrays[f"{n}.codes"].long(), _float(arrays.get(f"{n}.features")))
                for n, (item_id, index) in enumerate(values.pop("heard"))
            }
            items = tuple(
                ConversationItem(**one | {"content": tuple(Content(**part) for part in one["content"])})
                for one in values.pop("items")
            )
            return cls(items, heard=heard, **values)
        except (ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
            raise ValueError(f"the kept session cannot be read: {error}") from None


def _float(features: torch.Tensor | None) -> torch.Tensor | None:
    return None if features is None else features.float()


# ---------------------------------------------------------------------------------------------------------------------
# Stores


class SessionStore(Protocol):
    """Keeps bytes under ids."""

    @property
    def num_bytes(self) -> int:
        """Memory of this process that it takes."""
        ...

    async def load(self, session_id: str) -> bytes | None:
        """Return what is kept, if it has not gone."""
        ...

    async def save(self, session_id: str, content: bytes) -> None:
        """Keep something in the place of what was there; what cannot be kept is not, and the log tells."""
        ...

    async def delete(self, session_id: str) -> bool:
        """Forget what is kept; tell whether there was something."""
        ...


class MemoryStore:
    """Keeps sessions while the server runs.

    Args:
        life_s: how long a session is kept.
        most_bytes: of all sessions; the oldest ones go.
    """

    def __init__(self, life_s: float, most_bytes: int) -> None:
        self._life_s, self._most_bytes = life_s, most_bytes
        self._kept: dict[str, tuple[float, bytes]] = {}

    @property
    def num_bytes(self) -> int:
        """Memory of what is kept."""
        return sum(len(content) for _, content in self._kept.values())

    async def load(self, session_id: str) -> bytes | None:
        """Return what is kept, if it has not gone."""
        self._forget()
        kept = self._kept.get(session_id)
        return kept[1] if kept else None

    async def save(self, session_id: str, content: bytes) -> None:
        """Keep something in the place of what was there."""
        self._kept.pop(session_id, None)
        self._kept[session_id] = time.monotonic() + self._life_s, content
        self._forget()

    async def delete(self, session_id: str) -> bool:
        """Forget what is kept; tell whether there was something."""
        self._forget()
        return self._kept.pop(session_id, None) is not None

    def _forget(self) -> None:
        now_s = time.monotonic()
        self._kept = {id: kept for id, kept in self._kept.items() if kept[0] > now_s}
        total = self.num_bytes
        while total > self._most_bytes:
            total -= len(self._kept.pop(next(iter(self._kept)))[1])


class RedisStore:
    """Keeps sessions in Redis, which outlives the server and can be shared by several.

    Args:
        url: such as ``redis://localhost:6379/0``.
        life_s: how long a session is kept.

    Raises:
        RuntimeError: the client library is missing.
        ValueError: the URL is none.
    """

    def __init__(self, url: str, life_s: float) -> None:
        try:
            from redis.asyncio import Redis
        except ModuleNotFoundError:
            raise RuntimeError("--redis needs redis; install it with: pip install 'kimi-audio[redis]'") from None
        self._redis = Redis.from_url(url, socket_timeout=STORE_S, socket_connect_timeout=STORE_S)
        self._life_s = life_s

    @property
    def num_bytes(self) -> int:
        """Nothing is kept in this process."""
        return 0

    async def load(self, session_id: str) -> bytes | None:
        """Return what is kept; None, too, where Redis does not answer."""
        return await self._tried(self._redis.get(KEY_PREFIX + session_id))

    async def save(self, session_id: str, content: bytes) -> None:
        """Keep something in the place of what was there."""
        await self._tried(self._redis.set(KEY_PREFIX + session_id, content, px=int(1000 * self._life_s)))

    async def delete(self, session_id: str) -> bool:
        """Forget what is kept; tell whether there was something that Redis knows to be gone."""
        return bool(await self._tried(self._redis.delete(KEY_PREFIX + session_id)))

    async def _tried(self, asked: Any) -> Any:
        from redis.exceptions import RedisError

        try:
            return await asked
        except (RedisError, OSError) as error:  # a conversation goes on without its store
            logger.warning("redis does not answer: %s", type(error).__name__)
            return None
