"""What a conversation may begin with, whoever asks and however, and how many there may be."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from serve_fakes import FakeAssistant, running
from websockets.sync.client import connect

from kimi_audio.serve.services import Services
from kimi_audio.serve.session_store import KeptSession, MemoryStore
from kimi_audio.serve.settings import ServeLimits, ServeSettings

WRONG: list[dict[str, Any]] = [
    {"audio": {"output": {"voice": "nobody"}}},
    {"tools": [{"type": "function", "name": "天气"}]},
    {"tools": [{"type": "function", "name": name} for name in ("setTimer", "set_timer")]},
    {"instructions": "x" * 100_001},
    {"audio": {"output": {"speed": 9}}},
]


@pytest.fixture(scope="module")
def address() -> Iterator[Any]:
    with running(FakeAssistant()) as address:
        yield address


def first(address: str, session_id: str) -> dict[str, Any]:
    """Return the first event of a conversation that is to go on."""
    with connect(f"ws://{address}/v1/realtime?session={session_id}") as socket:
        return json.loads(socket.recv(timeout=10))


def keep(services: Services, session_id: str, **config: Any) -> None:
    asyncio.run(services.store.save(session_id, KeptSession(config=config).to_bytes(1 << 20)))


@pytest.mark.parametrize("session", WRONG)
def test_a_secret_is_made_only_for_what_can_be_done(address, session):
    client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.BadRequestError) as caught:
        client.realtime.client_secrets.create(session={"type": "realtime"} | session)  # pyright: ignore
    assert "session" in str(caught.value.param)


@pytest.mark.parametrize("session", WRONG)
def test_a_kept_conversation_goes_on_only_if_it_can(address, session):
    keep(address.services, "sess_" + "1" * 32, **session)
    told = first(address, "sess_" + "1" * 32)
    assert told["type"] == "error"
    assert "session" in told["error"]["param"]


class SlowStore(MemoryStore):
    """Takes its time, as one over a network does."""

    async def load(self, session_id: str) -> bytes | None:
        await asyncio.sleep(0.3)
        return await super().load(session_id)


@pytest.mark.parametrize(
    ("wanted", "code"), [(("1", "1"), "session_in_use"), (("1", "2"), "session_limit_reached")], ids=["same", "other"]
)
def test_while_a_conversation_is_looked_for_its_place_is_taken(wanted, code):
    with running(
        FakeAssistant(), ServeSettings(limits=ServeLimits(sessions=2 if code == "session_in_use" else 1))
    ) as address:
        address.services.store = SlowStore(60, 1 << 20)
        for digit in "12":
            keep(address.services, "sess_" + digit * 32)
        told: list[str] = []
        both = threading.Barrier(2)

        def come(digit: str) -> None:
            with connect(f"ws://{address}/v1/realtime?session=sess_{digit * 32}") as socket:
                event = json.loads(socket.recv(timeout=10))
                told.append(event["error"]["code"] if event["type"] == "error" else event["type"])
                both.wait(10)

        threads = [threading.Thread(target=come, args=(digit,)) for digit in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(told) == ["session.created", code]


def test_a_conversation_that_is_not_found_gives_its_place_back():
    with running(FakeAssistant(), ServeSettings(limits=ServeLimits(sessions=1))) as address:
        for _ in range(2):
            assert first(address, "sess_" + "3" * 32)["error"]["code"] == "session_not_found"
        assert not address.services.awaited
