"""Words of the dictionary that a model does not explain, to be learned in all wordings that may be learned.

``python -m recipes.nano.missed MODEL OUT.jsonl`` types the plainest question about every word, prints how many are
explained, and writes conversations about the others.
"""

import argparse
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from kimi_audio import KimiAudio, Message
from recipes.nano.corpora import talked, write_conversations
from recipes.nano.world.dictionary import Entry, definition, entries, plain_question
from recipes.nano.world.judging import defines
from recipes.nano.world.rewording import reworded
from recipes.nano.world.types import Talk

DRAWN = 40  # conversations about each word, some of them the same, and each again in other words where there are any

console = Console(highlight=False, markup=False)


def missed_by(model: KimiAudio, words: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the words whose explanation is wrong or missing."""
    for entry in words:
        talk = plain_question(entry)
        if not defines(talk, model.answer([Message("user", "text", talk.turns[0].said)]).text):
            yield entry


def talks_about(words: Iterable[Entry], seed: int) -> list[Talk]:
    """Return conversations about words, none of them reserved."""
    generator = random.Random(f"missed {seed}")  # noqa: S311 (texts, not secrets)
    drawn = [definition(entry, generator) for entry in words for _ in range(DRAWN)]
    talks = [*(talk for talk in drawn if not talk.is_reserved), *reworded(drawn, generator)]
    generator.shuffle(talks)
    return talks


def main() -> None:
    """Ask, and write the conversations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model folder, or nano")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = KimiAudio.from_pretrained(arguments.model, load_detokenizer=False)
    words = [*entries().values()]
    missed = [*missed_by(model, track(words, "Asking"))]
    console.print(f"{len(words) - len(missed)} of {len(words)} words are explained")
    write_conversations(arguments.out, talked(talks_about(missed, arguments.seed), {}, {}, arguments.seed))


if __name__ == "__main__":
    main()
