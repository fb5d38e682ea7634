"""The recordings of nano's suite: what is generated, and how it comes back as samples.

nano/corpus/eval-styles-seen/    a split of ``kimi_audio.data.split``
nano/styles-seen/                its recordings as WAV files
nano/styles-seen.jsonl           its questions, one a line; whole or absent
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from kimi_audio.audio.augment import add_noise, make_noise
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.data.split import Split, Utterance
from kimi_audio.evals.contract.rows import read_rows, save_rows
from kimi_audio.evals.contract.types import Dataset, EvalSample
from kimi_audio.evals.tasks.datasets import DatasetFiles, make_dataset
from recipes.nano.closed import voices
from recipes.nano.closed.evaluation_speech import Speak, build
from recipes.nano.closed.evaluation_tasks import StoredExample, build_tasks, read_examples
from recipes.nano.closed.synthesis import synthesise_all
from recipes.nano.closed.voices import Delivery

SEED = 0
VOICES = ("seen", "unseen")
NOISES = ("white", "pink", "brown", "babble")
SNR_DB = 10.0


@dataclass(frozen=True)
class Sizes:
    """Samples of each split."""

    heard: int = 200  # that are answered in text
    spoken: int = 100  # that are answered in text and speech, which takes longer


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}-{voices}" for name in names for voices in VOICES)


LINES = _both("asr", "qa")  # of ``build``
# Of ``build_tasks``, as the next ones.
HEARD = (*_both("mandarin", "mandarin-qa", "styles"), "events", "counts", "orders", "captions", "scenes")
SPOKEN = (*_both("cross", "dialogues", "replies"), "tts")
NOISY, CLEAN = "asr-noise", "asr-seen"  # the first is made of the second

FILES = DatasetFiles(
    index=tuple(f"{name}.jsonl" for name in (*LINES, NOISY, *HEARD, *SPOKEN)),
    by_hand="install the speech engines with `make speech-tools`; the recordings are then generated",
)


# ---------------------------------------------------------------------------------------------------------------------
# Making


def make(folder: Path, sizes: Sizes | None = None, speak: Speak = synthesise_all) -> None:
    """Generate the recordings and write each to a file; what is there stays, and a half-made split is continued.

    Raises:
        ValueError: a speech engine is missing.
    """
    sizes = sizes or Sizes()
    corpus = folder / "corpus"
    if not corpus.exists():  # a missing voice is told before any work
        speak([("one", Delivery(voice)) for voice in voices.VOICES])
    build(corpus, sizes.heard, SEED, speak)
    counts = dict.fromkeys(HEARD, sizes.heard) | dict.fromkeys(SPOKEN, sizes.spoken)
    build_tasks(corpus, {_split_name(name): count for name, count in counts.items()}, SEED, speak)
    for name in LINES:
        _export(folder, name, _line_row)
    _export(folder, NOISY, _line_row, add=_noise)
    for name in (*HEARD, *SPOKEN):
        _export_examples(folder, name)


def _split_name(name: str) -> str:
    return f"eval-{CLEAN if name == NOISY else name}"


def _line_row(utterance: Utterance) -> dict[str, Any]:
    """Return the row of a sentence, or of a question with its answer."""
    reference = utterance.answer or utterance.transcript
    return {"text": "", "reference": reference, "meta": {"key": utterance.key or "", "heard": utterance.transcript}}


def _export(
    folder: Path,
    name: str,
    row: Callable[[Utterance], dict[str, Any]],
    add: Callable[[Sequence[np.ndarray], int], np.ndarray] | None = None,
) -> None:
    if (folder / f"{name}.jsonl").exists():
        return
    split = Split(folder / "corpus" / _split_name(name))
    sounds = [split.samples(utterance) for utterance in split.utterances]
    rows = []
    for place, utterance in enumerate(split.utterances):
        audio = _write(folder / name / f"{utterance.id}.wav", add(sounds, place) if add else sounds[place])
        rows.append({"id": f"{name}-{place:05d}", "audio": [audio], **row(utterance)})
    save_rows(folder / f"{name}.jsonl", rows)


def _noise(sounds: Sequence[np.ndarray], place: int) -> np.ndarray:
    """Return one of the sounds with noise, whose kind and draws follow from its place."""
    waves = [torch.from_numpy(sound) for sound in sounds]
    kind, generator = NOISES[place % len(NOISES)], torch.Generator().manual_seed(place)
    others = waves[:place] + waves[place + 1 :]
    return add_noise(waves[place], make_noise(kind, len(waves[place]), generator, others), SNR_DB).numpy()


def _write(path: Path, samples: np.ndarray) -> str:
    """Write 16-bit samples, exactly those that a corpus holds, and return the name below the dataset's folder."""
    path.parent.mkdir(exist_ok=True)
    exact = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    soundfile.write(path, exact, INPUT_RATE_HZ, subtype="PCM_16")
    return f"{path.parent.name}/{path.name}"


def _export_examples(folder: Path, name: str) -> None:
    if (folder / f"{name}.jsonl").exists():
        return
    split = Split(folder / "corpus" / _split_name(name))
    utterances = {utterance.id: utterance for utterance in split.utterances}
    rows = []
    for place, example in enumerate(read_examples(split)):
        heard = [part.sound for part in example.parts if part.role == "user" and part.sound]
        audio = [_write(folder / name / f"{id_}.wav", split.samples(utterances[id_])) for id_ in heard]
        rows.append({"id": f"{name}-{place:05d}", "audio": audio, **_example_row(example)})
    save_rows(folder / f"{name}.jsonl", rows)


def _example_row(example: StoredExample) -> dict[str, Any]:
    """Return what the user wrote, the right reply, and what judging needs."""
    written = " ".join(part.text for part in example.parts if part.role == "user" and part.text)
    meta = {"task": example.task, "kind": example.kind, "key": example.key, "essential": list(example.essential)}
    return {"text": written, "reference": example.parts[-1].text, "meta": meta}


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(folder: Path, splits: Mapping[str, str], limit: int | None = None) -> Iterator[EvalSample]:
    """Yield the samples of some splits, the first of each if there is a limit.

    Args:
        folder: of the dataset.
        splits: name to the subset that it is scored as, unless its rows name theirs.
        limit: samples of each split.
    """
    for name, subset in splits.items():
        for row in read_rows(folder / f"{name}.jsonl")[:limit]:
            audio = tuple(folder / name for name in row["audio"])
            yield EvalSample(row["id"], audio, row["text"], row["reference"], row.get("subset", subset), row["meta"])


def by_voices(name: str) -> dict[str, str]:
    """Return the two splits of a name, as ``read`` takes them."""
    return {f"{name}-{voices}": voices for voices in VOICES}


def own_dataset(
    what: Mapping[str, str] | Callable[[Path], Iterable[EvalSample]],
    limit: int | None = None,
    generate: Callable[[Path], None] = make,
) -> Dataset:
    """Return a dataset that is generated when it is missing.

    Args:
        what: splits as ``read`` takes them, or another reader of the folder.
        limit: samples of each split.
        generate: fills the folder.
    """
    layout = replace(FILES, convert=generate)
    reader = what if callable(what) else partial(read, splits=what, limit=limit)
    dataset = make_dataset("nano", f"generated, seed {SEED}", layout, reader)

    def load(folder: Path) -> Iterable[EvalSample]:
        if layout.missing(folder):
            generate(folder)
        return dataset.load(folder)

    return replace(dataset, load=load)
