"""Speech in the natural voices of Kokoro-82M: what nano hears, and the voices that it speaks in.

``python -m recipes.nano.kokoro FOLDER --kind heard --count 6000`` goes on where it stopped. Kokoro runs from its ONNX
file and its voices (Apache-2.0), which the recipe does not download.
"""

import argparse
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.nano.closed.dialogues import all_replies
from recipes.nano.closed.mandarin import english_answers
from recipes.nano.closed.qa import side
from recipes.nano.recording import Line, record
from recipes.nano.stock import bible_verses, learned, wordnet_definitions, wordnet_examples
from recipes.nano.talks import learned_facts, learned_in_other_words, learned_names, learned_talks, replied, said
from recipes.nano.world.commands import commands as learned_commands
from recipes.nano.world.sentences import development_sentences, evaluation_sentences

RATE_HZ = 24_000
RESERVED = ("af_nova", "am_eric", "bf_lily", "bm_daniel", "zf_xiaoyi")  # for evaluation, never trained on
_ENGLISH = """
    af_alloy af_aoede af_bella af_heart af_jessica af_kore af_nicole af_river af_sarah af_sky am_adam am_echo am_fenrir
    am_liam am_michael am_onyx am_puck am_santa bf_alice bf_emma bf_isabella bm_fable bm_george bm_lewis
"""
_FOREIGN = """
    ef_dora em_alex em_santa ff_siwis hf_alpha hf_beta hm_omega hm_psi if_sara im_nicola jf_alpha jf_gongitsune
    jf_nezumi jf_tebukuro jm_kumo pf_dora pm_alex pm_santa zf_xiaobei zf_xiaoni zf_xiaoxiao zm_yunjian zm_yunxi
    zm_yunxia zm_yunyang
"""
ENGLISH = tuple(_ENGLISH.split())
FOREIGN = tuple(_FOREIGN.split())  # they speak English with an accent
# The four voices that nano speaks in, and how much of the speech is theirs. The first one reads whenever no other is
# asked for, and the texts of a voice that has read few of them are learned by heart.
SPEAKERS = {
    "Ava": ("af_heart", 0.7),
    "Ben": ("am_michael", 0.1),
    "Carl": ("bm_george", 0.1),
    "Dora": ("bf_emma", 0.1),
}
ASSISTANT = "Ava"  # who replies, unless another is asked for
FOREIGN_SHARE, BLENDED_SHARE = 0.15, 0.3


