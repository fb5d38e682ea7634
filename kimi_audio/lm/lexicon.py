"""The words that a language has: among several beams of a text, those lose that spell a word which is none.

A small LLM hears more than it can spell. A beam whose word is not in the list is held to be less likely once the word
is over; it still wins where nothing else was heard. What is not written in the letters of the list is not judged.
"""

import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

PENALTY = 3.0  # nats, for every word that is not in the list


class _Tokenizer(Protocol):
    @property
    def vocab_size(self) -> int: ...

    def decode(self, ids: Iterable[int]) -> str: ...


@dataclass(frozen=True, eq=False)
class Lexicon:
    """A list of words in lower case, and the tokenizer of the texts."""

    words: frozenset[str]
    tokenizer: _Tokenizer
    penalty: float = PENALTY

    def with_words(self, texts: Iterable[str]) -> "Lexicon":
        """Return a lexicon that has the words of some texts, too."""
        return replace(self, words=self.words.union(word for text in texts for word in _words(text)))

    @cached_property
    def _letters(self) -> frozenset[str]:
        return frozenset("".join(self.words))

    @cached_property
    def _beginnings(self) -> list[int]:
        """Ids that begin a word, before which another one is over."""
        return [id_ for id_ in range(self.tokenizer.vocab_size) if self.tokenizer.decode([id_])[:1].isspace()]

    def ends_in_unknown(self, text: Sequence[int]) -> bool:
        """Return whether the last word of a text, if it is over here, is none."""
        readable = [id_ for id_ in text if id_ < self.tokenizer.vocab_size]  # a model may write what is no text
        last = self.tokenizer.decode(readable).split(" ")[-1]
        return any(word not in self.words and self._letters.issuperset(word) for word in _words(last))

    def penalties(self, texts: Sequence[Sequence[int]], num_ids: int, end_id: int) -> Tensor:
        """Return what the ids that may follow each text lose: [K, num_ids].

        Args:
            texts: the ids of each.
            num_ids: of the model.
            end_id: ends a text, and its last word.
        """
        lost = torch.zeros(len(texts), num_ids)
        for row, text in zip(lost, texts, strict=True):
            if self.ends_in_unknown(text):
                row[[*self._beginnings, end_id]] = self.penalty
        return lost


def _words(text: str) -> Iterator[str]:
    words = text.lower().split()
    stripped = (word if word.isalpha() else word.strip(string.punctuation) for word in words)  # most need no time
    return (word for word in stripped if word)
