"""Words that are likely to be said, such as names: what continues one of them is favoured while a text is written.

The favoured phrases are a prefix tree of text ids. After every id the places in it are known at which the text may be;
the ids that go on from there get a bonus on their scores, and those that begin a phrase a smaller one. A bonus decides
among what the model finds about equally likely, and never speaks against the end of the text: silence stays silent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from kimi_audio.core.numbers import finite_number, whole_number
from kimi_audio.core.words import is_ideographic

BONUS = 3.0  # nats, for every id that goes on with a phrase
FIRST_SHARE = 0.5  # of it for an id that begins one: many words begin alike
MAX_PHRASES = 1000
MAX_CHARS = 100

Tree: TypeAlias = dict[tuple[int, ...], set[int]]


class _Encoder(Protocol):
    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Hotwords:
    """Phrases as ids; ``Hotwords.of`` makes them from text."""

    phrases: tuple[tuple[int, ...], ...]  # as they stand within a text
    openings: tuple[tuple[int, ...], ...] = ()  # as they stand at its beginning, and nowhere else
    bonus: float = BONUS

    @classmethod
    def of(cls, phrases: Iterable[str], tokenizer: _Encoder) -> "Hotwords | None":
        """Return phrases as a tokenizer writes them; None if there are none.

        Raises:
            ValueError: they are one text, there are too many, or one is too long.
        """
        if isinstance(phrases, str):
            raise ValueError(f"hotwords must be a list of phrases, not a text; for one phrase give [{phrases[:30]!r}]")
        texts = list(dict.fromkeys(" ".join(phrase.split()) for phrase in phrases if phrase.strip()))
        if len(texts) > MAX_PHRASES:
            raise ValueError(f"there are {len(texts):,} hotwords; at most {MAX_PHRASES:,} are taken")
        for text in texts:
            if len(text) > MAX_CHARS:
                raise ValueError(f"the hotword {text[:30]!r}... has {len(text)} characters, more than {MAX_CHARS}")
        openings = tuple(tuple(tokenizer.encode(text)) for text in texts)
        within = tuple(tuple(tokenizer.encode(" " + text)) for text in texts)  # a word, not the end of another
        unspaced = tuple(ids for ids, text in zip(openings, texts, strict=True) if is_ideographic(text[0]))
        return cls(within + unspaced, openings) if texts else None

    def check(self, vocab_size: int) -> None:
        """Check that a model of so many ids can favour these.

        Raises:
            ValueError: there are no phrases, one is empty, or one holds what is no id of the model.
        """
        finite_number("the bonus of hotwords", self.bonus, 0)
        if not self.phrases or not all((*self.phrases, *self.openings)):
            raise ValueError("hotwords need at least one phrase, and every phrase at least one id")
        for id_ in (id_ for phrase in (*self.phrases, *self.openings) for id_ in phrase):
            whole_number("an id of a hotword", id_, 0, vocab_size - 1)

    @cached_property
    def _within(self) -> "Tree":
        return _tree(self.phrases)

    @cached_property
    def _at_start(self) -> "Tree":
        return _tree(self.openings)

    def favoured(self, history: Sequence[int]) -> tuple[set[int], set[int]]:
        """Return the ids that begin a phrase, and those that go on with one that the history ends in."""
        longest = min(len(history), max(map(len, self.phrases)))
        ends = (tuple(history[len(history) - length :]) for length in range(1, longest + 1))
        going_on = set[int]().union(*(self._within.get(end, set()) for end in ends))
        opening = self._at_start.get(tuple(history), set())
        if not history:
            return self._within[()] | opening, set()
        return self._within[()] - going_on - opening, going_on | opening

    def biased(self, logits: Tensor, history: Sequence[int], end_id: int) -> Tensor:
        """Return scores with the bonus.

        Args:
            logits: [V], left as they are.
            history: the ids of the text so far.
            end_id: ends the text; where it is the likeliest, nothing is favoured.
        """
        is_open = logits.argmax() != end_id  # stays on the device
        for ids, share in zip(self.favoured(history), (FIRST_SHARE, 1.0), strict=True):
            places = torch.tensor(sorted(ids), dtype=torch.int64, device=logits.device)
            logits = logits.index_add(0, places, (is_open * share * self.bonus).to(logits.dtype).expand(len(places)))
        return logits


def _tree(phrases: Iterable[Sequence[int]]) -> Tree:
    """Return which ids follow each beginning of a phrase."""
    following: Tree = {(): set()}
    for phrase in phrases:
        for length, id_ in enumerate(phrase):
            following.setdefault(tuple(phrase[:length]), set()).add(id_)
    return following
