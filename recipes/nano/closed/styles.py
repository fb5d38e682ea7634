"""Speaking styles as prosody recipes, and how a wav is told to follow a request for another style."""

import random
from dataclasses import dataclass, replace

from kimi_audio.audio.prosody import Measures
from kimi_audio.core.words import normalise
from recipes.nano.closed.examples import NEUTRAL, Example, Speech, asked, heard, spoken, written
from recipes.nano.closed.qa import take_questions
from recipes.nano.closed.scoring import mentions, names_only
from recipes.nano.closed.sentences import take_sentences
from recipes.nano.closed.voices import ASSISTANT, FIXED_PITCH, RESERVED, SEEN, Colour, Delivery, draw_delivery


@dataclass(frozen=True)
class Style:
    """Factors of a delivery, and the colour of its sound."""

    rate: float = 1.0
    pitch: float = 1.0
    variation: float = 1.0
    colour: Colour = "plain"


STYLES: dict[str, Style] = {
    NEUTRAL: Style(),
    "happy": Style(rate=1.12, pitch=1.3, variation=1.9, colour="bright"),
    "sad": Style(rate=0.85, pitch=0.8, variation=0.3, colour="soft"),
    "angry": Style(rate=1.1, pitch=1.1, variation=1.4, colour="strained"),
    "fast": Style(rate=1.7),
    "slow": Style(rate=0.58),
}
BASE_RATES = (0.93, 1.07)  # of style sets: fast and slow must not meet
BASE_PITCHES = (0.93, 1.07)

REPLY_STYLES: dict[str, Style] = {
    "faster": Style(rate=1.6),
    "slower": Style(rate=0.65),
    "higher": Style(pitch=1.35),
    "whisper": Style(colour="whispered"),
}
REPLY_REQUESTS: dict[str, tuple[str, ...]] = {
    "faster": ("Answer faster.", "Please speak faster.", "Speak quickly.", "Talk fast, please."),
    "slower": ("Answer slower.", "Please speak slower.", "Speak slowly.", "Talk slowly, please."),
    "higher": ("Answer with a higher voice.", "Please speak higher.", "Use a high voice.", "Talk with a high voice."),
    "whisper": ("Whisper the answer.", "Please whisper.", "Speak very quietly.", "Answer quietly, please."),
}
QUESTIONS = (
    "How does the speaker sound?",
    "What is the style of this speech?",
    "How is this said?",
    "Which mood does the speaker have?",
)
_WORDS = {"neutral": "neutral", "calm": "neutral", "happy": "happy", "cheerful": "happy", "sad": "sad"}
_WORDS |= {"angry": "angry", "fast": "fast", "quick": "fast", "quickly": "fast", "slow": "slow", "slowly": "slow"}


def styled(delivery: Delivery, style: Style) -> Delivery:
    """Return the delivery in a style; voices whose pitch is fixed keep it and show the style in rate and colour."""
    return replace(
        delivery,
        rate=round(delivery.rate * style.rate, 3),
        pitch=round(delivery.pitch * style.pitch, 3),
        variation=style.variation,
        colour=style.colour,
    )


def style_examples(count: int, generator: random.Random, reserved: bool, unseen: bool = False) -> list[Example]:
    """Return ``count`` recordings of general sentences with the question how they are spoken, all styles equally often.

    The key is the transcript of the sentence, as in the other speech sets.
    """
    expressive = [voice for voice in (RESERVED if unseen else SEEN) if voice.pitches != FIXED_PITCH]
    examples = []
    for index, text in enumerate(take_sentences(count, generator, reserved)):
        name = list(STYLES)[index % len(STYLES)]
        rate, pitch = generator.uniform(*BASE_RATES), generator.uniform(*BASE_PITCHES)
        delivery = styled(Delivery(generator.choice(expressive), rate, pitch), STYLES[name])
        question, reply = generator.choice(QUESTIONS), f"The speaker sounds {name}."
        if name in ("fast", "slow"):
            reply = f"The speaker talks {name}."
        parts = (asked(question), heard(Speech(text, delivery, name)), written(reply))
        examples.append(Example("style", name, normalise(text), parts, (name,)))
    generator.shuffle(examples)
    return examples


def is_style_right(style: str, reply: str) -> bool:
    """Tell whether a reply names the style and no other."""
    return names_only([_WORDS[word] for word in mentions(normalise(reply).split(), _WORDS)], style)


def reply_style_examples(count: int, generator: random.Random, reserved: bool, unseen: bool = False) -> list[Example]:
    """Return ``count`` spoken questions with a written request for the style of the reply, in the assistant's voice.

    The reply is ordinary in a fifth of them, without a request. The key is that of the question. Every question is
    asked once in each style.
    """
    names = [NEUTRAL, *REPLY_STYLES]
    items = take_questions(max(1, count // len(names)), generator, reserved)
    examples = []
    for index in range(count):
        item, name = items[index // len(names) % len(items)], names[index % len(names)]
        question = heard(Speech(item.question, draw_delivery(generator, RESERVED if unseen else SEEN)))
        if name == NEUTRAL:
            parts = (question, spoken(Speech(item.answer, ASSISTANT)))
        else:
            request = asked(generator.choice(REPLY_REQUESTS[name]))
            parts = (request, question, spoken(Speech(item.answer, styled(ASSISTANT, REPLY_STYLES[name]), name)))
        examples.append(Example("reply-style", name, item.key, parts, (item.essential,)))
    generator.shuffle(examples)
    return examples


# What counts as a change in the asked direction, against an ordinary reply of the same words.
FASTER, SLOWER, HIGHER = 0.88, 1.14, 1.12
QUIETER_DB, LESS_VOICED = -6.0, 0.7


def follows_request(style: str, reply: Measures, ordinary: Measures, words: int = 1, ordinary_words: int = 1) -> bool:
    """Tell whether a reply changed in the asked direction.

    Args:
        style: one of ``REPLY_STYLES``.
        reply: of the reply that was asked for in a style.
        ordinary: of a reply without a request.
        words: of the reply, or phonemes, where the two replies differ in what they say.
        ordinary_words: the same of the ordinary reply.

    Raises:
        ValueError: there is no such style.
    """
    pace = (reply.duration_s / words) / (ordinary.duration_s / ordinary_words)
    if style == "faster":
        return pace <= FASTER
    if style == "slower":
        return pace >= SLOWER
    if style == "higher":
        return reply.pitch_hz >= HIGHER * ordinary.pitch_hz > 0
    if style == "whisper":
        quiet = reply.level_db <= ordinary.level_db + QUIETER_DB
        return quiet and reply.voicing <= LESS_VOICED * ordinary.voicing
    raise ValueError(f"{style!r} is no style of replies; there are {', '.join(REPLY_STYLES)}")
