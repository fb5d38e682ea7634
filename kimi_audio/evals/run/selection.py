"""Which samples of a dataset are asked, and which of them cannot be."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kimi_audio.audio.io import inspect_audio
from kimi_audio.evals.contract.keys import Clip
from kimi_audio.evals.contract.types import EvalSample


@dataclass(frozen=True)
class Selection:
    """All samples, or some of them: by id, or so many of each subset, drawn by the seed."""

    limit: int | None = None
    ids: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"the limit must be positive, not {self.limit}")

    def choose(self, samples: Sequence[EvalSample]) -> list[EvalSample]:
        """Return the selected samples, and those that they need, in their order.

        Raises:
            ValueError: there is no sample of a wanted id.
        """
        if missing := set(self.ids) - {sample.id for sample in samples}:
            raise ValueError(f"there is no sample {min(missing)!r}")
        named = [sample for sample in samples if sample.id in self.ids] if self.ids else samples
        chosen = self._limited(named)
        chosen |= {id_ for sample in named if sample.id in chosen for id_ in sample.needs}
        return [sample for sample in samples if sample.id in chosen]

    def _limited(self, samples: Sequence[EvalSample]) -> set[str]:
        """Return the ids of as many samples of each subset as the limit says."""
        if self.limit is None:
            return {sample.id for sample in samples}
        taken: Counter[str] = Counter()
        chosen: set[str] = set()
        # The order of hashes is random, the same on every machine, and a larger limit only adds samples.
        for sample in sorted(samples, key=self._rank):
            taken[sample.subset] += 1
            if taken[sample.subset] <= self.limit:
                chosen.add(sample.id)
        return chosen

    def _rank(self, sample: EvalSample) -> bytes:
        return hashlib.sha256(f"{self.seed}:{sample.id}".encode()).digest()

    def describe(self, chosen: int, available: int) -> str:
        """Return the selection in words, for the result."""
        if chosen == available:
            return f"all {available}"
        ways = ["named"] if self.ids else []
        if self.limit is not None:
            ways.append(f"at most {self.limit} per subset, seed {self.seed}")
        return f"{chosen} of {available} ({', '.join(ways)})"


def mark_duplicates(samples: Iterable[EvalSample]) -> list[EvalSample]:
    """Return the samples; one whose id was there before gets another id and a fault."""
    seen: Counter[str] = Counter()
    marked = []
    for sample in samples:
        seen[sample.id] += 1
        if (count := seen[sample.id]) > 1:
            sample = replace(sample, id=f"{sample.id}#{count}", fault=f"the id {sample.id} is used {count} times")
        marked.append(sample)
    return marked


def check_audio(sample: EvalSample) -> tuple[EvalSample, float]:
    """Return the sample, with a fault if its sound is missing or unreadable, and the seconds of its sound."""
    if sample.fault:
        return sample, 0.0
    heard_s = 0.0
    for clip in sample.audio:
        try:
            heard_s += duration_s(clip)
        except (ValueError, OSError) as error:
            return replace(sample, fault=str(error)), 0.0
    return sample, heard_s


def duration_s(clip: Clip) -> float:
    """Return the seconds of a recording; of a file, only its header is read where that does not lie.

    Raises:
        ValueError: it is empty, or no audio that can be read.
        OSError: there is no such file.
    """
    if not isinstance(clip, Path):
        length = max(clip.array.shape, default=0)
        if not length or not math.isfinite(clip.rate_hz) or clip.rate_hz <= 0:
            raise ValueError("the sample's sound is empty")
        return length / clip.rate_hz
    samples, rate_hz = inspect_audio(clip)
    if not samples:
        raise ValueError(f"{clip} holds no samples")
    return samples / rate_hz
