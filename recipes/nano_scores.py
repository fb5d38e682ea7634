"""Score the nano model on reserved sentences and questions: ``python -m recipes.nano_scores``.

The speech is generated from fixed seeds (it needs ``make speech-tools``), from texts and, in the "unseen" splits, with
voices that training never meets. What is measured:

* ASR: word error rate of transcripts of reserved sentences.
* Questions: share of spoken reserved questions whose written answer is right, by output mode.
* Spoken replies: share of the words of the written answers that the model's own ASR hears in the spoken ones.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from kimi_audio.assistant import KimiAudio
from kimi_audio.chat import Message, OutputType
from kimi_audio.data.corpus import Recipe, build
from kimi_audio.data.manifest import Split
from kimi_audio.data.qa import find_item, is_right
from kimi_audio.data.scoring import word_errors
from kimi_audio.data.text import normalise
from kimi_audio.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ

CORPUS_SEED = 0
SPLITS = ("eval-asr-seen", "eval-asr-unseen", "eval-qa-seen", "eval-qa-unseen")


@dataclass(frozen=True)
class Score:
    """A share of right things over some recordings, with its 95 % interval."""

    task: str
    value: float
    low: float
    high: float
    samples: int


def score(task: str, counts: Sequence[tuple[int, int]]) -> Score:
    """Return the share of hits, given (hits, items) per recording; the interval is a bootstrap over recordings."""
    hits, items = np.array(counts).T
    chosen = np.random.default_rng(0).integers(len(hits), size=(1000, len(hits)))
    shares = hits[chosen].sum(1) / items[chosen].sum(1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return Score(task, float(hits.sum() / items.sum()), float(low), float(high), len(hits))


def recognition_score(model: KimiAudio, split: Split) -> Score:
    """Return the word error rate of a split."""
    counts = []
    for utterance in track(split.utterances, split.folder.name):
        heard = model.transcribe((split.samples(utterance), INPUT_RATE_HZ))
        reference = utterance.transcript.split()
        counts.append((word_errors(reference, normalise(heard).split()), len(reference)))
    return score(f"{split.folder.name}: word error rate", counts)


def question_scores(model: KimiAudio, split: Split, spoken: int) -> list[Score]:
    """Return the share of right answers by output mode, and of words that survive being spoken.

    The first ``spoken`` questions are answered in text and speech, the others in text alone. The two shares are kept
    apart, because nano answers better in the mode in which most questions were trained.
    """
    right: dict[OutputType, list[tuple[int, int]]] = {"both": [], "text": []}
    words = []
    for number, utterance in enumerate(track(split.utterances, split.folder.name)):
        question = Message("user", "audio", (split.samples(utterance), INPUT_RATE_HZ))
        mode: OutputType = "both" if number < spoken else "text"
        options = model.default_options(mode)
        answer = model.answer([question], options, seed=number)
        assert utterance.key is not None
        right[mode].append((is_right(find_item(utterance.key), answer.text), 1))
        if answer.audio is not None and (reference := normalise(answer.text).split()):
            heard = model.transcribe((answer.audio, OUTPUT_RATE_HZ)) if len(answer.audio) else ""
            errors = word_errors(reference, normalise(heard).split())
            words.append((len(reference) - min(len(reference), errors), len(reference)))
    names = {"both": "text and speech", "text": "text alone"}
    scores = [
        score(f"{split.folder.name}: right answers, {names[mode]}", counts) for mode, counts in right.items() if counts
    ]
    if words:
        scores.append(score(f"{split.folder.name}: words of the reply heard in its speech", words))
    return scores


def main() -> None:
    """Generate the splits and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--corpus", type=Path, default=Path("runs/evaluation"))
    parser.add_argument("--out", type=Path, help="write the scores as JSON")
    parser.add_argument("--split", action="append", choices=SPLITS, help="only this one; may be repeated")
    parser.add_argument("--limit", type=int, default=200, help="recordings per split")
    parser.add_argument("--spoken", type=int, default=100, help="questions per split whose spoken answer is heard")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    build(arguments.corpus, Recipe(assistant_answers=0, assistant_sentences=0, asr=0, questions=0), CORPUS_SEED)
    model = KimiAudio.from_pretrained(arguments.model, device="cpu")
    scores = []
    for name in arguments.split or SPLITS:
        split = Split(arguments.corpus / name)
        split.utterances = split.utterances[: arguments.limit]
        if "asr" in name:
            scores.append(recognition_score(model, split))
        else:
            scores += question_scores(model, split, min(arguments.spoken, len(split)))
    console = Console()
    for item in scores:
        interval = f"{100 * item.low:.1f} to {100 * item.high:.1f}"
        console.print(f"{item.task}: {100 * item.value:.1f} % (95 %: {interval}; {item.samples} recordings)")
    if arguments.out:
        arguments.out.write_text(json.dumps([asdict(item) for item in scores], indent=1))


if __name__ == "__main__":
    main()
