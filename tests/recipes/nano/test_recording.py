"""Generated speech: whose voices it is, that recording goes on where it stopped, and what channels do to it."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from kimi_audio.audio.io import load_audio
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.conversations import ConversationFile
from recipes.nano import channels, kokoro, people, synthetic
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.voices import RESERVED
from recipes.nano.corpora import ASR_REQUESTS, speech_heard, write_heard
from recipes.nano.recording import MANIFEST, Line, record, recordings
from recipes.nano.world.sentences import evaluation_sentences

TEXTS = [f"number {word} of the list" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
STOCKS = ("wordnet_examples", "wordnet_definitions", "bible_verses")
RATE_HZ = 8_000


@pytest.fixture
def stocks(monkeypatch) -> list[str]:
    """Stand-ins for the texts of Debian's packages."""
    texts = [f"the {word} of sentence {index} is here" for index in range(300) for word in ("end", "middle")]
    texts += evaluation_sentences()
    for name in STOCKS:
        monkeypatch.setattr(kokoro, name, lambda: list(texts))
    return texts


def lines() -> Iterator[Line]:
    return (Line(text, ("somebody",)) for text in TEXTS)


def speak(line: Line) -> tuple[np.ndarray, int]:
    return 2 * np.sin(np.arange(400 + 40 * len(line.text)) / 5).astype(np.float32), RATE_HZ


@pytest.mark.parametrize("kind", [kokoro.heard, kokoro.spoken, synthetic.heard, synthetic.clear])
def test_neither_reserved_voices_nor_reserved_texts_are_recorded(stocks, kind):
    reserved = {*kokoro.RESERVED, *(voice.name for voice in RESERVED)}
    made = list(islice(kind(), 400))
    assert len(made) > 300
    assert not reserved & {voice for line in made for voice in line.voices}
    assert any(is_reserved(normalise(text)) for text in stocks)
    assert not any(is_reserved(normalise(line.text)) for line in made)
    assert not {*evaluation_sentences()} & {line.text for line in made}
    assert made[:50] == list(islice(kind(), 50))


def test_recording_goes_on_where_it_stopped(tmp_path):
    record(lines(), speak, tmp_path / "once", 6)
    record(lines(), speak, tmp_path / "twice", 3)
    with (tmp_path / "twice" / MANIFEST).open("a") as manifest:
        manifest.write('{"audio": "000003.fl')  # a kill within a line
    asked = []
    record(lines(), lambda line: asked.append(line.text) or speak(line), tmp_path / "twice", 6)
    assert asked == TEXTS[3:6]
    assert (tmp_path / "once" / MANIFEST).read_bytes() == (tmp_path / "twice" / MANIFEST).read_bytes()
    first = recordings(tmp_path / "once")[0]
    wav = load_audio(first.audio, RATE_HZ)
    assert (first.line, float(wav.abs().max())) == (Line(TEXTS[0], ("somebody",)), pytest.approx(1, abs=0.01))
    assert first.duration_s == pytest.approx(len(wav) / RATE_HZ, abs=1e-3)


def test_a_voice_without_a_finite_sound_is_named(tmp_path):
    with pytest.raises(ValueError, match="made no sound for 'number one"):
        record(lines(), lambda _: (np.array([np.nan]), RATE_HZ), tmp_path, 1)


@pytest.mark.parametrize("codec", channels.CODECS)
def test_codecs_leave_most_of_a_tone(codec):
    wav = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(INPUT_RATE_HZ) / INPUT_RATE_HZ)
    coded = channels.through_codec(wav, codec)
    assert len(coded) == pytest.approx(len(wav), abs=0.1 * INPUT_RATE_HZ)
    spectrum = torch.fft.rfft(coded, INPUT_RATE_HZ).abs()
    assert int(spectrum.argmax()) == 440
    assert float(coded.square().mean()) == pytest.approx(float(wav.square().mean()), rel=0.2)


def test_variants_follow_from_the_seed_and_stay_in_range():
    wav = 0.3 * torch.sin(torch.arange(INPUT_RATE_HZ) / 9)
    made = [channels.vary(wav, [wav], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2, 3, 4, 5)]
    assert torch.equal(made[0], made[1])
    assert len({len(one) + float(one.abs().max()) for one in made}) == 5
    assert all(bool(one.isfinite().all()) and float(one.abs().max()) <= 1.2 for one in made)


