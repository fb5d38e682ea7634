"""Sound in films and browsers' recordings is heard at its time, and is as long as its own stream."""

import itertools
import logging

import numpy as np
import pytest
import torch
from encoded import RATE_HZ, film, speechlike

from kimi_audio.audio import timeline
from kimi_audio.audio.io import audio_blocks, load_audio, measure_audio, read_part
from kimi_audio.audio.sandbox import Limits, decode_untrusted
from kimi_audio.audio.timeline import Timeline

pytest.importorskip("av")

HZ = 48_000
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"}
KINDS = {  # a container, a codec, and options of the container
    "mp4": ("mp4", "aac", {}),
    "mp4 in fragments": ("mp4", "aac", FRAGMENTS),
    "mov": ("mov", "aac", {}),
    "mkv": ("matroska", "libopus", {}),
    "webm": ("webm", "libopus", {}),
    "webm of a browser": ("webm", "libopus", {"live": "1"}),  # which does not know its length
    "wma": ("asf", "wmav2", {}),
}


def made(kind: str, pieces: list[tuple[float, float]], picture_s: float = 0.0, start_s: int = 0) -> bytes:
    """Encode pieces that begin and last so many seconds."""
    container, codec, options = KINDS[kind]
    sounds = [(begin_s, speechlike(duration_s, HZ)) for begin_s, duration_s in pieces]
    return film(sounds, container, codec, picture_s, HZ, options, start_s)


