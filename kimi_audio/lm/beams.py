"""Beam search: several beginnings of a text are gone on with side by side, and the likeliest whole text is the reply.

Every beam is a row of the engine's steps like any other request, with a cache of its own. After each step the likeliest
of all ids that may follow take the rows: some beginnings are given up, others are gone on with twice.

Short texts have few ids that can be unlikely: a wrong answer of three words may be likelier than the right one of
twenty. So texts of different lengths are compared by their logarithms over the root of their lengths.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kimi_audio.lm.cache import KVCache
from kimi_audio.lm.request import Request
from kimi_audio.lm.rules import Event, ReplyState
from kimi_audio.lm.sampling import BROKEN

# A beginning that is so many nats less likely than the likeliest is given up: where there is no doubt, few rows go on.
# It has to be more than an unknown word costs.
MARGIN = 5.0


@dataclass(frozen=True)
class _Beam:
    """A text that has one id more than that of a row."""

    score: float  # logarithm of how likely it is
    parent: int  # which row
    state: ReplyState

    @property
    def merit(self) -> float:
        """What texts of different lengths are compared by."""
        return self.score / math.sqrt(len(self.state.text_history))


class BeamSearch:
    """The beams of one reply."""

    def __init__(self, asked: Request) -> None:
        self.rows = [asked]
        self._width = asked.state.options.beams
        self._begin = asked.state.fork()
        self._restore(asked)

    def restart(self) -> None:
        """Begin again with the request that was asked for."""
        asked, *twins = self.rows
        for twin in twins:
            twin.close()
        self.rows = [asked]
        asked.num_needed = asked.num_known
        self._restore(asked)

    def _restore(self, asked: Request) -> None:
        asked.state = self._begin.fork()
        for ids in (asked.audio_ids, asked.text_ids):
            del ids[len(asked.is_continuous) :]
        self._scores = [0.0]
        self._best: _Beam | None = None  # of the whole texts

    def advance(self, logits: Tensor, new_cache: Callable[[], KVCache]) -> bool:
        """Choose what the rows go on with; return whether the reply is over, which the request then holds.

        Args:
            logits: [K, V] of the id that follows each row.
            new_cache: makes the memory of a row.

        Raises:
            ValueError: they are not finite.
        """
        scores = logits.float().log_softmax(-1) + torch.tensor(self._scores, device=logits.device)[:, None]
        if lexicon := self._begin.options.lexicon:
            texts = [row.state.text_history for row in self.rows]
            scores -= lexicon.penalties(texts, scores.shape[1], self._begin.special.text_end).to(scores.device)
        likeliest = scores.flatten().topk(min(2 * self._width, scores.numel()))  # half of them may end the text
        live: list[_Beam] = []
        for score, place in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True):
            parent, id_ = divmod(place, scores.shape[1])
            beam = _Beam(score, parent, self.rows[parent].state.fork())
            beam.state.advance(id_ if math.isfinite(score) else BROKEN, None)
            if beam.state.finish_reason is None:
                live.append(beam)
            elif self._best is None or beam.merit > self._best.merit:
                self._best = beam
        if self._best and (not live or self._best.merit >= live[0].merit):
            self.rows[0].state = self._best.state
            return True
        self._take_rows([beam for beam in live[: self._width] if beam.score > live[0].score - MARGIN], new_cache)
        return False

    def _take_rows(self, beams: list[_Beam], new_cache: Callable[[], KVCache]) -> None:
        """Let every beam have a row, with the cache of its parent or, where another has it, a copy."""
        while len(self.rows) < len(beams):
            self.rows.append(self.rows[0].twin(new_cache()))
        caches, texts = [row.cache for row in self.rows], [row.text_ids for row in self.rows]
        given_up = [cache for number, cache in enumerate(caches) if number not in {beam.parent for beam in beams}]
        free = set(range(len(caches)))
        for row, beam in zip(self.rows, beams, strict=False):
            if beam.parent in free:
                row.cache = caches[beam.parent]
                free.remove(beam.parent)
            else:
                row.cache = given_up.pop()
                caches[beam.parent].copy_to(row.cache, row.num_computed)
            row.state, row.text_ids = beam.state, [*texts[beam.parent]]
            row.feed()
        for cache in given_up:
            cache.close()
        del self.rows[len(beams) :]
        self._scores = [beam.score for beam in beams]

    def events(self) -> list[Event]:
        """Return the text of a reply that is over, one id after the other, and its end."""
        state = self.rows[0].state
        reply = state.reply()
        text = [Event(state.row, text_id=id_) for id_ in reply.text_ids]
        return [*text, Event(state.row, finish_reason=reply.finish_reason)]