def test_what_is_heard_is_a_file_of_conversations(tmp_path):
    record(lines(), speak, tmp_path / "speech", 3)
    items = speech_heard([tmp_path / "speech"])
    write_heard(items, tmp_path / "corpus" / "heard.jsonl", seed=0)
    file = ConversationFile(tmp_path / "corpus" / "heard.jsonl")
    assert len(file) == 3
    for conversation in file:
        request, sound, reply = conversation.messages
        assert request.content in ASR_REQUESTS
        assert len(load_audio(sound.content, INPUT_RATE_HZ)) > 1000
        assert reply.content in [item.text for item in items]
    written = (tmp_path / "corpus" / "heard.jsonl").read_bytes()
    write_heard(items, tmp_path / "corpus" / "heard.jsonl", seed=0)
    assert (tmp_path / "corpus" / "heard.jsonl").read_bytes() == written


def test_more_speech_leaves_the_variants_of_the_rest_as_they_are(tmp_path):
    for folder, count in (("a", 2), ("b", 3)):
        record(lines(), speak, tmp_path / folder, count)
    first = write_heard(speech_heard([tmp_path / "a", tmp_path / "b"]), tmp_path / "corpus" / "heard.jsonl", seed=0)
    sounds = {name: (tmp_path / "corpus" / name).read_bytes() for names in first.values() for name in names}
    record(lines(), speak, tmp_path / "a", 4)
    second = write_heard(speech_heard([tmp_path / "a", tmp_path / "b"]), tmp_path / "corpus" / "heard.jsonl", seed=0)
    assert set(sounds) < {name for names in second.values() for name in names}
    assert all((tmp_path / "corpus" / name).read_bytes() == sound for name, sound in sounds.items())
    texts = {Path(line.messages[1].content).name: line.messages[2].content for line in conversations(tmp_path)}
    assert texts["b-000002.flac"] == "number three of the list"
    with pytest.raises(ValueError, match="have one name"):
        write_heard(speech_heard([tmp_path / "a", tmp_path / "a"]), tmp_path / "corpus" / "heard.jsonl", seed=0)


def test_of_a_natural_recording_there_are_several_variants(tmp_path):
    record(lines(), speak, tmp_path / "speech", 2)
    said = write_heard(speech_heard([tmp_path / "speech"]), tmp_path / "corpus" / "natural.jsonl", seed=0, variants=2)
    assert list(said.values()) == [[f"audio/speech-{number:06d}{v}.flac" for v in ("", "-1")] for number in (0, 1)]
    file = ConversationFile(tmp_path / "corpus" / "natural.jsonl")
    assert [line.messages[2].content for line in file] == [text for text in list(TEXTS)[:2] for _ in range(2)]
    first, second = (load_audio(file[index].messages[1].content, INPUT_RATE_HZ) for index in (0, 1))
    assert not torch.equal(first[:1000], second[:1000])


def conversations(folder: Path) -> ConversationFile:
    return ConversationFile(folder / "corpus" / "heard.jsonl")


def manifest(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir()
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_only_speakers_for_training_are_heard(tmp_path):
    rows = [
        {"audio": f"{split}/{n}.opus", "text": f"We call it {n}", "split": split}
        for split in ("train", "dev")
        for n in range(40)
    ]
    rows += [{"audio": "train/e.opus", "text": text, "split": "train"} for text in evaluation_sentences()[:20]]
    found = people.readers(manifest(tmp_path / "readers", rows))
    assert 25 < len(found) < 40
    assert {item.audio.parent.name for item in found} == {"train"}
    assert not any(is_reserved(item.text) for item in found)


def test_orders_are_learned_if_they_are_not_held_out_and_heard_right(tmp_path):
    names = [f"{n}.opus" for n in range(60)]
    folder = manifest(tmp_path / "orders", [{"audio": name, "slots": {"size": "sixteen ounce"}} for name in names])
    heard = {name: "A sixteen ounce latte" if n % 2 else "a sixteen hours latte" for n, name in enumerate(names)}
    (tmp_path / "transcripts.json").write_text(json.dumps(heard))
    found = people.orders(folder, tmp_path / "transcripts.json")
    held_out = {name for name in names if people.is_held_out(name)}
    assert 10 < len(held_out) < 30
    assert {item.audio.name for item in found} == set(names[1::2]) - held_out
