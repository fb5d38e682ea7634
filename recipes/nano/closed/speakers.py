"""Reading aloud in the named voices, and what asks for one voice to say what another has said."""

import random

from kimi_audio.core.words import normalise
from recipes.nano.closed.examples import Example, asked, written
from recipes.nano.closed.sentences import take_sentences

NAMES = ("Ava", "Ben", "Carl", "Dora")
READ_IN_VOICE = (
    "Say in the voice of {0}: ",
    "Read aloud with the voice of {0}: ",
    "Speak like {0}: ",
    "In the voice of {0}, say: ",
)
CONVERT = (
    "Say this in the voice of {0}.",
    "Repeat this with the voice of {0}.",
    "Say it again like {0}.",
    "Change the voice to {0}.",
)


def reading_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return ``count`` written sentences to be read in a voice; the key is the transcript.

    Sentences come in all voices one after the other, so that a set holds each sentence in each voice.
    """
    examples = []
    for text in take_sentences(-(-count // len(NAMES)), generator, reserved):
        for name in NAMES:
            request = asked(generator.choice(READ_IN_VOICE).format(name) + text)
            examples.append(Example("tts", name, normalise(text), (request, written(text)), (name,)))
    return examples[:count]
