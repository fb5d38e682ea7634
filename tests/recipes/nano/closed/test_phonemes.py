"""Pronunciations: which sounds there are, and how espeak-ng's are reduced to them, with a stand-in for espeak-ng."""

import subprocess
from types import SimpleNamespace

import pytest

from recipes.nano.closed import phonemes
from recipes.nano.closed.phonemes import MERGED, NO_SOUNDS, PHONEMES, STRESS, pronounce


@pytest.fixture
def espeak(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Say ``espeak.says`` to every text, and remember what was asked."""
    fake = SimpleNamespace(says="", asked=[])

    def run(command: list[str], **options: object) -> SimpleNamespace:
        fake.asked.append((command, options))
        return SimpleNamespace(stdout=fake.says)

    monkeypatch.setattr(phonemes.subprocess, "run", run)
    return fake


def test_every_phoneme_has_one_name():
    assert len(set(PHONEMES)) == len(PHONEMES)
    assert not any(name[0] in NO_SOUNDS + STRESS or " " in name for name in PHONEMES)


def test_merging_ends_at_phonemes():
    assert set(MERGED.values()) <= set(PHONEMES)
    assert not set(MERGED) & set(PHONEMES)


def test_stress_pauses_and_marks_of_neighbours_are_dropped(espeak: SimpleNamespace):
    espeak.says = " h @ l 'oU _: w ,3: l d ;\n _! g 'U d\n"
    assert pronounce("Hello world. Good.") == "h @ l oU w 3: l d g U d"


def test_variants_of_one_sound_become_one(espeak: SimpleNamespace):
    espeak.says = "b 'I2 t# @2 n- aa"
    assert pronounce("bitter naa") == "b I t @ n a"


def test_unknown_sounds_are_named_once_each(espeak: SimpleNamespace):
    espeak.says = "y b R y"
    with pytest.raises(ValueError, match="espeak-ng speaks 'Brücke' with R y, which PHONEMES lacks"):
        pronounce("Brücke")


def test_a_text_that_looks_like_an_option_is_only_spoken(espeak: SimpleNamespace):
    pronounce("--path=/; ls")
    ((command, options),) = espeak.asked
    assert options["input"] == "--path=/; ls"
    assert not any("ls" in part for part in command)
    assert not options.get("shell")


def test_a_missing_engine_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="espeak-ng is not installed; run 'make speech-tools'"):
        pronounce("Hello.")


def test_a_failing_engine_is_not_taken_for_silence(monkeypatch: pytest.MonkeyPatch):
    def fail(command: list[str], **options: object) -> SimpleNamespace:
        assert options["check"]
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(phonemes.subprocess, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        pronounce("Hello.")
