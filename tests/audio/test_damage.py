"""Damaged and unfinished recordings: told with their place, and read as far as possible on request."""

import logging

import numpy as np
import pytest
from encoded import RATE_HZ, by_ffmpeg, by_libsndfile, likeness, speechlike

from kimi_audio.audio import ffmpeg
from kimi_audio.audio.io import load_audio, measure_audio, read_part

SECONDS = 8.0
BARE = {"write_xing": "0", "id3v2_version": "0"}


def files() -> dict[str, bytes]:
    wav = speechlike(SECONDS)
    return {
        "flac": by_libsndfile(wav, "FLAC"),
        "vorbis": by_libsndfile(wav, "OGG"),
        "opus": by_libsndfile(wav, "OGG", "OPUS"),
        "mp3": by_ffmpeg(wav, "mp3", "libmp3lame"),
        "mp3 without a header": by_ffmpeg(wav, "mp3", "libmp3lame", options=BARE),
        "aac": by_ffmpeg(wav, "adts", "aac"),
        "m4a": by_ffmpeg(wav, "ipod", "aac", options={"movflags": "faststart"}),
        "wma": by_ffmpeg(wav, "asf", "wmav2"),
        "wav": by_libsndfile(wav, "WAV"),
        "aiff": by_libsndfile(wav, "AIFF"),
        "au": by_libsndfile(wav, "AU"),
        "caf": by_libsndfile(wav, "CAF"),
        "alac in caf": by_libsndfile(wav, "CAF", "ALAC_16"),
        "w64": by_libsndfile(wav, "W64"),
        "rf64": by_libsndfile(wav, "RF64"),
        "sph": by_libsndfile(wav, "NIST"),
    }


RELATIVES = ["wav", "aiff", "au", "caf", "alac in caf", "w64", "rf64", "sph"]


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    pytest.importorskip("av")
    return files()


def with_junk(content: bytes, share: float = 0.5) -> bytes:
    place = int(len(content) * share)
    return content[:place] + b"\x55" * 1500 + content[place + 1500 :]


@pytest.mark.parametrize("name", ["flac", "vorbis", "opus", "mp3", "mp3 without a header", "aac", "m4a"])
def test_a_damaged_place_is_told_and_the_rest_is_read_on_request(whole, name: str, caplog):
    content = with_junk(whole[name])
    with pytest.raises(ValueError, match=r"the given audio is damaged at [2345]\.\d s; .*--damaged") as error:
        load_audio(content, RATE_HZ)
    assert len(str(error.value).splitlines()) == 1
    with caplog.at_level(logging.WARNING):
        kept = load_audio(content, RATE_HZ, damage="keep")
    assert SECONDS - 2.5 < len(kept) / RATE_HZ < SECONDS + 0.3
    assert "is damaged at" in caplog.text
    assert likeness(kept[-2 * RATE_HZ :], load_audio(whole[name], RATE_HZ)[-2 * RATE_HZ :]) > 0.9


def test_one_wrong_byte_of_flac_is_noticed(whole):
    content = bytearray(whole["flac"])
    content[len(content) // 2] ^= 0x10
    with pytest.raises(ValueError, match=r"damaged at [345]\.\d s"):
        load_audio(bytes(content), RATE_HZ)


def test_damaged_flac_is_noticed_without_pyav_too(whole, monkeypatch):
    monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"damaged at [345]\.\d s"):
        load_audio(with_junk(whole["flac"]), RATE_HZ)
    kept = load_audio(with_junk(whole["flac"]), RATE_HZ, damage="keep")
    assert 3.0 < len(kept) / RATE_HZ < 5.0


