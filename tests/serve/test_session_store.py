"""Conversations that outlive their connection, and with Redis the server too."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
import torch
from openai import OpenAI
from serve_fakes import FakeAssistant, running
from test_realtime import MANUAL, b64, speech, until

from kimi_audio.core.sequence import AudioTokens
from kimi_audio.serve.items import Content, ConversationItem
from kimi_audio.serve.session_store import KeptSession, MemoryStore, RedisStore
from kimi_audio.serve.settings import ServeLimits, ServeSettings

ITEM = ConversationItem("item_1", content=(Content("input_audio", "hello"),))


def heard(count: int, width: int = 4) -> AudioTokens:
    return AudioTokens(torch.arange(count), torch.arange(count * width).reshape(count, width) / 8)


def test_what_is_kept_comes_back():
    kept = KeptSession(
        (ITEM,),
        7,
        True,
        {"instructions": "be brief"},
        {"item_2": [3, 4]},
        {("item_1", 0): heard(5), ("a b.0", 1): heard(0)},
    )
    again = KeptSession.from_bytes(kept.to_bytes(1 << 20))
    assert replace(again, heard={}) == replace(kept, heard={})
    assert list(again.heard) == list(kept.heard)
    for key, tokens in kept.heard.items():
        assert torch.equal(again.heard[key].codes, tokens.codes)
        assert torch.equal(again.heard[key].features, tokens.features)  # eighths are exact in half precision


def test_where_it_is_too_large_the_oldest_sounds_go():
    kept = KeptSession((ITEM,), heard={(f"item_{n}", 0): heard(100, 64) for n in range(10)})
    content = kept.to_bytes(60_000)
    assert len(content) <= 60_000
    assert [key[0] for key in KeptSession.from_bytes(content).heard] == ["item_6", "item_7", "item_8", "item_9"]


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\xff" * 100, KeptSession().to_bytes(1000)[:-1], b"\2\0\0\0\0\0\0\0{}"]
)
def test_damage_is_told(content):
    with pytest.raises(ValueError, match="cannot be read"):
        KeptSession.from_bytes(content)


def test_memory_forgets_by_age_and_size(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])

    async def story() -> None:
        store = MemoryStore(life_s=10, most_bytes=10)
        await store.save("a", b"12345")
        now_s[0] = 6.0
        await store.save("b", b"1234")
        assert await store.load("a") == b"12345"
        assert store.num_bytes == 9
        now_s[0] = 11.0
        assert [await store.load("a"), await store.load("b")] == [None, b"1234"]
        await store.save("c", b"1234567")
        assert [await store.load("b"), await store.load("c")] == [None, b"1234567"]
        assert [await store.delete("b"), await store.delete("c"), await store.load("c")] == [False, True, None]

    asyncio.run(story())


# ---------------------------------------------------------------------------------------------------------------------
# Conversations


def ask(address: str, **query: Any) -> tuple[str, list[str]]:
    """Say something in a conversation; returns its id and the names of the events."""
    client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
    with client.realtime.connect(model="fake", extra_query=query) as connection:
        created = until(connection, "session.created")[0]
        if not query:
            connection.session.update(session=MANUAL | {"instructions": "be brief"})
        connection.input_audio_buffer.append(audio=b64(speech(1.0)))
        connection.input_audio_buffer.commit()
        connection.response.create()
        events = until(connection, "response.done")
        assert events[-1].response.status == "completed"
    return created.session.id, [event.type for event in events]


def kinds(assistant: FakeAssistant) -> list[tuple[str, str]]:
    return [(message.role, message.message_type) for message in assistant.asked[-1]]


TURN = [("user", "audio"), ("assistant", "audio-text")]


def test_a_conversation_goes_on_after_its_connection_broke():
    assistant = FakeAssistant()
    with running(assistant) as address:
        session_id, _ = ask(address)
        end_s = time.monotonic() + 10
        while address.services.sessions and time.monotonic() < end_s:
            time.sleep(0.01)
        again, _ = ask(address, session=session_id)
    assert again == session_id
    assert kinds(assistant) == [("system", "text"), *TURN, ("user", "audio")]
    assert assistant.asked[-1][2].content[0].codes.tolist() == [0, 1, 2]


def test_a_kept_conversation_is_forgotten_when_the_client_wishes():
    with running(FakeAssistant()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)

        def delete(session_id: str) -> Any:
            return client.delete(f"/realtime/sessions/{session_id}", cast_to=object)

        with client.realtime.connect(model="fake") as connection:
            session_id = until(connection, "session.created")[0].session.id
            with pytest.raises(openai.ConflictError, match="close its connection first"):
                delete(session_id)
        session_id, _ = ask(address)
        end_s = time.monotonic() + 10
        while address.services.sessions and time.monotonic() < end_s:
            time.sleep(0.01)
        assert delete(session_id)["deleted"]
        with pytest.raises(openai.NotFoundError):
            delete(session_id)
        with client.realtime.connect(model="fake", extra_query={"session": session_id}) as connection:
            assert until(connection, "error")[0].error.code == "session_not_found"


@pytest.mark.parametrize("session_id", ["sess_" + "0" * 32, "../x", ""])
def test_others_do_not_exist(session_id):
    with running(FakeAssistant()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake", extra_query={"session": session_id}) as connection:
            assert until(connection, "error")[0].error.code == "session_not_found"


def test_nobody_joins_a_conversation_that_is_held():
    with running(FakeAssistant()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as first:
            session_id = until(first, "session.created")[0].session.id
            with client.realtime.connect(model="fake", extra_query={"session": session_id}) as second:
                assert until(second, "error")[0].error.code == "session_in_use"


def kept_items(address: Any, session_id: str) -> list[ConversationItem] | None:
    content = asyncio.run(address.services.store.load(session_id))
    return None if content is None else [*KeptSession.from_bytes(content).items]


def soon(is_so: Callable[[], bool]) -> bool:
    """Wait until something is so; tell whether it is."""
    end_s = time.monotonic() + 10
    while not is_so() and time.monotonic() < end_s:
        time.sleep(0.01)
    return is_so()


@pytest.mark.parametrize("is_taken_up", [False, True])
def test_what_is_deleted_is_kept_nowhere(is_taken_up):
    with running(FakeAssistant()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        query = {}
        if is_taken_up:
            query = {"session": ask(address)[0]}
            assert soon(lambda: not address.services.sessions)
        with client.realtime.connect(model="fake", extra_query=query) as connection:
            session_id = until(connection, "session.created")[0].session.id
            if not is_taken_up:
                connection.session.update(session=MANUAL)
                connection.response.create()
                until(connection, "response.done")
            assert soon(lambda: bool(kept_items(address, session_id)))
            for item in kept_items(address, session_id) or ():
                connection.conversation.item.delete(item_id=item.id)
            assert soon(lambda: kept_items(address, session_id) == [])  # while the conversation goes on
        assert soon(lambda: not address.services.sessions)
        assert kept_items(address, session_id) == []


def test_what_was_not_heard_is_not_kept():
    with running(FakeAssistant()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            session_id = until(connection, "session.created")[0].session.id
            connection.response.create()
            item_id = until(connection, "response.done")[-1].response.output[0].id
            assert soon(lambda: bool(kept_items(address, session_id)))
            connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=0)
            assert soon(lambda: [item.content[0].text for item in kept_items(address, session_id) or ()] == [""])


def test_a_conversation_in_which_nothing_was_said_is_not_kept():
    with running(FakeAssistant()) as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="x", max_retries=0)
        with client.realtime.connect(model="fake") as connection:
            session_id = until(connection, "session.created")[0].session.id
        assert soon(lambda: not address.services.sessions)
        assert kept_items(address, session_id) is None


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    pytest.importorskip("redis", reason="the package redis is not installed")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "socket"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        end_s = time.monotonic() + 30
        while time.monotonic() < end_s:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)) == 0:
                    break
            time.sleep(0.05)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(10)


def test_a_conversation_goes_on_after_the_server_was_started_anew(redis_url):
    with running(FakeAssistant(), ServeSettings(redis=redis_url)) as address:
        session_id, _ = ask(address)
    assistant = FakeAssistant()
    with running(assistant, ServeSettings(redis=redis_url)) as address:
        again, events = ask(address, session=session_id)
    assert again == session_id
    assert "response.output_audio.delta" in events
    assert kinds(assistant) == [("system", "text"), *TURN, ("user", "audio")]


def test_redis_forgets_in_time(redis_url):
    async def story() -> None:
        store = RedisStore(redis_url, life_s=0.2)
        await store.save("a", b"content")
        assert await store.load("a") == b"content"
        await store.save("b", b"content")
        assert [await store.delete("b"), await store.delete("b"), await store.load("b")] == [True, False, None]
        await asyncio.sleep(0.5)
        assert await store.load("a") is None

    asyncio.run(story())


def test_a_conversation_does_not_need_its_store():
    limits = ServeLimits(sessions=2)
    with running(FakeAssistant(), ServeSettings(redis="redis://127.0.0.1:9/0", limits=limits)) as address:
        assert "response.output_audio.delta" in ask(address)[1]
