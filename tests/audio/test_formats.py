"""What is read: every promised format, to its end, whatever its header says."""

import io

import numpy as np
import pytest
import soundfile
import soxr
import torch
from encoded import RATE_HZ, by_ffmpeg, by_libsndfile, likeness, speechlike

from kimi_audio.audio import ffmpeg
from kimi_audio.audio.condition import Damage
from kimi_audio.audio.io import audio_blocks, decode_audio, inspect_audio, load_audio, measure_audio, read_part

NARROW_HZ, OPUS_HZ = 8000, 48_000


def duration_s(content: bytes) -> float:
    samples, rate_hz = measure_audio(content)
    return samples / rate_hz


def sounds_like(content: bytes, duration_s: float = 1.5) -> bool:
    """Tell whether the tone of ``speechlike`` is in it, wherever it begins."""
    return likeness(load_audio(content, RATE_HZ), torch.from_numpy(speechlike(duration_s))) > 0.8


# ---------------------------------------------------------------------------------------------------------------------
# Formats


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        *(
            ("WAV", subtype)
            for subtype in ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM")
        ),
        *(("WAV", "GSM610"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16")),
        *(("AU", "PCM_16"), ("CAF", "PCM_16"), ("NIST", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS")),
        ("OGG", "OPUS"),
    ],
)
def test_formats_of_libsndfile(format: str, subtype: str):
    content = by_libsndfile(speechlike(), format, subtype)
    assert duration_s(content) == pytest.approx(1.5, abs=0.05)
    assert sounds_like(content)


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz"),
    [
        *(("ipod", "aac", RATE_HZ), ("mp4", "aac", RATE_HZ), ("mov", "alac", RATE_HZ), ("adts", "aac", RATE_HZ)),
        *(("3gp", "libopencore_amrnb", NARROW_HZ), ("amr", "libopencore_amrnb", NARROW_HZ), ("asf", "wmav2", RATE_HZ)),
        *(("webm", "libopus", OPUS_HZ), ("matroska", "pcm_s16le", RATE_HZ), ("caf", "alac", RATE_HZ)),
        *(("mp3", "libmp3lame", RATE_HZ), ("mp3", "libmp3lame", 44_100), ("mp2", "mp2", RATE_HZ)),
        ("wav", "adpcm_ms", RATE_HZ),
    ],
)
def test_formats_of_telephones_messengers_and_browsers(container: str, codec: str, rate_hz: int):
    pytest.importorskip("av")
    content = by_ffmpeg(speechlike(1.5, rate_hz), container, codec, rate_hz)
    assert duration_s(content) == pytest.approx(1.5, abs=0.12)  # codecs pad
    assert sounds_like(content)


def test_the_sound_of_a_film():
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture, sound = output.add_stream("mpeg4", rate=25), output.add_stream("aac", rate=RATE_HZ, layout="mono")
        picture.width = picture.height = 32
        for _ in range(40):
            output.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(speechlike()[None], format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        for part in [*av.AudioResampler("fltp", "mono", RATE_HZ, 1024).resample(frame), None]:
            output.mux(sound.encode(part))
        output.mux(picture.encode(None))
    assert sounds_like(file.getvalue())


def test_a_film_without_sound():
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=25)
        picture.width = picture.height = 32
        for frame in (av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"), None):
            output.mux(picture.encode(frame))
    with pytest.raises(ValueError, match="has no sound in it"):
        load_audio(file.getvalue(), RATE_HZ)


@pytest.mark.parametrize("format", ["VOC", "SDS", "HTK", "AVR", "IRCAM", "PAF", "PVF", "SVX", "XI", "MAT5", "RAW"])
def test_other_formats_of_libsndfile_are_refused(tmp_path, format: str):
    path = tmp_path / f"x.{format.lower()}"
    path.write_bytes(by_libsndfile(speechlike(0.1), format, "DPCM_16" if format == "XI" else "PCM_16"))
    with pytest.raises(ValueError, match=r"is not audio that can be read .*ffmpeg"):
        load_audio(path, RATE_HZ)


@pytest.mark.parametrize("damage", ["refuse", "cut", "keep"])
@pytest.mark.parametrize(
    "content",
    [
        *(b"hello world\n", "Grüße\n".encode("utf-16"), bytes(12), b"\xff" * 12, b"\xff\xfb\x90\x00" * 3),
        *(np.random.default_rng(0).bytes(1 << 17), b"%PDF-1.4" + np.random.default_rng(1).bytes(1 << 17)),
        b"RIFF\x00\x00\x02\x00AVI LIST" + bytes(1 << 17),
    ],
    ids=["text", "UTF-16", "zeros", "ones", "heads of frames", "random", "PDF", "AVI"],
)
def test_what_is_no_audio_is_not_called_damaged_however_long_it_is(content: bytes, damage: Damage):
    pytest.importorskip("av")
    content *= max(1, (1 << 17) // len(content))
    with pytest.raises(ValueError, match="the given audio is not audio that can be read"):
        load_audio(content, RATE_HZ, damage=damage)


def test_an_mp3_of_two_frames():
    pytest.importorskip("av")
    content = by_ffmpeg(speechlike(0.5), "mp3", "libmp3lame", options={"write_xing": "0", "id3v2_version": "0"})
    frame_bytes = content.index(content[:2], 2)
    assert len(load_audio(content[: 2 * frame_bytes], RATE_HZ)) == 2 * 576


def test_names_of_files_are_not_believed(tmp_path):
    for name in ("x.raw", "x.mp3", "x"):
        (tmp_path / name).write_bytes(by_libsndfile(speechlike(0.5), "FLAC"))
        assert len(load_audio(tmp_path / name, RATE_HZ)) == 8000
    (tmp_path / "._").write_bytes(bytes(9000))  # libsndfile would take it for a part of every file in the folder
    assert len(load_audio(tmp_path / "x.mp3", RATE_HZ)) == 8000


def test_what_needs_pyav_says_so(monkeypatch):
    content = by_libsndfile(speechlike(0.5), "MP3")
    monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"needs PyAV to be read; install it with: pip install 'kimi-audio\[media\]'"):
        load_audio(content, RATE_HZ)
    with pytest.raises(ValueError, match="is not audio that can be read"):
        load_audio(b"something else", RATE_HZ)
    assert len(load_audio(by_libsndfile(speechlike(0.5), "OGG"), RATE_HZ)) == 8000


# ---------------------------------------------------------------------------------------------------------------------
# Lengths in headers


def test_mp3_without_a_header_of_its_length_is_read_to_the_end():
    pytest.importorskip("av")
    bare = {"write_xing": "0", "id3v2_version": "0"}
    quiet, loud = 0.001 * speechlike(1.0), speechlike(3.0)
    for content in (
        by_ffmpeg(speechlike(4.0), "mp3", "libmp3lame", options=bare),
        by_ffmpeg(quiet, "mp3", "libmp3lame", options=bare) + by_ffmpeg(loud, "mp3", "libmp3lame", options=bare),
    ):
        assert duration_s(content) == pytest.approx(4.0, abs=0.25)


@pytest.mark.parametrize("tag", [b"", b"TAG" + bytes(125)], ids=["joined", "with an old tag between"])
@pytest.mark.parametrize("with_id3", ["0", "3"])
def test_joined_mp3_files_are_read_to_the_end(tag: bytes, with_id3: str):
    pytest.importorskip("av")
    files = [by_ffmpeg(speechlike(s), "mp3", "libmp3lame", options={"id3v2_version": with_id3}) for s in (1.0, 2.0)]
    assert duration_s(tag.join(files)) == pytest.approx(3.0, abs=0.2)


def test_joined_mp3_files_of_different_rates_keep_their_time():
    pytest.importorskip("av")
    files = [by_ffmpeg(speechlike(1.5, rate_hz), "mp3", "libmp3lame", rate_hz) for rate_hz in (44_100, 16_000)]
    assert len(load_audio(b"".join(files), RATE_HZ)) / RATE_HZ == pytest.approx(3.0, abs=0.2)


def test_mp3_sounds_as_libsndfile_decodes_it():
    pytest.importorskip("av")
    content = by_libsndfile(speechlike(), "MP3")
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    torch.testing.assert_close(load_audio(content, RATE_HZ), torch.from_numpy(samples), atol=1e-5, rtol=0)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_is_read_to_the_end(subtype: str):
    parts = [by_libsndfile(speechlike(duration_s), "OGG", subtype) for duration_s in (0.7, 1.1)]
    expected = torch.cat([load_audio(part, RATE_HZ) for part in parts])
    assert torch.equal(load_audio(b"".join(parts), RATE_HZ), expected)
    assert len(expected) == pytest.approx(1.8 * RATE_HZ, abs=RATE_HZ / 100)


def test_chained_ogg_may_change_its_rate():
    parts = [by_libsndfile(speechlike(1.0, rate_hz), "OGG", rate_hz=rate_hz) for rate_hz in (44_100, 16_000)]
    assert len(load_audio(b"".join(parts), RATE_HZ)) == 2 * RATE_HZ
    assert decode_audio(b"".join(parts)).array.shape == (2 * 44_100,)


@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
def test_wav_that_was_written_to_a_pipe_or_by_a_killed_recorder(size: bytes):
    pytest.importorskip("av")
    content = by_libsndfile(speechlike(), "WAV", "PCM_16")
    expected = load_audio(content, RATE_HZ)
    assert torch.equal(load_audio(content[:4] + size + content[8:40] + size + content[44:], RATE_HZ), expected)


def test_flac_of_unknown_length():
    pytest.importorskip("av")
    content = bytearray(by_libsndfile(speechlike(), "FLAC"))
    expected = load_audio(bytes(content), RATE_HZ)
    content[21] &= 0xF0  # the number of samples in STREAMINFO: 36 bits
    content[22:26] = bytes(4)
    assert torch.equal(load_audio(bytes(content), RATE_HZ), expected)


def test_a_lying_header_costs_no_memory(tmp_path):
    content = bytearray(by_libsndfile(speechlike(), "FLAC"))
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"  # 2**36 samples, 256 GiB
    assert len(load_audio(bytes(content), RATE_HZ)) == len(speechlike())
    head = b"RIFF\xf0\xff\xff\x3fWAVEfmt " + by_libsndfile(speechlike(0.1), "WAV")[16:40] + b"\xf0\xff\xff\x3f"
    assert len(load_audio(head + bytes(32), RATE_HZ)) == 16


# ---------------------------------------------------------------------------------------------------------------------
# Blocks


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_blocks_are_what_decoding_at_once_gives(rate_hz: int, channels: int):
    wav = np.stack([speechlike(9.0, rate_hz) / (channel + 1) for channel in range(channels)], axis=1)
    content = by_libsndfile(wav, "WAV", "PCM_16", rate_hz)
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    expected = soxr.resample(samples.mean(axis=1) if channels > 1 else samples[:, 0], rate_hz, RATE_HZ)
    blocks = list(audio_blocks(content, RATE_HZ))
    assert len(blocks) > 1 or channels * rate_hz < 40_000
    assert torch.equal(torch.cat(blocks), torch.from_numpy(expected))
    assert torch.equal(load_audio(content, RATE_HZ), torch.from_numpy(expected))


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None)])
def test_parts_are_those_of_the_whole(tmp_path, format: str, subtype: str | None):
    if format == "MP3":
        pytest.importorskip("av")
    path = tmp_path / "x"
    path.write_bytes(by_libsndfile(speechlike(3.0), format, subtype))
    whole = load_audio(path, RATE_HZ)
    assert inspect_audio(path) == (len(whole), RATE_HZ)
    for start_s, duration_s in ((0.0, 1.0), (1.25, 0.5), (2.5, None)):
        end = None if duration_s is None else round((start_s + duration_s) * RATE_HZ)
        part = load_audio(read_part(path, start_s, duration_s), RATE_HZ)
        assert torch.equal(part, whole[round(start_s * RATE_HZ) : end])


def test_the_length_of_joined_files_is_that_of_all(tmp_path):
    path = tmp_path / "x.ogg"
    path.write_bytes(by_libsndfile(speechlike(1.0), "OGG") * 2)
    assert inspect_audio(path) == (2 * RATE_HZ, RATE_HZ)
    expected = load_audio(path, RATE_HZ)[24_000:28_000]
    assert torch.equal(load_audio(read_part(path, 1.5, 0.25), RATE_HZ), expected)