@pytest.mark.parametrize("name", ["flac", "vorbis", "opus", "mp3", "m4a", *RELATIVES])
def test_a_recording_that_was_cut_off(whole, name: str, caplog):
    half = whole[name][: len(whole[name]) // 2]
    with pytest.raises(ValueError, match=r"is not complete: \d\.\d s are there of 8\.\d s|is cut off at [234]\.\d s"):
        load_audio(half, RATE_HZ, damage="refuse")
    with caplog.at_level(logging.WARNING):
        wav = load_audio(half, RATE_HZ)
    assert 2.0 < len(wav) / RATE_HZ < 5.0
    assert "is not complete" in caplog.text or "is cut off" in caplog.text


@pytest.mark.parametrize(
    ("name", "header", "placeholder"),
    [
        ("wav", b"data", b"\xff" * 4),
        ("au", b".snd\0\0\0\x18", b"\xff" * 4),
        ("caf", b"data", b"\xff" * 8),
        ("w64", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a", b"\xff" * 8),
    ],
)
def test_a_recording_of_unannounced_length_is_complete(whole, name: str, header: bytes, placeholder: bytes, caplog):
    content = bytearray(whole[name])
    place = content.index(header) + len(header)
    content[place : place + len(placeholder)] = placeholder
    samples, rate_hz = measure_audio(bytes(content))
    assert samples / rate_hz == SECONDS
    assert not caplog.records


@pytest.mark.parametrize("start_s", [3.0, 6.0], ids=["across the cut", "behind the cut"])
def test_a_part_that_a_cut_flac_lacks(whole, tmp_path, start_s: float):
    path = tmp_path / "cut.flac"
    path.write_bytes(whole["flac"][: len(whole["flac"]) // 2])
    with pytest.raises(ValueError, match=r"cut\.flac is damaged at \d\.\d s; .*--damaged"):
        read_part(path, start_s, 2.0)


def test_mp4_whose_index_was_never_written():
    pytest.importorskip("av")
    content = by_ffmpeg(speechlike(), "ipod", "aac")
    with pytest.raises(ValueError, match="begins like mp4, but it is damaged, not finished, or something else"):
        load_audio(content[: len(content) // 2], RATE_HZ)


def test_mp3_that_begins_within_a_frame(whole):
    content = whole["mp3 without a header"][1000:]
    assert content[0] != 0xFF
    with pytest.raises(ValueError, match=r"damaged at 0\.0 s"):
        load_audio(content, RATE_HZ)
    assert len(load_audio(content, RATE_HZ, damage="keep")) / RATE_HZ == pytest.approx(SECONDS, abs=0.6)


def test_mp3_whose_second_half_is_junk(whole):
    content = whole["mp3 without a header"]
    half = len(content) // 2
    junk = np.random.default_rng(1).integers(0, 255, half, np.uint8).tobytes()
    with pytest.raises(ValueError, match=r"damaged at [345]\.\d s"):
        load_audio(content[:half] + junk, RATE_HZ)


@pytest.mark.parametrize("duration_s", [0.1, 1.01, 2.02])
@pytest.mark.parametrize(
    ("container", "codec", "rate_hz"),
    [
        ("mp3", "libmp3lame", 8000),
        ("mp3", "libmp3lame", 48_000),
        ("ipod", "aac", 8000),
        ("3gp", "libopencore_amrnb", 8000),
    ],
)
def test_short_recordings_at_low_rates_are_complete(container: str, codec: str, rate_hz: int, duration_s: float):
    pytest.importorskip("av")
    samples, _ = measure_audio(by_ffmpeg(speechlike(duration_s, rate_hz), container, codec, rate_hz))
    assert samples / rate_hz == pytest.approx(duration_s, abs=0.3)


@pytest.mark.parametrize(
    "name",
    [
        *("flac", "vorbis", "opus", "mp3", "mp3 without a header", "aac", "m4a", "wma"),
        *("wav", "rf64", "au", "caf", "alac in caf"),
    ],
)
@pytest.mark.parametrize("tail", [bytes(500), b"TAG" + bytes(125), b"APETAGEX" + bytes(3000)])
def test_whole_recordings_are_not_called_damaged(whole, name: str, tail: bytes, caplog):
    expected = measure_audio(whole[name])
    assert expected[0] / expected[1] == pytest.approx(SECONDS, abs=0.3)
    assert measure_audio(whole[name] + tail)[0] == pytest.approx(expected[0], abs=1200)  # a frame
    assert not caplog.records
