"""What is reserved for evaluation cannot reach the training of nano: the recipe against the plan of the corpora."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kimi_audio.checkpoint import NANO_FOLDER
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.data.split import SplitWriter
from recipes.nano import build as nano
from recipes.nano.closed import corpus
from recipes.nano.closed.corpus import Line, Recipe, plan
from recipes.nano.closed.qa import side
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.task_corpus import TaskSizes, plan_tasks
from recipes.nano.closed.voices import RESERVED
from recipes.nano.stages.batches import load_splits

SMALL = Recipe(assistant_answers=60, assistant_sentences=60, asr=250, questions=250, evaluation=50, development=50)
RESERVED_QUESTIONS = {normalise(item.question) for item in side(reserved=True)}


@pytest.fixture(scope="module")
def lines() -> dict[str, list[Line]]:
    """The lines of every split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "SHARD", 100)
        return {name: draw() for name, draw in plan(SMALL, 0).items()}


def is_training(name: str) -> bool:
    return name.startswith(nano.TRAINING_SPLITS)


def test_training_reads_all_splits_but_those_that_judge_it(lines: dict[str, list[Line]], tmp_path: Path):
    for name in lines:
        SplitWriter(tmp_path / name, (INPUT_RATE_HZ,)).close(completed=True)
    opened = [split.folder.name for split in load_splits(tmp_path, nano.TRAINING_SPLITS)]
    assert opened == sorted(name for name in lines if not name.startswith(("dev", "eval")))
    assert len(opened) == 1 + 3 + 3
    judges = {"dev-asr", "eval-asr-seen", "eval-asr-unseen", "eval-qa-seen", "eval-qa-unseen"}
    assert set(lines) - set(opened) == judges


def test_nothing_that_judges_begins_like_a_training_split():
    names = [name for name in (*plan(Recipe(), 0), *plan_tasks(TaskSizes(), 0)) if name.startswith(("dev", "eval"))]
    assert len(names) > 20
    assert not any(is_training(name) for name in names)


def test_training_lines_hold_nothing_reserved(lines: dict[str, list[Line]]):
    trained = {line for name, drawn in lines.items() if is_training(name) for line in drawn}
    assert not {line.delivery.voice for line in trained} & set(RESERVED)
    assert not [line for line in trained if line.kind == "sentence" and is_reserved(normalise(line.text))]
    assert not [line for line in trained if line.key is not None and is_reserved(line.key)]
    assert not {normalise(line.text) for line in trained} & RESERVED_QUESTIONS
    assert {line.key is None for line in trained} == {True, False}  # sentences and questions were looked at


def test_training_and_evaluation_share_no_text(lines: dict[str, list[Line]]):
    texts: dict[bool, set[str]] = {True: set(), False: set()}
    for name, drawn in lines.items():
        texts[is_training(name)] |= {normalise(line.text) for line in drawn}
    assert min(map(len, texts.values())) > 100
    assert not texts[True] & texts[False]


# ---------------------------------------------------------------------------------------------------------------------
# Stages


READERS = {  # what turns splits into weights, and the stages that call it; "held_out" only scores
    "train_acoustic": ["acoustic"],
    "train_semantic": ["semantic"],
    "train_vocoder": ["vocoder"],
}
BASES = {"from nothing": None, "continued": NANO_FOLDER}


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """All splits of both corpora, without their sound."""
    names = [*plan(Recipe(), 0), *plan_tasks(TaskSizes(), 0)]
    found = [SimpleNamespace(folder=Path(name), utterances=[], duration_s=1.0) for name in names]

    def load(_corpus: Path, starts: Sequence[str]) -> list[SimpleNamespace]:
        return [split for split in found if split.folder.name.startswith(tuple(starts))]

    monkeypatch.setattr(nano, "load_splits", load)
    for name in ("load_acoustic_run", "semantic_tokenizer", "acoustic_encoder", "give_manners_codes", "as_stored"):
        monkeypatch.setattr(nano, name, lambda *_: None)
    return found


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize(("reader", "stage"), [(reader, stage) for reader in READERS for stage in READERS[reader]])
@pytest.mark.usefixtures("splits")
def test_every_stage_learns_from_training_splits_alone(
    reader: str, stage: str, base: Path | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    learnt: list[str] = []
    signature = inspect.signature(getattr(nano, reader))

    def record(*args: Any, **options: Any) -> SimpleNamespace:
        learnt.extend(split.folder.name for split in signature.bind(*args, **options).arguments["splits"])
        return SimpleNamespace(tokenizer=None)

    monkeypatch.setattr(nano, reader, record)
    nano.STAGES[stage](nano.Run(tmp_path, tmp_path, base))
    assert learnt
    assert all(map(is_training, learnt))


class InPlace:
    """Stands for a pool of processes."""

    def __init__(self, workers: int) -> None:
        pass

    def __enter__(self) -> "InPlace":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    map = staticmethod(map)


def test_only_training_splits_are_encoded_and_spoken(
    splits: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    encoded: list[str] = []
    monkeypatch.setattr(nano, "ProcessPoolExecutor", InPlace)
    monkeypatch.setattr(nano, "Split", lambda folder: SimpleNamespace(folder=folder))
    monkeypatch.setattr(nano, "encode_split", lambda split, *_: encoded.append(split.folder.name))
    monkeypatch.setattr(nano, "EncodedSplit", lambda split, _: split)
    nano.encode(nano.Run(tmp_path, tmp_path))
    assert len(encoded) == len(set(encoded)) > 10
    assert all(map(is_training, encoded))
    assert all(map(is_training, nano.SPOKEN_SPLITS))
    assert not [s for s in splits if s.folder.name.startswith(nano.SPOKEN_SPLITS) and not is_training(s.folder.name)]


def test_no_reserved_question_is_written_to_the_llm(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    monkeypatch.setattr(nano, "written_questions", lambda questions, _: asked.extend(q for q, _ in questions) or [])
    for name in ("assistant_replies", "conversions", "recognition", "reading"):
        monkeypatch.setattr(nano, name, lambda *_, **__: [])
    nano.lessons([SimpleNamespace(split=SimpleNamespace(folder=Path("assistant")))])  # pyright: ignore
    assert len(asked) > 1000
    assert not {normalise(question) for question in asked} & RESERVED_QUESTIONS
