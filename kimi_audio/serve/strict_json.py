"""JSON of strangers, as the standard has it: whatever is taken can also be kept, told to the model and sent back."""

import math
from typing import Any

from pydantic_core import from_json


def read_json(text: str | bytes) -> Any:
    """Return the values of a JSON text.

    Raises:
        ValueError: it is none, is nested too deeply, or holds half a character or a number that is not finite.
    """
    values = from_json(text, allow_inf_nan=False)
    if not _is_finite(values):  # 1e999 is well written
        raise ValueError("a number is too large")
    return values


def _is_finite(values: Any) -> bool:
    if isinstance(values, dict):
        return all(map(_is_finite, values.values()))
    if isinstance(values, list):
        return all(map(_is_finite, values))
    return not isinstance(values, float) or math.isfinite(values)
