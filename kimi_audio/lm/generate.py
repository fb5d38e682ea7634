"""From prompts to replies with an engine of one's own, in the calling thread."""

import torch

from kimi_audio.core.sequence import Sequence
from kimi_audio.core.tokens import SpecialIds
from kimi_audio.lm.engine import Engine, LanguageModel
from kimi_audio.lm.rules import GenerationOptions, Reply
from kimi_audio.lm.worker import StepLoop


def generate(
    model: LanguageModel,
    prompts: list[Sequence],
    special: SpecialIds,
    options: GenerationOptions | None = None,
    *,
    generators: list[torch.Generator] | None = None,
) -> list[Reply]:
    """Return the reply to every prompt. What holds for the calling thread, such as autocast, holds for the steps.

    Args:
        model: the LLM; prompts are moved to its device.
        prompts: what to continue, of any lengths.
        special: ids of the special tokens.
        options: of all replies.
        generators: one per prompt, on the model's device, for sampling at a temperature.

    Raises:
        ValueError: a prompt leaves no room for a reply in the model's context.
    """
    steps = StepLoop(Engine(model, special))
    pairs = zip(prompts, generators or [None] * len(prompts), strict=True)
    replies = [steps.start(prompt, options, generator) for prompt, generator in pairs]
    steps.run()
    return [events.reply() for events in replies]
