"""What was said in chat completions, to be named by its id in later turns."""

import time
from dataclasses import dataclass

from kimi_audio.chat import Message
from kimi_audio.serve.http_errors import ApiError

AUDIO_LIFE_S = 3600
MAX_AUDIOS = 1000


@dataclass(frozen=True)
class _Said:
    message: Message
    expires_at: float


class SpokenAnswers:
    """Answers that later turns may name by their ids, for an hour and as many as there is room for."""

    def __init__(self) -> None:
        self._answers: dict[str, _Said] = {}

    def keep(self, audio_id: str, message: Message, expires_at: float) -> None:
        """Remember an answer; the oldest one gives way."""
        self._answers[audio_id] = _Said(message, expires_at)
        while len(self._answers) > MAX_AUDIOS:
            self._answers.pop(next(iter(self._answers)))

    def find(self, audio_id: str) -> Message:
        """Return an answer.

        Raises:
            ApiError: it is not known any more.
        """
        said = self._answers.get(audio_id)
        if said is None or said.expires_at < time.time():
            raise ApiError(f"The audio {audio_id[:100]!r} has expired or never was.", 404, code="audio_not_found")
        return said.message
