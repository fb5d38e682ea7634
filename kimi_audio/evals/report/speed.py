"""How fast a model answered, as a row: latencies, the first sound, real-time factors."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from kimi_audio.evals.contract.types import Result


@dataclass(frozen=True)
class SpeedRow:
    """The speed of one model in one task. None: not measured."""

    task: str
    model: str
    first_text_p50_s: float | None  # half of the answers had begun
    first_sound_p50_s: float | None
    total_p50_s: float | None
    total_p95_s: float | None
    rtf_heard: float | None  # seconds of work per second of sound; below 1 keeps up
    rtf_spoken: float | None

    @property
    def numbers(self) -> dict[str, float | None]:
        """Return what was measured, by name with unit."""
        return {name: value for name, value in asdict(self).items() if name not in ("task", "model")}


def speed_of(result: Result) -> SpeedRow:
    """Return the speed of a result."""

    def measured(quantity: str, name: str) -> float | None:
        return result.timings.get(quantity, {}).get(name)

    return SpeedRow(
        result.task,
        result.model,
        measured("first_text_s", "p50_s"),
        measured("first_sound_s", "p50_s"),
        measured("total_s", "p50_s"),
        measured("total_s", "p95_s"),
        measured("real_time_factor_heard", "rtf"),
        measured("real_time_factor_spoken", "rtf"),
    )


def speed_rows(results: Iterable[Result]) -> list[SpeedRow]:
    """Return the rows of all results that were timed."""
    return [row for row in map(speed_of, results) if any(value is not None for value in row.numbers.values())]


HEAD = ("first text, s", "first sound, s", "answer, s", "answer, s (95 % within)", "RTF heard", "RTF spoken")
EXPLANATION = (
    "Medians over the samples. The real-time factor (RTF) is seconds of work per second of sound, heard or spoken; a "
    "batch shares its seconds."
)
