"""Loops over arrays that numba compiles for this CPU, where it is installed (extra ``fast``).

To compile takes seconds; numba keeps the result beside the file of the loop or in the user's cache.
"""

from collections.abc import Callable
from functools import cache


@cache
def can_compile() -> bool:
    """Tell whether numba is there, and fits the numpy that is; the first call imports it."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


def compiled(function: Callable[..., None], signature: str, *fastmath: str) -> Callable[..., None]:
    """Compile a function, or take what was compiled before.

    Args:
        function: writes its result into one of its arguments.
        signature: their types, as numba writes them.
        fastmath: what may be changed in sums and products: "contract" fuses them, "reassoc" adds in another order.
    """
    from numba import njit

    options = {"nogil": True, "fastmath": {*fastmath}}
    try:
        return njit(signature, cache=True, **options)(function)
    except RuntimeError:  # nothing can be written, neither here nor in the user's cache
        return njit(signature, **options)(function)
