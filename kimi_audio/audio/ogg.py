"""The pages of an Ogg file: where one recording ends and the next begins, and whether all of it is there."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from kimi_audio.audio.sources import BinaryFile

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_BEGINS = 0x02  # flag of the first page of a stream
_UNKNOWN = -1  # granule position of a page on which no packet ends
_LONGEST_PAGE_BYTES = 65_307
_MOST_BROKEN = 1000  # pages; beyond, looking for whole ones would take a file made for that for ever


@dataclass
class Link:
    """One of the recordings that follow each other in a file: its place in bytes, and what is wrong with it.

    ``damaged_at`` is a granule position: a number of samples, at 48 kHz for Opus. ``is_cut`` tells that the file ends
    within a page.
    """

    start: int
    end: int
    damaged_at: int | None = None
    is_cut: bool = False


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    begins: bool
    granule: int
    serial: int
    number: int


def links(file: BinaryFile) -> list[Link]:
    """Return the recordings of a file; decoders stop at the end of the first, though players play them all."""
    found: list[Link] = []
    expected: dict[int, int] = {}  # the number of the next page, by stream
    heading, granule = False, 0  # whether the last page began a stream, and where in time it ended
    for page in _pages(file):
        if not found or (page.begins and not heading):
            found.append(Link(page.start, page.end))
            expected, granule = {}, 0
        link = found[-1]
        link.end = page.end
        if page.number != expected.get(page.serial, page.number if page.begins else None) and link.damaged_at is None:
            link.damaged_at = granule
        expected[page.serial] = page.number + 1
        granule = granule if page.granule == _UNKNOWN else page.granule
        heading = page.begins
    if found:
        file.seek(found[-1].end)
        found[-1].is_cut = b"OggS" in file.read(_LONGEST_PAGE_BYTES)
    return found


def _pages(file: BinaryFile) -> Iterator[_Page]:
    """Yield the pages that are as they were written; what is not, and what lies between, is passed over."""
    position, broken = 0, 0
    while broken < _MOST_BROKEN:
        file.seek(position)
        block = file.read(1 << 16)
        at = block.find(b"OggS")
        if at < 0:
            if len(block) < 1 << 16:
                return
            position += len(block) - 3
            continue
        position += at
        page = _page(file, position)
        if page is not None:
            yield page
        else:
            broken += 1
        position = position + 4 if page is None else page.end


def _page(file: BinaryFile, start: int) -> _Page | None:
    file.seek(start)
    header = file.read(27)
    lengths = file.read(header[26]) if len(header) == 27 else b""
    body = file.read(sum(lengths))
    if len(header) < 27 or len(lengths) < header[26] or len(body) < sum(lengths):
        return None
    without_checksum = header[:22] + bytes(4) + header[26:] + lengths + body
    if _checksum(without_checksum) != int.from_bytes(header[22:26], "little"):
        return None
    granule = int.from_bytes(header[6:14], "little", signed=True)
    serial, number = int.from_bytes(header[14:18], "little"), int.from_bytes(header[18:22], "little")
    return _Page(start, start + len(without_checksum), bool(header[5] & _BEGINS), granule, serial, number)


def _checksum(content: bytes) -> int:
    """Return Ogg's CRC: that of zlib with the bits of every byte and of the result the other way round, from 0 on."""
    reflected = zlib.crc32(content.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
