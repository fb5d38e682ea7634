"""What nano's LLM learns, as files of conversations: the form in which everybody fine-tunes this model.

``python -m recipes.nano.corpora OUT --speech FOLDER … --spoken FOLDER …`` writes into ``OUT`` the recordings that are
heard, each as it may reach a microphone, and beside them ``heard.jsonl`` (transcribe it), ``natural.jsonl`` (the same
for people and natural voices), ``aloud.jsonl`` and ``natural-aloud.jsonl`` (read it aloud), ``talks.jsonl`` (talk about
it) and ``natural-talks.jsonl`` (the same, where a natural voice says all that users say).

Texts have one form: lower case; transcripts without punctuation, replies with commas, full stops and question marks.
What users write has any.
"""

import argparse
import json
import logging
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from rich.progress import track

from kimi_audio.audio.io import load_audio
from kimi_audio.core.files import write_whole
from kimi_audio.core.random import generator_of
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from recipes.nano.channels import vary
from recipes.nano.kokoro import SPEAKERS
from recipes.nano.people import Heard, orders, readers
from recipes.nano.recording import recordings
from recipes.nano.stock import bible_verses, learned, wordnet_definitions, wordnet_examples
from recipes.nano.synthetic import READER
from recipes.nano.talks import learned_facts, learned_in_other_words, learned_names, learned_talks
from recipes.nano.world.registry import NUMBER_SHARES, TABLE_SHARES, take_talks
from recipes.nano.world.types import Talk, Turn

# The first is what nano's settings say, and short: a long one takes a quarter of the time of learning.
ASR_REQUESTS = ("Transcribe.", "Write down what is said.", "Please transcribe the spoken content into written text.")
ASR_SHARES = (0.75, 0.1, 0.15)
ALOUD_REQUESTS = ("Say: ", "Read aloud: ", "Please read the following text aloud: ")
ALOUD_IN_VOICE = ("Say as {0}: ", "Say in the voice of {0}: ", "Speak like {0}: ")
FIRST_SHARE = 0.8  # of the requests to read are the first ones
NAMES = {voice: name for name, (voice, _) in SPEAKERS.items()} | {READER: "Robin"}
NEIGHBOURS = 4  # recordings whose voices make up babble
LONGEST_S = 14.0
NATURAL_VARIANTS = 2  # of each recording of people and natural voices, which are few
WRITTEN_SHARE = 0.15  # of the turns that users write instead of saying them
TEXT_SHARE = 0.3  # of the conversations whose replies are asked for in text alone

PROSE_DEFINITIONS, PROSE_VERSES = 20_000, 10_000  # beside all examples, which are nearest to what people say
PROSE_TEXTS = 9  # of a conversation
TABLE_ANSWERS = 18  # likewise

Conversation = dict[str, Any]


def speech_heard(folders: Iterable[Path]) -> list[Heard]:
    """Return generated recordings with their transcripts."""
    return [
        Heard(item.audio, normalise(item.line.text))
        for folder in folders
        for item in recordings(folder)
        if item.duration_s < LONGEST_S
    ]


def written(reply: str) -> str:
    """Return a reply in the form in which nano writes."""
    return reply.lower()


# ---------------------------------------------------------------------------------------------------------------------
# Heard


def write_heard(items: Sequence[Heard], path: Path, seed: int, variants: int = 1) -> dict[str, list[str]]:
    """Write variants of every recording, and conversations that ask for their transcripts.

    What an interrupted run has left is kept. A variant has the name of its recording, whatever else is heard.

    Args:
        items: what is heard.
        path: file of the conversations; the variants go to ``audio`` beside it.
        seed: of all that is drawn.
        variants: of each recording.

    Returns:
        The variants as the conversations name them, by what is said in them.

    Raises:
        ValueError: two recordings would have one name.
    """
    (path.parent / "audio").mkdir(parents=True, exist_ok=True)
    stems = [f"audio/{item.audio.parent.name}-{item.audio.stem}" for item in items]
    if len(set(stems)) < len(stems):
        raise ValueError("two of the folders of recordings have one name; rename one")
    conversations: list[Conversation] = []
    said: dict[str, list[str]] = {}
    for item, stem in zip(track(items, path.stem), stems, strict=True):
        for variant in range(variants):
            name = f"{stem}-{variant}.flac" if variant else f"{stem}.flac"
            (request,) = random.Random(f"{seed} {name}").choices(ASR_REQUESTS, ASR_SHARES)  # noqa: S311 (texts)
            if not (path.parent / name).exists():
                _write_variant(item, items, path.parent / name, generator_of(seed, zlib.crc32(name.encode())))
            conversations.append(transcription(name, item.text, request))
            said.setdefault(item.text, []).append(name)
    write_conversations(path, conversations)
    return said


