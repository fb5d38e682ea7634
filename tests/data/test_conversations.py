"""Files of conversations: what is wrong is reported with its line, and what is right becomes sequences."""

import gc
import json
import logging
import pickle
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from kimi_audio.audio.io import load_audio
from kimi_audio.chat import ChatTemplate, LossChoice
from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import AudioTokens, collate, pack
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN, tokens_in_audio
from kimi_audio.data.conversations import BadSampleError, Conversation, ConversationFile
from kimi_audio.data.dataset import ConversationDataset
from kimi_audio.data.reports import Progress
from kimi_audio.data.validation import FileReport, validate_file
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.text import TextTokenizer, train_bpe
from kimi_audio.train.losses import lm_loss

NUM_CODES, FEATURES, CONTEXT = 20, 8, 128
TOKENIZER: TextTokenizer = train_bpe(["Good morning."], 256)
SPECIAL = TOKENIZER.special
CONFIG = LMConfig.tiny(
    vocab_size=TOKENIZER.vocab_size + NUM_CODES,
    audio_offset=TOKENIZER.vocab_size,
    pad_id=SPECIAL.pad,
    max_positions=CONTEXT,
    adaptor_input_size=FEATURES,
    initializer_range=0.3,
)
LENGTHS = {"a.wav": 5 * SAMPLES_PER_TOKEN, "b.wav": 2 * SAMPLES_PER_TOKEN + 1}  # 5 and 3 tokens


def encode(source: Any) -> AudioTokens:
    """Code 1 and features 1.0 for a.wav, 2 and 2.0 for b.wav, by their loudness."""
    wav = load_audio(source, INPUT_RATE_HZ)
    number = round(float(wav.abs().max()) * 10)
    size = tokens_in_audio(len(wav))
    return AudioTokens(torch.full((size,), number), torch.full((size, FEATURES), float(number)))


def text(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "message_type": "text", "content": content, **more}


def audio(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "message_type": "audio", "content": content, **more}


def speech(content: Any, transcript: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "message_type": "audio-text", "content": [content, transcript], **more}


ASK, REPLY = text("user", "What?"), text("assistant", "Good.")
TRANSCRIBE = [text("user", "Write."), audio("a.wav"), REPLY]  # the official demo


def sample(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"conversation": list(messages), **fields}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, (name, length) in enumerate(LENGTHS.items(), 1):
        soundfile.write(tmp_path / name, np.full(length, number / 10), INPUT_RATE_HZ, subtype="FLOAT")
    return tmp_path


def write(folder: Path, *samples: Any) -> Path:
    lines = [line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in samples]
    path = folder / "data.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def validate(path: Path, **options: Any) -> FileReport:
    return validate_file(path, CONFIG, TOKENIZER, **options)


def dataset(
    path: Path,
    encode: Callable[[Any], AudioTokens] = encode,
    *,
    max_positions: int = CONTEXT,
    loss: LossChoice = "all",
    progress: Progress | None = None,
) -> ConversationDataset:
    """Return the good samples of a file, as training opens them."""
    report = validate_file(path, CONFIG, TOKENIZER, max_positions=max_positions, decode=False, progress=progress)
    report.log()
    template = ChatTemplate.of(CONFIG, TOKENIZER, encode)
    return ConversationDataset(ConversationFile(path), report, template, max_positions, loss)


GOOD = {
    "official": sample(*TRANSCRIBE, task_type="understanding"),
    "text only": sample(ASK, REPLY),
    "two audios": sample(audio("a.wav"), audio("b.wav"), ASK, REPLY),
    "spoken": sample(audio("a.wav"), speech("b.wav", "Good.")),
    "turns": sample(audio("b.wav"), speech("b.wav", "Hi."), ASK, REPLY, audio("a.wav"), speech("a.wav", "Bye.")),
    "array": sample(audio([0.0, 0.3, 0.1] * 3000, sample_rate=8000), REPLY, id=7, metadata={"from": "me"}),
    "ready codes": sample(ASK, speech(None, "Good.", codes=[3, 4, 5])),
    "official ready codes": sample(audio("b.wav", audio_tokens=[CONFIG.audio_offset + 5] * 3), REPLY),
}


# ---------------------------------------------------------------------------------------------------------------------
# The schema


