"""Checking files of documents before anything is learned from them: what is wrong where, and how large all is."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from kimi_audio.core.lines import BadSampleError, Problem
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN, tokens_in_audio
from kimi_audio.data.documents import Document, DocumentFile, SoundPart
from kimi_audio.data.reports import LineReport, Progress
from kimi_audio.tokenizer.text import TextTokenizer

Size = tuple[int, int]  # codes and text ids of a segment; 0 of what it lacks


@dataclass(frozen=True)
class Survey(LineReport):
    """What a file of documents holds."""

    sizes: tuple[tuple[Size, ...], ...]  # of the segments of each good document

    @property
    def audio_tokens(self) -> int:
        """Codes of all segments."""
        return sum(codes for document in self.sizes for codes, _ in document)

    @property
    def text_tokens(self) -> int:
        """Text ids of all segments."""
        return sum(ids for document in self.sizes for _, ids in document)

    @property
    def audio_hours(self) -> float:
        """Hours of all recordings, in whole tokens."""
        return self.audio_tokens * SAMPLES_PER_TOKEN / INPUT_RATE_HZ / 3600

    def limited(self, max_positions: int) -> Self:
        """Return the report without the documents that have a longer recording in a segment."""
        lines, sizes, problems = [], [], list(self.problems)
        for line, document in zip(self.lines.tolist(), self.sizes, strict=True):
            long = [
                f"segment {n}: {_too_long(c, max_positions)}" for n, (c, _) in enumerate(document) if c > max_positions
            ]
            problems += [Problem(line, reason) for reason in long]
            if not long:
                lines.append(line)
                sizes.append(document)
        problems.sort(key=lambda problem: problem.line)
        return replace(self, problems=tuple(problems), lines=np.array(lines, np.int64), sizes=tuple(sizes))

    def summary(self) -> dict[str, Any]:
        """Return all numbers and problems as plain values, for JSON."""
        sizes = {name: getattr(self, name) for name in ("audio_hours", "audio_tokens", "text_tokens")}
        return super().summary() | sizes


def survey_file(
    path: str | Path,
    tokenizer: TextTokenizer,
    max_positions: int,
    *,
    decode: bool = True,
    progress: Progress | None = None,
) -> Survey:
    """Check every line of a file as pre-training would read it.

    Args:
        path: a JSONL file.
        tokenizer: of the text.
        max_positions: the longest recording of one segment. (Long texts are cut.)
        decode: decode every recording; False trusts the headers, which is fast but finds no broken samples.
        progress: told after every line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty.
    """
    file = DocumentFile(path)
    problems, lines, sizes = [], [], []
    for index in range(len(file)):
        try:
            sizes.append(_sizes(file[index], tokenizer, max_positions, decode=decode))
            lines.append(index + 1)
        except BadSampleError as error:
            problems += [Problem(index + 1, reason) for reason in error.reasons]
        if progress is not None:
            progress(index + 1, len(file))
    return Survey(file.path, len(file), tuple(problems), np.array(lines, np.int64), tuple(sizes))


def _sizes(document: Document, tokenizer: TextTokenizer, max_positions: int, *, decode: bool) -> tuple[Size, ...]:
    sizes, reasons = [], []
    for number, segment in enumerate(document.segments):
        ids = 0 if segment.text is None else len(tokenizer.encode(segment.text))
        try:
            codes = 0 if segment.audio is None else _codes(segment.audio, max_positions, decode=decode)
            sizes.append((codes, ids))
        except (ValueError, OSError) as error:
            reasons.append(f"segment {number}: {error}")
    if reasons:
        raise BadSampleError(reasons)
    return tuple(sizes)


def _codes(part: SoundPart, max_positions: int, *, decode: bool) -> int:
    samples = len(part.load()) if decode else part.num_samples()
    codes = tokens_in_audio(samples)
    if not codes:
        raise ValueError("the audio is too short: no sample is left at 16 kHz")
    if codes > max_positions:
        raise ValueError(_too_long(codes, max_positions))
    return codes


def _too_long(codes: int, max_positions: int) -> str:
    seconds = codes * SAMPLES_PER_TOKEN / INPUT_RATE_HZ
    return (
        f"the audio is too long: {seconds:.1f} s are {codes} tokens, and at most {max_positions} fit; "
        "give it as several segments"
    )
