"""The voices that clients may name. A name is looked up, never taken for a path."""

from pathlib import Path
from typing import Any

from kimi_audio.audio.formats import SUFFIXES
from kimi_audio.serve.http_errors import ApiError, unsupported

DEFAULT = "default"
OPENAI = (  # clients that were written for OpenAI ask for these; each is one of ours
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)


class Voices:
    """The voices of a model, and recordings of other voices in a folder.

    Args:
        names: of the model's voices.
        folder: of recordings; their names without suffix are the names of the voices.

    Raises:
        ValueError: the folder does not exist.
    """

    def __init__(self, names: tuple[str, ...], folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        files = sorted(folder.iterdir()) if folder else []
        self._recordings = {file.stem.lower(): file for file in files if file.suffix.lower() in SUFFIXES}
        self._names = {name.lower(): name for name in names}

    @property
    def names(self) -> list[str]:
        """What may be asked for, without the names of OpenAI's voices."""
        return [DEFAULT, *self._names.values(), *self._recordings]

    def has(self, name: str) -> bool:
        """Tell whether there is a voice of this name."""
        try:
            self.find(name)
        except ApiError:
            return False
        return True

    def recording(self, name: str) -> Path | None:
        """Return the recording of a voice; those that the model knows by name it takes on when it reads aloud only."""
        voice = self.find(name)
        return voice if isinstance(voice, Path) else None

    def find(self, voice: str | dict[str, Any] | None, param: str = "voice") -> str | Path | None:
        """Return a voice for the model; None is its own.

        Raises:
            ApiError: there is no such voice.
        """
        name = voice.get("id") if isinstance(voice, dict) else voice
        if name is None or name == DEFAULT:
            return None
        key = str(name).lower()
        if key in self._recordings:
            return self._recordings[key]
        if key in self._names:
            return self._names[key]
        if key in OPENAI:
            own = list(self._names.values())
            return own[OPENAI.index(key) % len(own)] if own else None
        raise unsupported(param, name, ", ".join(self.names))
