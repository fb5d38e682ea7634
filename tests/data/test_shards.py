"""Prepared tokens: what comes from the shards equals what the tokenizers give, and no interruption loses any."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock

from kimi_audio.audio.io import Samples, load_audio
from kimi_audio.audio.mel import whisper_log_mel
from kimi_audio.core.config import EncoderConfig, SemanticConfig
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN
from kimi_audio.data import encoding
from kimi_audio.data.encoding import AudioEncoder, EncodingJob, StoredEncoder, encode_file, encode_recordings
from kimi_audio.data.shards import ShardWriter, TokenStore, content_key
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer

REPLY = {"role": "assistant", "message_type": "text", "content": "Good."}


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    semantic = SemanticTokenizer(SemanticConfig.tiny())
    noise = 0.1 * torch.randn(20, 15 * SAMPLES_PER_TOKEN)
    with torch.no_grad():  # codes amid what is heard: random ones would all lie on one side of it
        heard = semantic(whisper_log_mel(noise, 16), torch.full((20,), 60))  # [20, 15, D]
        semantic.codebook.weight.copy_(heard.flatten(0, 1))
    return AudioEncoder(semantic.eval(), AcousticEncoder(EncoderConfig.tiny()).eval())


class Counting(AudioEncoder):
    """Counts what is encoded; dies at the given one."""

    def __init__(self, encoder: AudioEncoder, dies_at: int | None = None):
        super().__init__(encoder.semantic, encoder.acoustic)
        object.__setattr__(self, "calls", [])
        object.__setattr__(self, "dies_at", dies_at)

    def encode_wav(self, wav: torch.Tensor, *, features: bool = True) -> AudioTokens:
        if len(self.calls) == self.dies_at:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        self.calls.append((len(wav), features))  # type: ignore[attr-defined]
        return super().encode_wav(wav, features=features)


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "message_type": "audio", "content": content, **more}


def spoken(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "message_type": "audio-text", "content": [content, "Good."], **more}


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.wav" for number in range(6)]
    for number, path in enumerate(paths):
        soundfile.write(path, 0.1 * generator.standard_normal(4000 + 1280 * number), INPUT_RATE_HZ)
    return paths


def write(folder: Path, *conversations: list[dict[str, Any]]) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps({"conversation": messages}) + "\n" for messages in conversations))
    return path


def same(stored: AudioTokens, computed: AudioTokens) -> bool:
    assert stored.features is not None
    assert computed.features is not None
    assert stored.features.dtype == torch.float32
    return torch.equal(stored.codes, computed.codes) and torch.equal(stored.features.half(), computed.features.half())


def test_stored_tokens_are_those_of_the_encoder(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    array = [0.5, -0.5, 0.25] * 2000
    path = write(tmp_path, *([user(str(p)), REPLY] for p in recordings), [user(array, sample_rate=8000), REPLY])
    report = encode_file(path, encoder, tmp_path / "tokens", shard_tokens=10)
    assert (report.num_encoded, report.num_found, report.problems) == (7, 0, ())
    assert report.encoded_s == pytest.approx(0.08 * sum([4, 5, 6, 7, 8, 9, 10]), abs=0.2)
    assert len(list((tmp_path / "tokens").glob("shard-*"))) > 2
    stored = StoredEncoder(TokenStore(tmp_path / "tokens"))
    assert len(stored.store) == 7
    for source in (*recordings, Samples(np.array(array, np.float32), 8000)):
        assert same(stored(source), encoder(source))
        assert torch.equal(stored.codes(source).codes, encoder(source).codes)
        assert stored.codes(source).features is None


def test_recordings_are_known_by_their_content(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    path = write(tmp_path, [user(str(recordings[0])), REPLY])
    encode_file(path, encoder, tmp_path / "tokens")
    stored = StoredEncoder(TokenStore(tmp_path / "tokens"))
    moved = recordings[0].rename(tmp_path / "moved.wav")
    assert same(stored(moved), stored(moved.read_bytes()))
    moved.write_bytes(recordings[1].read_bytes())
    with pytest.raises(ValueError, match=r"the tokens of .*moved.wav are not in .*prepare the tokens again"):
        stored(moved)
    assert same(StoredEncoder(stored.store, encoder)(moved), encoder(moved))
    keys = {content_key(s) for s in (b"a", b"b", Samples(np.zeros(4), 8000), (np.zeros(4), 16000), (np.zeros(5), 8000))}
    assert len(keys) == 5


def test_the_assistants_speech_needs_codes_only(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    a, b, c = map(str, recordings[:3])
    path = write(
        tmp_path,
        [user(a), spoken(b)],
        [user(a), spoken(a)],
        [user(b, codes=[1] * 5), spoken(c, codes=[1, 2])],
    )
    counting = Counting(encoder)
    report = encode_file(path, counting, tmp_path / "tokens")
    # b is said first and heard later, when its features are needed, too; c has its codes.
    assert counting.calls == [(4000, True), (5280, False), (5280, True)]  # type: ignore[attr-defined]
    assert (report.num_encoded, report.num_found) == (3, 2)
    stored = StoredEncoder(TokenStore(tmp_path / "tokens"))
    assert len(stored.store) == 2
    assert same(stored(recordings[1]), encoder(recordings[1]))


def test_an_interruption_loses_nothing(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    path = write(tmp_path, *([user(str(p)), REPLY] for p in recordings))
    with pytest.raises(KeyboardInterrupt):
        encode_file(path, Counting(encoder, dies_at=4), tmp_path / "tokens", shard_tokens=10)
    assert len(TokenStore(tmp_path / "tokens")) == 4
    counting = Counting(encoder)
    report = encode_file(path, counting, tmp_path / "tokens", shard_tokens=10)
    assert (report.num_encoded, report.num_found) == (2, 4)
    assert len(counting.calls) == 2  # type: ignore[attr-defined]
    stored = StoredEncoder(TokenStore(tmp_path / "tokens"))
    assert all(same(stored(p), encoder(p)) for p in recordings)
    assert not list((tmp_path / "tokens").glob("*.partial"))


def test_a_full_disk_keeps_earlier_shards(
    encoder: AudioEncoder, recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from kimi_audio.core import weights

    path = write(tmp_path, *([user(str(p)), REPLY] for p in recordings))
    save, written = weights.save_file, []

    def full(tensors: Any, target: Path) -> None:
        if written:
            Path(target).write_bytes(b"half a shard")
            raise OSError("No space left on device")
        written.append(target)
        save(tensors, target)

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        encode_file(path, encoder, tmp_path / "tokens", shard_tokens=5)
    monkeypatch.undo()
    assert len(TokenStore(tmp_path / "tokens")) == 2
    assert sorted(p.name for p in (tmp_path / "tokens").iterdir()) == ["shard-00000.safetensors", "store.json"]
    assert encode_file(path, encoder, tmp_path / "tokens").num_encoded == 4


def test_problems_are_reported_and_do_not_stop_the_rest(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    (tmp_path / "noise.wav").write_bytes(b"noise")
    path = write(
        tmp_path,
        [user("gone.wav"), REPLY],
        [user("noise.wav"), REPLY],
        [user(str(recordings[0]))],
        [user(str(recordings[1])), REPLY],
    )
    seen: list[tuple[int, int]] = []
    report = encode_file(path, encoder, tmp_path / "tokens", progress=lambda *done: seen.append(done))
    assert [problem.line for problem in report.problems] == [1, 2, 3]
    assert "there is no file" in report.problems[0].reason
    assert report.num_encoded == 1
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_tokens_of_other_tokenizers_are_refused(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    path = write(tmp_path, [user(str(recordings[0])), REPLY])
    encode_file(path, encoder, tmp_path / "tokens")
    torch.manual_seed(1)
    other = AudioEncoder(encoder.semantic, AcousticEncoder(EncoderConfig.tiny()).eval())
    assert other.fingerprint() != encoder.fingerprint()
    with pytest.raises(ValueError, match="holds the tokens of other tokenizers"):
        encode_file(path, other, tmp_path / "tokens")
    with pytest.raises(ValueError, match="holds the tokens of other tokenizers"):
        StoredEncoder(TokenStore(tmp_path / "tokens"), other)


def test_a_store_from_before_is_taken_and_says_who_made_its_codes(
    encoder: AudioEncoder, recordings: list[Path], tmp_path: Path
):
    path = write(tmp_path, [user(str(recordings[0])), REPLY])
    encode_file(path, encoder, tmp_path / "tokens")
    store = tmp_path / "tokens" / "store.json"
    store.write_text(json.dumps({"fingerprint": encoder.fingerprint()}))
    assert TokenStore(tmp_path / "tokens").codes_fingerprint is None
    assert encode_file(path, encoder, tmp_path / "tokens").num_encoded == 0
    assert TokenStore(tmp_path / "tokens").codes_fingerprint == encoder.codes_fingerprint() != encoder.fingerprint()


def test_two_processes_do_not_write_one_store_together(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    jobs = [EncodingJob(content_key(path), partial(load_audio, path, INPUT_RATE_HZ)) for path in recordings]
    with FileLock(tmp_path / "tokens.lock"), pytest.raises(ValueError, match="another process is writing"):
        encode_recordings(jobs, encoder, tmp_path / "tokens")
    assert encode_recordings(jobs, encoder, tmp_path / "tokens").num_encoded == len({job.key for job in jobs})
    assert [path.name for path in tmp_path.iterdir() if "lock" in path.name] == []


def test_several_workers_make_the_store_that_one_makes(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    recordings[2].write_bytes(b"broken")
    names = [str(recordings[number]) for number in (0, 1, 2, 1, 3, 2, 4)]  # two of them twice
    path = write(tmp_path, *([user(name), REPLY] for name in names), [user("none"), spoken(str(recordings[5]))])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    reports = [
        encode_file(path, encoder, tmp_path / folder, shard_tokens=8, workers=workers)
        for folder, workers in (("one", 1), ("two", 2))
    ]
    torch.set_num_threads(threads)
    assert reports[0] == reports[1]
    assert (reports[1].num_encoded, reports[1].num_found, len(reports[1].problems)) == (4, 1, 3)
    files = [sorted(file.name for file in (tmp_path / folder).iterdir()) for folder in ("one", "two")]
    assert files[0] == files[1]
    assert len(files[0]) > 3
    for name in files[0]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_recordings_are_encoded_together_as_alone(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    recordings[2].write_bytes(b"broken")
    names = [recordings[number] for number in (0, 1, 2, 1, 3)]
    jobs = [
        EncodingJob(content_key(name), partial(load_audio, name, 16_000), features=number != 4, line=number)
        for number, name in enumerate(names)
    ]
    together = encoding._together(encoder, partial(map, encoding._loaded), jobs)
    for job, outcome in zip(jobs, together, strict=True):
        alone = encoding._outcome(encoder, job)
        if isinstance(alone, Exception):
            assert str(outcome) == str(alone)
            continue
        assert not isinstance(outcome, Exception)
        assert (outcome[0] == alone[0]).all()
        assert (outcome[1] is None) == (alone[1] is None)
        if alone[1] is not None and outcome[1] is not None:
            np.testing.assert_allclose(outcome[1], alone[1], atol=2e-3)
    assert isinstance(together[2], Exception)


def test_a_recording_that_is_mentioned_twice_is_encoded_once_with_features(
    encoder: AudioEncoder, recordings: list[Path], tmp_path: Path
):
    key, load = content_key(recordings[0]), partial(load_audio, recordings[0], 16_000)
    jobs = [EncodingJob(key, load, features) for features in (False, True, True)]
    report = encode_recordings(jobs, encoder, tmp_path / "tokens", workers=2)
    assert (report.num_encoded, report.num_found) == (1, 2)
    tokens = TokenStore(tmp_path / "tokens").get(key)
    assert tokens is not None
    assert tokens.features is not None


def test_damaged_and_missing_stores_are_named(encoder: AudioEncoder, recordings: list[Path], tmp_path: Path):
    with pytest.raises(ValueError, match="holds no prepared tokens"):
        TokenStore(tmp_path)
    encode_file(write(tmp_path, [user(str(recordings[0])), REPLY]), encoder, tmp_path / "tokens")
    shard = tmp_path / "tokens" / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"shard-00000.safetensors is damaged .*; delete it and prepare"):
        TokenStore(tmp_path / "tokens")


def test_features_that_cannot_be_kept_are_refused(tmp_path: Path):
    with ShardWriter(tmp_path, "x", "y") as writer, pytest.raises(ValueError, match="not finite in float16"):
        writer.add(b"k" * 16, AudioTokens(torch.tensor([1]), torch.full((1, 4), 1e6)))
    assert len(TokenStore(tmp_path)) == 0


def test_keys_of_ones_own_and_changed_sound(encoder: AudioEncoder, tmp_path: Path):
    wav = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    copies = [EncodingJob(bytes([n]) * 15 + b"\0", lambda n=n: wav * (n + 1)) for n in range(3)]
    report = encode_recordings(copies, encoder, tmp_path)
    assert report.num_encoded == 3
    store = TokenStore(tmp_path)
    assert all(len(key) == 16 for key, _ in store.entries())
    for recording in copies:
        tokens = store.get(recording.key)
        assert tokens is not None
        assert same(tokens, encoder.encode_wav(recording.load()))
    assert store.get(b"z" * 16) is None
    assert encode_recordings(copies, encoder, tmp_path).num_found == 3
