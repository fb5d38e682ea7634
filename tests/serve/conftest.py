"""One server for all tests that do not change it, and the unmodified client of OpenAI."""

from collections.abc import Iterator

import pytest
from openai import OpenAI
from serve_fakes import FakeAssistant, running, wav_file

from kimi_audio.serve.settings import ServeSettings


@pytest.fixture(scope="module")
def assistant() -> FakeAssistant:
    return FakeAssistant()


@pytest.fixture(scope="module")
def address(assistant: FakeAssistant) -> Iterator[str]:
    with running(assistant, ServeSettings(is_marked=False)) as address:  # so that samples can be compared
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> OpenAI:
    return OpenAI(base_url=f"http://{address}/v1", api_key="not needed", max_retries=0)


@pytest.fixture(scope="session")
def recording() -> bytes:
    """Two seconds of a tone as a wav file."""
    return wav_file(2.0)