def sounding(content: bytes) -> list[tuple[float, float]]:
    """Return the beginnings and ends of what is not silent, in seconds."""
    wav = load_audio(content, RATE_HZ, damage="refuse")
    loud = torch.nn.functional.pad(wav.abs() > 0.02, (1, 1)).nonzero()[:, 0].tolist()
    breaks = [(one, other) for one, other in itertools.pairwise(loud) if other - one > RATE_HZ // 4]
    ends = [loud[0], *itertools.chain(*breaks), loud[-1]]
    return [(begin / RATE_HZ, end / RATE_HZ) for begin, end in zip(ends[::2], ends[1::2], strict=True)]


@pytest.mark.parametrize("start_s", [0, 100], ids=["from zero", "time stamps of a clock"])
@pytest.mark.parametrize("kind", ["mp4", "mp4 in fragments", "mov", "mkv", "wma"])
def test_sound_that_begins_after_the_picture(kind: str, start_s: int):
    assert sounding(made(kind, [(7.0, 2.0)], 12.0, start_s))[-1] == pytest.approx((7.0, 9.0), abs=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_between_two_utterances_is_silent(kind: str):
    first, second = sounding(made(kind, [(0.0, 2.0), (60.0, 2.0)]))
    assert first == pytest.approx((0.0, 2.0), abs=0.15)
    assert second == pytest.approx((60.0, 62.0), abs=0.15)


def test_parts_blocks_and_the_sandbox_agree_on_places_in_time(tmp_path):
    content = made("webm of a browser", [(0.0, 2.0), (20.0, 2.0)])
    whole = load_audio(content, RATE_HZ)
    blocks = list(audio_blocks(content, RATE_HZ))
    assert torch.equal(torch.cat(blocks), whole)
    assert max(map(len, blocks)) < 3 * RATE_HZ
    assert measure_audio(content)[0] / HZ == pytest.approx(22.0, abs=0.1)
    assert torch.equal(torch.from_numpy(decode_untrusted(content, rate_hz=RATE_HZ).array), whole)
    (tmp_path / "x.webm").write_bytes(content)
    part = load_audio(read_part(tmp_path / "x.webm", 20.0, 1.5), HZ)
    assert torch.equal(part, load_audio(content, HZ)[20 * HZ : 20 * HZ + 3 * HZ // 2])


@pytest.mark.parametrize("kind", ["mp4", "mkv", "wma"])
def test_a_film_whose_picture_is_longer_than_its_sound_is_whole(kind: str, caplog):
    samples, rate_hz = measure_audio(made(kind, [(0.0, 4.0)], 10.0))
    assert samples / rate_hz == pytest.approx(4.0, abs=0.15)
    assert not caplog.records


@pytest.mark.parametrize(("kind", "picture_s"), [("webm", 0.0), ("mkv", 0.0), ("mkv", 12.0)])
def test_a_film_that_was_cut_off(kind: str, picture_s: float):
    content = made(kind, [(0.0, 10.0)], picture_s)
    with pytest.raises(ValueError, match=r"is not complete: [345]\.\d s are there of 10\.0 s"):
        load_audio(content[: len(content) // 2], RATE_HZ, damage="refuse")


@pytest.mark.parametrize("picture_s", [0.0, 12.0])
@pytest.mark.parametrize("share", [0.33, 0.39, 0.5, 0.79, 0.87])
def test_a_film_in_fragments_that_was_cut_off(share: float, picture_s: float, caplog):
    content = made("mp4 in fragments", [(0.0, 10.0)], picture_s)
    cut = content[: int(len(content) * share)]
    with pytest.raises(ValueError, match=r"is not complete: \d\.\d s are there"):
        load_audio(cut, RATE_HZ, damage="refuse")
    caplog.clear()
    load_audio(cut, RATE_HZ)
    load_audio(content + b"\0" * 20, RATE_HZ, damage="refuse")
    (told,) = [record.message for record in caplog.records]
    assert "is not complete" in told


@pytest.mark.parametrize("picture_s", [0.0, 20.0])
@pytest.mark.parametrize("junk_bytes", [0, 20_000], ids=["cut out", "overwritten"])
def test_what_was_lost_within_a_film_is_damage_and_keeps_its_time(picture_s: float, junk_bytes: int):
    content = made("mkv", [(0.0, 20.0)], picture_s)
    half = len(content) // 2
    damaged = content[:half] + b"\x55" * junk_bytes + content[half + 20_000 :]
    with pytest.raises(ValueError, match=r"is damaged at (9|10)\.\d s"):
        load_audio(damaged, RATE_HZ)
    kept = load_audio(damaged, RATE_HZ, damage="keep")
    assert len(kept) / RATE_HZ == pytest.approx(20.0, abs=0.1)


def test_time_stamps_beyond_the_announced_end_are_not_believed(caplog):
    content = bytearray(made("mkv", [(0.0, 2.0), (60.0, 2.0)], 4.0))
    place = content.index(b"\x44\x89\x88") + 3  # the length of the container, in milliseconds
    content[place : place + 8] = np.array(4000.0, ">f8").tobytes()
    with caplog.at_level(logging.WARNING):
        wav = load_audio(bytes(content), RATE_HZ)
    assert len(wav) / RATE_HZ == pytest.approx(4.0, abs=0.1)
    assert "has sound at 60.0 s by its time stamps, beyond its end; from 2.0 s on" in caplog.text


def test_silence_has_a_limit_where_no_end_is_announced(monkeypatch):
    monkeypatch.setattr(timeline, "MOST_SILENCE_S", 30.0)
    content = made("webm of a browser", [(0.0, 1.0), (20.0, 1.0), (40.0, 1.0), (2000.0, 1.0)])
    assert measure_audio(content)[0] / HZ == pytest.approx(23.0, abs=0.2)


def test_limits_count_silence():
    content = made("webm of a browser", [(0.0, 1.0), (60.0, 1.0)])
    with pytest.raises(ValueError, match="is too long: at most 30 s"):
        decode_untrusted(content, Limits(sound_s=30))


def test_silence_comes_in_blocks():
    line = Timeline("x", start_s=5.0)
    blocks = list(line.silence(line.gap_s(1005.0), 16_000, 2))
    assert {block.array.shape[0] <= timeline.BLOCK_SAMPLES and block.array.shape[1] == 2 for block in blocks} == {True}
    assert sum(len(block.array) for block in blocks) == 16_000_000
    assert line.heard_s == 1000.0
    assert line.gap_s(1005.05) == line.gap_s(900.0) == line.gap_s(None) == 0.0