def test_all_kinds_of_samples_become_sequences_of_the_announced_length(folder: Path):
    path = write(folder, *GOOD.values())
    report = validate(path)
    assert report.problems == ()
    assert report.lines.tolist() == list(range(1, len(GOOD) + 1))
    data = dataset(path)
    assert [len(sequence) for sequence in data] == report.positions.tolist() == data.positions.tolist()
    assert len(data) == report.num_valid == len(GOOD)


def test_paths_are_relative_to_the_file_and_samples_keep_their_order(folder: Path):
    (folder / "sub").mkdir()
    path = write(folder / "sub", sample(audio("../a.wav"), REPLY), sample(audio(str(folder / "b.wav")), REPLY))
    heard = [int(sequence.features[0][0, 0]) for sequence in dataset(path)]
    assert heard == [1, 2]


def test_what_the_reply_should_be_like(folder: Path):
    def asks_for(value: dict[str, Any]) -> int:
        ids = dataset(write(folder, value))[0].audio_ids.tolist()
        return next(id_ for id_ in ids if id_ in (SPECIAL.reply_text, SPECIAL.reply_both))

    spoken, written = [audio("a.wav"), speech("b.wav", "Hi.")], [audio("a.wav"), REPLY]
    assert asks_for(sample(*spoken)) == SPECIAL.reply_both
    assert asks_for(sample(*spoken, task_type="speech2speech")) == SPECIAL.reply_both
    assert asks_for(sample(*written)) == asks_for(sample(*written, task_type="understanding")) == SPECIAL.reply_text
    assert asks_for(sample(*written, task_type="understanding", output_type="both")) == SPECIAL.reply_both


def test_the_sample_chooses_its_loss_before_the_file(folder: Path):
    turns = [ASK, text("assistant", "One."), ASK, text("assistant", "Two.")]
    flagged = [ASK, text("assistant", "One.", loss=True), ASK, text("assistant", "Two.", loss=False)]
    path = write(folder, sample(*turns), sample(*turns, loss="last"), sample(*turns, loss="all"), sample(*flagged))

    def learned(**options: Any) -> list[str]:
        return [TOKENIZER.decode(s.text_ids[s.text_loss].tolist(), skip_special=True) for s in dataset(path, **options)]

    assert learned() == ["One.Two.", "Two.", "One.Two.", "One."]
    assert learned(loss="last") == ["Two.", "Two.", "One.Two.", "One."]


# ---------------------------------------------------------------------------------------------------------------------
# Problems

BAD = {
    "is not JSON: Expecting value at character 18": b'{"conversation": ]',
    "is not UTF-8": b'{"conversation": "\xff\xfe"}',
    "the line is empty": b"  ",
    "nested too deeply": b"[" * 100_000,
    "must be a dictionary, not list": [],
    "lacks the field conversation": {"messages": []},
    "unknown field ouput_type": sample(ASK, REPLY, ouput_type="text"),
    "unknown output_type 'audio'": sample(ASK, REPLY, output_type="audio"),
    "unknown loss 'first'": sample(ASK, REPLY, loss="first"),
    "message 1: unknown role 'robot'": sample(ASK, text("robot", "x"), REPLY),
    "message 1: a message lacks content": sample(ASK, {"role": "assistant", "message_type": "text"}),
    "message 0: a message must be a dictionary": sample("hello", REPLY),
    "there is no assistant turn": sample(ASK),
    "message 1: the target is empty": sample(ASK, text("assistant", " ")),
    "message 1: the transcript of the assistant's speech is missing": sample(ASK, speech("a.wav", "")),
    "the speech of the assistant lacks its transcript": sample(ASK, {**audio("a.wav"), "role": "assistant"}),
    "message 1: the assistant speaks, but": sample(ASK, speech("a.wav", "x"), task_type="understanding"),
    "nothing of it is learned": sample(ASK, text("assistant", "x", loss=False)),
    "there is no file": sample(audio("gone.wav"), REPLY),
    "is a folder": sample(audio(""), REPLY),
    "noise.wav is not audio that can be read": sample(audio("noise.wav"), REPLY),
    "nothing.wav is empty": sample(audio("nothing.wav"), REPLY),
    "silent.wav holds no samples": sample(audio("silent.wav"), REPLY),
    "the audio is too long: 12.0 s are 150 tokens, and at most 128": sample(audio("long.wav"), REPLY),
    "the sample is too long: 138 positions, and at most 128 fit": sample(text("user", "x" * 128), REPLY),
    "an array of samples needs its sample_rate": sample(audio([0.1, 0.2]), REPLY),
    "has 16000 Hz, but its sample_rate is given as 8000": sample(audio("a.wav", sample_rate=8000), REPLY),
    "sample_rate must be a positive whole number": sample(audio([0.1], sample_rate=16000.5), REPLY),
    "a text message has no sample_rate": sample(text("user", "x", sample_rate=16000), REPLY),
    "must hold numbers in [-1, 1]": sample(audio([0, 300, -20], sample_rate=8000), REPLY),
    "must hold numbers, in rows": sample(audio([[0.1], [0.1, 0.2]], sample_rate=8000), REPLY),
    "the given array holds no samples": sample(audio([], sample_rate=8000), REPLY),
    "no sample is left": sample(audio([0.1], sample_rate=96000), REPLY),
    "samples that are not finite": sample(audio([0.1, float("nan")], sample_rate=8000), REPLY),
    "must be a path or an array of samples, not dict": sample(audio({"path": "a.wav"}), REPLY),
    "what is heard needs its recording": sample(audio(None, codes=[1, 2]), REPLY),
    "2 codes come with 5 rows": sample(audio("a.wav", codes=[1, 2]), REPLY),
    "from 3 to 20 are out of range: this model has 20": sample(ASK, speech(None, "x", codes=[3, 20])),
}


