"""From codes, one by one, to sound."""

import torch
from torch import Tensor

from kimi_audio.detokenizer.policy import ChunkPolicy
from kimi_audio.detokenizer.stream import Detokenizer, StreamState


class CodeChunks:
    """Cuts codes that come one by one into the chunks of a policy."""

    def __init__(self, policy: ChunkPolicy) -> None:
        self._policy, self._sizes, self._num_cut = policy, policy.sizes(), 0
        self._wanted = next(self._sizes)
        self._codes: list[int] = []

    def push(self, code: int | None, is_final: bool) -> list[tuple[list[int], bool]]:
        """Return the chunks, mostly none, that this code completes, each with whether it is the last.

        A full chunk waits for one code more: only then is it known not to be the last, which is rendered otherwise.
        """
        self._codes += [] if code is None else [code]
        chunks = []
        if len(self._codes) > self._wanted:
            chunks.append((self._codes[: self._wanted], False))
            self._codes, self._wanted = self._codes[self._wanted :], next(self._sizes)
            self._num_cut += 1
        if is_final:
            chunks.append((self._codes, True))
            self._codes = []
        return chunks

    def may_begin(self, in_hand_s: float, elapsed_s: float) -> bool:
        """Tell whether the sound of all chunks so far may be played without a gap to be expected.

        Args:
            in_hand_s: that sound.
            elapsed_s: what it took, from the first code on.
        """
        return not self._policy.foresees_gap(self._num_cut, in_hand_s, elapsed_s)


class SpeechStream:
    """Turns codes into sound as soon as there are enough of them."""

    def __init__(self, detokenizer: Detokenizer, state: StreamState | None, noise: torch.Generator) -> None:
        self._detokenizer = detokenizer
        self._state = state or detokenizer.init_state()
        self._noise = noise
        self._chunks = CodeChunks(detokenizer.plan.policy)

    def push(self, code: int | None, is_final: bool) -> Tensor:
        """Return the sound [L], mostly none, that this code completes."""
        chunks = self._chunks.push(code, is_final)
        return torch.cat([self.render(*chunk) for chunk in chunks]) if chunks else torch.zeros(0)

    def render(self, codes: list[int], is_final: bool) -> Tensor:
        """Return the sound [L] that a chunk completes which was cut elsewhere."""
        sound, self._state = self._detokenizer.decode_chunk(codes, self._state, is_final, self._noise)
        return sound.cpu().clone()  # the copy is an ordinary tensor, which its owner may change
