"""The first step: ask a model for answers, keep each of them at once, and ask for none twice."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kimi_audio.audio.io import Samples
from kimi_audio.evals.contract.keys import Cache, digest_of, key_of
from kimi_audio.evals.contract.prompting import choose_recipe, fingerprint, render_prompt
from kimi_audio.evals.contract.rows import appending
from kimi_audio.evals.contract.types import Conditions, EvalSample, EvalTask, Options, OutputType, Recipe
from kimi_audio.evals.run.backends import Backend
from kimi_audio.evals.run.selection import Selection, check_audio, duration_s, mark_duplicates
from kimi_audio.evals.run.store import AskedSample, SampleAnswer, TaskFolder, save_clip

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

    def conditions(self, task: EvalTask, backend: Backend, selection: str) -> Conditions:
        """Return what the answers depend on; ValueError if the task has no recipe for the model."""
        recipe = self.recipe or choose_recipe(task, backend.family)
        recipe = replace(recipe, output=self.output or recipe.output)
        who, seed = (backend.name, backend.revision), self.selection.seed
        return Conditions(task.name, task.version, *who, recipe, fingerprint(recipe), seed, selection)


def infer(
    task: EvalTask,
    data: Path,
    backend: Backend,
    folder: TaskFolder,
    options: InferOptions,
    advance: Advance = lambda done, total: None,
) -> None:
    """Fill the folder with answers; those that it or the cache holds are not asked for again, failed ones are.

    It can be stopped at any point and started again.

    Args:
        task: what to ask.
        data: root of all datasets.
        backend: who is asked.
        folder: where the answers go.
        options: which samples, how, and where known answers are.
        advance: told about the progress.

    Raises:
        ValueError: the data is not there or unusable, or there is no recipe.
        OSError: the data cannot be read.
    """
    conditions = options.conditions(task, backend, "")
    recipe = conditions.recipe
    how = Options(recipe.output, recipe.system, recipe.decoding, conditions.seed)
    samples = mark_duplicates(task.dataset.load(data / task.dataset.name))
    if not samples:
        raise ValueError(f"{task.dataset.name} holds no samples in {data / task.dataset.name}")
    asked = [_ask(sample, recipe, how, backend) for sample in options.selection.choose(samples)]
    selection = options.selection.describe(len(asked), len(samples))
    folder.begin(replace(conditions, selection=selection), asked)
    cache = Cache(options.cache) if options.cache else None
    open_ = {item.id: item for item in asked if item.key}
    total, told = len(open_), set[str]()

    with appending(folder.predictions) as append:

        def keep(answer: SampleAnswer) -> None:
            if answer.error and answer.error not in told:
                logger.warning("%s: %s", answer.id, answer.error)  # the report lists all
                told.add(answer.error)
            append(folder.answer_row(answer))
            del open_[answer.id]
            advance(total - len(open_), total)

        stored = folder.read_answers()
        for item in list(open_.values()):
            if _is_usable(stored.get(item.key)):
                del open_[item.id]
            elif cache and (answer := _cached(cache, folder, item)):
                keep(answer)
        advance(total - len(open_), total)
        for item in list(open_.values()):
            if recipe.max_audio_s is not None and item.heard_s > recipe.max_audio_s:
                limit = f"more than the {recipe.max_audio_s:g} s of the recipe"
                keep(SampleAnswer(id=item.id, key=item.key, error=f"the audio lasts {item.heard_s:.1f} s, {limit}"))
        for answer in backend.answer(_batches(open_.values(), max(options.batch_size, backend.at_once)), how):
            answer = _saved(replace(answer, key=open_[answer.id].key), folder)
            if cache and not answer.error:
                if isinstance(answer.speech, Path):
                    cache.put_file(answer.key, answer.speech)
                cache.put(answer.key, folder.answer_row(answer))
            keep(answer)


def _ask(sample: EvalSample, recipe: Recipe, options: Options, backend: Backend) -> AskedSample:
    heard_s = 0.0
    if backend.hears:
        sample, heard_s = check_audio(sample)
    if sample.fault:
        return AskedSample(**vars(sample))
    try:
        prompt = render_prompt(recipe, sample)
    except ValueError as error:
        return AskedSample(**vars(replace(sample, fault=str(error))))
    seen = replace(sample, text=prompt, audio=sample.audio if backend.hears else ())
    key = answer_key(seen, options, backend.name, backend.revision)
    return AskedSample(**vars(sample), prompt=prompt, key=key, heard_s=heard_s)


def answer_key(sample: EvalSample, options: Options, name: str, revision: str) -> str:
    """Return the key of the answer of a model to a sample, whose text is the finished prompt.

    It holds the content of the sample and not the names of its files, so data may move.
    """
    return key_of(
        audio=[digest_of(clip) for clip in sample.audio],
        prompt=sample.text,
        meta=dict(sample.meta),
        output=options.output,
        system=options.system,
        decoding=dict(options.decoding),
        seed=options.seed_of(sample),
        model=name,
        revision=revision,
    )


def _batches(asked: Iterable[AskedSample], size: int) -> Iterator[Sequence[EvalSample]]:
    """Yield batches of similar length, the longest first: what does not fit is known early, and no worker is last."""
    by_length = sorted(asked, key=lambda item: -item.heard_s)
    # What the model sees: the prompt, and not the right answer.
    seen = [replace(item, text=item.prompt, reference="") for item in by_length]
    return (seen[start : start + size] for start in range(0, len(seen), size))


def _is_usable(answer: SampleAnswer | None) -> bool:
    if answer is None or answer.error:
        return False
    return not isinstance(answer.speech, Path) or answer.speech.exists()


def _cached(cache: Cache, folder: TaskFolder, item: AskedSample) -> SampleAnswer | None:
    row = cache.get(item.key)
    if row is None:
        return None
    speech = folder.speech_file(item.key) if row["speech"] else None
    if speech and not cache.get_file(item.key, speech):
        return None
    return replace(folder.answer_of({**row, "speech": None}), speech=speech, id=item.id, cached=True)


def _saved(answer: SampleAnswer, folder: TaskFolder) -> SampleAnswer:
    """Return the answer with its speech in a file of ours, and the seconds of it."""
    clip, target = answer.speech, folder.speech_file(answer.key)
    if clip is None or answer.error or (isinstance(clip, Samples) and not max(clip.array.shape, default=0)):
        return replace(answer, speech=None)
    try:
        return replace(answer, speech=save_clip(clip, target), spoken_s=duration_s(target))
    except (ValueError, OSError) as error:
        return replace(answer, speech=None, error=f"the speech cannot be saved: {error}")