def add_broken_audio(folder: Path) -> None:
    (folder / "noise.wav").write_bytes(bytes(range(200)))
    (folder / "nothing.wav").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(0), INPUT_RATE_HZ)
    soundfile.write(folder / "long.wav", np.zeros(12 * INPUT_RATE_HZ), INPUT_RATE_HZ)


def test_every_problem_is_reported_with_its_line_and_nothing_else_is_left_out(folder: Path):
    add_broken_audio(folder)
    path = write(folder, GOOD["text only"], *BAD.values(), GOOD["official"])
    for decode in (True, False):
        report = validate(path, decode=decode)
        found = {problem.line: problem.reason for problem in report.problems}
        for line, reason in enumerate(BAD, 2):
            assert reason in found.pop(line, "no problem"), f"line {line}"
        assert found == {}
        assert report.lines.tolist() == [1, len(BAD) + 2]
        assert (report.num_lines, report.num_valid, report.num_skipped) == (len(BAD) + 2, 2, len(BAD))


def test_all_problems_of_one_line(folder: Path):
    broken = sample(audio("gone.wav"), text("robot", "x"), text("assistant", ""), audio("a.wav"), mood=1)
    reasons = [problem.reason for problem in validate(write(folder, broken)).problems]
    assert len(reasons) == 3  # the audio would be looked at next
    broken = sample(audio("gone.wav"), audio("a.wav"), audio("lost.wav"), REPLY)
    report = validate(write(folder, broken))
    assert [(p.line, p.reason[:10]) for p in report.problems] == [(1, "message 0:"), (1, "message 2:")]
    assert report.num_skipped == 1


def test_only_decoding_finds_broken_samples(folder: Path):
    soundfile.write(folder / "nan.wav", np.full(4000, np.nan), INPUT_RATE_HZ, subtype="FLOAT")
    path = write(folder, sample(audio("nan.wav"), REPLY))
    assert "not finite" in validate(path).problems[0].reason
    assert validate(path, decode=False).problems == ()


