"""What pocketsphinx is told, with a stand-in for the library."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from kimi_audio.audio.io import Samples
from kimi_audio.evals.speech.recognisers import PocketSphinx

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
