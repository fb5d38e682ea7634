"""The general sentences as a grammar (JSGF), for recognisers that are told what can be said."""

import re

from kimi_audio.core.words import normalise
from recipes.nano.closed.sentences import FRAMES
from recipes.nano.closed.vocabulary import WORDS


def sentence_grammar() -> str:
    """Return a grammar of all general sentences, in the form of transcripts."""
    classes = [f"<{name}> = {' | '.join(map(normalise, words))};" for name, words in WORDS.items()]
    sentences = " | ".join(_rule(frame) for frame in FRAMES)
    return "\n".join(("#JSGF V1.0;", "grammar sentences;", *classes, f"public <sentence> = {sentences};", ""))


def _rule(frame: str) -> str:
    parts = re.findall(r"\{(\w+)\}|([A-Za-z']+)", frame)
    return " ".join(f"<{name}>" if name else _word(word.lower()) for name, word in parts)


def _word(word: str) -> str:
    return "(a | an)" if word == "a" else word  # sentences take the article that fits
