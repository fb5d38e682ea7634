"""The grammar of the general sentences: it takes them, and no others."""

import random
import re

from kimi_audio.core.words import normalise
from recipes.nano.closed.grammar import sentence_grammar
from recipes.nano.closed.sentences import take_sentences


def as_expression(grammar: str) -> re.Pattern[str]:
    """Return a regular expression that takes what the grammar takes, with a space before each word."""
    rules = dict(re.findall(r"<(\w+)> = (.*);", grammar))
    words = {name: "(?:" + "|".join(f" {word}" for word in rule.split(" | ")) + ")" for name, rule in rules.items()}
    sentences = rules["sentence"].replace("(a | an)", "<article>")
    words["article"] = "(?: a| an)"
    parts = []
    for sentence in sentences.split(" | "):
        tokens = (words[token[1:-1]] if token.startswith("<") else f" {token}" for token in sentence.split())
        parts.append("".join(tokens))
    return re.compile("|".join(parts))


def test_all_sentences_are_of_the_grammar():
    expression = as_expression(sentence_grammar())
    for reserved in (True, False):
        for text in take_sentences(100, random.Random(1), reserved):
            assert expression.fullmatch(" " + normalise(text)), text
    for text in ("the the the", "hello world", "the bird went near", "adam"):
        assert not expression.fullmatch(" " + text)
