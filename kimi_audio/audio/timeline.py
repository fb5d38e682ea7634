"""Where in time the sound of films and of browsers' recordings is: their containers keep a time for every frame.

Sound may begin after the picture, and nothing is kept of the time in which nobody spoke. Shapes: L samples, C channels.
"""

import logging
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from kimi_audio.audio.formats import ASF, MATROSKA, MP4, Format
from kimi_audio.audio.sources import Samples

if TYPE_CHECKING:
    from av import AudioStream, Packet
    from av.container import InputContainer

logger = logging.getLogger(__name__)

TIMED = (MP4, MATROSKA, ASF)
GAP_S = 0.1  # by less, time stamps are rounded, and clocks of sound and computer differ
MOST_SILENCE_S = 6 * 3600.0  # of one recording: time stamps may be wrong, and so may be the length that is announced
BLOCK_SAMPLES = 1 << 16  # of silence
LEAST_LOST_BYTES = {MATROSKA: 256, ASF: 1 << 14}  # heads and padding between two packets are shorter; in mp4 it varies
_TAGGED = re.compile(r"(\d{1,9}):(\d\d):(\d\d(?:\.\d*)?)")


class Timeline:
    """How much of a recording was heard, with the silence that its time stamps tell of.

    Args:
        name: of the recording.
        start_s: the time stamp of its beginning; None where time stamps tell nothing.
        length_s: how long it is; time stamps beyond are not believed.
        least_lost_bytes: between two packets, from where on one may have been lost.
    """

    def __init__(
        self,
        name: str,
        start_s: float | None = None,
        length_s: float | None = None,
        least_lost_bytes: float = math.inf,
    ) -> None:
        self.heard_s, self.silent_s = 0.0, 0.0
        self._name, self._start_s, self._length_s = name, start_s, length_s
        self._is_believed = True
        self._least_lost_bytes = least_lost_bytes
        self._read_until, self._skipped_bytes = 0, 0

    @classmethod
    def of(cls, container: "InputContainer", format: Format, name: str) -> "Timeline":
        """Return that of a recording of which nothing was heard yet."""
        if format not in TIMED or container.start_time is None:
            return cls(name)
        length_s = None if container.duration is None else container.duration / 1e6
        return cls(name, container.start_time / 1e6, length_s, LEAST_LOST_BYTES.get(format, math.inf))

    @property
    def sound_s(self) -> float:
        """How much of what was heard is not the silence of time stamps."""
        return self.heard_s - self.silent_s

    def read(self, packet: "Packet") -> None:
        """Note that a packet was read, of whatever stream."""
        if packet.pos is None or not packet.size:
            return
        if self._read_until:
            self._skipped_bytes = max(self._skipped_bytes, packet.pos - self._read_until)
        self._read_until = max(self._read_until, packet.pos + packet.size)

    def gap_s(self, time_s: float | None) -> float:
        """Return for how long it is silent before a frame with a time stamp."""
        if time_s is None or self._start_s is None:
            return 0.0
        place_s = time_s - self._start_s
        gap_s = place_s - self.heard_s
        if gap_s <= GAP_S:
            return 0.0
        if self.silent_s + gap_s <= MOST_SILENCE_S and (self._length_s is None or place_s <= self._length_s):
            return gap_s
        if self._is_believed:
            logger.warning(
                "%s has sound at %.1f s by its time stamps, beyond its end; from %.1f s on, times may be wrong",
                *(self._name, place_s, self.heard_s),
            )
        self._is_believed = False
        return 0.0

    def is_lost(self, gap_s: float) -> bool:
        """Tell whether bytes were skipped before a gap, which may have been its sound."""
        if not gap_s:
            return False
        skipped, self._skipped_bytes = self._skipped_bytes, 0
        return skipped >= self._least_lost_bytes

    def silence(self, gap_s: float, rate_hz: int, channels: int) -> Iterator[Samples]:
        """Yield blocks [L, C] of silence, which is heard."""
        left = round(gap_s * rate_hz)
        self.heard_s += left / rate_hz
        self.silent_s += left / rate_hz
        while left > 0:
            length = min(left, BLOCK_SAMPLES)
            left -= length
            yield Samples(np.zeros((length, channels), np.float32), rate_hz)


def announced_end_s(container: "InputContainer", stream: "AudioStream", format: Format) -> float | None:
    """Return where the sound of one of ``TIMED`` is to end, from the beginning of the recording on, if that is known.

    The length of the container is that of its longest stream, which may be the picture.
    """
    start_s = (container.start_time or 0) / 1e6
    if format == MP4 and stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start_s
    length_s = _tagged_s(stream) if format == MATROSKA else None
    if length_s is None and len(container.streams) == 1 and container.duration is not None:
        length_s = container.duration / 1e6
    if length_s is None or format != MATROSKA:
        return length_s
    return length_s - start_s  # some programs count from zero, others from the first frame: it ends no earlier


def _tagged_s(stream: "AudioStream") -> float | None:
    """Return the length that most writers of Matroska note of every stream."""
    tags = (value for name, value in stream.metadata.items() if name.upper().startswith("DURATION"))
    found = _TAGGED.match(next(tags, ""))
    if found is None:
        return None
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds
