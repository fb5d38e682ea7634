"""Reading aloud in the voices of the set by their names, and saying again in one voice what another has said."""

import random

from kimi_audio.core.words import normalise
from recipes.nano.closed.dialogues import all_replies
from recipes.nano.closed.examples import Example, Speech, asked, heard, spoken
from recipes.nano.closed.mandarin import all_mandarin_items, sentence_key, take_mandarin_sentences
from recipes.nano.closed.sentences import take_sentences
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.voices import ASSISTANT, MANDARIN_ASSISTANT, SPEAKERS

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
    for text in take_sentences(-(-count // len(SPEAKERS)), generator, reserved):
        for name, delivery in SPEAKERS.items():
            request = asked(generator.choice(READ_IN_VOICE).format(name) + text)
            parts = (request, spoken(Speech(text, delivery)))
            examples.append(Example("tts", name, normalise(text), parts, (name,)))
    return examples[:count]


def spread_reading_examples(
    count: int, generator: random.Random, reserved: bool, sentences: random.Random
) -> list[Example]:
    """Return ``count`` written sentences, each to be read in one of the voices; the key is the transcript.

    They are the sentences that ``sentences`` gives. From a generator that is equal to the one of other recordings they
    are the same sentences, so that what is heard there can be said here in another voice.
    """
    names, examples = list(SPEAKERS), []
    for index, text in enumerate(take_sentences(count, sentences, reserved)):
        name = names[index % len(names)]
        request = asked(generator.choice(READ_IN_VOICE).format(name) + text)
        parts = (request, spoken(Speech(text, SPEAKERS[name])))
        examples.append(Example("tts", name, normalise(text), parts, (name,)))
    return examples


def assistant_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return what the assistant's two voices say in the tasks, and Mandarin sentences, to be read aloud.

    English replies are those of ``dialogues``; the rest is Mandarin, replies first. The key of a reply is its text:
    a tenth of the replies is never read aloud in training.
    """
    sentences = take_mandarin_sentences(count, generator, reserved)
    replies = dict.fromkeys(item.answer for item in all_mandarin_items())
    mandarin = [(text, f"reply:{text}") for text in replies] + [(text, sentence_key(text)) for text in sentences]
    english = [(text, f"reply:{text}") for text in dict.fromkeys(all_replies())]
    chosen = [(text, key, ASSISTANT, "Say: ") for text, key in english]
    chosen += [(text, key, MANDARIN_ASSISTANT, "请说：") for text, key in mandarin]
    return [
        Example("tts", delivery.voice.language, key, (asked(request + text), spoken(Speech(text, delivery))))
        for text, key, delivery, request in chosen
        if is_reserved(key) == reserved
    ][:count]


def conversion_examples(count: int, generator: random.Random, reserved: bool) -> list[Example]:
    """Return ``count`` sentences spoken in one voice, to be said in another one; the key is the transcript.

    A quarter of the pairs of voices keep the voice as a check that names are obeyed and not just changed. The
    sentences are those of ``reading_examples`` from an equal generator, so that one set can hold both at the cost of
    one.
    """
    names, examples = list(SPEAKERS), []
    for index, text in enumerate(take_sentences(-(-count // len(SPEAKERS)), generator, reserved)):
        for target, name in enumerate(names):
            source = names[(target + index) % len(names)]
            request = asked(generator.choice(CONVERT).format(name))
            parts = (request, heard(Speech(text, SPEAKERS[source])), spoken(Speech(text, SPEAKERS[name])))
            examples.append(Example("voice-conversion", f"{source}-{name}", normalise(text), parts, (name,)))
    return examples[:count]
