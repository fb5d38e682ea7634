"""One process, or one group of processes, per folder of a run: two would break each other's checkpoints."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kimi_audio.train.loop.parallel import first_process

LOCK = "run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder, which is made if needed, for the processes of this run; who holds it already may ask again.

    Raises:
        ValueError: another run is at work in it.
    """
    with ExitStack() as stack:

        def acquire() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                # A singleton: within one thread, the same lock can be taken several times.
                stack.enter_context(FileLock(folder.resolve() / LOCK, timeout=0, is_singleton=True))
            except Timeout:
                raise ValueError(
                    f"another process is training in {folder}; wait until it ends, or give another folder"
                ) from None

        first_process(acquire)
        yield