def _write_variant(item: Heard, items: Sequence[Heard], path: Path, generator: torch.Generator) -> None:
    near = [items[int(i)] for i in torch.randint(len(items), (NEIGHBOURS,), generator=generator)]
    others = [load_audio(other.audio, INPUT_RATE_HZ) for other in near]
    varied = vary(load_audio(item.audio, INPUT_RATE_HZ), others, generator)
    with write_whole(path) as partial:
        soundfile.write(partial, varied.numpy(), INPUT_RATE_HZ, format="FLAC")


def transcription(audio: str, text: str, request: str) -> Conversation:
    """Return a conversation that asks for a transcript."""
    return {
        "task_type": "understanding",
        "conversation": [
            message("user", request),
            message("user", audio, "audio", transcript=text),
            message("assistant", text),
        ],
    }


# ---------------------------------------------------------------------------------------------------------------------
# Aloud


def aloud(folders: Iterable[Path], seed: int) -> Iterator[Conversation]:
    """Yield conversations that ask to read a text aloud, most of them in a voice by its name."""
    generator = random.Random(f"aloud {seed}")  # noqa: S311
    for folder in folders:
        for item in recordings(folder):
            (voice,), text = item.line.voices, item.line.text
            by_name = NAMES[voice] != "Ava" or generator.random() < 0.5
            ways = ALOUD_IN_VOICE if by_name else ALOUD_REQUESTS
            way = ways[0] if generator.random() < FIRST_SHARE else generator.choice(ways)
            asked = way.format(NAMES[voice]) + anyhow(text, generator)
            spoken = [str(item.audio.resolve()), written(text)]
            yield {
                "task_type": "tts",
                "conversation": [message("user", asked), message("assistant", spoken, "audio-text")],
            }


# ---------------------------------------------------------------------------------------------------------------------
# Texts alone


def prose(seed: int) -> Iterator[Conversation]:
    """Yield texts that other people wrote, several in a row: which of the words that sound alike goes with which.

    They have the form of transcripts, with a full stop after each.
    """
    generator = random.Random(f"prose {seed}")  # noqa: S311
    texts = learned(wordnet_examples())
    for others, count in ((wordnet_definitions(), PROSE_DEFINITIONS), (bible_verses(), PROSE_VERSES)):
        texts += generator.sample(learned(others), count)
    generator.shuffle(texts)
    yield from _in_rows([f"{normalise(text)}." for text in texts], PROSE_TEXTS)


def tables(talks: Iterable[Talk], seed: int) -> Iterator[Conversation]:
    """Yield the answers of conversations, many in a row: sums take many more draws than there is room for questions."""
    answers = [*dict.fromkeys(written(talk.turns[-1].reply) for talk in talks)]
    random.Random(f"tables {seed}").shuffle(answers)  # noqa: S311
    yield from _in_rows(answers, TABLE_ANSWERS)


def _in_rows(texts: Sequence[str], length: int) -> Iterator[Conversation]:
    for start in range(0, len(texts), length):
        some = " ".join(texts[start : start + length])
        yield {"task_type": "understanding", "conversation": [message("user", "Write."), message("assistant", some)]}


# ---------------------------------------------------------------------------------------------------------------------
# Talks


def said_in(talks: Iterable[Talk], said: Mapping[str, Sequence[str]]) -> list[Talk]:
    """Return the conversations in which everything that users say is recorded."""
    return [talk for talk in talks if all(normalise(turn.said) in said for turn in talk.turns)]


def talked(
    talks: Sequence[Talk], said: Mapping[str, Sequence[str]], replies: Mapping[str, Path], seed: int
) -> Iterator[Conversation]:
    """Yield conversations; those whose replies are all recorded are spoken, most of them, and the others written.

    Args:
        talks: what is said.
        said: recordings of what users say, by its transcript; talks that lack one are written.
        replies: recordings of what the assistant says, by its text.
        seed: of what is drawn.
    """
    generator = random.Random(f"talks {seed}")  # noqa: S311
    for talk in talks:
        is_spoken = all(turn.reply in replies for turn in talk.turns) and generator.random() >= TEXT_SHARE
        messages = [message("system", talk.system)] if talk.system else []
        for turn in talk.turns:
            messages += _turn(turn, said.get(normalise(turn.said), ()), replies, generator, is_spoken=is_spoken)
        task_type = "speech-to-speech" if is_spoken else "understanding"
        yield {"task_type": task_type, "conversation": messages, "metadata": {"kind": talk.kind}}


