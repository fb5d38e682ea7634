"""The first step: ask a model for answers, keep each of them at once, and ask for none twice."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.keys import Cache, answer_key
from kimi_audio.evals.contract.prompting import choose_recipe, fingerprint, options_of, render_prompt
from kimi_audio.evals.contract.types import Options, OutputType, Prediction, Recipe, Sample, Task
from kimi_audio.evals.run.engines import Engine, Reply
from kimi_audio.evals.run.selection import Selection, check_audio, duration_s, mark_duplicates
from kimi_audio.evals.run.store import Answered, Asked, RowLog, Run, TaskFolder, save_clip

logger = logging.getLogger(__name__)

Advance = Callable[[int, int], None]  # samples that are done, and all


@dataclass(frozen=True)
class InferOptions:
    """How to run a task; the defaults are those of the task."""

    selection: Selection = field(default_factory=Selection)
    recipe: Recipe | None = None
    output: OutputType | None = None
    batch_size: int = 1
    cache: Path | None = None  # answers of all runs; None: only what the task's own folder holds


def infer(
    task: Task,
    data: Path,
    engine: Engine,
    folder: TaskFolder,
    options: InferOptions,
    advance: Advance = lambda done, total: None,
) -> None:
    """Fill the folder with answers; those that it or the cache holds are not asked for again, failed ones are.

    It can be stopped at any point and started again.

    Args:
        task: what to ask.
        data: root of all datasets.
        engine: who is asked.
        folder: where the answers go.
        options: which samples, how, and where known answers are.
        advance: told about the progress.

    Raises:
        ValueError: the data is not there or unusable, or there is no recipe.
        OSError: the data cannot be read.
    """
    recipe = options.recipe or choose_recipe(task, engine.family)
    recipe = replace(recipe, output=options.output or recipe.output)
    how = options_of(recipe, options.selection.seed)
    asked, selection = ask(task, data, options.selection, recipe, how, engine)
    run = Run(
        task.name,
        task.version,
        engine.name,
        engine.revision,
        recipe,
        fingerprint(recipe),
        options.selection.seed,
        selection,
    )
    folder.begin(run, asked)
    answered = _Answers(folder, Cache(options.cache) if options.cache else None, asked, advance)
    with answered:
        answered.take_known()
        pending = answered.refuse(recipe)
        for reply in engine.answer(_batches(pending, max(options.batch_size, engine.at_once)), how):
            answered.add(reply)


def ask(
    task: Task, data: Path, selection: Selection, recipe: Recipe, options: Options, engine: Engine
) -> tuple[list[Asked], str]:
    """Return the selected samples with prompts and keys, and the selection in words."""
    samples = mark_duplicates(task.dataset.load(data / task.dataset.name))
    if not samples:
        raise ValueError(f"{task.dataset.name} holds no samples in {data / task.dataset.name}")
    chosen = selection.choose(samples)
    asked = [_ask_one(sample, recipe, options, engine) for sample in chosen]
    return asked, selection.describe(len(chosen), len(samples))


def _ask_one(sample: Sample, recipe: Recipe, options: Options, engine: Engine) -> Asked:
    heard_s = 0.0
    if engine.hears:
        sample, heard_s = check_audio(sample)
    if sample.fault:
        return Asked(sample)
    try:
        prompt = render_prompt(recipe, sample)
    except ValueError as error:
        return Asked(replace(sample, fault=str(error)))
    seen = _as_asked(sample, prompt) if engine.hears else replace(_as_asked(sample, prompt), audio=())
    key = answer_key(seen, options, engine.name, engine.revision)
    return Asked(sample, prompt, key, heard_s)


def _as_asked(sample: Sample, prompt: str) -> Sample:
    """Return what the model sees: not the right answer."""
    return replace(sample, text=prompt, reference="")


def _batches(asked: Sequence[Asked], size: int) -> Iterator[list[Sample]]:
    """Yield batches of similar length, the longest first: what does not fit is known early, and no worker is last."""
    by_length = sorted(asked, key=lambda item: -item.heard_s)
    for start in range(0, len(by_length), size):
        yield [_as_asked(item.sample, item.prompt) for item in by_length[start : start + size]]


class _Answers:
    """The answers of a task, from three sources: its folder, the cache, the model."""

    def __init__(self, folder: TaskFolder, cache: Cache | None, asked: Sequence[Asked], advance: Advance) -> None:
        self.folder, self.cache, self.advance = folder, cache, advance
        self.asked = [item for item in asked if item.key]
        self.keys = {item.sample.id: item.key for item in self.asked}
        self.done: set[str] = set()
        self._told: set[str] = set()
        self._rows = RowLog(folder.predictions)

    def __enter__(self) -> "_Answers":
        self._rows.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._rows.__exit__(None, None, None)

    def take_known(self) -> None:
        """Find the answers that are there already."""
        stored = self.folder.read_answers()
        for item in self.asked:
            answer = stored.get(item.key)
            if answer and not answer.prediction.error and _is_whole(answer.prediction):
                self.done.add(item.sample.id)
            elif self.cache and (found := self._from_cache(self.cache, item)):
                self._append(found)
        self._tell()

    def _from_cache(self, cache: Cache, item: Asked) -> Answered | None:
        row = cache.get(item.key)
        if row is None:
            return None
        speech = self.folder.speech_file(item.key) if row["speech"] else None
        if speech and not cache.get_file(item.key, speech):
            return None
        return self.folder.answered(row | {"speech": speech and str(speech), "id": item.sample.id, "cached": True})

    def refuse(self, recipe: Recipe) -> list[Asked]:
        """Note the samples that are longer than the recipe takes, and return those that are left to ask."""
        pending = [item for item in self.asked if item.sample.id not in self.done]
        limit_s = recipe.max_audio_s
        for item in pending:
            if limit_s is not None and item.heard_s > limit_s:
                reason = f"the audio lasts {item.heard_s:.1f} s, more than the {limit_s:g} s of the recipe"
                self._append(Answered(item.sample.id, item.key, Prediction(error=reason)))
        return [item for item in pending if item.sample.id not in self.done]

    def add(self, reply: Reply) -> None:
        """Keep an answer of the model."""
        key = self.keys[reply.sample.id]
        prediction, spoken_s = self._save_speech(reply.prediction, self.folder.speech_file(key))
        answer = Answered(reply.sample.id, key, prediction, spoken_s, reply.batch)
        self._append(answer)
        if self.cache and not prediction.error:
            if isinstance(prediction.speech, Path):
                self.cache.put_file(key, prediction.speech)
            self.cache.put(key, self.folder.answer_row(answer))

    def _save_speech(self, prediction: Prediction, target: Path) -> tuple[Prediction, float]:
        """Return the prediction with its speech in a file of ours, and the seconds of it."""
        clip = prediction.speech
        if clip is None or prediction.error or (isinstance(clip, Samples) and not max(clip.array.shape, default=0)):
            return replace(prediction, speech=None), 0.0
        try:
            save_clip(clip, target)
            return replace(prediction, speech=target), duration_s(target)
        except (ValueError, OSError) as error:
            return replace(prediction, speech=None, error=f"the speech cannot be saved: {error}"), 0.0

    def _append(self, answer: Answered) -> None:
        if (reason := answer.prediction.error) and reason not in self._told:
            logger.warning("%s: %s", answer.id, reason)  # the report lists all
            self._told.add(reason)
        self._rows.append(self.folder.answer_row(answer))
        self.done.add(answer.id)
        self._tell()

    def _tell(self) -> None:
        self.advance(len(self.done), len(self.asked))


def _is_whole(prediction: Prediction) -> bool:
    return not isinstance(prediction.speech, Path) or prediction.speech.exists()
