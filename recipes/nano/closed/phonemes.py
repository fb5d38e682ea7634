"""Pronunciations: what the encoders learn to hear.

English spelling hides the sounds; a small encoder that must spell spends itself on it (docs/LOG.md). espeak-ng writes
the sounds of every training text instead. Its names of phonemes are documented in espeak-ng's ``docs/phonemes.md``.
"""

import subprocess

CONSONANTS = ("b", "d", "D", "dZ", "f", "g", "h", "j", "k", "l", "m", "n", "N", "p", "r", "s", "S", "t", "T", "tS")
CONSONANTS += ("v", "w", "z", "Z")
VOWELS = ("0", "3", "3:", "@", "@L", "A:", "A@", "a", "aI", "aI@", "aU", "E", "e@", "eI", "I", "i", "i:", "i@", "O:")
VOWELS += ("O@", "OI", "oU", "U", "U@", "u:", "V")
PHONEMES = CONSONANTS + VOWELS
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
