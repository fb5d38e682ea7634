"""Libraries of the eval extra: imported where they are used, and named with their version beside each score."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version


@contextmanager
def eval_extra() -> Iterator[None]:
    """Turn a missing library inside the block into one clear sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is missing: install kimi-audio[eval]", name=error.name) from error


def library_versions(*libraries: str) -> dict[str, str]:
    """Return the installed version of each library, "missing" for those that are not installed."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
