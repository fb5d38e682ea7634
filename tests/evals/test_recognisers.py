"""What pocketsphinx and faster-whisper are told, with stand-ins for the libraries."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from kimi_audio.audio.io import Samples
from kimi_audio.evals.choose import choose_recogniser
from kimi_audio.evals.speech.recognisers import PocketSphinx
from kimi_audio.evals.speech.voices import choose_speaker_encoder

CLIP = Samples(np.full(1600, 0.1, np.float32), 16_000)


class Decoder:
    """Notes what it is told, and always hears the same."""

    made: list["Decoder"] = []  # noqa: RUF012

    def __init__(self, **options) -> None:
        self.options, self.grammars, self.search, self.heard = options, {}, "", b""
        self.made.append(self)

    def add_jsgf_string(self, name: str, grammar: str) -> None:
        self.grammars[name] = grammar

    def activate_search(self, name: str) -> None:
        self.search = name

    def start_utt(self) -> None: ...

    def process_raw(self, data: bytes, full_utt: bool) -> None:
        self.heard = data

    def end_utt(self) -> None: ...

    def hyp(self) -> SimpleNamespace:
        return SimpleNamespace(hypstr="the(2) dog")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    module = ModuleType("pocketsphinx")
    module.Decoder = Decoder
    monkeypatch.setitem(sys.modules, "pocketsphinx", module)
    monkeypatch.setattr(Decoder, "made", [])


def test_a_grammar_is_used_and_named():
    sphinx = PocketSphinx("public <a> = the dog;")
    assert sphinx.transcribe(CLIP, "en") == "the dog"
    (decoder,) = Decoder.made
    assert decoder.grammars[decoder.search] == "public <a> = the dog;"
    assert decoder.options["lm"] is None
    assert len(decoder.heard) == 2 * 1600
    assert sphinx.name != PocketSphinx("public <a> = the cat;").name


def test_without_a_grammar_its_own_language_model_is_used():
    sphinx = PocketSphinx()
    assert sphinx.transcribe(CLIP, "en") == "the dog"
    assert "lm" not in Decoder.made[0].options
    with pytest.raises(ValueError, match="English alone"):
        sphinx.transcribe(CLIP, "zh")


class WhisperModel:
    """Says what it was told and what it was given."""

    def __init__(self, source: str, **options) -> None:
        self.source = source

    def transcribe(self, wav: np.ndarray, language: str, **options):
        told = (f" {self.source}", f" {language}", f" {wav.dtype} {len(wav)} ")
        return [SimpleNamespace(text=text) for text in told], None


def test_faster_whisper_is_chosen_with_its_folder_and_its_segments_are_joined(monkeypatch):
    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    whisper = choose_recogniser("faster-whisper:models/base")
    assert whisper.transcribe(Samples(np.zeros(2400, np.float32), 24_000), "zh") == "models/base zh float32 1600"
    assert whisper.name.startswith("faster-whisper:models/base (")


def test_without_faster_whisper_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ValueError, match="pip install faster-whisper"):
        choose_recogniser("faster-whisper:base").transcribe(CLIP, "en")


@pytest.mark.parametrize("choose", [lambda name: choose_recogniser(f"faster-whisper:{name}"), choose_speaker_encoder])
def test_two_folders_of_one_name_are_two_instruments(tmp_path, choose):
    names = []
    for place in ("a", "b", "a"):
        folder = tmp_path / place / "model"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_text(place)
        names.append(choose(str(folder)).name)
    assert names[0] == names[2] != names[1]
