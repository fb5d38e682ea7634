"""What a decoding step of the LLM costs, ``python -m benchmarks.decoding``, beside a plain way to make it.

The plain baseline is what a straightforward port does: one request at a time, a cache that is put together anew at
every step, grouped heads and single rows left to torch, every layer and both heads at every position. Both run the same
random model; they take turns, so that other work on the machine slows both down alike: look at the ratios of CPU time.
One thread (``OMP_NUM_THREADS=1``) gives the cleanest ones.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from kimi_audio.bench.shapes import HALF_BILLION
from kimi_audio.checkpoint import NANO, find_model, load_lm_config
from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Inputs
from kimi_audio.lm.cache import KVCache, Stretch, Stretches
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.rope import rotary_tables, rotate
from kimi_audio.nn.row_product import Linear

CONTEXTS = 250, 1000, 4000  # positions
BATCHES = 1, 2, 4, 8  # requests


class PlainDecoder:
    """The baseline: one request, one step after the other."""

    def __init__(self, model: AudioLM, past: list[tuple[Tensor, Tensor]]) -> None:
        self.model, self.past = copy.deepcopy(model), past  # keys and values [1, K, S, C] of every layer
        for layer in self.model.modules():
            if isinstance(layer, Linear):
                layer.__class__ = nn.Linear  # pyright: ignore[reportAttributeAccessIssue]

    def step(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the scores [1, 1, V] of both rows."""
        model, config = self.model.model, self.model.config
        x = branch = model.embed(inputs)
        for index, layer in enumerate(model.layers):
            x = self._layer(layer, x, index, inputs.positions)
            branch = x if index == config.branch_layer_index else branch
        for index, layer in enumerate(model.mimo_layers, config.num_layers):
            branch = self._layer(layer, branch, index, inputs.positions)
        return self.model.lm_head(model.norm(x)), self.model.mimo_output(model.mimo_norm(branch))

    def _layer(self, layer, x: Tensor, index: int, positions: Tensor) -> Tensor:
        attention, config = layer.self_attn, self.model.config
        h = layer.input_layernorm(x)
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        q, k, v = (proj(h).unflatten(-1, (-1, config.head_size)).transpose(1, 2) for proj in projections)
        cos, sin = rotary_tables(positions, config.head_size, config.rope_theta, x.dtype)
        old_keys, old_values = self.past[index]
        k, v = torch.cat((old_keys, rotate(k, cos, sin)), 2), torch.cat((old_values, v), 2)
        self.past[index] = k, v
        y = F.scaled_dot_product_attention(rotate(q, cos, sin), k, v, enable_gqa=True)
        x = x + attention.o_proj(y.transpose(1, 2).flatten(2))
        return x + layer.mlp(layer.post_attention_layernorm(x))


def random_past(config: LMConfig, length: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Return keys and values of every layer, as if so many positions had been computed."""
    draw = torch.Generator().manual_seed(length)
    shape = 2, 1, config.num_kv_heads, length, config.head_size
    layers = config.num_layers + config.num_audio_layers
    drawn = (torch.randn(shape, generator=draw).to(dtype) for _ in range(layers))
    return [(keys, values) for keys, values in drawn]


def cache_of(past: list[tuple[Tensor, Tensor]]) -> KVCache:
    """Return them as the engine keeps them."""
    cache = KVCache()
    for layer, (keys, values) in enumerate(past):
        cache.update(layer, 0, keys[0], values[0])
    return cache


def inputs_at(positions: list[int]) -> Inputs:
    """Return one new id for each of several requests."""
    ids = torch.arange(len(positions))[None] + 5
    return Inputs(ids, ids, ids < 0, None, torch.tensor([positions]))


def cpu_seconds(step: Callable[[], object]) -> float:
    """Return what one call costs."""
    begin = time.process_time()
    step()
    return time.process_time() - begin


def compare(model: AudioLM, length: int, pairs: int) -> dict[str, float]:
    """Return CPU seconds of a plain step, a whole step of ours, and one behind the end of the text."""
    past = random_past(model.config, length, model.dtype)
    plain, cache, places = PlainDecoder(model, past), cache_of(past), [length]

    def ours(**wanted: bool) -> None:
        model(inputs_at(places), Stretches((Stretch(cache, places[0], 1, **wanted),)))

    ways = {
        "plain": lambda: plain.step(inputs_at(places)),
        "ours": ours,
        "behind the text": lambda: ours(text=False, text_scores=False),
        "text alone": lambda: ours(audio=False, audio_scores=False),
    }
    costs = {name: [] for name in ways}
    for turn in range(pairs + 1):
        for name, way in ways.items():
            cost = cpu_seconds(way)
            costs[name] += [cost] if turn else []  # the first one warms up
        places[0] += 1
    return {name: statistics.median(all_) for name, all_ in costs.items()} | {
        "ratio": statistics.median(a / b for a, b in zip(costs["plain"], costs["ours"], strict=True))
    }


def scaling(model: AudioLM, length: int, turns: int) -> dict[int, float]:
    """Return the tokens per CPU second of so many requests at once, of unequal lengths around ``length``."""
    past = random_past(model.config, 2 * length, model.dtype)
    costs: dict[int, list[float]] = {size: [] for size in BATCHES}
    for turn in range(turns + 1):
        for size, known in costs.items():
            lengths = [length // 2 + length * row // max(1, size - 1) for row in range(size)] if size > 1 else [length]
            rows = tuple(Stretch(cache_of([(k[:, :, :n], v[:, :, :n]) for k, v in past]), n, 1) for n in lengths)
            cost = cpu_seconds(lambda rows=rows, lengths=lengths: model(inputs_at(lengths), Stretches(rows)))
            known += [size / cost] if turn else []
    return {size: statistics.median(known) for size, known in costs.items()}


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("nano", "0.5b"), default="0.5b")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    nano = find_model(NANO, with_detokenizer=False)
    config = load_lm_config(nano) if arguments.shape == "nano" else HALF_BILLION
    model = AudioLM(config).to(getattr(torch, arguments.dtype)).eval()
    model.reset_parameters(torch.Generator().manual_seed(0))
    contexts = [length for length in CONTEXTS if length + arguments.pairs < config.max_positions]
    steps = {length: compare(model, length, arguments.pairs) for length in contexts}
    batches = scaling(model, 500, arguments.pairs)
    if arguments.json:
        print(json.dumps({"steps": steps, "batches": batches}))  # noqa: T201
        return
    table = Table("positions", *next(iter(steps.values())), title="CPU ms of a step; ratio = plain / ours")
    for length, row in steps.items():
        cells = [f"{row[name]:.2f}" if name == "ratio" else f"{1000 * row[name]:.1f}" for name in row]
        table.add_row(str(length), *cells)
    console = Console()
    console.print(table)
    console.print("tokens per CPU second of 1, 2, 4, 8 requests:", *(f"{rate:.1f}" for rate in batches.values()))


if __name__ == "__main__":
    main()
