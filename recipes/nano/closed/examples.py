"""What an example of a task is made of: the parts of a conversation, each with text, with sound, or with both.

Sounds are recipes here (what is said and how, or what is heard and in which order); the corpus builder renders them.
The same recipe is the same sound: a set renders it once, however many examples use it.
"""

from dataclasses import dataclass
from typing import Literal

from recipes.nano.closed.soundscape import Clip
from recipes.nano.closed.voices import Delivery

NEUTRAL = "neutral"


@dataclass(frozen=True)
class Speech:
    """A spoken text; ``style`` is the name of the recipe that shaped the delivery, see styles.py."""

    text: str
    delivery: Delivery
    style: str = NEUTRAL


@dataclass(frozen=True)
class Part:
    """One message: text alone, sound alone, or sound with what it says (``text`` of a spoken reply)."""

    role: Literal["user", "assistant"]
    text: str | None = None
    sound: Speech | Clip | None = None


@dataclass(frozen=True)
class Example:
    """One conversation to learn from or to be judged by; the last part is the reply that is judged.

    ``key`` decides on which side it is (``splits.is_reserved``). ``essential`` are the names, numbers or events that
    make the reply right, in order where order matters; judging.py reads it by ``task`` and ``kind``.
    """

    task: str
    kind: str
    key: str
    parts: tuple[Part, ...]
    essential: tuple[str, ...] = ()

    @property
    def reply(self) -> Part:
        """The part that is judged."""
        return self.parts[-1]


def asked(text: str) -> Part:
    """Return a written request."""
    return Part("user", text)


def heard(sound: Speech | Clip) -> Part:
    """Return a recording from the user."""
    return Part("user", sound=sound)


def written(text: str) -> Part:
    """Return a written reply."""
    return Part("assistant", text)


def spoken(speech: Speech) -> Part:
    """Return a reply in text and speech."""
    return Part("assistant", speech.text, speech)
