"""Batches that are made ahead are those that would be made in time."""

import threading

import pytest

from kimi_audio.train.loop.prefetch import Prefetch


def test_batches_are_made_once_in_their_order_and_not_far_ahead():
    made, asked = [], threading.Event()

    def batch_of(number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        made.append(number)
        if number == 9:
            asked.set()
        return 10 * number

    with Prefetch(batch_of, every=2, end=14) as coming:
        assert [coming(number) for number in (5,)] == [50]
        assert asked.wait(60)  # two batches ahead
        assert [coming(number) for number in (7, 9, 11, 13)] == [70, 90, 110, 130]
    assert made == [5, 7, 9, 11, 13]


def test_what_cannot_be_made_is_an_error_where_it_is_asked_for():
    def batch_of(number: int) -> int:
        if number == 2:
            raise OSError("gone")
        return number

    with Prefetch(batch_of, every=1, end=9) as coming:
        assert [coming(0), coming(1)] == [0, 1]
        with pytest.raises(OSError, match="gone"):
            coming(2)
