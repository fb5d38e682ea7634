"""The page in a real browser, in front of a real server with an assistant that answers at once."""

import json
from typing import Any

import pytest
from serve_fakes import FakeAssistant, running, wav_file

from kimi_audio.serve.settings import ServeLimits, ServeSettings

STORY = " ".join(f"word{number}" for number in range(100, 250))  # 12 s: longer than the microphone is silent


@pytest.fixture(scope="module")
def storyteller() -> Any:
    return FakeAssistant(says=STORY, pause_s=0.01)


@pytest.fixture(scope="module")
def address(storyteller: Any) -> Any:
    with running(storyteller) as address:
        yield f"http://{address}"


@pytest.fixture(scope="module")
def brief() -> Any:
    with running(FakeAssistant(says="it is three.")) as address:
        yield f"http://{address}"


def test_one_click_then_speech_and_an_interruption(opened, address, storyteller):
    with opened() as page:
        page.goto(address)
        page.get_by_role("button", name="Start talking").click()
        page.wait_for_selector("#transcript .assistant.cut")  # the question is heard again while the story is told
        phases = page.phases()
        assert phases[:6] == ["idle", "connecting", "listening", "hearing", "thinking", "speaking"]
        assert phases[6] == "hearing"
        page.wait_for_function("() => document.querySelectorAll('#transcript .user:not(.partial)').length >= 2")
        page.wait_for_function("() => document.querySelectorAll('#transcript .assistant').length >= 2")
        assert all(text.endswith("seconds of sound.") for text in page.words("user")[:2])
        told = page.words("assistant")[0].split()
        assert STORY.split()[: len(told)] == told
        assert 10 < len(told) < 100  # what was heard, not what had been made
        assert page.locator("#latency li").count() >= 3
        page.get_by_role("button", name="Hang up").click()
        assert page.phases()[-1] == "idle"
    remembered = next(messages for messages in storyteller.asked if len(messages) == 3)
    assert [message.role for message in remembered] == ["user", "assistant", "user"]
    assert abs(len(remembered[1].content[0].codes) - len(told)) <= 2  # the server forgets what was not heard


def test_writing_without_a_microphone(opened, brief):
    with opened(allowed=False) as page:
        page.goto(brief)
        page.locator("#orb").click()
        page.get_by_role("alert").get_by_text("The microphone is blocked").wait_for()
        assert page.phases()[-1] == "error"
        page.get_by_role("button", name="Write instead").click()
        page.get_by_label("Message").fill("what time is it?")
        page.keyboard.press("Enter")
        page.wait_for_selector("#transcript .assistant:not(.partial)")
        page.reach("speaking")
        assert page.words("user") == ["what time is it?"]
        assert page.words("assistant") == ["it is three."]
        assert page.locator("#announcer").inner_text() in ("You: what time is it?", "Kimi: it is three.")


def test_push_to_talk_by_keyboard(opened, brief):
    with opened() as page:
        page.choose(turns="manual")
        sent = []
        note = lambda frame: sent.append(json.loads(frame)["type"])  # noqa: E731
        page.on("websocket", lambda socket: socket.on("framesent", note))
        page.goto(brief)
        page.keyboard.press("Tab")
        page.locator("#orb").focus()
        page.keyboard.press("Enter")
        page.reach("listening")
        page.wait_for_timeout(300)
        assert "input_audio_buffer.append" not in sent  # nothing leaves the page unless it is wanted
        page.keyboard.down("Space")
        page.wait_for_timeout(700)
        assert page.phases()[-1] == "hearing"
        page.keyboard.up("Space")
        page.reach("speaking")
        page.wait_for_selector("#transcript .assistant:not(.partial)")
        count = sent.count("input_audio_buffer.append")
        assert count >= 5
        assert sent.index("response.create") > sent.index("input_audio_buffer.commit")
        page.wait_for_timeout(300)
        assert sent.count("input_audio_buffer.append") == count
        page.keyboard.press("Space")  # too short to be meant
        page.wait_for_selector("#transcript .note")
        assert sent.count("input_audio_buffer.commit") == 1


def test_a_full_server_says_so(opened):
    with running(FakeAssistant(), ServeSettings(limits=ServeLimits(sessions=0))) as host, opened() as page:
        page.goto(f"http://{host}")
        page.locator("#orb").click()
        page.get_by_role("alert").get_by_text("All places are taken").wait_for()
        assert page.get_by_role("button", name="Try again", exact=True).first.is_visible()


