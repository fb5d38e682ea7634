"""Loops that numba compiles, where it is and where it is not."""

import builtins

import numba
import pytest

from kimi_audio.core import loops


def test_without_numba_nothing_can_be_compiled(monkeypatch: pytest.MonkeyPatch):
    real_import = builtins.__import__

    def without_numba(name: str, *arguments: object) -> object:
        if name == "numba":
            raise ImportError(name)
        return real_import(name, *arguments)  # pyright: ignore[reportArgumentType]

    assert loops.can_compile.__wrapped__()
    monkeypatch.setattr(builtins, "__import__", without_numba)
    assert not loops.can_compile.__wrapped__()


def test_where_nothing_can_be_written_it_is_compiled_anew(monkeypatch: pytest.MonkeyPatch):
    made = []

    def njit(signature: str, *, cache: bool = False, **options: object):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        made.append((signature, options))
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert loops.compiled(print, "void(f4)", "contract") is print
    assert made == [("void(f4)", {"nogil": True, "fastmath": {"contract"}})]
