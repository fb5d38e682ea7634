"""When the next chunk of a stream is made: before playback needs it, and as late, so as long, as that allows.

A long chunk wastes less on its look-ahead, a short one is heard sooner. The policy knows no clock: who asks tells it
how much sound is in hand. ``sizes`` asks on behalf of a machine that takes just what is estimated, so that the same
codes are cut alike every time: the same seed gives the same sound, streamed or whole, on any machine under any load.
Where a machine turns out to be slower than that, sound is not cut otherwise, but begins later (``foresees_gap``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from kimi_audio.core.units import OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_TOKEN

TOKEN_S = OUTPUT_SAMPLES_PER_TOKEN / OUTPUT_RATE_HZ  # of sound
_NEARLY_AS_FAST = 1.3  # times the estimates: chunks are cut with some room, and codes come while sound is made
_CHUNKS_AHEAD = 3  # that are foreseen; later ones are long, and a gap before them is late


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a machine is thought to take.

    Args:
        step_s: until the LLM has made one more token.
        call_s: a call of the detokenizer, however few tokens it has.
        call_token_s: each token of a call more, look-ahead included.
        reserve_s: how much earlier than needed a chunk is to be ready.
    """

    step_s: float = 0.01
    call_s: float = 0.05
    call_token_s: float = 0.01
    reserve_s: float = 0.04


@dataclass(frozen=True, kw_only=True)
class ChunkPolicy:
    """Decides for one stream; it remembers nothing.

    A chunk is made at the last moment that leaves no gap in the playback. When that moment has passed, the gap comes
    anyway, and the policy waits for the longest chunk, so that there is at most one gap for each of these: a machine
    that keeps up with long chunks, but not with short ones, has a single gap.

    Args:
        first_tokens: of the first chunk.
        longest_tokens: of any chunk.
        look_ahead_tokens: computed, but not heard yet, in every call.
        held_s: sound that is held back for the next call.
        costs: estimates.
    """

    first_tokens: int
    longest_tokens: int
    look_ahead_tokens: int
    held_s: float
    costs: Costs

    def decode_now(self, available_tokens: int, in_hand_s: float | None) -> bool:
        """Tell whether to make a chunk of all tokens that are available, or to wait for one more.

        Args:
            available_tokens: tokens that no call has had yet.
            in_hand_s: sound that was made and has not been played; None before the first chunk.
        """
        if in_hand_s is None:
            return available_tokens >= self.first_tokens
        if available_tokens >= self.longest_tokens:
            return True
        left_s = in_hand_s - self.costs.reserve_s
        is_late = left_s < self.call_s(available_tokens)
        could_wait = left_s >= self.costs.step_s + self.call_s(available_tokens + 1)
        return available_tokens > 0 and not is_late and not could_wait

    def call_s(self, tokens: int) -> float:
        """Return the estimated time of a call."""
        return self.costs.call_s + self.costs.call_token_s * (tokens + self.look_ahead_tokens)

    def heard_s(self, tokens: int, *, is_first: bool) -> float:
        """Return how much sound comes out of a call that is not the last."""
        if not is_first:
            return tokens * TOKEN_S
        return max(0.0, (tokens - self.look_ahead_tokens) * TOKEN_S - self.held_s)

    def chunk_s(self, tokens: int) -> float:
        """Return the estimated time from the chunk before to this one."""
        return tokens * self.costs.step_s + self.call_s(tokens)

    def foresees_gap(self, num_chunks: int, in_hand_s: float, elapsed_s: float) -> bool:
        """Tell whether playback that begins now would stand still, on a machine that does other work as well.

        What comes next is expected to be slower than estimated by the same factor as what was made.

        Args:
            num_chunks: how many of ``sizes`` were made.
            in_hand_s: their sound; nothing of it was played.
            elapsed_s: what they took, from the first code on.
        """
        sizes = self.sizes()
        slowness = elapsed_s / sum(map(self.chunk_s, islice(sizes, num_chunks)))
        if slowness < _NEARLY_AS_FAST:
            return False
        for tokens in islice(sizes, _CHUNKS_AHEAD):
            in_hand_s -= slowness * self.chunk_s(tokens)
            if in_hand_s < 0:
                return True
            in_hand_s += tokens * TOKEN_S
        return False

    def sizes(self) -> Iterator[int]:
        """Yield the tokens of one chunk after the other, without end, as a machine of these costs would cut them."""
        yield self.first_tokens
        in_hand_s = self.heard_s(self.first_tokens, is_first=True)
        while True:
            tokens, waited_s = 0, 0.0
            while not self.decode_now(tokens, max(0.0, in_hand_s - waited_s)):
                tokens, waited_s = tokens + 1, waited_s + self.costs.step_s
            yield tokens
            in_hand_s = max(0.0, in_hand_s - waited_s - self.call_s(tokens)) + self.heard_s(tokens, is_first=False)
