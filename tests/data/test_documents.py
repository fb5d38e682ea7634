"""Documents for pre-training: what a file may say, what is refused, and what each task makes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from kimi_audio.core.lines import BadSampleError
from kimi_audio.core.units import SAMPLES_PER_TOKEN
from kimi_audio.data.documents import DocumentFile, SoundPart, holds_documents
from kimi_audio.data.mixture import Mixture
from kimi_audio.data.pretraining import WEIGHTS, Documents, Span, samples_of_tokens, sources, spans_of
from kimi_audio.data.survey import Survey, survey_file
from kimi_audio.data.tasks import TASKS, Layout
from kimi_audio.tokenizer.text import train_bpe

TOKENIZER = train_bpe(["one two three four"], 260)
LAYOUT = Layout(TOKENIZER.special.blank, TOKENIZER.vocab_size, 6)
MAX = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """talk.wav: ten tokens at 16 kHz whose level is their number / 20; low.wav: one second at 8 kHz."""
    levels = np.repeat(np.arange(10) / 20, SAMPLES_PER_TOKEN)
    soundfile.write(tmp_path / "talk.wav", levels, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "low.wav", np.zeros(8000), 8000, subtype="FLOAT")
    return tmp_path


def write(folder: Path, *lines: object) -> Path:
    path = folder / "documents.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def part(start: int, tokens: int | None, text: str | None = None) -> dict:
    seconds = {} if tokens is None else {"duration_s": tokens * 0.08}
    return {"audio": "talk.wav", "start_s": start * 0.08, **seconds, **({} if text is None else {"text": text})}


TALK = {"segments": [part(0, 3, "one"), part(3, 2, "two"), part(5, None, "three")], "id": 1}
SOUNDS = {"segments": [part(0, 4), part(4, 1)], "metadata": {}}
MIXED = {"segments": [part(0, 2, "one"), {"text": "two"}, part(2, 2), part(4, 1, "four"), part(5, 1, "five")]}
TEXT = {"text": "one two three four"}


def documents(path: Path, chosen: tuple[int, ...] | None = None) -> Documents:
    survey = survey_file(path, TOKENIZER, MAX, decode=False)

    def codes_of(sound: SoundPart) -> torch.Tensor:
        return (samples_of_tokens(sound.load())[:, 0] * 20).round().long()

    chosen = tuple(range(len(survey.lines))) if chosen is None else chosen
    return Documents(DocumentFile(path), survey, TOKENIZER, codes_of, LAYOUT, chosen)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def test_parts_of_files_are_read_and_measured(folder: Path):
    path = write(folder, TALK, SOUNDS, TEXT)
    survey = survey_file(path, TOKENIZER, MAX)
    assert survey.problems == ()
    ids = [len(TOKENIZER.encode(text)) for text in ("one", "two", "three")]
    assert survey.sizes[:2] == (((3, ids[0]), (2, ids[1]), (5, ids[2])), ((4, 0), (1, 0)))
    assert survey.audio_tokens == 15
    assert survey.summary() == survey_file(path, TOKENIZER, MAX, decode=False).summary()
    first, second, _ = DocumentFile(path)[0].segments
    assert second.audio is not None
    assert first.audio is not None
    assert second.audio.load().unique().tolist() == pytest.approx([3 / 20, 4 / 20])
    assert second.audio.key() == replace(second.audio).key() != first.audio.key()
    assert SoundPart(folder / "low.wav", 0.5).num_samples() == len(SoundPart(folder / "low.wav", 0.5).load()) == 8000


BAD = {
    "the line is not JSON": "{",
    "must be a dictionary, not list": [],
    "a document has either segments or a text": {"id": 3},
    "either segments": {"segments": [part(0, 1)], "text": "x"},
    "a document has the unknown field words": {"text": "x", "words": 1},
    "segments must be a list that is not empty": {"segments": []},
    "segment 0: a segment must be a dictionary": {"segments": ["talk.wav"]},
    "segment 0: unknown fields speaker": {"segments": [{"text": "x", "speaker": 1}]},
    "segment 0: its text must be a string": {"text": "  "},
    "segment 1: it has neither audio nor text": {"segments": [part(0, 1), {}]},
    "start_s and duration_s are for audio": {"segments": [{"text": "x", "start_s": 0}]},
    "start_s must be a number of seconds": {"segments": [{"audio": "talk.wav", "start_s": -1}]},
    "duration_s must be a positive number": {"segments": [{"audio": "talk.wav", "duration_s": 0}]},
    "there is no file": {"segments": [{"audio": "gone.wav"}]},
    "has nothing from 0.72 s to 0.88 s: it lasts 0.80 s": {"segments": [part(9, 2)]},
    "has nothing from 2 s to its end": {"segments": [{"audio": "talk.wav", "start_s": 2}]},
    "the audio is too long: 4.0 s are 50 tokens, and at most 40 fit": {"segments": [{"audio": "long.wav"}]},
    "noise.wav is not audio that can be read": {"segments": [{"audio": "noise.wav"}]},
}


@pytest.mark.parametrize("decode", [True, False])
def test_every_problem_is_reported_with_its_line_and_nothing_else_is_left_out(folder: Path, decode: bool):
    soundfile.write(folder / "long.wav", np.zeros(64_000), 16_000)
    (folder / "noise.wav").write_bytes(bytes(range(200)))
    survey = survey_file(write(folder, TALK, *BAD.values(), TEXT), TOKENIZER, MAX, decode=decode)
    assert survey.lines.tolist() == [1, len(BAD) + 2]
    assert survey.num_skipped == len(BAD)
    for problem, reason in zip(survey.problems, BAD, strict=True):
        assert reason in problem.reason, problem
    assert [problem.line for problem in survey.problems] == list(range(2, len(BAD) + 2))
    assert survey.summary()["skipped"] == len(BAD)


def test_only_decoding_finds_broken_samples(folder: Path):
    soundfile.write(folder / "broken.wav", np.array([0.1, np.nan] * 2000), 16_000, subtype="FLOAT")
    path = write(folder, {"segments": [{"audio": "broken.wav"}]}, TEXT)
    assert "not finite" in survey_file(path, TOKENIZER, MAX).problems[0].reason
    assert survey_file(path, TOKENIZER, MAX, decode=False).problems == ()


def test_files_are_told_apart(folder: Path):
    assert holds_documents(write(folder, "no json", TEXT))
    assert holds_documents(write(folder, TALK))
    assert not holds_documents(write(folder, {"conversation": []}))
    assert not holds_documents(write(folder, "no json"))


def test_a_changed_file_is_noticed(folder: Path):
    path = write(folder, TALK, TEXT)
    file = DocumentFile(path)
    write(folder, TEXT)
    with pytest.raises(ValueError, match="has changed since it was opened"):
        file[0]


def test_all_problems_of_one_line(folder: Path):
    with pytest.raises(BadSampleError) as found:
        DocumentFile(write(folder, {"segments": [{}, {"text": 3}], "words": 1}))[0]
    assert len(found.value.reasons) == 3


# ---------------------------------------------------------------------------------------------------------------------
# What the tasks take


def stretches(file: Documents, task: str, limit: int = MAX) -> list[tuple[int, int, int]]:
    return [(span.document, span.first, span.last) for span in spans_of(file, TASKS[task], limit)]


def test_each_task_takes_the_segments_that_have_what_it_needs(folder: Path):
    file = documents(write(folder, TALK, SOUNDS, MIXED, TEXT))
    whole = [(0, 0, 3)]
    spoken = [*whole, (2, 0, 1), (2, 3, 5)]
    assert stretches(file, "text") == [*whole, (2, 0, 2), (2, 3, 5), (3, 0, 1)]
    assert stretches(file, "audio") == [*whole, (1, 0, 2), (2, 0, 1), (2, 2, 5)]
    assert stretches(file, "asr") == stretches(file, "tts") == spoken
    assert stretches(file, "audio-to-semantic") == stretches(file, "audio")  # one segment is learned, not heard
    assert stretches(file, "audio-to-text") == stretches(file, "audio-to-semantic-and-text") == spoken
    assert stretches(documents(write(folder, TALK, TEXT), (1,)), "audio") == []


def test_long_documents_are_divided_between_segments(folder: Path, caplog: pytest.LogCaptureFixture):
    file = documents(write(folder, {"segments": [part(0, 4), part(4, 3), part(7, 3)]}))
    assert stretches(file, "audio", 7) == [(0, 0, 2), (0, 2, 3)]
    assert stretches(file, "audio-to-semantic", 3) == [(0, 1, 2), (0, 2, 3)]
    assert "leaves out 1 rows" in caplog.text
    assert stretches(file, "audio", 3) == [(0, 0, 1), (0, 1, 2), (0, 2, 3)]  # the first is cut when it is packed


def test_what_is_heard_is_sound_and_what_is_learned_codes(folder: Path):
    file = documents(write(folder, TALK))
    built = {}
    for seed in range(9):
        sequence = file.build(TASKS["audio-to-semantic"], Span(0, 0, 3, 10), np.random.default_rng(seed))
        built[tuple(sequence.is_continuous.tolist())] = sequence
    assert sorted(sum(heard) for heard in built) == [2, 8]  # it begins with either segment
    for heard, sequence in built.items():
        levels = torch.cat(sequence.features)
        assert levels.shape == (sum(heard), SAMPLES_PER_TOKEN)
        numbers = (levels[:, 0] * 20).round().long().tolist()
        assert numbers == [number for number, is_heard in enumerate(heard) if is_heard]
        assert sequence.audio_loss is not None
        assert (sequence.audio_loss == ~sequence.is_continuous).all()


def test_the_tasks_share_the_positions(folder: Path):
    files = [documents(write(folder, TALK, MIXED, SOUNDS, TEXT)) for _ in range(2)]
    found = sources(files, WEIGHTS, MAX)
    assert len(found) == 14
    shares = dict.fromkeys(WEIGHTS, 0.0)
    for source in found:
        shares[source.name.partition(":")[0]] += source.weight
    assert list(shares.values()) == pytest.approx([7, 1, 1, 1, 1, 1, 2])
    mixture = Mixture(found, row_positions=MAX, rows=2, pad_id=0, seed=0)
    mixture.plan(299)
    drawn = mixture._positions
    by_task = [sum(drawn[2 * i : 2 * i + 2]) / sum(drawn) * 14 for i in range(7)]
    assert by_task == pytest.approx([7, 1, 1, 1, 1, 1, 2], abs=0.1)
    assert mixture(0).audio_ids.shape == (2, MAX)
    assert all(name.startswith("documents.jsonl:") for name in mixture.names(0))


def test_a_task_without_documents_is_named(folder: Path, caplog: pytest.LogCaptureFixture):
    found = sources([documents(write(folder, TEXT))], WEIGHTS, MAX)
    assert [source.name for source in found] == ["text:documents.jsonl"]
    assert "no document has what the task asr needs" in caplog.text


def test_held_out_documents_are_not_learned(folder: Path):
    file = documents(write(folder, *[TEXT] * 10))
    learned, held = file.split(0.3, seed=0)
    assert len(held) == 3
    assert sorted(learned.chosen + held.chosen) == list(range(10))
    assert file.split(0.3, seed=0)[1].chosen == held.chosen != file.split(0.3, seed=1)[1].chosen
    with pytest.raises(ValueError, match="leave nothing to learn"):
        documents(write(folder, TEXT)).split(0.5, seed=0)


def test_what_cannot_be_read_any_more_is_named_by_its_line(folder: Path):
    file = documents(write(folder, TEXT, TALK))
    (folder / "talk.wav").unlink()
    with pytest.raises(ValueError, match=r"documents\.jsonl:2: there is no file"):
        file.build(TASKS["audio"], Span(1, 0, 3, 10), np.random.default_rng(0))


def test_a_survey_without_good_lines_is_an_error(tmp_path: Path):
    survey: Survey = survey_file(write(tmp_path, "x"), TOKENIZER, MAX)
    with pytest.raises(ValueError, match="holds no sample that can be learned; line 1: the line is not JSON"):
        survey.require_good_lines()


@pytest.mark.parametrize("name", ["talk.wav", "talk.flac", "talk.ogg"])
def test_what_is_cut_off_is_not_learned(folder: Path, name: str):
    noise = 0.1 * np.random.default_rng(0).standard_normal(64_000)
    soundfile.write(folder / name, noise, 16_000)
    assert len(SoundPart(folder / name).load()) == 64_000
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"not complete|damaged|cut off"):
        SoundPart(folder / name).load()
    assert len(SoundPart(folder / name, 0.25, 0.5).load()) == 8000  # before the damage
