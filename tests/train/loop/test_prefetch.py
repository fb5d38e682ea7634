"""Batches that are made ahead are those that would be made in time."""

import os
import threading
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from kimi_audio.train.loop.prefetch import Prefetch, moved


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


def test_processes_make_the_same_batches_elsewhere():
    def batch_of(number: int) -> tuple[int, Tensor]:
        return os.getpid(), torch.full((2,), number)

    with Prefetch(batch_of, every=3, end=20, processes=2) as coming:
        made = [coming(number) for number in range(2, 20, 3)]
    assert [int(values[0]) for _, values in made] == [2, 5, 8, 11, 14, 17]
    assert os.getpid() not in {process for process, _ in made}
    assert len({process for process, _ in made}) == 2


def test_an_error_in_a_process_is_one_here():
    def batch_of(number: int) -> int:
        if number == 1:
            raise OSError("gone")
        return number

    with Prefetch(batch_of, end=9, processes=1) as coming:
        assert coming(0) == 0
        with pytest.raises(OSError, match="gone"):
            coming(1)


def test_tensors_of_a_batch_are_moved_and_the_rest_stays():
    @dataclass(frozen=True)
    class Named:
        values: Tensor
        ids: tuple[str, ...]

    elsewhere = moved(Named(torch.zeros(3), ("a",)), "meta")
    assert (elsewhere.values.device.type, elsewhere.ids) == ("meta", ("a",))
