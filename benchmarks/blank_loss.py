"""Should the blanks of spoken replies be learned? ``python -m benchmarks.blank_loss``, some minutes on one core.

A reply in speech has blanks before its codes (the delay) and behind its text, and generation forces both. The question
is whether learning them helps or costs. A model of nano's architecture at half its width learns to read aloud in a
made-up language, once without and once with ``blank_loss``, from the same weights and the same samples: each word is
said by four codes of its own, each of which is held for one or two tokens at random, so that the model has to keep
track of where it is and when to end. Held-out texts are scored alike for both: losses on all but blanks, and whether
replies have the right text, the right codes (held ones counted once), and the right end.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kimi_audio.chat import ChatTemplate, Message
from kimi_audio.checkpoint import find_model, load_lm_config
from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import AudioTokens, Batch, Sequence, collate
from kimi_audio.data.mixture import Mixture, Source
from kimi_audio.lm.generate import generate
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.lm.sampling import SamplingOptions
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.losses import lm_loss

WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight"),
    *("nine", "ten", "red", "blue", "green", "black", "white", "brown"),
)
CODES_PER_WORD = 4
TRAINED, HELD_OUT = 3000, 100
ROW_POSITIONS, ROWS = 256, 4
MAX_NEW_TOKENS = 100


@dataclass(frozen=True)
class Reading:
    """A text, the codes that say it, and the same codes as they are held."""

    text: str
    said: tuple[int, ...]
    held: tuple[int, ...]


@dataclass(frozen=True)
class Language:
    """What the models learn to say, and the sizes of theirs."""

    tokenizer: TextTokenizer
    config: LMConfig
    codes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of_nano(cls) -> "Language":
        """Take nano's text tokenizer and, at half the width, its LLM."""
        folder = find_model("nano", with_detokenizer=False)
        nano = load_lm_config(folder)
        config = replace(nano, hidden_size=nano.hidden_size // 2, intermediate_size=nano.intermediate_size // 2)
        # No code stands twice in a row, so that what is held can be counted once.
        codes = (
            np.random.default_rng(0)
            .permutation(nano.num_codes)[: len(WORDS) * CODES_PER_WORD]
            .reshape(len(WORDS), CODES_PER_WORD)
        )
        return cls(TextTokenizer.load(folder), config, dict(zip(WORDS, map(tuple, codes.tolist()), strict=True)))

    def readings(self, count: int, seed: int) -> list[Reading]:
        """Draw texts of 3 to 6 words and how they are said."""
        generator, readings = np.random.default_rng(seed), []
        for _ in range(count):
            words = generator.choice(WORDS, generator.integers(3, 7), replace=False).tolist()
            said = tuple(code for word in words for code in self.codes[word])
            held = np.repeat(said, generator.integers(1, 3, len(said)))
            readings.append(Reading(" ".join(words), said, tuple(held.tolist())))
        return readings

    def template(self, *, blank_loss: bool) -> ChatTemplate:
        """Return what writes the samples."""
        return ChatTemplate.of(self.config, self.tokenizer, _no_encoder, blank_loss=blank_loss)

    def sequence(self, reading: Reading, *, blank_loss: bool = False) -> Sequence:
        """Write a sample with its losses."""
        reply = Message("assistant", "audio-text", (None, reading.text), audio_tokens=list(reading.held))
        return self.template(blank_loss=blank_loss).training([_request(reading), reply], "both")


def _request(reading: Reading) -> Message:
    return Message("user", "text", f"Say: {reading.text}")


def _no_encoder(_content: object) -> AudioTokens:
    raise AssertionError("there is no sound here")


def learn(language: Language, readings: list[Reading], steps: int, seed: int, *, blank_loss: bool) -> AudioLM:
    """Train a model from random weights."""
    model = AudioLM(language.config)
    model.reset_parameters(torch.Generator().manual_seed(seed))
    sequences = [language.sequence(reading, blank_loss=blank_loss) for reading in readings]
    source = Source("readings", [len(sequence) for sequence in sequences], lambda index, _: sequences[index], 1.0)
    batches = Mixture([source], row_positions=ROW_POSITIONS, rows=ROWS, pad_id=language.config.pad_id, seed=seed)

    def loss_of(batch: Batch, _step: int) -> dict[str, Tensor]:
        loss = lm_loss(model, batch)
        return {"loss": loss.mean, "text": loss.text.mean, "audio": loss.audio.mean}

    loop = LoopConfig(
        steps=steps, peak_lr=3e-3, warmup_steps=20, checkpoint_every_steps=steps, muon=True, bf16=False, seed=seed
    )
    with TemporaryDirectory() as folder:
        train(model, loss_of, batches, loop, Path(folder))
    return model.eval()


@torch.no_grad()
def scores(language: Language, model: AudioLM, readings: list[Reading]) -> dict[str, float]:
    """Return losses on all but blanks, and the shares of replies that are right."""
    batch = collate([language.sequence(reading) for reading in readings], language.config.pad_id)
    loss = lm_loss(model, batch)
    greedy = SamplingOptions(temperature=0.0)
    options = GenerationOptions("both", text=greedy, audio=greedy, max_new_tokens=MAX_NEW_TOKENS)
    template = language.template(blank_loss=False)
    prompts = [template.prompt([_request(reading)], "both") for reading in readings]
    replies = generate(model, prompts, language.tokenizer.special, options)
    pairs = list(zip(readings, replies, strict=True))
    said = [tuple(code for code, _ in groupby(reply.codes)) for reply in replies]
    return {
        "text loss": float(loss.text.mean),
        "audio loss": float(loss.audio.mean),
        "right text": mean(language.tokenizer.decode(reply.text_ids) == reading.text for reading, reply in pairs),
        "right codes": mean(codes == reading.said for codes, reading in zip(said, readings, strict=True)),
        "right end": mean(
            reply.finish_reason == "stop" and len(codes) == len(reading.said)
            for (reading, reply), codes in zip(pairs, said, strict=True)
        ),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2, help="runs of either setting")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    language = Language.of_nano()
    held_out = language.readings(HELD_OUT, seed=1)
    reserved = {reading.text for reading in held_out}
    trained = [reading for reading in language.readings(TRAINED, seed=2) if reading.text not in reserved]
    table, console = Table("blanks learned", "seed"), Console(width=120)
    for seed in range(arguments.seeds):
        for blank_loss in (False, True):
            found = scores(language, learn(language, trained, arguments.steps, seed, blank_loss=blank_loss), held_out)
            if not table.rows:
                for name in found:
                    table.add_column(name)
            table.add_row("yes" if blank_loss else "no", str(seed), *(f"{value:.3f}" for value in found.values()))
            console.print(json.dumps({"blank_loss": blank_loss, "seed": seed, **found}))
    console.print(table)


if __name__ == "__main__":
    main()
