"""nano's own suite: reserved sentences and questions, spoken by voices of its training (seen) and by others (unseen).

The recordings are generated from a fixed seed, when they are needed first; that takes the speech engines
(``make speech-tools``). Three tasks: transcripts of sentences, written answers to spoken questions, and spoken answers,
which a recogniser has to understand.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kimi_audio.assistant import ASR_INSTRUCTION, KimiAudio
from kimi_audio.checkpoint import NANO
from kimi_audio.data.corpus import Recipe as CorpusRecipe
from kimi_audio.data.corpus import build
from kimi_audio.data.manifest import Split
from kimi_audio.data.qa import find_item, is_right
from kimi_audio.data.scoring import word_errors
from kimi_audio.data.text import normalise
from kimi_audio.evals.datasets import Layout, make_dataset, missing_patterns
from kimi_audio.evals.recipes import DEFAULT
from kimi_audio.evals.scoring import PerSample
from kimi_audio.evals.store import read_rows, to_line, write_whole
from kimi_audio.evals.tasks.scorers import Transcripts
from kimi_audio.evals.types import Clip, Dataset, Metric, Prediction, Recipe, Sample, SampleScore, Suite, Task
from kimi_audio.units import INPUT_RATE_HZ

SEED = 0
VOICES = ("seen", "unseen")
SPOKEN = 40  # questions of each kind of voice whose answer is spoken
CORPUS = CorpusRecipe(assistant_answers=0, assistant_sentences=0, asr=0, questions=0, development=0)


# ---------------------------------------------------------------------------------------------------------------------
# Data


def make(folder: Path, corpus: CorpusRecipe = CORPUS, **engines: Any) -> None:
    """Generate the recordings and write each to a file; what is there stays.

    Args:
        folder: of the dataset.
        corpus: how many of each.
        engines: ``speak`` and ``pronounce`` of ``build``, to put others in their place.
    """
    build(folder / "corpus", corpus, SEED, **engines)
    for name in (f"{kind}-{voices}" for kind in ("asr", "qa") for voices in VOICES):
        _export(Split(folder / "corpus" / f"eval-{name}"), folder, name)


def _export(split: Split, folder: Path, name: str) -> None:
    if (folder / f"{name}.jsonl").exists():
        return
    (folder / name).mkdir(exist_ok=True)
    rows = []
    for utterance in split.utterances:
        audio = f"{name}/{utterance.id}.wav"
        exact = np.rint(split.samples(utterance) * 32768).astype(np.int16)  # what the corpus holds
        soundfile.write(folder / audio, exact, INPUT_RATE_HZ, subtype="PCM_16")
        shared = {"id": utterance.id, "audio": audio, "transcript": utterance.transcript, "voice": utterance.voice}
        rows.append({**shared, "key": utterance.key or "", "answer": utterance.answer or ""})
    write_whole(folder / f"{name}.jsonl", "".join(to_line(row) for row in rows))


LAYOUT = Layout(
    index=tuple(f"{kind}-{voices}.jsonl" for kind in ("asr", "qa") for voices in VOICES),
    by_hand="install the speech engines with `make speech-tools`; the recordings are then generated",
    convert=make,
)


def read_sentences(folder: Path) -> Iterator[Sample]:
    """Yield the sentences, with their transcripts."""
    for row, voices, audio in _rows(folder, "asr"):
        yield Sample(row["id"], (audio,), reference=row["transcript"], subset=voices)


def read_questions(folder: Path, limit: int | None = None) -> Iterator[Sample]:
    """Yield the questions, the first of each kind of voice if there is a limit, with the answers of the generator."""
    taken: Counter[str] = Counter()
    for row, voices, audio in _rows(folder, "qa"):
        taken[voices] += 1
        if limit is None or taken[voices] <= limit:
            meta = {"key": row["key"], "question": row["transcript"]}
            yield Sample(row["id"], (audio,), reference=row["answer"], subset=voices, meta=meta)


def _rows(folder: Path, kind: str) -> Iterator[tuple[Mapping[str, str], str, Path]]:
    for voices in VOICES:
        for row in read_rows(folder / f"{kind}-{voices}.jsonl"):
            yield row, voices, folder / row["audio"]


def own_dataset(read: Callable[[Path], Iterable[Sample]], generate: Callable[[Path], None] = make) -> Dataset:
    """Return a dataset that is generated when it is missing."""
    dataset = make_dataset("nano", "generated, seed 0", replace(LAYOUT, convert=generate), read)

    def load(folder: Path) -> Iterable[Sample]:
        if missing_patterns(folder, LAYOUT):
            generate(folder)
        return dataset.load(folder)

    return replace(dataset, load=load)


# ---------------------------------------------------------------------------------------------------------------------
# Scores


class SentenceTranscripts(Transcripts):
    """The usual error rates, behind the word error rate in the form that nano writes (numbers as words)."""

    def __init__(self) -> None:
        super().__init__("en")
        self.metrics = (Metric("nano-wer", higher_is_better=False), *self.metrics)
        self.versions = {"nano-wer": "1", **self.versions}

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return the errors of one transcript."""
        usual = super().score_one(sample, prediction)
        wanted = str(sample.reference).split()
        errors = word_errors(wanted, normalise(prediction.text).split())
        return replace(usual, values={"nano-wer": (errors, len(wanted)), **usual.values})


