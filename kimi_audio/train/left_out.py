"""Samples that cannot be learned: left out, counted and reported, up to a share."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kimi_audio.core.files import read_json, write_json
from kimi_audio.data.reports import LineReport
from kimi_audio.train.loop.parallel import rank

LEFT_OUT = "left_out.json"  # in the folder of a run: the samples that broke, and why
ALWAYS_ALLOWED = 3  # lines, however small the files are

logger = logging.getLogger(__name__)


class LeftOut:
    """Counts what the files of a run lack: the lines that a check has found, and the samples that break later.

    Args:
        reports: of all files.
        share: of all lines that may be lacking; ``ALWAYS_ALLOWED`` may in any case.
        folder: of the run, where those are noted that break.

    Raises:
        ValueError: more lines than that are lacking already.
    """

    def __init__(self, reports: Sequence[LineReport], share: float, folder: Path):
        self.share, self._path = share, folder / LEFT_OUT
        self.num_lines = sum(report.num_lines for report in reports)
        self.num_before = sum(report.num_skipped for report in reports)
        # Name of a sample that was met -> why it cannot be learned.
        self.broken: dict[str, str] = read_json(self._path) if self._path.exists() else {}
        examples = [f"{report.path}, line {p.line}: {p.reason}" for report in reports for p in report.problems[:1]]
        if examples:
            self._check(examples[0], self.num_before)

    def try_again(self, samples: Iterable[tuple[str, Callable[[], object]]]) -> None:
        """Forget the noted samples that have been mended since; to be called in every process, alike.

        Args:
            samples: names and what builds them; one that is used in several ways comes several times.

        Raises:
            ValueError: too many are left.
        """
        now: dict[str, str | None] = {}  # name -> why it still cannot be learned
        for name, build in samples:
            if name in self.broken and now.get(name) is None:
                try:
                    build()
                    now[name] = None
                except (ValueError, OSError) as error:
                    now[name] = str(error)
        mended = [name for name, reason in now.items() if reason is None]
        for name in mended:
            del self.broken[name]
        if mended and rank() == 0:
            write_json(self._path, self.broken)
            logger.info("%d of the samples that were left out can be learned now", len(mended))
        for name, reason in self.broken.items():
            self._check(f"{name}: {reason}", self.num_before + len(self.broken))

    def __call__(self, name: str, error: Exception) -> None:
        """Take note of a sample that cannot be built; to be called in every process, alike.

        Raises:
            ValueError: there are too many of them now.
        """
        if name in self.broken:
            return
        self.broken[name] = str(error)
        if rank() == 0:
            write_json(self._path, self.broken)
            logger.warning("%s is left out: %s", name, error)
        self._check(f"{name}: {error}", self.num_before + len(self.broken))

    def _check(self, example: str, lacking: int) -> None:
        allowed = max(ALWAYS_ALLOWED, int(self.share * self.num_lines))
        if lacking > allowed:
            raise ValueError(
                f"{lacking} of {self.num_lines} lines cannot be learned, and max_left_out={self.share:g} allows "
                f'{allowed}: see "kimi-audio prepare validate", or set max_left_out higher (one of them is {example})'
            )
