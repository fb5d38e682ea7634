"""How much a file is to hold by what is written in it, where decoders believe the size of the file instead."""

import re
from collections.abc import Iterator
from math import prod
from typing import Literal, TypeAlias

from kimi_audio.audio.formats import AIFF, AU, NIST, WAV, WAVE64, Format
from kimi_audio.audio.sources import Window

Order: TypeAlias = Literal["little", "big"]
Extent: TypeAlias = tuple[int, int]
"""Where samples begin, and how many bytes of them are announced."""

_UNKNOWN: Extent = (0, 0)
_PLACEHOLDER_BYTES = 0x7FFF_0000  # so long, or longer, "is" a recording that was written to a pipe
_LONG_PLACEHOLDER_BYTES = 1 << 62  # where sizes have 64 bits
_NIST_HEADER_BYTES = 1024
_NIST_SIZES = re.compile(rb"^(?:sample_count|sample_n_bytes|channel_count) -i (\d{1,18})$", re.MULTILINE)


def announced_share(file: Window, format: Format) -> float:
    """Return the bytes of samples that a header announces over those that are there; 1 if it cannot be known."""
    begin, size = _READERS[format](file) if format in _READERS else _UNKNOWN
    there = len(file) - begin
    return size / there if 0 < there < size else 1.0


def ends_within_box(file: Window) -> bool:
    """Tell whether an mp4 ends within the samples of its last fragment, or of all of them."""
    name, position = b"", 0
    while position + 8 <= len(file):
        file.seek(position)
        head = file.read(16)
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        if size < 8:  # a box without an end, or none
            return False
        position += size
    return name in (b"moof", b"mdat") and position > len(file)


def _riff(file: Window) -> Extent:
    """Read wav and aiff; where sizes of a wav may have 64 bits, that of the samples stands in a chunk of its own."""
    file.seek(0)
    order: Order = "big" if file.read(4) in (b"RIFX", b"FORM") else "little"
    long_size = None
    for name, begin, size in _chunks(file, 12, 4, 4, order):
        if name == b"ds64":
            file.seek(begin + 8)
            long_size = int.from_bytes(file.read(8), order)
        elif name in (b"data", b"SSND"):
            return _extent(begin, size, _PLACEHOLDER_BYTES) if long_size is None else _extent(begin, long_size)
    return _UNKNOWN


def _w64(file: Window) -> Extent:
    for name, begin, size in _chunks(file, 40, 16, 8, "little"):
        if name.startswith(b"data"):
            return _extent(begin, size)
    return _UNKNOWN


def _au(file: Window) -> Extent:
    file.seek(0)
    order: Order = "little" if file.read(4) == b"dns." else "big"
    begin, size = (int.from_bytes(file.read(4), order) for _ in range(2))
    return _extent(begin, size, _PLACEHOLDER_BYTES)


def _nist(file: Window) -> Extent:
    file.seek(0)
    sizes = [int(size) for size in _NIST_SIZES.findall(file.read(_NIST_HEADER_BYTES))]
    return _extent(_NIST_HEADER_BYTES, prod(sizes)) if len(sizes) == 3 else _UNKNOWN


def _extent(begin: int, size: int, placeholder: int = _LONG_PLACEHOLDER_BYTES) -> Extent:
    return (begin, size) if size < placeholder else _UNKNOWN


def _chunks(
    file: Window, first: int, name_bytes: int, size_bytes: int, order: Order
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of every chunk, where its content begins, and the size of that."""
    head_bytes, position = name_bytes + size_bytes, first
    of_head, multiple = (head_bytes, 8) if size_bytes == 8 else (0, 2)  # counted in a size; what chunks are filled to
    while position + head_bytes <= len(file):
        file.seek(position)
        head = file.read(head_bytes)
        begin, size = position + head_bytes, int.from_bytes(head[name_bytes:], order) - of_head
        yield head[:name_bytes], begin, size
        position = begin + max(0, -(-size // multiple) * multiple)


_READERS = {WAV: _riff, AIFF: _riff, WAVE64: _w64, AU: _au, NIST: _nist}
