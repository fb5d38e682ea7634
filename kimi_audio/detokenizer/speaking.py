"""From codes, one by one, to sound."""

import torch
from torch import Tensor

from kimi_audio.detokenizer.stream import Detokenizer, StreamState


class SpeechStream:
    """Turns codes into sound as soon as there are enough of them."""

    def __init__(self, detokenizer: Detokenizer, state: StreamState | None, noise: torch.Generator) -> None:
        self._detokenizer = detokenizer
        self._state = state or detokenizer.init_state()
        self._noise = noise
        self._codes: list[int] = []
        self._sizes = detokenizer.plan.policy.sizes()
        self._wanted = next(self._sizes)

    def push(self, code: int | None, is_final: bool) -> Tensor:
        """Return the sound [L], mostly none, that this code completes.

        A full chunk waits for one code more: only then is it known not to be the last, which is rendered otherwise.
        """
        self._codes += [] if code is None else [code]
        sound = torch.zeros(0)
        if len(self._codes) > self._wanted:
            sound = self._render(self._codes[: self._wanted], is_final=False)
            self._codes, self._wanted = self._codes[self._wanted :], next(self._sizes)
        return torch.cat([sound, self._render(self._codes, is_final=True)]) if is_final else sound

    def _render(self, codes: list[int], *, is_final: bool) -> Tensor:
        sound, self._state = self._detokenizer.decode_chunk(codes, self._state, is_final, self._noise)
        return sound.cpu().clone()  # the copy is an ordinary tensor, which its owner may change
