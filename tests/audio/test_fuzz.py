"""Random damage to recordings of every format: nothing but sound or one ValueError may come out.

``make fuzz`` runs this with ``FUZZ_FILES`` files; the same number gives the same files.
"""

import os
import random
from functools import cache

import pytest
from encoded import by_ffmpeg, by_libsndfile, speechlike

from kimi_audio.audio.condition import Damage
from kimi_audio.audio.io import audio_blocks

pytest.importorskip("av")
pytestmark = pytest.mark.slow

FILES = int(os.environ.get("FUZZ_FILES", "200"))
SUBTYPES = {"WAV": ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "ULAW", "MS_ADPCM", "GSM610"), "AIFF": ("PCM_16", "FLOAT")}
CONTAINERS = (
    *(("ipod", "aac"), ("adts", "aac"), ("amr", "libopencore_amrnb"), ("3gp", "aac"), ("asf", "wmav2")),
    *(("webm", "libopus"), ("caf", "alac"), ("mp3", "libmp3lame"), ("matroska", "pcm_s16le"), ("mov", "aac")),
)


@cache
def whole_files() -> list[bytes]:
    names = ("WAV", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3", "W64", "RF64", "NIST", "SDS", "VOC", "HTK")
    kinds = [(name, subtype) for name in names for subtype in SUBTYPES.get(name, (None,))]
    files = [by_libsndfile(speechlike(0.6), name, subtype) for name, subtype in kinds]
    files += [by_libsndfile(speechlike(0.6), "MP3") * 2, by_libsndfile(speechlike(0.6), "OGG", "OPUS") * 2]
    for container, codec in CONTAINERS:
        rate_hz = {"libopencore_amrnb": 8000, "libopus": 48_000}.get(codec, 16_000)
        files.append(by_ffmpeg(speechlike(0.6, rate_hz), container, codec, rate_hz))
    return files


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Change, cut out, insert, repeat or cut off bytes, more often near the beginning, where headers are."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = int(len(changed) * chance.random() ** chance.choice((1, 4)))
        some = chance.choice((1, 1, 2, 4, 30, 1000))
        kind = chance.randrange(6)
        if kind <= 1:
            changed[place : place + some] = chance.randbytes(some)
        elif kind == 2:
            changed[place : place + 4] = chance.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\x80")
            )
        elif kind == 3:
            del changed[place : place + some]
        elif kind == 4:
            changed[place:place] = changed[place : place + some]
        else:
            del changed[max(1, place) :]
    return bytes(changed)


@pytest.mark.parametrize("damage", ["refuse", "cut", "keep"])
def test_only_sound_or_one_sentence_comes_out(damage: Damage):
    chance = random.Random(f"{damage} {FILES}")
    for number in range(FILES):
        content = damaged(chance.choice(whole_files()), chance)
        message = ""
        try:
            samples = 0
            for block in audio_blocks(content, 16_000, damage=damage):
                assert block.isfinite().all()
                samples += len(block)
            assert samples < 100 * 16_000, number
        except ValueError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1, number
        assert len(message) < 300, number
