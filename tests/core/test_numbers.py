"""Numbers from users and files are taken or refused in one sentence."""

import math

import numpy as np
import pytest

from kimi_audio.core.numbers import counted, finite_number, whole_number, without_nan


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_library_are_taken(value):
    taken = whole_number("count", value, 1, 3)
    assert taken == 3
    assert type(taken) is int


@pytest.mark.parametrize("value", [0, 4, 3.0, True, "3", None, math.nan, [3], 2**70])
def test_other_values_are_no_whole_number(value):
    with pytest.raises(ValueError, match=r"^count must be a whole number from 1 to 3, not .{1,63}$"):
        whole_number("count", value, 1, 3)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5)])
def test_numbers_of_any_library_are_taken(value):
    assert finite_number("scale", value, 0) == 0.5
    assert finite_number("scale", 2, 0) == 2.0


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, -math.inf, "0.5", True, None, 10**400, 1j, "x" * 1000])
def test_other_values_are_no_number(value):
    with pytest.raises(ValueError, match=r"^scale must be a number of at least 0, not .{1,63}$"):
        finite_number("scale", value, 0)


def test_a_single_thing_has_no_plural():
    assert [counted(number, "line") for number in (0, 1, 2, 2000)] == ["0 lines", "1 line", "2 lines", "2,000 lines"]


def test_what_json_lacks_becomes_none():
    values = {"a": math.nan, "b": (1.5, [math.inf], "NaN", True, None), 3: {"c": -math.inf}}
    assert without_nan(values) == {"a": None, "b": [1.5, [None], "NaN", True, None], 3: {"c": None}}
