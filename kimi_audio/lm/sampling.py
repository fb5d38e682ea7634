"""Choosing the next id from scores; the same rules serve both rows."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SamplingOptions:
    """How one row is sampled.

    The repetition penalty takes effect once more than ``repetition_window`` ids are generated, and covers
    that many of the latest; forced blanks and end tokens count, the prompt does not.
    """

    temperature: float = 0.0  # 0 takes the best id
    top_k: int = 5  # 0 keeps the whole vocabulary; without effect at temperature 0
    repetition_penalty: float = 1.0  # above 1 disfavours recent ids
    repetition_window: int = 64

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or self.repetition_penalty <= 0 or self.repetition_window < 1:
            raise ValueError(f"temperature and top_k must not be negative, penalty and window must be positive: {self}")


class Sampler:
    """Draws one id per row."""

    def __init__(self, options: SamplingOptions) -> None:
        self.options = options

    def __call__(
        self,
        logits: Tensor,
        histories: list[list[int]],
        generators: list[torch.Generator] | None = None,
    ) -> Tensor:
        """Return ids [B].

        Args:
            logits: [B, V], left as they are.
            histories: the generated ids of every row so far, in order.
            generators: one per row on the device of ``logits``, so that a row's draws do not depend on its
                neighbours.
        """
        options = self.options
        if options.repetition_penalty > 1.0:
            logits = torch.stack([self._penalised(*pair) for pair in zip(logits, histories, strict=True)])
        scores = logits.float().log_softmax(-1)
        if options.temperature <= 1e-6:
            return scores.argmax(-1)
        weights = (scores / options.temperature).exp()
        ids = None
        if options.top_k > 0:
            weights, ids = weights.topk(min(options.top_k, weights.shape[-1]), dim=-1)
        rows = zip(weights, generators or [None] * len(weights), strict=True)
        drawn = torch.cat([row.multinomial(1, generator=generator) for row, generator in rows])
        return drawn if ids is None else ids.gather(-1, drawn[:, None])[:, 0]

    def _penalised(self, logits: Tensor, history: list[int]) -> Tensor:
        penalty, window = self.options.repetition_penalty, self.options.repetition_window
        if len(history) <= window:
            return logits
        recent = torch.tensor(history[-window:], device=logits.device)
        scores = logits[recent]
        return logits.scatter(0, recent, torch.where(scores < 0, scores * penalty, scores / penalty))
