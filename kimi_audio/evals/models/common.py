"""What the adapters share."""

from collections.abc import Iterable

from kimi_audio.evals.types import Options


def check_decoding(family: str, options: Options, known: Iterable[str]) -> None:
    """Raise ValueError if the decoding has an option that the adapter does not pass on."""
    names = sorted(known)
    if unknown := sorted(set(options.decoding) - set(names)):
        raise ValueError(f"{family} has no decoding option {unknown[0]!r}; it has {', '.join(names) or 'none'}")
