"""What int8 and int4 cost and keep, ``python -m benchmarks.quantised``.

``--speed``: CPU time of a decoding step beside bfloat16, of random weights; the formats take turns, so that other work
on the machine slows all down alike. One thread (``OMP_NUM_THREADS=1``) gives the cleanest ratios. ``--quality``: how
often nano names the same likeliest next id as in float32, teacher-forced, on its own replies to recorded questions.
``--hearing``: word error rate and answers of nano in every format, on the sentences below in its own four voices.
"""

import argparse
import copy
import re
import statistics

import torch
from rapidfuzz.distance import Levenshtein
from rich.console import Console
from rich.table import Table

from benchmarks.decoding import cache_of, cpu_seconds, inputs_at, random_past
from kimi_audio import KimiAudio, Message
from kimi_audio.bench.shapes import HALF_BILLION
from kimi_audio.chat import parse_messages
from kimi_audio.checkpoint import NANO, NANO_FOLDER, load_lm
from kimi_audio.core.quantized import FORMATS
from kimi_audio.core.sequence import Inputs
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.lm.cache import Stretch, Stretches
from kimi_audio.lm.engine import Engine, Request
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.quantize import num_bytes, quantize_lm

SENTENCES = (
    "Good morning.",
    "The phone rings twice.",
    "My sister lives in the old house.",
    "What is the month before July?",
    "Please open the window.",
    "Seven and two make nine.",
)


def random_models() -> dict[str, AudioLM]:
    """Return the same random model of the 0.5B shape in every format."""
    plain = AudioLM(HALF_BILLION).to(torch.bfloat16).eval()
    plain.reset_parameters(torch.Generator().manual_seed(0))
    return {"bf16": plain} | {name: quantize_lm(copy.deepcopy(plain), name) for name in FORMATS}


def steps(models: dict[str, AudioLM], requests: int, length: int, pairs: int) -> dict[str, list[float]]:
    """Return the CPU seconds of steps of each model, in turn, of so many requests at ``length`` positions."""
    config = models["bf16"].config
    past = random_past(config, length, torch.bfloat16)
    rows = tuple(Stretch(cache_of(past), length, 1) for _ in range(requests))
    costs: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(pairs + 1):
        for name, model in models.items():
            cost = cpu_seconds(lambda model=model: model(inputs_at([length] * requests), Stretches(rows)))
            costs[name] += [cost] if turn else []  # the first one warms up
    return costs


def measure_speed(console: Console, pairs: int) -> None:
    """Print the cost of a step in every format."""
    models = random_models()
    plain = models["bf16"]
    table = Table("requests", *models, "bf16 / int8", "bf16 / int4", title="CPU ms of a step at 250 positions")
    for requests in (1, 8):
        costs = steps(models, requests, 250, pairs)
        ratios = [statistics.median(a / b for a, b in zip(costs["bf16"], costs[name], strict=True)) for name in FORMATS]
        cells = [f"{1000 * statistics.median(all_):.0f}" for all_ in costs.values()]
        table.add_row(str(requests), *cells, *(f"{ratio:.2f}" for ratio in ratios))
    console.print(table)
    sizes = [(name, num_bytes(plain, name, torch.bfloat16)) for name in (None, *FORMATS)]
    console.print("MB:", ", ".join(f"{name or 'bf16'} {size / 1e6:.0f}" for name, size in sizes))


def own_replies(assistant: KimiAudio, count: int) -> list[Request]:
    """Return the spoken replies of a model to questions that come with it."""
    engine = Engine(assistant.lm, assistant.text_tokenizer.special)
    requests = []
    for question in sorted((NANO_FOLDER / "questions").glob("*.wav"))[:count]:
        chat = [{"role": "user", "message_type": "audio", "content": question}]
        prompt = assistant.template.prompt(parse_messages(chat), "both")
        requests.append(engine.prepare(prompt, assistant.default_options("both"), torch.Generator().manual_seed(0)))
        engine.admit(requests[-1])
    while not engine.is_idle:
        engine.step()
    return requests


