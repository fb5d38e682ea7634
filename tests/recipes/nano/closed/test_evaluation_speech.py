"""Building, resuming and reading corpora, with an engine that only beeps."""

import hashlib
import random
from dataclasses import asdict

import numpy as np
import pytest
import soundfile
from rich.progress import Progress

from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.split import MANIFEST, Split, SplitWriter, Utterance, read_manifest
from recipes.nano.closed import evaluation_speech, synthesis
from recipes.nano.closed.evaluation_speech import build, plan
from recipes.nano.closed.qa import find_item
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.voices import RESERVED, SEEN, VOICES, Delivery, draw_delivery

COUNT = 10
DRAWN_BEFORE = "bc814c7a2bbadae0"


def beep(requests):
    """Stand in for the speech engines: the length of the text sets the pitch and the duration."""
    spoken = []
    for text, delivery in requests:
        rate_hz = delivery.voice.rate_hz
        times_s = np.arange(len(text) * rate_hz // 1000) / rate_hz
        spoken.append((0.1 * np.sin(2 * np.pi * 10 * len(text) * times_s).astype(np.float32), rate_hz))
    return spoken


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(evaluation_speech, "CHUNK", 4)


@pytest.fixture
def built(tmp_path):
    build(tmp_path, COUNT, 1, beep)
    return tmp_path


def test_every_split_has_text_and_sound(built):
    assert {path.name for path in built.iterdir()} == set(plan(COUNT, 1))
    for name, draw in plan(COUNT, 1).items():
        split, lines = Split(built / name), draw()
        assert [utterance.text for utterance in split.utterances] == [line.text for line in lines]
        assert split.duration_s == pytest.approx(sum(u.duration_s for u in split.utterances))
        for utterance, line in zip(split.utterances, lines, strict=True):
            assert utterance.transcript == normalise(utterance.text)
            ((expected, rate_hz),) = beep([(line.text, line.delivery)])
            expected = synthesis.resample(expected, rate_hz, INPUT_RATE_HZ)
            samples = split.samples(utterance)
            assert len(samples) == utterance.length_samples > 0
            np.testing.assert_allclose(samples, expected[: len(samples)], atol=1 / 32768)


def test_everything_is_reserved_and_unseen_means_reserved_voices(built):
    reserved_voices = {voice.name for voice in RESERVED}
    for path in built.iterdir():
        for utterance in Split(path).utterances:
            assert is_reserved(utterance.key or utterance.transcript)
            assert (utterance.voice in reserved_voices) == path.name.endswith("unseen")


def test_questions_come_once_and_with_their_answers(built):
    utterances = Split(built / "eval-qa-seen").utterances
    assert len({utterance.key for utterance in utterances}) == COUNT
    for utterance in utterances:
        assert utterance.answer
        assert utterance.key
        assert find_item(utterance.key).answer == utterance.answer


class Interruption(Exception):
    pass


def test_an_interrupted_build_goes_on_where_it_stopped(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("resumed")
    chunks = iter(range(4))

    def failing(requests):
        if next(chunks, None) is None:
            raise Interruption
        return beep(requests)

    with pytest.raises(Interruption):
        build(folder, COUNT, 1, failing)
    unfinished = folder / "eval-asr-unseen"
    with pytest.raises(ValueError, match="not a finished corpus split"):
        Split(unfinished)
    with (unfinished / MANIFEST).open("a") as manifest:  # a crash in the middle of a line and of the samples
        manifest.write('{"id": "asr')
    with (unfinished / "audio-16000.i16").open("ab") as pack:
        pack.write(b"\0\0\0")

    said = []

    def counting(requests):
        said.extend(requests)
        return beep(requests)

    build(folder, COUNT, 1, counting)
    total = sum(len(Split(path)) for path in built.iterdir())
    assert 0 < len(said) < total
    for path in built.rglob("*.*"):
        assert (folder / path.relative_to(built)).read_bytes() == path.read_bytes(), path


def test_finished_splits_are_not_spoken_again(built):
    def never(_):
        raise AssertionError("nothing is left to say")

    build(built, COUNT, 1, never)


def test_manifest_round_trip(tmp_path):
    utterances = [
        Utterance("a", "Hé.", "he", "sentence", "flite-slt", 0, 10),
        Utterance("b", "Hm?", "hm", "add", "flite-slt", 10, 16_000, "Yes.", "add:1:1/0"),
    ]
    writer = SplitWriter(tmp_path, (INPUT_RATE_HZ,))
    for item in utterances:
        fields = asdict(item)
        del fields["offset_samples"]
        writer.add({INPUT_RATE_HZ: np.zeros(fields.pop("length_samples"))}, **fields)
    writer.close(completed=True)
    assert list(read_manifest(tmp_path / MANIFEST)) == utterances
    assert utterances[1].duration_s == 1.0


def test_a_foreign_line_is_named(tmp_path):
    (tmp_path / MANIFEST).write_text('{"audio": "x.wav"}\n')
    with pytest.raises(ValueError, match="line 1: not an utterance"):
        list(read_manifest(tmp_path / MANIFEST))


def test_odd_lengths_stay_aligned_between_the_rates(tmp_path):
    writer = SplitWriter(tmp_path, (INPUT_RATE_HZ, OUTPUT_RATE_HZ))
    values = {"text": "x", "transcript": "x", "kind": "sentence", "voice": "v"}
    for index, length in enumerate((101, 7, 64)):
        level = (index + 1) / 10
        sound = {INPUT_RATE_HZ: np.full(length, level), OUTPUT_RATE_HZ: np.full(length * 3 // 2, level)}
        writer.add(sound, id=str(index), **values)
    writer.close(completed=True)
    split = Split(tmp_path)
    for index, utterance in enumerate(split.utterances):
        for rate_hz in (INPUT_RATE_HZ, OUTPUT_RATE_HZ):
            np.testing.assert_allclose(split.samples(utterance, rate_hz), (index + 1) / 10, atol=1e-4)


def test_reserved_voices_cannot_be_drawn_for_training():
    assert {voice.name for voice in SEEN}.isdisjoint({voice.name for voice in RESERVED})
    assert len(SEEN) >= 30
    assert len({voice.name for voice in VOICES}) == len(VOICES)
    reserved = {"awb", "awb_time", "ked_diphone"}
    for voice in SEEN:
        assert voice.argument not in reserved
        assert not voice.argument.endswith(("+f4", "+m6", "+klatt4"))
    generator = random.Random(0)
    drawn = [draw_delivery(generator) for _ in range(3000)]
    assert {delivery.voice for delivery in drawn} == set(SEEN)
    assert all(
        low <= value <= high
        for delivery in drawn
        for value, (low, high) in (
            (delivery.rate, delivery.voice.rates),
            (delivery.pitch, delivery.voice.pitches),
        )
    )


def test_a_missing_engine_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for voice in (VOICES[0], VOICES[4], VOICES[6]):
        with pytest.raises(ValueError, match=f"{voice.engine} is not installed; run `make speech-tools`"):
            synthesis.synthesise("Hello.", voice)


def test_engine_output_is_read_trimmed_and_levelled(monkeypatch):
    speech = np.concatenate([np.zeros(8000), 0.02 * np.sin(np.arange(16_000)), np.zeros(9000)])
    commands = []

    def fake_run(command, text=""):
        commands.append((command, text))
        soundfile.write(command[-1], speech, 16_000)

    monkeypatch.setattr(synthesis, "_run", fake_run)
    samples, rate_hz = synthesis.synthesise("Hello; ls", VOICES[0], rate=0.5, pitch=1.1)
    assert rate_hz == 16_000
    assert len(samples) == pytest.approx(16_000 + 2 * 1600, abs=320)
    assert 20 * np.log10(np.sqrt((samples**2).mean())) == pytest.approx(synthesis.LEVEL_DB, abs=0.1)
    ((command, _),) = commands
    assert "duration_stretch=2.000" in command
    assert command[command.index("-t") + 1] == "Hello; ls"


def test_festival_texts_cannot_leave_their_string():
    hts = next(voice for voice in VOICES if voice.argument.endswith("_hts"))
    command = synthesis._festival_command('a" (exit) "b\\', Delivery(hts, 1.1, 1.0), "x.wav")  # pyright: ignore
    assert '"a  (exit)  b "' in command


def test_silence_from_an_engine_is_an_error():
    with pytest.raises(ValueError, match="only silence"):
        synthesis.finish(np.zeros(16_000, np.float32), 16_000)


def test_lines_of_a_split_depend_on_its_seed_alone():
    assert plan(4, 3)["eval-qa-seen"]() == plan(4, 3)["eval-qa-seen"]()
    assert plan(4, 3)["eval-qa-seen"]() != plan(4, 4)["eval-qa-seen"]()
    assert plan(4, 3)["eval-qa-seen"]() != plan(4, 3)["eval-qa-unseen"]()


def test_the_evaluation_is_drawn_as_ever():
    """Its texts and deliveries are what all scores stand on."""
    drawn = [
        (name, line.text, line.delivery.voice.name, line.delivery.rate, line.delivery.pitch, line.answer, line.key)
        for name, draw in plan(20, 0).items()
        for line in draw()
    ]
    assert hashlib.sha256(repr(drawn).encode()).hexdigest()[:16] == DRAWN_BEFORE


def test_progress_counts_only_what_is_spoken(tmp_path):
    lines = plan(COUNT, 0)["eval-asr-seen"]()
    with Progress(disable=True) as progress:
        evaluation_speech.build_split(tmp_path / "eval-asr-seen", lines, beep, progress)
        assert progress.tasks[0].completed == len(lines) == COUNT
