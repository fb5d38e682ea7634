"""Backends give batches to a model: here in this process, in ``workers.py`` in processes that may die without harm."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kimi_audio.evals.contract.keys import one_line
from kimi_audio.evals.contract.types import EvalSample, Model, Options, Prediction
from kimi_audio.evals.run.store import SampleAnswer


class Backend(Protocol):
    """Answers batches in any order; knows which model answers."""

    name: str
    revision: str
    family: str
    hears: bool  # False: the sound of the samples is not needed, for the answers are there
    at_once: int  # samples that it wants at least at once, if it answers several at the same time

    def answer(self, batches: Iterable[Sequence[EvalSample]], options: Options) -> Iterator[SampleAnswer]:
        """Yield one answer per sample, as they become known."""
        ...


@dataclass
class LocalBackend:
    """A model in this process."""

    model: Model
    hears: bool = True

    def __post_init__(self) -> None:
        self.name, self.revision, self.family = self.model.name, self.model.revision, self.model.family
        self.at_once: int = getattr(self.model, "at_once", 1)

    def answer(self, batches: Iterable[Sequence[EvalSample]], options: Options) -> Iterator[SampleAnswer]:
        """Yield one answer per sample."""
        for batch in batches:
            yield from answer_batch(self.model, batch, options)


def answer_batch(model: Model, samples: Sequence[EvalSample], options: Options) -> list[SampleAnswer]:
    """Answer a batch; if that fails, every sample alone, so that one of them does not take the others along."""
    started = time.perf_counter()
    try:
        predictions = list(model.generate(samples, options))
        if len(predictions) != len(samples):
            raise RuntimeError(f"the model gave {len(predictions)} answers to {len(samples)} samples")
    except Exception as error:  # noqa: BLE001 - an adapter may raise anything, and the run goes on
        if len(samples) > 1:
            return [answer for sample in samples for answer in answer_batch(model, [sample], options)]
        predictions = [Prediction(error=one_line(error))]
    took_s = time.perf_counter() - started
    answers = [
        SampleAnswer(**vars(prediction), id=sample.id, batch=len(samples))
        for sample, prediction in zip(samples, predictions, strict=True)
    ]
    return [replace(answer, total_s=took_s) if answer.total_s is None else answer for answer in answers]
