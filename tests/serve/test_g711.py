"""Telephony's codes, against FFmpeg's."""

import subprocess
from shutil import which

import numpy as np
import pytest

from kimi_audio.serve.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw

CODES = bytes(range(256))


@pytest.mark.parametrize(("name", "decode"), [("mulaw", decode_ulaw), ("alaw", decode_alaw)])
def test_every_code_stands_for_what_ffmpeg_says(name, decode):
    if which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = ["ffmpeg", "-v", "error", "-f", name, "-ar", "8000", "-ac", "1", "-i", "-", "-f", "s16le", "-"]
    done = subprocess.run(command, input=CODES, capture_output=True, check=True)
    assert (decode(CODES) * 32768).astype(int).tolist() == np.frombuffer(done.stdout, "<i2").tolist()


@pytest.mark.parametrize(("encode", "decode"), [(encode_ulaw, decode_ulaw), (encode_alaw, decode_alaw)])
def test_there_and_back(encode, decode):
    assert np.array_equal(decode(encode(decode(CODES))), decode(CODES))
    samples = np.linspace(-1.1, 1.1, 1001).astype(np.float32)
    assert np.abs(decode(encode(samples)) - samples.clip(-0.98, 0.98)).max() < 0.04
    assert len(encode(samples)) == 1001
