"""What the LLM does not get to see while it learns, so that it learns from all the rest.

Shapes: B rows, T positions, M continuous positions of the batch, D acoustic feature size.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Batch, heard_spans
from kimi_audio.train.loop.schedule import check_range

MOST_SPANS = 2  # of one recording


@dataclass(frozen=True)
class Hiding:
    """How much is hidden; nothing, unless it is asked for.

    Args:
        heard: share of the recordings that are heard of which one or two spans fall silent.
        span_tokens: longest such span.
        text: share of the learned text ids that the model has to do without when it predicts what follows.
        codes: share of the learned codes in whose place it sees any other code, as it will see its own mistakes.
    """

    heard: float = 0.0
    span_tokens: int = 6
    text: float = 0.0
    codes: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ValueError: a value is out of its range.
        """
        for field in fields(self):
            name = f"hiding.{field.name}"
            if field.name == "span_tokens":
                check_range(name, self.span_tokens, least=1)
            else:
                check_range(name, getattr(self, field.name), least=0, most=1)

    @property
    def is_nothing(self) -> bool:
        """Whether all is seen."""
        return not (self.heard or self.text or self.codes)


def hidden(batch: Batch, hiding: Hiding, config: LMConfig, blank_id: int, generator: torch.Generator) -> Batch:
    """Return a batch of which a part is hidden: what the model sees, not what it is to predict.

    Args:
        batch: on the CPU.
        hiding: how much.
        config: of the model, for its codes.
        blank_id: what stands in the place of ids.
        generator: source of all random draws.
    """
    is_code = batch.audio_loss & (batch.audio_ids >= config.audio_offset)
    others = torch.randint(config.audio_offset, config.vocab_size, is_code.shape, generator=generator)
    audio_ids = torch.where(_drawn(is_code, hiding.codes, generator), others, batch.audio_ids)
    text_ids = batch.text_ids.masked_fill(_drawn(batch.text_loss, hiding.text, generator), blank_id)
    silent = _silent(batch, hiding, generator)  # [M]
    features = batch.features
    if features is not None and len(silent):
        places = batch.is_continuous.nonzero()[silent]
        audio_ids[places[:, 0], places[:, 1]] = blank_id
        features = features.masked_fill(silent[:, None], 0.0)
    return replace(batch, audio_ids=audio_ids, text_ids=text_ids, features=features)


def _drawn(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    return mask & (torch.rand(mask.shape, generator=generator) < share)


def _silent(batch: Batch, hiding: Hiding, generator: torch.Generator) -> Tensor:
    """Return which continuous positions fall silent [M]."""
    places = batch.is_continuous.nonzero()
    silent = torch.zeros(len(places), dtype=torch.bool)
    for start, length in heard_spans(batch):
        if float(torch.rand((), generator=generator)) >= hiding.heard:
            continue
        for _ in range(1 + int(torch.randint(MOST_SPANS, (), generator=generator))):
            size = 1 + int(torch.randint(hiding.span_tokens, (), generator=generator))
            first = start + int(torch.randint(length, (), generator=generator))
            silent[first : min(first + size, start + length)] = True
    return silent
