"""What people and natural voices say: recordings for the rows of nano's suite that synthetic voices cannot stand for.

``python -m recipes.nano.evaluation_recordings FOLDER --kokoro DIR --readers DIR --orders DIR`` fills the folder
``nano-people`` of the evaluation data from fixed seeds; what is there is kept, and a part whose folder is not named is
left out.

nano-people/everyday-natural/, everyday-synthetic/, talks/, silence/    recordings
nano-people/asr-natural.jsonl, …                                        questions, as ``evals.data.read`` takes them
"""

import argparse
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from kimi_audio.audio.augment import make_noise
from kimi_audio.chat.tools import write_tools
from kimi_audio.core.files import write_whole
from kimi_audio.core.lines import read_objects
from kimi_audio.core.random import generator_of
from kimi_audio.core.units import INPUT_RATE_HZ
from kimi_audio.core.words import normalise
from kimi_audio.evals.contract.rows import save_rows
from kimi_audio.evals.tasks.datasets import DatasetFiles
from recipes.nano import kokoro, synthetic
from recipes.nano.closed.speakers import CONVERT
from recipes.nano.people import dev_readers, is_held_out
from recipes.nano.recording import Line, Speak, record, recordings
from recipes.nano.talks import to_values
from recipes.nano.world import calendar, dictionary, memory, places, small_talk, sums, words
from recipes.nano.world.registry import KINDS, REFUSED, REWORDED_SHARES, take_talks
from recipes.nano.world.rewording import Use, reworded
from recipes.nano.world.sentences import evaluation_sentences
from recipes.nano.world.tools import TOOLS
from recipes.nano.world.types import Talk

PARTS = (
    *("asr-natural", "asr-synthetic", "asr-readers", "orders", "talks", "other-words", "tools"),
    *("aloud", "conversion", "silence"),
)
FILES = DatasetFiles(
    index=tuple(f"{part}.jsonl" for part in PARTS),
    by_hand="make it with `python -m recipes.nano.evaluation_recordings FOLDER`; --help names what it needs",
)
VOICES = tuple(voice for voice in kokoro.RESERVED if voice[0] in "ab")  # those that speak English
READERS = 200
TALKS = 60  # of each group
CALLS = 15  # of each tool, at most: there are few ways to ask for the time, and a tenth of them is reserved
CONVERTED = 8  # sentences, each said again in every named voice
REFERENCES = 3  # further sentences that tell the named voices apart
SILENCES = 100
SILENCE_S = (1.0, 6.0)
LEVELS_DB = (-70.0, -20.0)
HUM_HZ = (50.0, 60.0, 100.0, 120.0)

GROUPS: dict[str, tuple[str, ...]] = {
    "dictionary": tuple(kind.name for kind in dictionary.KINDS if kind.name not in REFUSED),
    "questions": tuple(kind.name for part in (sums, calendar, places, words, small_talk) for kind in part.KINDS),
    "memory": tuple(kind.name for kind in memory.KINDS),
    "unknown": tuple(kind for kind in sorted(REFUSED) if kind != "no-tool"),
    "names": ("recall-name",),  # of what was told before, what people try first
}


def make(folder: Path, natural: Speak | None, readers: Path | None, orders: Path | None) -> None:
    """Record what is missing and write the parts whose sources are given.

    Args:
        folder: ``nano-people``.
        natural: speaks in the reserved natural voices.
        readers: speechocean762.
        orders: the coffee commands.
    """
    sentences = evaluation_sentences()
    save_rows(folder / "aloud.jsonl", [_row(f"aloud-{n:05d}", [], text, text) for n, text in enumerate(sentences)])
    _everyday(folder, "synthetic", synthetic.everyday(sentences), synthetic.speak)
    save_rows(folder / "silence.jsonl", list(_silences(folder)))
    if natural:
        _everyday(folder, "natural", kokoro.everyday(sentences), natural)
        _talks(folder, "talks", evaluation_talks(), natural)
        in_others = [("other-words", talk) for talk in in_other_words(TALKS, Use.SCORES)]
        _talks(folder, "other-words", in_others, natural)
        _talks(folder, "tools", evaluation_calls(), natural)
        _conversions(folder, natural)
    if readers:
        heard = dev_readers(readers, READERS)
        rows = [_row(f"readers-{n:05d}", [item.audio.resolve()], "", item.text) for n, item in enumerate(heard)]
        save_rows(folder / "asr-readers.jsonl", rows)
    if orders:
        save_rows(folder / "orders.jsonl", list(_orders(orders)))