def _turn(
    turn: Turn, said: Sequence[str], replies: Mapping[str, Path], generator: random.Random, *, is_spoken: bool
) -> Iterator[dict[str, Any]]:
    if said and generator.random() >= WRITTEN_SHARE:
        yield message("user", generator.choice(said), "audio", transcript=normalise(turn.said))
    else:
        yield message("user", anyhow(turn.said, generator))
    if turn.call:
        yield message("assistant", turn.call)
        yield message("user", turn.result)
    if is_spoken:
        yield message("assistant", [str(replies[turn.reply].resolve()), written(turn.reply)], "audio-text")
    else:
        yield message("assistant", written(turn.reply))


def anyhow(text: str, generator: random.Random) -> str:
    """Return a text as somebody may type it: as it is, in lower case, or without punctuation as well."""
    chance = generator.random()
    return text if chance < 0.4 else text.lower() if chance < 0.8 else normalise(text)


def message(role: str, content: Any, message_type: str = "text", **others: Any) -> dict[str, Any]:
    """Return a message of a conversation."""
    return {"role": role, "message_type": message_type, "content": content, **others}


def write_conversations(path: Path, conversations: Iterable[Conversation]) -> None:
    """Write a file of conversations."""
    with write_whole(path) as partial, partial.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(conversation) + "\n" for conversation in conversations)


def main() -> None:
    """Write the corpora."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the corpora")
    parser.add_argument("--speech", type=Path, nargs="*", default=[], help="folders of generated speech to be heard")
    parser.add_argument("--natural", type=Path, nargs="*", default=[], help="the same in natural voices")
    parser.add_argument("--spoken", type=Path, nargs="*", default=[], help="folders of what is read aloud")
    parser.add_argument(
        "--natural-spoken", type=Path, nargs="*", default=[], help="the same in the natural voices of the assistant"
    )
    parser.add_argument("--replies", type=Path, nargs="*", default=[], help="folders of what the assistant says")
    parser.add_argument("--readers", type=Path, help="speechocean762")
    parser.add_argument("--orders", type=Path, help="coffee commands")
    parser.add_argument("--transcripts", type=Path, help="what Whisper heard in them")
    parser.add_argument("--typed", type=int, default=0, help="conversations without sound")
    parser.add_argument("--reworded", action="store_true", help="conversations in other words")
    parser.add_argument("--facts", action="store_true", help="conversations about what has to be known by heart")
    parser.add_argument("--numbers", type=int, default=0, help="conversations about numbers, without sound")
    parser.add_argument("--tables", type=int, default=0, help="answers about numbers, many in a row")
    parser.add_argument("--prose", action="store_true", help="texts alone, from which spelling is learned")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    generated, natural, seed = speech_heard(arguments.speech), speech_heard(arguments.natural), arguments.seed
    if arguments.readers is not None:
        natural += readers(arguments.readers)
    if arguments.orders is not None:
        natural += orders(arguments.orders, arguments.transcripts)
    said = write_heard(generated, arguments.out / "heard.jsonl", seed)
    naturally = write_heard(natural, arguments.out / "natural.jsonl", seed, NATURAL_VARIANTS)
    for text, names in naturally.items():
        said.setdefault(text, []).extend(names)
    write_conversations(arguments.out / "aloud.jsonl", aloud(arguments.spoken, seed))
    write_conversations(arguments.out / "natural-aloud.jsonl", aloud(arguments.natural_spoken, seed))
    replies = {item.line.text: item.audio for folder in arguments.replies for item in recordings(folder)}
    write_conversations(arguments.out / "talks.jsonl", talked(learned_talks(), said, replies, seed))
    others = learned_in_other_words() if arguments.reworded else ()
    talks = said_in((*learned_talks(), *learned_facts(), *learned_names(), *others), naturally)
    write_conversations(arguments.out / "natural-talks.jsonl", talked(talks, naturally, replies, seed))
    if arguments.typed:
        typed = take_talks(arguments.typed, random.Random(f"typed {seed}"), reserved=False)  # noqa: S311
        write_conversations(arguments.out / "typed.jsonl", talked(typed, {}, {}, seed))
    if arguments.reworded:
        write_conversations(arguments.out / "reworded.jsonl", talked(learned_in_other_words(), said, replies, seed))
    if arguments.numbers:
        drawn = random.Random(f"numbers {seed}")  # noqa: S311
        numbers = take_talks(arguments.numbers, drawn, reserved=False, shares=NUMBER_SHARES)
        write_conversations(arguments.out / "numbers.jsonl", talked(numbers, {}, {}, seed))
    if arguments.tables:
        drawn = random.Random(f"tables {seed}")  # noqa: S311
        sums = take_talks(arguments.tables, drawn, reserved=False, shares=TABLE_SHARES)
        write_conversations(arguments.out / "tables.jsonl", tables(sums, seed))
    if arguments.facts:
        write_conversations(arguments.out / "facts.jsonl", talked(learned_facts(), said, replies, seed))
    if arguments.prose:
        write_conversations(arguments.out / "prose.jsonl", prose(seed))


if __name__ == "__main__":
    main()
