"""Files of strangers: whatever their decoder does costs one sentence, and the next file is served."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from encoded import RATE_HZ, by_ffmpeg, by_libsndfile, speechlike

from kimi_audio.audio import sandbox
from kimi_audio.audio.formats import FLAC
from kimi_audio.audio.io import load_audio
from kimi_audio.audio.sandbox import Limits, Sandbox, decode_untrusted
from kimi_audio.audio.sources import Samples

# Decodes by what stands behind the sound, as a decoder may that a file has taken over.
PROGRAM = """
import ctypes, itertools, os, socket, time
import numpy as np
from kimi_audio.audio import decoder_process
from kimi_audio.audio.decoding import decode
from kimi_audio.audio.sources import Samples

def samples(length, value=0.0):
    return Samples(np.full((length, 1), value, np.float32), 16_000)

def spin():
    while True:
        pass

class Junk:
    def pack(*_):
        return bytes([66, *[255] * 8])

def send_junk():
    decoder_process.HEADER = Junk
    yield samples(10)

def send_infinity():
    yield samples(10, np.inf)

orders = {
    "crash": lambda: ctypes.string_at(0),
    "spin": spin,
    "sleep": lambda: time.sleep(3600),
    "memory": lambda: [samples(1 << 29)],
    "open": lambda: [open("/etc/passwd")] and [],
    "connect": lambda: [socket.socket()] and [],
    "environment": lambda: (_ for _ in ()).throw(ValueError(" ".join(os.environ))),
    "fault": lambda: [1 / 0],
    "endless": lambda: itertools.repeat(samples(160_000)),
    "junk": send_junk,
    "infinity": send_infinity,
    "print": lambda: [os.write(1, b"noise"), os.write(2, b"noise")] and [],
}

def decode_as_ordered(file, condition):
    order = file.read()[-20:].rpartition(b"!")[2].decode(errors="replace")
    if order == "infinity":
        decoder_process.to_mono = lambda blocks, name: (Samples(one.array[:, 0], one.rate_hz) for one in blocks)
    yield samples(0)
    yield from orders[order]() if order in orders else decode(file, condition)