def likeliest(model: AudioLM, request: Request) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the likeliest ids of the text and of the speech of a reply, after what was said."""
    heard = request.is_continuous + [False] * (request.num_known - len(request.is_continuous))
    features = None if request.features is None else request.features.to(model.dtype)
    audio, text = (torch.tensor([row]) for row in (request.audio_ids, request.text_ids))
    output = model(Inputs(audio, text, torch.tensor([heard]), features, torch.arange(request.num_known)[None]))
    assert output.text_logits is not None
    assert output.audio_logits is not None
    start = len(request.is_continuous) - 1
    written = slice(start, start + len(request.reply().text_ids) + 1)  # with the sign of its end
    spoken = slice(start + model.config.delay_tokens, None)
    return output.text_logits[0, written].argmax(-1), output.audio_logits[0, spoken].argmax(-1)


def measure_quality(console: Console, questions: int) -> None:
    """Print how often the likeliest ids stay the same."""
    assistant = KimiAudio(NANO, load_detokenizer=False, device="cpu")
    requests = own_replies(assistant, questions)
    expected = [likeliest(assistant.lm, request) for request in requests]
    models = {"bf16": load_lm(NANO_FOLDER, dtype=torch.bfloat16)}
    for name in FORMATS:
        models[name] = load_lm(NANO_FOLDER, quantize=name)
    table = Table("format", "text", "audio", title=f"same likeliest id as in float32, {len(requests)} replies")
    for name, model in models.items():
        found = [likeliest(model, request) for request in requests]
        pairs = [zip(*both, strict=True) for both in zip(found, expected, strict=True)]
        same = [torch.cat(row) for row in zip(*([a == b for a, b in pair] for pair in pairs), strict=True)]
        table.add_row(name, *(f"{row.float().mean():.2%} of {len(row)}" for row in same))
    console.print(table)


def measure_hearing(console: Console) -> None:
    """Print how well nano hears what it says itself, and how many answers stay the same."""
    models = {"float32": KimiAudio(NANO, device="cpu")}
    models |= {name: KimiAudio(NANO, load_detokenizer=False, device="cpu", quantize=name) for name in FORMATS}
    plain = models["float32"]
    said = [(text, voice) for text in SENTENCES for voice in plain.settings.voices]
    sounds = [(plain.speak(text, voice=voice, seed=0), OUTPUT_RATE_HZ) for text, voice in said]
    heard = [plain.encode_audio(sound) for sound in sounds]
    table = Table("format", "words wrong", "same transcript", "same answer", title=f"{len(said)} spoken sentences")
    first: tuple[list[str], list[str]] | None = None
    for name, model in models.items():
        transcripts = [model.transcribe(sound) for sound in sounds]
        answers = [model.answer([Message("user", "audio", tokens)]).text for tokens in heard]
        first = first or (transcripts, answers)
        counts = [word_errors(text, found) for (text, _), found in zip(said, transcripts, strict=True)]
        rate = sum(wrong for wrong, _ in counts) / sum(words for _, words in counts)
        same = [
            sum(a == b for a, b in zip(*both, strict=True)) for both in zip(first, (transcripts, answers), strict=True)
        ]
        table.add_row(name, f"{rate:.1%}", *map(str, same))
    console.print(table)


def word_errors(expected: str, found: str) -> tuple[int, int]:
    """Return the wrong words, and those expected."""
    a, b = (re.sub(r"[^\w ]", "", text.lower()).split() for text in (expected, found))
    return Levenshtein.distance(a, b), len(a)


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--hearing", action="store_true")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--questions", type=int, default=20)
    arguments = parser.parse_args()
    console = Console()
    everything = not (arguments.speed or arguments.quality or arguments.hearing)
    if arguments.speed or everything:
        measure_speed(console, arguments.pairs)
    if arguments.quality or everything:
        measure_quality(console, arguments.questions)
    if arguments.hearing or everything:
        measure_hearing(console)


if __name__ == "__main__":
    main()
