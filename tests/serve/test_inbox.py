"""Who is heard first when much waits: the client."""

import asyncio

from session_watcher import Watched
from test_session import client, ended, talk, words

from kimi_audio.serve.inbox import Inbox
from kimi_audio.serve.session_config import SessionConfig
from kimi_audio.serve.session_state import TICKS_PER_S, ReplyChunk, SpeechStarted


def taken(inbox: Inbox) -> list:
    """Return all that waits, in the order in which it is taken."""

    async def take() -> list:
        found = []
        while inbox._urgent or inbox._news:
            found.append(await inbox.get())
        return found

    return asyncio.run(take())


def filled(*items: tuple[str, object], room: int = 64) -> Inbox:
    async def fill() -> Inbox:
        inbox = Inbox(room)
        for lane, item in items:
            await (inbox.put_urgent if lane == "client" else inbox.put_news)(item)
        return inbox

    return asyncio.run(fill())


def test_the_order_within_a_lane_stays():
    items = [("model", 1), ("client", "a"), ("model", 2), ("client", "b"), ("model", 3)]
    assert taken(filled(*items)) == ["a", "b", 1, 2, 3]


def test_an_end_of_the_connection_does_not_wait_either():
    assert taken(filled(("model", 1), ("client", None))) == [None, 1]


def test_whoever_fills_a_lane_waits_and_the_other_does_not():
    async def story() -> None:
        inbox: Inbox = Inbox(2)
        for number in range(2):
            await inbox.put_news(number)
        more = asyncio.create_task(inbox.put_news(2))
        await asyncio.wait_for(inbox.put_urgent("cancel"), 5)
        assert not more.done()
        assert await inbox.get() == "cancel"
        assert not more.done()
        assert await inbox.get() == 0
        await asyncio.wait_for(more, 5)
        assert [await inbox.get(), await inbox.get()] == [1, 2]

    asyncio.run(story())


def test_a_reader_waits_for_the_first_item():
    async def story() -> None:
        inbox: Inbox = Inbox(2)
        waiting = asyncio.create_task(inbox.get())
        await asyncio.sleep(0)
        await inbox.put_news("hello")
        assert await asyncio.wait_for(waiting, 5) == "hello"

    asyncio.run(story())


def loaded(session: Watched, wish: object) -> Inbox:
    """Return an inbox in which much of the reply waits before a wish of the client."""
    assert session.state.response is not None
    chunks = [("model", ReplyChunk(session.state.response.id, f" {n}", "AAAA", 1920, (n,))) for n in range(20)]
    return filled(*chunks, ("model", ended(session)), ("client", wish))


def test_a_cancel_is_not_behind_the_chunks_that_wait():
    session = Watched(SessionConfig().updated({"audio": {"input": {"turn_detection": None}}}))
    session.do(client("response.create"))
    words(session, "once")
    before = len(session.sent)
    for happening in taken(loaded(session, client("response.cancel"))):
        session.do(happening, after_s=0.05)
    assert "response.output_audio.delta" not in session.types()[before:]
    assert session.last("response.done")["response"]["status_details"]["reason"] == "client_cancelled"


def test_neither_is_speech_of_the_user():
    session = Watched()
    talk(session)
    words(session, "once")
    before = len(session.sent)
    began_s = session.now_s
    for happening in taken(loaded(session, SpeechStarted(session.state.received + TICKS_PER_S))):
        session.do(happening, after_s=0.05)
        if session.types()[-1] == "response.done":
            break
    assert session.now_s - began_s < 0.06
    assert session.types()[before] == "input_audio_buffer.speech_started"
    assert session.last("response.done")["response"]["status_details"]["reason"] == "turn_detected"
