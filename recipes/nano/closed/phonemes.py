"""Pronunciations: what the encoders learn to hear.

English spelling hides the sounds; a small encoder that must spell spends itself on it (docs/LOG.md). espeak-ng writes
the sounds of every training text instead. Its names of phonemes are documented in espeak-ng's ``docs/phonemes.md``.
"""

import subprocess

from kimi_audio.data.split import Utterance
from recipes.nano.closed.pinyin import TONES, pronounce_mandarin
from recipes.nano.closed.sounds import EVENTS
from recipes.nano.closed.soundscape import SCENES
from recipes.nano.closed.voices import SPEAKERS, Language

CONSONANTS = ("b", "d", "D", "dZ", "f", "g", "h", "j", "k", "l", "m", "n", "N", "p", "r", "s", "S", "t", "T", "tS")
CONSONANTS += ("v", "w", "z", "Z")
VOWELS = ("0", "3", "3:", "@", "@L", "A:", "A@", "a", "aI", "aI@", "aU", "E", "e@", "eI", "I", "i", "i:", "i@", "O:")
VOWELS += ("O@", "OI", "oU", "U", "U@", "u:", "V")
PHONEMES = CONSONANTS + VOWELS
# What Mandarin adds: its own consonants and vowels, and the tone behind every syllable.
MANDARIN = ("S;", "s.", "tS;", "tS;h", "ts", "tsh", "ts.", "ts.h", "z.", "i.", "o-", "y", *TONES)
# What else there is to hear. Encoders that learn phonemes alone would have no reason to keep these apart.
SOUND_MARK = "#"
SOUNDS = tuple(SOUND_MARK + name for name in (*EVENTS, *SCENES))
STYLES = tuple(SOUND_MARK + name for name in ("happy", "sad", "angry", "fast", "slow", "higher", "whisper"))
SPEAKER_MARKS = {delivery.voice.name: SOUND_MARK + name for name, delivery in SPEAKERS.items()}
# The first code of an utterance has to tell the voice and how it speaks: two marks for one code are not learned
# (docs/LOG.md).
MANNERS = tuple(mark + "-" + manner for mark in SPEAKER_MARKS.values() for manner in ("higher", "whisper"))
HEARD = PHONEMES + MANDARIN + SOUNDS + STYLES + tuple(SPEAKER_MARKS.values()) + MANNERS
# espeak-ng tells apart how a vowel came about and how a consonant joins its neighbours; other engines do neither.
MERGED = {"@2": "@", "@-": "@", "a#": "@", "aa": "a", "I2": "I", "I#": "I", "O2": "O:", "o@": "O@", "i@3": "i@"}
MERGED |= {"aI3": "aI@", "t2": "t", "t#": "t", "n-": "n", "r-": "r"}
STRESS = "',"
NO_SOUNDS = "_;!?"  # pauses, and marks of the neighbours


def pronounce(text: str) -> str:
    """Return the phonemes of an English text, separated by spaces.

    Raises:
        ValueError: espeak-ng is not installed, or knows a sound that ``PHONEMES`` lacks.
    """
    command = ["espeak-ng", "-q", "-x", "--sep= ", "-v", "en-us"]
    try:
        result = subprocess.run(command, input=text, text=True, check=True, capture_output=True, timeout=60)  # noqa: S603 (no shell, the text is input)
    except FileNotFoundError:
        raise ValueError("espeak-ng is not installed; run 'make speech-tools'") from None
    sounds = [sound.strip(STRESS) for sound in result.stdout.split()]
    merged = [MERGED.get(sound, sound) for sound in sounds if sound and sound[0] not in NO_SOUNDS]
    unknown = sorted(set(merged) - set(PHONEMES))
    if unknown:
        raise ValueError(f"espeak-ng speaks {text!r} with {' '.join(unknown)}, which PHONEMES lacks")
    return " ".join(merged)


def labels_of(utterance: Utterance) -> str:
    """Return all that is to be heard in an utterance: who speaks if it is one of ``SPEAKERS``, how, and the phonemes.

    Speaker and style come first, so that the first codes of an utterance tell them: a stream that makes sound of codes
    must know them before it begins.

    Raises:
        ValueError: the utterance has no pronunciation.
    """
    if not utterance.phonemes:
        raise ValueError(f"utterance {utterance.id!r} has no pronunciation; build its split again")
    speaker, style = SPEAKER_MARKS.get(utterance.voice, ""), utterance.style or ""
    both = f"{speaker}-{style}"
    marks = [both] if both in MANNERS else [speaker, SOUND_MARK + style]
    return " ".join([mark for mark in marks if mark in HEARD] + [utterance.phonemes])


def pronounce_in(language: Language, text: str) -> str:
    """Return the phonemes of a text in its language, separated by spaces."""
    return pronounce_mandarin(text) if language == "cmn" else pronounce(text)
