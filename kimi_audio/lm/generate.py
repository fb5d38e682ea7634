"""From prompts to replies with an engine of one's own, in the calling thread."""

from collections.abc import Callable, Iterator

import torch

from kimi_audio.core.sequence import Sequence
from kimi_audio.core.tokens import SpecialIds
from kimi_audio.lm.engine import Engine, LanguageModel, Request
from kimi_audio.lm.rules import Event, GenerationOptions, Reply


def generate(
    model: LanguageModel,
    prompts: list[Sequence],
    special: SpecialIds,
    options: GenerationOptions | None = None,
    *,
    generators: list[torch.Generator] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Reply]:
    """Return the reply to every prompt; arguments as for ``stream``."""
    engine = Engine(model, special)
    requests = _admit(engine, prompts, options, generators)
    for _ in _events(engine, requests, cancelled):
        pass
    return [request.reply() for request in requests]


def stream(
    model: LanguageModel,
    prompts: list[Sequence],
    special: SpecialIds,
    options: GenerationOptions | None = None,
    *,
    generators: list[torch.Generator] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Yield one event per step and unfinished reply, as soon as it is known; ``row`` is the number of the prompt.

    Args:
        model: the LLM; prompts are moved to its device.
        prompts: what to continue, of any lengths.
        special: ids of the special tokens.
        options: of all replies.
        generators: one per prompt, on the model's device, for sampling at a temperature.
        cancelled: asked before every step; True ends all replies.

    Raises:
        ValueError: a prompt leaves no room for a reply in the model's context.
    """
    engine = Engine(model, special)
    yield from _events(engine, _admit(engine, prompts, options, generators), cancelled)


def _admit(
    engine: Engine,
    prompts: list[Sequence],
    options: GenerationOptions | None,
    generators: list[torch.Generator] | None,
) -> list[Request]:
    pairs = zip(prompts, generators or [None] * len(prompts), strict=True)
    requests = [engine.prepare(prompt, options, generator) for prompt, generator in pairs]
    for request in requests:
        engine.admit(request)
    return requests


def _events(engine: Engine, requests: list[Request], cancelled: Callable[[], bool] | None) -> Iterator[Event]:
    while not engine.is_idle:
        if cancelled is not None and cancelled():
            for request in requests:
                engine.cancel(request)
        for event in engine.step():
            if event.error is not None:
                raise event.error
            yield event