def heard(seed: int = 0) -> Iterator[Line]:
    """Yield lines that nano learns to hear: any text in any voice that is not reserved, some blended of two."""
    generator = random.Random(f"heard {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in texts(generator, examples=0.7, definitions=0.15, verses=0.15))


def questions(seed: int = 0) -> Iterator[Line]:
    """Yield what users say in conversations, in any voice that is not reserved."""
    generator = random.Random(f"questions {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in said(learned_talks(), generator))


def facts(seed: int = 0) -> Iterator[Line]:
    """Yield questions about what has to be known by heart, in any voice that is not reserved."""
    generator = random.Random(f"facts {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in said(learned_facts(), generator))


def names(seed: int = 0) -> Iterator[Line]:
    """Yield what users say in conversations about names, in any voice that is not reserved."""
    generator = random.Random(f"names {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in said(learned_names(), generator))


def reworded(seed: int = 0) -> Iterator[Line]:
    """Yield what users say in other words, in any voice that is not reserved."""
    generator = random.Random(f"other words {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in said(learned_in_other_words(), generator))


def commands(seed: int = 0) -> Iterator[Line]:
    """Yield numbers, dates, names, spellings and short commands, in any voice that is not reserved."""
    generator = random.Random(f"commands {seed}")  # noqa: S311
    return (_anyhow(text, generator) for text in learned_commands(generator, reserved=False))


def _anyhow(text: str, generator: random.Random) -> Line:
    foreign = generator.random() < FOREIGN_SHARE
    voices = [generator.choice(FOREIGN if foreign else ENGLISH)]
    if generator.random() < BLENDED_SHARE:
        voices.append(generator.choice(ENGLISH))
    return Line(text, tuple(dict.fromkeys(voices)), round(generator.uniform(0.8, 1.25), 2))


def spoken(seed: int = 0) -> Iterator[Line]:
    """Yield lines in the voices that nano learns to speak in."""
    generator = random.Random(f"spoken {seed}")  # noqa: S311
    names, shares = zip(*SPEAKERS.values(), strict=True)
    for text in texts(generator, examples=0.65, definitions=0.35, verses=0.0):
        yield Line(text, tuple(generator.choices(names, shares)), 1.0)


def replies() -> Iterator[Line]:
    """Yield what the assistant says in conversations."""
    return (Line(text, (SPEAKERS[ASSISTANT][0],)) for text in replied(learned_talks()))


def closed() -> Iterator[Line]:
    """Yield what the assistant says in English in the tasks of the closed world, and answers to its questions."""
    generator = random.Random("closed")  # noqa: S311
    answers = [item.answer for item in side(reserved=False)]
    generator.shuffle(answers)
    said_there = [*all_replies(), *english_answers(), *answers]
    return (Line(text, (SPEAKERS[ASSISTANT][0],)) for text in dict.fromkeys(said_there))


def texts(generator: random.Random, *, examples: float, definitions: float, verses: float) -> Iterator[str]:
    """Yield texts of the stocks by their shares until one is used up."""
    stocks = [learned(stock()) for stock in (wordnet_examples, wordnet_definitions, bible_verses)]
    for stock in stocks:
        generator.shuffle(stock)
    while True:
        (stock,) = generator.choices(stocks, (examples, definitions, verses))
        if not stock:
            return
        yield stock.pop()


def everyday(sentences: Sequence[str]) -> Iterator[Line]:
    """Yield the sentences of the scores in the English voices that are reserved, one after the other."""
    voices = [voice for voice in RESERVED if voice[0] in "ab"]
    return (Line(text, (voices[number % len(voices)],)) for number, text in enumerate(sentences))


KINDS: Mapping[str, Callable[[int], Iterator[Line]]] = {  # by a seed, where anything is drawn
    "heard": heard,
    "questions": questions,
    "facts": facts,
    "names": names,
    "reworded": reworded,
    "commands": commands,
    "spoken": spoken,
    "replies": lambda _: replies(),
    "closed": lambda _: closed(),
    "development": lambda _: everyday(development_sentences()),
    "evaluation": lambda _: everyday(evaluation_sentences()),
}


class Kokoro:
    """The synthesiser with one thread, so that several can run side by side."""

    def __init__(self, folder: Path) -> None:
        # Needed for this alone, so they are no dependency of anything.
        import onnxruntime  # pyright: ignore[reportMissingImports]
        from kokoro_onnx import Kokoro  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "kokoro_int8.onnx", options, providers=["CPUExecutionProvider"])
        self._kokoro = Kokoro.from_session(session, str(folder / "voices.npz"))

    def speak(self, line: Line) -> tuple[np.ndarray, int]:
        """Return samples [L] at 24 kHz."""
        voice = np.mean([self._kokoro.get_voice_style(name) for name in line.voices], axis=0)
        language = "en-gb" if line.voices[0].startswith("b") else "en-us"
        return self._kokoro.create(line.text, voice, line.speed, language)[0], RATE_HZ


def main() -> None:
    """Record one kind of speech."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the recordings go")
    parser.add_argument(
        "--kokoro", type=Path, default=Path("runs/teachers/kokoro"), help="kokoro_int8.onnx, voices.npz"
    )
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--seed", type=int, default=0, help="another one draws other texts and voices")
    parser.add_argument("--count", type=int, default=1000, help="recordings in all")
    arguments = parser.parse_args()
    record(KINDS[arguments.kind](arguments.seed), Kokoro(arguments.kokoro).speak, arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
