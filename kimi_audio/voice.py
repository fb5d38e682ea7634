"""Whose voice a model speaks in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kimi_audio.audio.io import AudioSource


@dataclass(frozen=True)
class Voice:
    """One of the model's own voices, by its name, or the voice of a recording.

    The LLM takes on a voice of its own where it reads aloud or says a recording again; the detokenizer follows a
    recording, as well as the voices that it was trained on allow.

    Raises:
        ValueError: it is neither of both, or both.
    """

    name: str | None = None
    recording: AudioSource | None = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.recording is None):
            raise ValueError("a voice has either a name or a recording; give one of them")

    @classmethod
    def find(cls, voice: "Voice | AudioSource", names: Sequence[str]) -> Self:
        """Return which voice is meant.

        Args:
            voice: a voice, a recording, or a text: one of the names, in any case of letters, or else a path.
            names: the voices that the model has.

        Raises:
            ValueError: it is a name, but none of these.
            FileNotFoundError: it is a text that is neither a name nor a path.
        """
        known = {name.lower(): name for name in names}
        text = voice.name if isinstance(voice, Voice) else voice
        if isinstance(text, str) and text.lower() in known:
            return cls(name=known[text.lower()])
        has = f"the model's voices are {', '.join(names)}" if names else "the model has no voices with names"
        if isinstance(voice, Voice) and voice.name is not None:
            raise ValueError(f"there is no voice {voice.name}: {has}")
        recording = voice.recording if isinstance(voice, Voice) else voice
        if isinstance(recording, str) and not Path(recording).exists():
            raise FileNotFoundError(f"there is no file {recording}, and {has}")
        return cls(recording=recording)