def test_a_lost_connection_goes_on(opened, brief):
    with opened(allowed=False) as page:
        routes = []

        def through(route: Any) -> None:
            routes.append(route)
            route.connect_to_server()

        page.route_web_socket("**/v1/realtime", through)
        page.goto(brief)
        page.get_by_label("Message").fill("what time is it?")
        page.keyboard.press("Enter")
        page.wait_for_selector("#transcript .assistant:not(.partial)")
        routes[0].close(code=4000)
        page.get_by_role("alert").get_by_text("The connection was lost").wait_for()
        page.get_by_label("Message").fill("and now?")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelectorAll('#transcript .assistant:not(.partial)').length === 2")
        assert page.words("user") == ["what time is it?", "and now?"]
        assert page.words("assistant") == ["it is three."] * 2
        assert len(routes) == 2


def test_a_key_is_asked_for_and_used(opened):
    with (
        running(FakeAssistant(), ServeSettings(api_keys=("correct horse",))) as host,
        opened(errors="401|WebSocket connection") as page,
    ):
        page.goto(f"http://{host}")
        page.locator("#orb").click()
        page.get_by_role("alert").get_by_text("The server wants a key").wait_for()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("API key").fill("correct horse")
        page.keyboard.press("Tab")
        page.wait_for_selector("#settings select[name=voice] option[value=Ava]", state="attached")
        page.keyboard.press("Escape")
        page.locator("#retry").click()
        page.reach("listening")


def test_an_insecure_address_is_explained_and_can_be_written_at(opened):
    with running(FakeAssistant(), ServeSettings(api_keys=("correct horse",))) as host:
        address = f"http://voice.test:{host.split(':')[1]}"
        with opened(errors="Cross-Origin-Opener-Policy") as page:
            page.add_init_script("sessionStorage.setItem('key', 'correct horse')")
            page.goto(address)
            page.locator("#orb").click()
            page.get_by_role("alert").get_by_text("--ssl").wait_for()
            page.get_by_role("button", name="Write instead").click()
            page.get_by_label("Message").fill("hello")
            page.keyboard.press("Enter")
            page.wait_for_selector("#transcript .assistant:not(.partial)")
            assert page.words("assistant") == ["it is three."]


def test_recordings_and_texts(opened, brief):
    with opened() as page:
        page.goto(brief)
        page.locator("#tab-talk").focus()
        page.keyboard.press("ArrowRight")
        page.locator("#run").click()
        page.get_by_text("Choose a recording first.").wait_for()
        sound = {"name": "meeting.wav", "mimeType": "audio/wav", "buffer": wav_file(4.0)}
        page.set_input_files("#file", files=[sound])
        page.locator("#run").click()
        lines = page.locator("#result-text li")
        lines.first.wait_for()
        assert [" ".join(line.split()) for line in lines.all_inner_texts()] == ["0:00 4.0 seconds", "0:02 of sound."]
        with page.expect_download() as download:
            page.locator("#download").click()
        assert download.value.suggested_filename == "meeting.srt"
        assert "00:00:02,000 --> 00:00:04,000" in download.value.path().read_text("utf-8")

        page.locator("#job").get_by_text("Ask about it").click()
        page.get_by_label("Your question").fill("what is this?")
        page.keyboard.press("Enter")
        page.locator("#result-text").get_by_text("it is three.").wait_for()

        for task, file in (("Change voice", "voice.wav"), ("Read aloud", "speech.wav")):
            page.locator("#job .choice").get_by_text(task).click()
            page.locator("#file-voice").select_option("Ben")
            if task == "Read aloud":
                page.locator("#read-text").fill("hello there")
            page.locator("#run").click()
            page.locator(f"#download[download='{file}']").wait_for()
            page.wait_for_function("() => document.querySelector('#player').duration > 0.1")


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_it_fits_and_everything_has_a_name(opened, brief, width):
    with opened(width=width) as page:
        page.goto(brief)
        for step in ("", "#open-developer", "#tab-files", "#open-settings"):
            if step:
                page.locator(step).click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        nameless = page.evaluate(
            """[...document.querySelectorAll("button, input, select, textarea, a")].filter((element) => !(
              element.getAttribute("aria-label") || element.textContent.trim() || element.labels?.length))
              .map((element) => element.outerHTML)"""
        )
        assert nameless == []
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "open-settings"