@pytest.mark.parametrize("name", ["half.mp3", "half.wav", "half.flac", "half.ogg"])
def test_half_a_recording_is_not_called_good(folder: Path, name: str):
    if name == "half.mp3":
        pytest.importorskip("av")
    soundfile.write(folder / name, 0.1 * np.random.default_rng(0).standard_normal(64_000), INPUT_RATE_HZ)
    path = write(folder, sample(audio(name), REPLY))
    assert validate(path).problems == ()
    (folder / name).write_bytes((folder / name).read_bytes()[: (folder / name).stat().st_size // 2])
    (problem,) = validate(path).problems
    assert re.search(r"is not complete: [12]\.\d s are there of [34]\.\d s|is cut off at|is damaged at", problem.reason)


def test_what_a_file_holds_is_counted(folder: Path):
    add_broken_audio(folder)
    path = write(folder, GOOD["spoken"], BAD["there is no assistant turn"], GOOD["ready codes"], GOOD["two audios"])
    report = validate(path)
    assert report.heard_s == pytest.approx((2 * LENGTHS["a.wav"] + LENGTHS["b.wav"]) / INPUT_RATE_HZ)
    assert report.spoken_s == pytest.approx(LENGTHS["b.wav"] / INPUT_RATE_HZ + 0.24)  # a recording and three codes
    assert report.audio_hours == pytest.approx((report.heard_s + report.spoken_s) / 3600)
    sequences = list(dataset(path))
    for row in ("text", "audio"):
        ids = torch.cat([getattr(s, f"{row}_ids") for s in sequences])
        learned = torch.cat([getattr(s, f"{row}_loss") for s in sequences])
        assert getattr(report, f"{row}_tokens") == (ids != SPECIAL.blank).sum()
        assert getattr(report, f"learned_{row}_tokens") == learned.sum() > 0
    summary = json.loads(json.dumps(report.summary()))
    assert (summary["lines"], summary["valid"], summary["skipped"]) == (4, 3, 1)
    assert summary["problems"] == [{"line": 2, "reason": "there is no assistant turn to learn"}]


def test_progress_and_files_without_samples(folder: Path, caplog: pytest.LogCaptureFixture):
    seen: list[tuple[int, int]] = []
    path = write(folder, *GOOD.values(), BAD["there is no assistant turn"])
    with caplog.at_level(logging.WARNING):
        dataset(path, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, len(GOOD) + 1) for number in range(1, len(GOOD) + 2)]
    assert "1 of 9 lines are left out" in caplog.text
    assert "line 9: there is no assistant turn" in caplog.text
    with pytest.raises(ValueError, match="holds no sample that can be learned; line 1: there is no assistant turn"):
        dataset(write(folder, BAD["there is no assistant turn"]))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        validate(folder / "gone.jsonl")
    (folder / "empty.jsonl").touch()
    with pytest.raises(ValueError, match=r"empty.jsonl is empty"):
        validate(folder / "empty.jsonl")


# ---------------------------------------------------------------------------------------------------------------------
# Large files, and what the official fine-tuning cannot do


def test_a_file_is_read_line_by_line(folder: Path):
    file = ConversationFile(write(folder, *(sample(text("user", str(n)), REPLY) for n in range(2000))))
    assert len(file) == 2000
    assert [file[n].messages[0].content for n in (1999, 0, -2)] == ["1999", "0", "1998"]
    assert len(pickle.dumps(file)) < 2000 * 10  # places, not lines
    with pytest.raises(IndexError):
        file[2000]
    write(folder, sample(ASK, REPLY))
    with pytest.raises(ValueError, match="has changed since it was opened"):
        file[0]


def test_the_last_line_may_lack_its_end(folder: Path):
    path = write(folder, GOOD["text only"])
    path.write_bytes(path.read_bytes() * 2 + path.read_bytes().rstrip())
    assert validate(path).lines.tolist() == [1, 2, 3]


def test_samples_of_all_kinds_share_a_batch_and_lose_what_they_lose_alone(folder: Path):
    model = AudioLM(CONFIG)
    model.reset_parameters(torch.Generator().manual_seed(0))
    sequences = list(dataset(write(folder, *GOOD.values())))
    with torch.no_grad():
        alone = [lm_loss(model, collate([sequence], CONFIG.pad_id)) for sequence in sequences]
        side_by_side = lm_loss(model, collate(sequences, CONFIG.pad_id))
        packed = lm_loss(model, pack([sequences[:3], sequences[3:]], CONFIG.pad_id))
    for row in ("text", "audio"):
        total = sum(getattr(loss, row).total for loss in alone)
        assert total > 0
        for together in (side_by_side, packed):
            assert getattr(together, row).total == pytest.approx(float(total), rel=1e-4)


def test_every_audio_has_its_own_features_at_its_own_codes(folder: Path):
    sequence = dataset(write(folder, GOOD["two audios"]))[0]
    positions = sequence.is_continuous.nonzero().flatten()
    assert (sequence.audio_ids[positions] - CONFIG.audio_offset).tolist() == [1] * 5 + [2] * 3
    assert torch.cat(sequence.features)[:, 0].tolist() == [1.0] * 5 + [2.0] * 3
    text_only = dataset(write(folder, GOOD["text only"]))[0]
    assert not text_only.is_continuous.any()
    assert text_only.features == ()


def test_only_what_is_heard_is_continuous_and_only_what_is_said_is_learned(folder: Path):
    sequence = dataset(write(folder, GOOD["turns"]))[0]
    codes = sequence.audio_ids - CONFIG.audio_offset
    is_code = codes >= 0
    assert sequence.audio_loss is not None
    assert codes[sequence.is_continuous].tolist() == [2] * 3 + [1] * 5
    assert codes[is_code & sequence.audio_loss].tolist() == [2] * 3 + [1] * 5
    assert not (sequence.is_continuous & sequence.audio_loss).any()
    assert torch.equal(is_code, sequence.is_continuous | (sequence.audio_loss & is_code))


def test_what_is_too_long_is_left_out_whole(folder: Path):
    path = write(folder, GOOD["spoken"], GOOD["text only"])
    size = int(validate(path).positions[0])
    assert len(dataset(path, max_positions=size)) == 2
    data = dataset(path, max_positions=size - 1)
    assert data.lines.tolist() == [2]
    assert data.report.problems[0].line == 1
    # A recording that has become longer since is refused, too.
    data = dataset(path, max_positions=size)
    soundfile.write(folder / "a.wav", np.full(6 * SAMPLES_PER_TOKEN, 0.1), INPUT_RATE_HZ, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"data.jsonl, line 1: the sample is too long"):
        data[0]
    (folder / "a.wav").unlink()
    with pytest.raises(ValueError, match=r"data.jsonl, line 1: there is no file"):
        data[0]


def test_nothing_is_kept_in_memory(folder: Path):
    calls = []

    def counting(source: Any) -> AudioTokens:
        calls.append(source)
        return encode(source)

    path = write(folder, GOOD["official"])
    data = dataset(path, counting)
    assert calls == []
    features = weakref.ref(data[0].features[0])
    gc.collect()
    assert features() is None
    assert len(data[0]) == len(data[0])
    assert len(calls) == 3


def test_held_out_samples_are_drawn_from_everywhere_and_not_learned(folder: Path):
    data = dataset(write(folder, *(sample(text("user", "x" * (n % 9)), REPLY) for n in range(200))))
    learned, held_out = data.split(0.05, seed=1)
    assert (len(learned), len(held_out)) == (190, 10)
    assert sorted([*learned.lines, *held_out.lines]) == data.lines.tolist()
    assert held_out.lines.max() > 100
    assert [len(s) for s in held_out] == held_out.positions.tolist()
    assert data.split(0.05, seed=1)[1].lines.tolist() == held_out.lines.tolist()
    assert data.split(0.05, seed=2)[1].lines.tolist() != held_out.lines.tolist()
    with pytest.raises(ValueError, match="leave nothing"):
        dataset(write(folder, sample(text("user", "x"), REPLY))).split(0.5, seed=0)


def test_of_every_task_something_is_held_out(folder: Path):
    kinds = ["understanding"] * 40 + ["asr"] * 3 + ["tts"]
    samples = (sample(text("user", str(number)), REPLY, task_type=kind) for number, kind in enumerate(kinds))
    learned, held_out = dataset(write(folder, *samples)).split(0.1, seed=1)
    counts = {kind: (learned.tasks.tolist().count(kind), held_out.tasks.tolist().count(kind)) for kind in set(kinds)}
    assert counts == {"understanding": (36, 4), "asr": (2, 1), "tts": (1, 0)}


def test_reports_of_other_files_are_refused(folder: Path):
    report = validate(write(folder, *GOOD.values()))
    path = write(folder, GOOD["official"])
    with pytest.raises(ValueError, match=r"report is about 8 lines, but .* has 1"):
        ConversationDataset(ConversationFile(path), report, dataset(path).template, CONTEXT)


def test_a_bad_sample_names_all_its_reasons():
    with pytest.raises(BadSampleError, match=r"unknown loss 'x'.*; message 0: unknown role"):
        Conversation.from_dict(sample(text("x", "y"), loss="x"), Path())
