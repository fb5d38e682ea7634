"""Numbers that users and files give: of the right kind, finite and in range, or one clear sentence."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any


def whole_number(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a whole number of any library, but no ``bool``, as an ``int``.

    Raises:
        ValueError: it is something else, or outside ``low`` ... ``high``.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or not _within(value, low, high):
        raise ValueError(f"{name} must be a whole number {_range(low, high)}, not {_shown(value)}")
    return int(value)


def finite_number(name: str, value: Any, low: float, high: float | None = None) -> float:
    """Return a number of any library, but no ``bool``, as a ``float``.

    Raises:
        ValueError: it is something else, NaN, infinite, or outside ``low`` ... ``high``.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not _is_finite(value) or not _within(value, low, high):
        raise ValueError(f"{name} must be a number {_range(low, high)}, not {_shown(value)}")
    return float(value)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which gets an s unless there is one of it: "1 line", "2,000 lines"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def without_nan(values: Any) -> Any:
    """Return plain values with None for every float that is not finite.

    JSON has no such numbers, and the words that Python writes for them are refused by other readers.
    """
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    if isinstance(values, Mapping):
        return {key: without_nan(value) for key, value in values.items()}
    return [without_nan(value) for value in values] if isinstance(values, list | tuple) else values


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _within(value: Any, low: float, high: float | None) -> bool:
    return low <= value and (high is None or value <= high)


def _range(low: float, high: float | None) -> str:
    return f"of at least {_written(low)}" if high is None else f"from {_written(low)} to {_written(high)}"


def _written(bound: float) -> str:
    return f"{int(bound) if float(bound).is_integer() else bound:,}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
