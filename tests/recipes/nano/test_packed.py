"""What is carried to a GPU: the same conversations, with sound that is read as well as before and is far smaller."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("av")

from recipes.nano.packed import COMPLETE, corpora_entries, kept_opus, opus, speech_entries, write_parts


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    root = tmp_path / "nano"
    (root / "corpora" / "audio").mkdir(parents=True)
    (root / "spoken").mkdir()
    tone = np.sin(np.arange(24_000) * 0.1) * 0.3
    soundfile.write(root / "corpora" / "audio" / "a.flac", tone, 16_000)
    soundfile.write(root / "spoken" / "000000.flac", tone, 24_000)
    (root / "spoken" / "manifest.jsonl").write_text(json.dumps({"audio": "000000.flac", "text": "hello"}) + "\n")
    said = [{"content": "audio/a.flac"}, {"content": [str(root / "spoken" / "000000.flac"), "hello"]}]
    (root / "corpora" / "talks.jsonl").write_text(json.dumps({"conversation": said}) + "\n")
    return root


@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
@pytest.mark.parametrize("samples", [1601, 15_373, 40_000])
def test_sound_keeps_its_rate_and_its_length(tmp_path: Path, rate_hz: int, samples: int):
    generator = np.random.default_rng(0)
    tone = np.sin(np.arange(samples) * 0.2) * 0.3 + 0.01 * generator.standard_normal(samples)
    soundfile.write(tmp_path / "tone.flac", tone, rate_hz)
    (tmp_path / "tone.ogg").write_bytes(opus(tmp_path / "tone.flac"))
    decoded, rate = soundfile.read(tmp_path / "tone.ogg")
    assert rate == rate_hz
    assert 0 <= len(decoded) - samples <= rate_hz // 25
    assert np.corrcoef(decoded[:samples], tone)[0, 1] > 0.9


def test_packed_conversations_name_packed_sounds(corpora: Path, tmp_path: Path):
    out, written = tmp_path / "out", set[str]()
    write_parts(speech_entries(corpora, ["spoken"], out / "kept"), out, "speech", 10**6, written)
    write_parts(corpora_entries(corpora, ["talks.jsonl"], out / "kept"), out, "corpora", 1, written)
    names = {}
    for part in sorted(out.glob("*.tar.gz")):
        with tarfile.open(part) as archive:
            names[part.name] = archive.getnames()
            archive.extractall(tmp_path / "there", filter="data")
    assert names["speech-0.tar.gz"] == ["spoken/manifest.jsonl", "spoken/000000.ogg"]
    # What the speech holds is not written again, and a part ends when it is full.
    assert [names["corpora-0.tar.gz"], names["corpora-1.tar.gz"]] == [["corpora/talks.jsonl"], ["corpora/audio/a.ogg"]]
    there = tmp_path / "there" / "corpora"
    heard, said = json.loads((there / "talks.jsonl").read_text())["conversation"]
    assert soundfile.info(there / heard["content"]).samplerate == 16_000
    assert soundfile.info(there / said["content"][0]).samplerate == 24_000
    assert said["content"][1] == "hello"
    assert not (out / COMPLETE).exists()


def test_what_is_kept_is_not_encoded_again(corpora: Path, tmp_path: Path):
    kept = tmp_path / "kept" / "a.ogg"
    first = kept_opus(corpora / "corpora" / "audio" / "a.flac", kept)
    (corpora / "corpora" / "audio" / "a.flac").unlink()
    assert kept_opus(corpora / "corpora" / "audio" / "a.flac", kept) == first
