"""Telling formats apart by their first bytes; names of files are not believed."""

from dataclasses import dataclass

from kimi_audio.audio.sources import BinaryFile


@dataclass(frozen=True)
class Format:
    """A format that is read: its name for people, that of FFmpeg's demuxer, and whether libsndfile is asked first."""

    name: str
    demuxer: str
    libsndfile: bool = False


WAV = Format("wav", "wav", libsndfile=True)
WAVE64 = Format("w64", "w64", libsndfile=True)
AIFF = Format("aiff", "aiff", libsndfile=True)
AU = Format("au", "au", libsndfile=True)
CAF = Format("caf", "caf", libsndfile=True)
NIST = Format("sph", "nistsphere", libsndfile=True)
FLAC = Format("flac", "flac", libsndfile=True)
OGG = Format("ogg", "ogg", libsndfile=True)
MP3 = Format("mp3", "mp3")  # libsndfile ends where a header says, and guesses where there is none
AAC = Format("aac", "aac")
AMR = Format("amr", "amr")
MP4 = Format("mp4", "mov")
MATROSKA = Format("webm", "matroska")
ASF = Format("wma", "asf")

SUFFIXES = (  # of files that are taken for recordings where a folder holds other files, too
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".webm", ".amr", ".3gp", ".wma", ".aiff", ".aif"),
    *(".caf", ".au", ".mp4", ".mov", ".mkv", ".w64", ".sph"),
)

_STARTS = (
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"caff", CAF),
    (b".snd", AU),
    (b"dns.", AU),
    (b"NIST_1A", NIST),
    (b"riff\x2e\x91\xcf\x11", WAVE64),
    (b"\x1a\x45\xdf\xa3", MATROSKA),
    (b"#!AMR", AMR),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ASF),
)
_QUICKTIME = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_ID3_HEADER_BYTES = 10


def recognise(file: BinaryFile) -> Format | None:
    """Return the format of a file, None if it begins like none that is read; the file is at its beginning again."""
    file.seek(0)
    head = file.read(16)
    tagged = head.startswith(b"ID3")
    if tagged:
        file.seek(id3_bytes(head))
        head = file.read(16)
    file.seek(0)
    return _begins(head) or (MP3 if tagged else None)


def _begins(head: bytes) -> Format | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return WAV if head[8:12] == b"WAVE" else None
    if head[:4] == b"FORM":
        return AIFF if head[8:12] in (b"AIFF", b"AIFC") else None
    if head[4:8] in _QUICKTIME:
        return MP4
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # the sync word of MPEG audio
        return AAC if head[1] & 0xF6 == 0xF0 else MP3
    return next((found for start, found in _STARTS if head.startswith(start)), None)


def id3_bytes(head: bytes) -> int:
    """Return the length of the ID3v2 tag that a file begins with, from its first 10 bytes."""
    size = 0
    for byte in head[6:_ID3_HEADER_BYTES]:
        size = size << 7 | byte & 0x7F
    return size + _ID3_HEADER_BYTES