def _row(id_: str, audio: Iterable[Path | str], text: str, reference: str, **meta: Any) -> dict[str, Any]:
    return {"id": id_, "audio": [str(path) for path in audio], "text": text, "reference": reference, "meta": meta}


def _everyday(folder: Path, voices: str, lines: Iterator[Line], speak: Speak) -> None:
    name = f"everyday-{voices}"
    record(lines, speak, folder / name, len(evaluation_sentences()))
    spoken = enumerate(recordings(folder / name))
    rows = [
        _row(f"{voices}-{number:05d}", [f"{name}/{item.audio.name}"], "", normalise(item.line.text))
        for number, item in spoken
    ]
    save_rows(folder / f"asr-{voices}.jsonl", rows)


# ---------------------------------------------------------------------------------------------------------------------
# Conversations


def evaluation_talks() -> list[tuple[str, Talk]]:
    """Return reserved conversations with their groups, the same number of each group."""
    found = []
    for group, names in GROUPS.items():
        generator = random.Random(f"evaluation {group}")  # noqa: S311 (texts, not secrets)
        shares = [KINDS[name].share for name in names]
        drawn = generator.choices(names, shares, k=TALKS)
        talks = [talk for name in names for talk in KINDS[name].talks(drawn.count(name), generator, reserved=True)]
        found += [(group, talk) for talk in talks if _is_without_tools(talk)]
    return found


def in_other_words(count: int, use: Use) -> list[Talk]:
    """Return conversations in words that nobody learns."""
    generator = random.Random(f"other words {use.name}")  # noqa: S311
    drawn = take_talks(40 * count, generator, reserved=False, shares=REWORDED_SHARES)
    return [talk for talk in reworded(drawn, generator, use) if _is_without_tools(talk)][:count]


def _is_without_tools(talk: Talk) -> bool:
    return not talk.system and not any(turn.call for turn in talk.turns)


def evaluation_calls() -> list[tuple[str, Talk]]:
    """Return reserved requests for a tool of one turn each, with its name; all tools are listed before each."""
    found = []
    for tool in TOOLS:
        generator = random.Random(f"evaluation {tool.name}")  # noqa: S311
        drawn = KINDS[f"tool-{tool.name}"].talks(4 * CALLS, generator, reserved=True)
        talks = [talk for talk in drawn if len(talk.turns) == 1][:CALLS]
        found += [(tool.name, replace(talk, system=write_tools(TOOLS))) for talk in talks]
    return found


def _talks(folder: Path, name: str, talks: list[tuple[str, Talk]], speak: Speak) -> None:
    """Record conversations, each with the subset that it belongs to."""
    lines = [
        Line(turn.said, (VOICES[number % len(VOICES)],))
        for number, (_, talk) in enumerate(talks)
        for turn in talk.turns
    ]
    record(iter(lines), speak, folder / name, len(lines))
    audio = iter(recordings(folder / name))
    rows = []
    for number, (subset, talk) in enumerate(talks):
        said = [f"{name}/{next(audio).audio.name}" for _ in talk.turns]
        row = _row(f"{name}-{number:05d}", said, "", talk.turns[-1].reply, talk=to_values(talk))
        rows.append(row | {"subset": subset})
    save_rows(folder / f"{name}.jsonl", rows)


