"""What a conversation is, and which conversations are reserved for evaluation."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from kimi_audio.core.words import normalise
from recipes.nano.closed.splits import is_reserved

FRESH_TRIES = 20  # before a conversation may come twice


def name_atom(name: str) -> str:
    """Return what of a conversation is reserved with a person's name."""
    return f"name:{name.lower()}"


@dataclass(frozen=True)
class Turn:
    """What the user says and what the assistant replies, in natural case and plain punctuation, numbers in words.

    ``call`` is the tool call that the assistant writes first and ``result`` what it is told
    (``kimi_audio.chat.tools``); ``manner`` is how the reply is spoken (``slower``), if not as usual.
    """

    said: str
    reply: str
    call: str = ""
    result: str = ""
    manner: str = ""


@dataclass(frozen=True)
class Talk:
    """A conversation of one or more turns; what matters is whether its last reply is right.

    ``essential`` is what makes the last reply right, in transcript form; what it must be is up to the kind.
    ``system`` is the system message. ``atoms`` name what is reserved as a whole, such as a person's name
    (``name:anna``): all conversations with a reserved atom are reserved.
    """

    kind: str
    turns: tuple[Turn, ...]
    essential: str
    system: str = ""
    atoms: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What the user says, turn by turn, as transcripts."""
        return tuple(normalise(turn.said) for turn in self.turns)

    @property
    def key(self) -> str:
        """Everything that the user says: phrasings and operands."""
        return " | ".join(self.lines)

    @property
    def is_reserved(self) -> bool:
        """Whether training must not contain it: its key, a line or an atom is in the reserved tenth.

        Lines have the hash of any other text, so what a reserved question asks is not heard in training either.
        """
        return any(is_reserved(name) for name in (self.key, *self.lines, *self.atoms))


@dataclass(frozen=True)
class Kind:
    """A kind of conversation: how to draw one, how to judge its last reply, and its share of all conversations."""

    name: str
    draw: Callable[[random.Random], Talk]
    is_right: Callable[[Talk, str], bool]
    share: float = 1.0

    def talks(self, count: int, generator: random.Random, reserved: bool) -> list[Talk]:
        """Draw ``count`` conversations of one side; one comes again only when new ones are hard to find."""
        taken: dict[str, Talk] = {}
        again: list[Talk] = []
        while len(taken) + len(again) < count:
            talk = self._fresh(generator, reserved, taken)
            if talk.key in taken:
                again.append(talk)
            taken.setdefault(talk.key, talk)
        return [*taken.values(), *again]

    def _fresh(self, generator: random.Random, reserved: bool, taken: dict[str, Talk]) -> Talk:
        tries = 0
        while True:
            talk = self.draw(generator)
            if talk.is_reserved == reserved:
                tries += 1
                if talk.key not in taken or tries == FRESH_TRIES:
                    return talk
