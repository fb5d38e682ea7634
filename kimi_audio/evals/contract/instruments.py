"""What answers are measured with, where rules are not enough: chosen by option, and printed beside each score."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kimi_audio.evals.contract.types import Scorer, Task

if TYPE_CHECKING:
    from kimi_audio.evals.judges.types import Judge
    from kimi_audio.evals.speech.types import Mos, Recogniser, SpeakerEncoder


@dataclass(frozen=True)
class Instruments:
    """The chosen ones; None where nothing was chosen."""

    judge: "Judge | None" = None
    ratings: tuple[Path, ...] = ()  # filled forms of human raters
    recogniser: "Recogniser | None" = None
    speaker: "SpeakerEncoder | None" = None
    mos: "Mos | None" = None


@runtime_checkable
class Equippable(Protocol):
    """A scorer that has a use for instruments."""

    def equip(self, instruments: Instruments) -> Scorer:
        """Return the scorer with the instruments that it needs; those that it does not need are ignored."""
        ...


def equip(tasks: Iterable[Task], instruments: Instruments) -> list[Task]:
    """Return the tasks with their scorers equipped; scorers that are content with rules stay as they are."""
    return [replace(task, scorer=_equipped(task.scorer, instruments)) for task in tasks]


def _equipped(scorer: Scorer, instruments: Instruments) -> Scorer:
    return scorer.equip(instruments) if isinstance(scorer, Equippable) else scorer