class RightAnswers(PerSample):
    """Share of questions whose answer names the right thing and no other."""

    metrics = (Metric("right"),)
    versions: Mapping[str, str] = {"rules": "1"}

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return whether the answer is right."""
        return SampleScore(sample.id, {"right": (float(is_right(find_item(sample.meta["key"]), prediction.text)), 1)})


class HeardWords(PerSample):
    """Share of the words of the written answer that a recogniser hears in the spoken one, and of right answers.

    Args:
        recognise: from sound to transcript; by default the bundled nano, which thus hears itself.
        version: of the recogniser.
    """

    metrics = (Metric("words-heard"), Metric("right"))

    def __init__(self, recognise: Callable[[Clip], str] | None = None, version: str = "the bundled nano") -> None:
        self._given = recognise
        self.versions: Mapping[str, str] = {"rules": "1", "recogniser": version}

    @cached_property
    def _recognise(self) -> Callable[[Clip], str]:
        return self._given or KimiAudio.from_pretrained(NANO, load_detokenizer=False, device="cpu").transcribe

    def score_one(self, sample: Sample, prediction: Prediction) -> SampleScore:
        """Return the words that were heard, of those that were written."""
        heard = normalise(self._recognise(prediction.speech)) if prediction.speech is not None else ""
        wanted = normalise(prediction.text).split()
        found = len(wanted) - min(len(wanted), word_errors(wanted, heard.split()))
        right = float(is_right(find_item(sample.meta["key"]), prediction.text))
        return SampleScore(sample.id, {"words-heard": (found, len(wanted)), "right": (right, 1)}, {"heard": heard})

    def worst(self, sample: Sample) -> Mapping[str, Any]:
        """Return the statistics of silence where the right answer was expected."""
        return {"words-heard": (0, len(normalise(str(sample.reference)).split())), "right": (0, 1)}


# ---------------------------------------------------------------------------------------------------------------------
# Tasks. Decoding is what the settings of the model say: the likeliest text.

TASKS = (
    Task(
        "nano-asr",
        "1",
        own_dataset(read_sentences),
        SentenceTranscripts(),
        {
            "kimi-audio": Recipe(ASR_INSTRUCTION, decoding={"cut_at_pauses": True}),
            DEFAULT: Recipe(ASR_INSTRUCTION),
        },
        "recognition of reserved sentences",
    ),
    Task(
        "nano-questions",
        "1",
        own_dataset(read_questions),
        RightAnswers(),
        {DEFAULT: Recipe()},
        "written answers to spoken questions",
    ),
    Task(
        "nano-speech",
        "1",
        own_dataset(partial(read_questions, limit=SPOKEN)),
        HeardWords(),
        {DEFAULT: Recipe(output="both")},
        "spoken answers to spoken questions, heard by a recogniser",
    ),
)
SUITES = (Suite("nano", tuple(task.name for task in TASKS), description="nano's own suite:"),)