def _conversions(folder: Path, speak: Speak) -> None:
    """Record sentences in all named voices: some to be said again in another, the others to know the voices by."""
    sentences, names = evaluation_sentences()[: CONVERTED + REFERENCES], list(kokoro.SPEAKERS)
    lines = [Line(text, (kokoro.SPEAKERS[name][0],)) for text in sentences for name in names]
    record(iter(lines), speak, folder / "conversion", len(lines))
    audio = [f"conversion/{item.audio.name}" for item in recordings(folder / "conversion")]
    known = {name: audio[CONVERTED * len(names) + place :: len(names)] for place, name in enumerate(names)}
    rows = []
    for number, text in enumerate(sentences[:CONVERTED]):
        for place, target in enumerate(names):
            source = (number + place) % len(names)  # a quarter of them keep the voice
            heard = [audio[number * len(names) + source]]
            meta = {"source": names[source], "target": target, "voices": known}
            rows.append(_row(f"conversion-{len(rows):05d}", heard, CONVERT[0].format(target), normalise(text), **meta))
    save_rows(folder / "conversion.jsonl", rows)


# ---------------------------------------------------------------------------------------------------------------------
# People, and nobody


def _orders(folder: Path) -> Iterator[dict[str, Any]]:
    found, _ = read_objects(folder / "manifest.jsonl")
    for row in found.values():
        if is_held_out(row["audio"]):
            values = [normalise(value) for value in row["slots"].values()]
            audio = (folder / row["audio"]).resolve()
            yield _row(f"orders-{Path(row['audio']).stem}", [audio], "", " ".join(values), values=values)


def _silences(folder: Path) -> Iterator[dict[str, Any]]:
    """Write silence, noise and hum without any speech."""
    (folder / "silence").mkdir(parents=True, exist_ok=True)
    for number in range(SILENCES):
        name = f"silence/{number:03d}.wav"
        if not (folder / name).exists():
            with write_whole(folder / name) as partial:
                soundfile.write(partial, _silence(number), INPUT_RATE_HZ, format="WAV", subtype="PCM_16")
        yield _row(f"silence-{number:03d}", [name], "", "")


def _silence(number: int) -> np.ndarray:
    generator = generator_of(0, number)
    shortest_s, longest_s = SILENCE_S
    length = round((shortest_s + (longest_s - shortest_s) * float(torch.rand((), generator=generator))) * INPUT_RATE_HZ)
    level_db = LEVELS_DB[0] + (LEVELS_DB[1] - LEVELS_DB[0]) * float(torch.rand((), generator=generator))
    kind = ("nothing", "white", "pink", "brown", "hum")[number % 5]
    if kind == "nothing":
        return np.zeros(length, np.float32)
    if kind == "hum":
        times_s = torch.arange(length) / INPUT_RATE_HZ
        pitch_hz = HUM_HZ[number // 5 % len(HUM_HZ)]
        sound = sum(torch.sin(2 * torch.pi * pitch_hz * k * times_s) / k for k in (1, 2, 3))
        sound = torch.as_tensor(sound)
    else:
        sound = make_noise(kind, length, generator, [])
    return (sound / sound.square().mean().sqrt() * 10 ** (level_db / 20)).clamp(-1, 1).numpy()


def main() -> None:
    """Fill the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="nano-people below the root of the evaluation data")
    parser.add_argument("--kokoro", type=Path, help="folder with kokoro_int8.onnx and voices.npz")
    parser.add_argument("--readers", type=Path, help="speechocean762, with its manifest.jsonl")
    parser.add_argument("--orders", type=Path, help="coffee commands, with their manifest.jsonl")
    arguments = parser.parse_args()
    natural = kokoro.Kokoro(arguments.kokoro).speak if arguments.kokoro else None
    make(arguments.folder, natural, arguments.readers, arguments.orders)


if __name__ == "__main__":
    main()
