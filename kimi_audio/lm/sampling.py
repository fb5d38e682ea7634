"""Choosing the next id from scores; the same rules serve both rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kimi_audio.core.numbers import finite_number, whole_number

BROKEN = -1  # instead of an id, where the scores are not finite


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
        finite_number("temperature", self.temperature, 0)
        whole_number("top_k", self.top_k, 0)
        finite_number("repetition_penalty", self.repetition_penalty, 0.001)
        whole_number("repetition_window", self.repetition_window, 1)

    @property
    def is_likeliest(self) -> bool:
        """Whether nothing is drawn, and nothing disfavoured."""
        return self.temperature == 0 and self.repetition_penalty == 1


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
        """Return ids [B], ``BROKEN`` in rows whose scores hold a NaN or an infinity above all others.

        Such scores are told by an id, because raising an error here would wait for the device at every step.

        Args:
            logits: [B, V], left as they are.
            histories: the generated ids of every row so far, in order.
            generators: one per row on the device of ``logits``, so that a row's draws do not depend on its
                neighbours.
        """
        options = self.options
        if options.repetition_penalty > 1.0:
            logits = torch.stack([self._penalised(*pair) for pair in zip(logits, histories, strict=True)])
        best, ids = logits.max(-1)
        broken = ~best.isfinite()
        if options.temperature > 1e-6:
            ids = self._drawn(logits.masked_fill(broken[:, None], 0.0).float(), generators)
        return ids.masked_fill(broken, BROKEN)

    def _drawn(self, scores: Tensor, generators: list[torch.Generator] | None) -> Tensor:
        options, ids = self.options, None
        if options.top_k > 0:
            scores, ids = scores.topk(min(options.top_k, scores.shape[-1]), dim=-1)
        weights = (scores.log_softmax(-1) / options.temperature).softmax(
            -1
        )  # exp alone could underflow to nothing but zeros
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
