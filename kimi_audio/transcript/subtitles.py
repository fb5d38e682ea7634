"""Subtitles: SubRip (srt) and WebVTT (vtt)."""

from collections.abc import Iterable, Iterator

from kimi_audio.transcript.timed_text import Segment, Word, joined

MAX_CHARS = 84  # of a caption: two lines of a television
MAX_S = 7.0


def to_srt(segments: Iterable[Segment]) -> str:
    """Return the content of an srt file."""
    shown = enumerate(captions(segments), 1)
    return "".join(f"{number}\n{_span(one, ',')}\n{one.text.replace('-->', '->')}\n\n" for number, one in shown)


def to_vtt(segments: Iterable[Segment]) -> str:
    """Return the content of a WebVTT file."""
    return "WEBVTT\n\n" + "".join(f"{_span(one, '.')}\n{_escaped(one.text)}\n\n" for one in captions(segments))


def captions(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yield segments that can be read on a screen: one line of text each, long ones cut between their words.

    Where the times of words are not known, a segment stays whole.
    """
    for segment in segments:
        if len(segment.text) <= MAX_CHARS and segment.end_s - segment.start_s <= MAX_S:
            groups = [list(segment.words)]
        else:
            groups = list(_groups(segment.words))
        if len(groups) < 2:
            text = " ".join(segment.text.split())  # an empty line would end the caption
            yield Segment(text, segment.start_s, segment.end_s)
            continue
        for group in groups:
            yield Segment(joined(" ".join(word.text.split()) for word in group), group[0].start_s, group[-1].end_s)


def _groups(words: Iterable[Word]) -> Iterator[list[Word]]:
    """Yield words that fit into a caption."""
    group: list[Word] = []
    for word in words:
        chars = sum(len(one.text) + 1 for one in group) + len(word.text)
        if group and (chars > MAX_CHARS or word.end_s - group[0].start_s > MAX_S):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _span(segment: Segment, point: str) -> str:
    start_ms = round(1000 * segment.start_s)
    end_ms = max(start_ms + 1, round(1000 * segment.end_s))  # players drop captions that last no time
    return f"{_clock(start_ms, point)} --> {_clock(end_ms, point)}"


def _clock(time_ms: int, point: str) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{milliseconds:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
