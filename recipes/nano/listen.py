"""How well a model hears and reads aloud: ``python -m recipes.nano.listen MODEL FOLDER …`` while one develops.

Folders are those of ``recording``, or of people (``--readers``, ``--orders``); what is read aloud are the development
sentences (``--recogniser``). The scores of the model card come from ``kimi-audio eval``.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from rich.console import Console

from kimi_audio import KimiAudio, Message
from kimi_audio.audio.sources import Samples
from kimi_audio.core.lines import read_objects
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.core.words import normalise, word_errors
from kimi_audio.evals.choose import choose_recogniser
from kimi_audio.evals.contract.instruments import Recogniser
from recipes.nano.evaluation_recordings import evaluation_talks, in_other_words
from recipes.nano.people import Heard, dev_readers, is_held_out
from recipes.nano.recording import recordings
from recipes.nano.world.registry import KINDS
from recipes.nano.world.rewording import Use
from recipes.nano.world.sentences import development_sentences
from recipes.nano.world.types import Talk

console = Console(highlight=False, markup=False)


def error_rate(model: KimiAudio, items: Sequence[Heard], shown: int) -> float:
    """Return the word error rate in percent of transcripts as the model's settings make them; show some of them."""
    errors = words = 0
    for number, item in enumerate(items):
        heard = normalise(model.transcribe(item.audio))
        reference = item.text.split()
        errors += word_errors(reference, heard.split())
        words += len(reference)
        if number < shown:
            console.print(f"  {item.text}\n> {heard}")
    return 100 * errors / words


def slots_heard(model: KimiAudio, folder: Path, count: int) -> float:
    """Return the share in percent of the slot values of held-out coffee commands that are in what is heard."""
    rows, _ = read_objects(folder / "manifest.jsonl")
    found = total = 0
    for row in [row for row in rows.values() if is_held_out(row["audio"])][:count]:
        heard = normalise(model.transcribe(folder / row["audio"]))
        values = [normalise(value) for value in row["slots"].values()]
        found += sum(value in heard for value in values)
        total += len(values)
    return 100 * found / total


def read_aloud(model: KimiAudio, recogniser: Recogniser, count: int, shown: int) -> float:
    """Return the word error rate in percent of a recogniser in development sentences that the model reads aloud."""
    errors = words = 0
    for number, text in enumerate(development_sentences()[:count]):
        speech = Samples(model.speak(text, seed=number), OUTPUT_RATE_HZ)
        heard = normalise(recogniser.transcribe(speech, "en"))
        reference = normalise(text).split()
        errors += word_errors(reference, heard.split())
        words += len(reference)
        if number < shown:
            console.print(f"  {text}\n> {heard}")
    return 100 * errors / words


def typed_talks(model: KimiAudio, talks: Iterable[tuple[str, Talk]], count: int) -> dict[str, tuple[int, int]]:
    """Type conversations: of each group, how many replies are right, and of how many, at most ``count``.

    Beside the score of the same conversations in speech, it tells what is not known from what is not heard.
    """
    right: dict[str, list[bool]] = {}
    for group, talk in talks:
        if len(right.setdefault(group, [])) < count:
            right[group].append(KINDS[talk.kind].is_right(talk, _typed(model, talk)))
    return {group: (sum(found), len(found)) for group, found in right.items()}


def _typed(model: KimiAudio, talk: Talk) -> str:
    """Return the last reply to a conversation, whose earlier ones are the model's own, too."""
    messages: list[Message] = []
    for turn in talk.turns:
        messages.append(Message("user", "text", turn.said))
        messages.append(Message("assistant", "text", model.answer(messages).text))
    return str(messages[-1].content)


def main() -> None:
    """Print what is asked for, each in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model folder, or nano")
    parser.add_argument("folders", type=Path, nargs="*", help="folders of recordings")
    parser.add_argument("--readers", type=Path, help="speechocean762")
    parser.add_argument("--orders", type=Path, help="coffee commands")
    parser.add_argument("--recogniser", help="who hears it read aloud, as for kimi-audio eval")
    parser.add_argument("--talks", action="store_true", help="type the reserved conversations to it")
    parser.add_argument("--other-words", action="store_true", help="type conversations in words that nobody learned")
    parser.add_argument("--count", type=int, default=100, help="recordings or conversations of each, at most")
    parser.add_argument("--shown", type=int, default=0, help="print so many of what was heard")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = KimiAudio.from_pretrained(arguments.model)
    for folder in arguments.folders:
        items = [Heard(item.audio, normalise(item.line.text)) for item in recordings(folder)[: arguments.count]]
        console.print(f"{folder.name}: {error_rate(model, items, arguments.shown):.1f} % of {len(items)}")
    if arguments.readers:
        items = dev_readers(arguments.readers, arguments.count)
        console.print(f"readers: {error_rate(model, items, arguments.shown):.1f} % of {len(items)}")
    if arguments.orders:
        console.print(f"slots heard: {slots_heard(model, arguments.orders, arguments.count):.1f} %")
    if arguments.recogniser:
        recogniser = choose_recogniser(arguments.recogniser)
        wrong = read_aloud(model, recogniser, arguments.count, arguments.shown)
        console.print(f"read aloud, words wrong: {wrong:.1f} %")
    if arguments.talks:
        for group, (right, asked) in typed_talks(model, evaluation_talks(), arguments.count).items():
            console.print(f"{group}, typed: {right} of {asked} right")
    if arguments.other_words:
        talks = [("other words", talk) for talk in in_other_words(arguments.count, Use.DEVELOPMENT)]
        for group, (right, asked) in typed_talks(model, talks, arguments.count).items():
            console.print(f"{group}, typed: {right} of {asked} right")


if __name__ == "__main__":
    main()