decoder_process.serve(decode_as_ordered)
"""
SOUND = by_libsndfile(speechlike(0.5), "WAV")


@pytest.fixture(scope="module")
def taken_over() -> Iterator[Callable[..., Samples]]:
    box = Sandbox(PROGRAM)

    def decode(order: str = "", **limits: float) -> Samples:
        content = SOUND + (b"!" + order.encode() if order else b"")
        return box.decode(content, Limits(**{"cpu_s": 5, "wall_s": 20} | limits), None, "gift.wav", "cut")

    yield decode
    box.close()


@pytest.mark.parametrize(
    ("container", "codec"),
    [("ipod", "aac"), ("webm", "libopus"), ("ogg", "libopus"), ("amr", "libopencore_amrnb"), ("mp3", "libmp3lame")],
)
def test_sound_is_that_of_the_decoder_at_home(container: str, codec: str):
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"no encoder {codec}")
    rate_hz = {"amr": 8000, "ogg": 48_000, "webm": 48_000}.get(container, RATE_HZ)
    content = by_ffmpeg(speechlike(1.0, rate_hz), container, codec, rate_hz)
    assert torch.equal(load_audio(content, RATE_HZ), torch.from_numpy(decode_untrusted(content, rate_hz=RATE_HZ).array))


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
def test_samples_come_at_their_own_rate(format: str):
    content = by_libsndfile(speechlike(1.0), format)
    found = decode_untrusted(content)
    assert found.rate_hz == RATE_HZ
    assert found.array.dtype == np.float32
    assert torch.equal(load_audio(content, RATE_HZ), torch.from_numpy(found.array))


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ("crash", "gift.wav cannot be decoded: its decoder crashed"),
        ("memory", "gift.wav takes more memory to decode than is allowed"),
        ("open", "gift.wav cannot be decoded"),
        ("connect", "gift.wav cannot be decoded"),
        ("fault", "gift.wav cannot be decoded"),
        ("endless", "gift.wav is too long: at most 1800 s"),
        ("junk", "gift.wav cannot be decoded"),
        ("infinity", "gift.wav holds samples that are not finite"),
        ("print", "gift.wav holds no samples"),
    ],
)
def test_a_decoder_that_goes_wrong_costs_one_sentence(taken_over, capfd, order: str, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        taken_over(order)
    assert torch.equal(torch.from_numpy(taken_over().array), load_audio(SOUND, RATE_HZ))
    assert capfd.readouterr() == ("", "")


def test_a_decoder_that_hangs_is_not_waited_for(taken_over):
    with pytest.raises(ValueError, match=r"gift\.wav took more than 0\.3 s to decode"):
        taken_over("sleep", wall_s=0.3)
    with pytest.raises(ValueError, match="took too much time"):
        taken_over("spin", cpu_s=1)
    assert len(taken_over().array)


def test_no_child_stays_behind():
    box = Sandbox(PROGRAM)
    with pytest.raises(ValueError, match="to decode"):
        box.decode(SOUND + b"!sleep", Limits(wall_s=0.3), None, "gift.wav", "cut")
    assert box._process is not None
    pid = box._process._popen.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(500):
        if not children.read_text():
            break
        time.sleep(0.02)
    assert not children.read_text()
    box.close()


def test_blocks_have_a_limit_too(monkeypatch):
    monkeypatch.setattr(sandbox, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_untrusted(SOUND)


def test_why_a_child_failed_is_logged(taken_over, caplog):
    with pytest.raises(ValueError, match="cannot be decoded"):
        taken_over("open")
    assert "Too many open files" in caplog.text


def test_secrets_stay_with_the_parent(monkeypatch):
    monkeypatch.setenv("API_KEY", "secret")
    box = Sandbox(PROGRAM)
    with pytest.raises(ValueError, match="PYTHONPATH") as raised:
        box.decode(SOUND + b"!environment", Limits(), None, "gift.wav", "cut")
    box.close()
    assert "KEY" not in str(raised.value)


def test_a_bomb_is_stopped_while_it_goes_off():
    bomb = by_libsndfile(np.zeros(60 * RATE_HZ, np.float32), "FLAC")
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match=r"too long: at most 30 s, or 100,000,000 bytes of samples, are taken"):
        decode_untrusted(bomb, Limits(sound_s=30, sound_bytes=100_000_000))
    with pytest.raises(ValueError, match=r"too long: at most 1800 s, or 3,000,000 bytes"):
        decode_untrusted(bomb, Limits(sound_bytes=3_000_000))
    assert len(decode_untrusted(bomb, Limits(sound_s=61)).array) == 60 * RATE_HZ


def test_damage_is_told_as_at_home(caplog):
    content = by_libsndfile(speechlike(2.0), "WAV")[:40_000]
    with pytest.raises(ValueError, match=r"gift\.wav is not complete"):
        decode_untrusted(content, name="gift.wav", damage="refuse")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(torch.from_numpy(decode_untrusted(content).array), load_audio(content, RATE_HZ))
    assert "the given audio is not complete: 1.2 s are there of 2.0 s" in caplog.text


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\xff\xfe" * 50, b"RIFF0000AVI ", SOUND[:20]])
def test_what_is_no_sound(content: bytes):
    with pytest.raises(ValueError, match=r"gift is|gift holds"):
        decode_untrusted(content, name="gift")


def test_only_formats_that_are_allowed_reach_a_decoder():
    with pytest.raises(ValueError, match=r"gift is not audio in a format that is taken \(flac\)"):
        decode_untrusted(SOUND, Limits(formats=(FLAC,)), name="gift")
    with pytest.raises(ValueError, match=r"gift has .* bytes; at most 100 are taken"):
        decode_untrusted(SOUND, Limits(file_bytes=100), name="gift")


def test_the_process_is_replaced_when_it_has_ended():
    box = Sandbox()
    try:
        box.start()
        assert box._process is not None
        os.kill(box._process._popen.pid, signal.SIGKILL)
        box._process._popen.wait()
        assert len(box.decode(SOUND, Limits(), None, "gift.wav", "cut").array)
    finally:
        box.close()
    assert len(box.decode(SOUND, Limits(), None, "gift.wav", "cut").array)
    box.close()


def test_a_process_that_does_not_start_is_told(capfd):
    with pytest.raises(RuntimeError, match="the process that decodes audio does not start"):
        Sandbox("import nothing_of_this_name").start()
    assert "nothing_of_this_name" in capfd.readouterr().err
