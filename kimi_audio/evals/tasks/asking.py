"""How models are asked, as data: the decoding that the published scores of Kimi-Audio were made with, and prompts.

Prompts and decoding are those of the official Evalkit, because scores can be compared only where both agree.
"""

from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from types import MappingProxyType

from kimi_audio.evals.contract.prompting import DEFAULT
from kimi_audio.evals.contract.types import Recipe, Sample
from kimi_audio.evals.models import recipes_of_others as prompts
from kimi_audio.evals.models.recipes_of_others import Recipes

KIMI_AUDIO = {
    "audio_temperature": 0.8,
    "audio_top_k": 10,
    "text_temperature": 0.0,
    "text_top_k": 5,
    "audio_repetition_penalty": 1.0,
    "audio_repetition_window_size": 64,
    "text_repetition_penalty": 1.1,
    "text_repetition_window_size": 16,
    "max_new_tokens": -1,
}
NO_OTHERS: Recipes = MappingProxyType({})
BY_LETTER = "Answer with the option's letter from the given choices directly and only give the best option."


def plain_recipes(prompt: str = "{text}", others: Recipes = NO_OTHERS) -> dict[str, Recipe]:
    """Return the recipes of a task that puts one question to all models but ``others``, who have their own."""
    return {**others, "kimi-audio": Recipe(prompt, decoding=KIMI_AUDIO), DEFAULT: Recipe(prompt)}


def recognition_recipes(prompt: str, language: str) -> dict[str, Recipe]:
    """Return the recipes of a recognition task in one language."""
    return plain_recipes(prompt, prompts.recognition(language, prompt))


def lettered(question: str, options: Sequence[str]) -> str:
    """Return a question with its options, one a line, and the wish for a letter."""
    lines = "\n".join(f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
    return f"{question}\nOptions:\n{lines}\n.{BY_LETTER}"


def choice_sample(
    name: str, audio: Path, question: str, options: Sequence[str], answer: str, subset: str = ""
) -> Sample:
    """Return a question of multiple choice, as ``Choices`` scores it; a fault if the answer is none of the options."""
    if answer not in options:
        fault = f"the answer {answer!r} is not one of {', '.join(options)}"
        return Sample(name, (audio,), question, subset=subset, fault=fault)
    return Sample(name, (audio,), question, answer, subset, {"choices": list(options)})
