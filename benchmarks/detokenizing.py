"""What a chunk costs in the detokenizer, ``python -m benchmarks.detokenizing``, beside a plain way to make it.

The plain baseline is what a straightforward port does: 30-point Euler, conditioning per frame, angles and a joined
context anew in every layer of every evaluation, the textbook activation. Both run nano and take turns, so that other
work on the machine slows both down alike: look at the ratios of CPU time, with one thread (``OMP_NUM_THREADS=1``).
``--quality`` measures instead how far the mel of each solver is from that of 120 points.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch
from rich.console import Console
from torch import Tensor

from kimi_audio.assistant import KimiAudio
from kimi_audio.core.config import Solver
from kimi_audio.core.units import MEL_FRAMES_PER_TOKEN
from kimi_audio.detokenizer.flow import integrate
from kimi_audio.detokenizer.stream import Call, Detokenizer, StreamState
from kimi_audio.detokenizer.vocoder import BigVGAN

DECIBELS = 8.686  # per unit of a natural-log amplitude
CONTEXT_TOKENS, CHUNK_TOKENS = 60, 42
WAYS: tuple[tuple[Solver, int], ...] = (
    ("euler", 30),
    ("euler", 12),
    ("adams-bashforth", 16),
    ("adams-bashforth", 12),
    ("adams-bashforth", 10),
    ("adams-bashforth", 8),
    ("adams-bashforth", 6),
)


def plain_mel(detokenizer: Detokenizer, codes: list[int], noise: Tensor, context: Tensor, scale: float) -> Tensor:
    """Return the normalised mel [T, M] of a chunk."""
    dit = detokenizer.dit
    rows = torch.tensor([codes, [dit.null_token] * len(codes)]).repeat_interleave(MEL_FRAMES_PER_TOKEN, 1)

    prefix = dit.rotate_context(context).expand(-1, -1, 2, -1, -1, -1)

    def velocity(x: Tensor, time: int) -> Tensor:
        v = dit(x.expand(2, -1, -1), rows, torch.full(rows.shape, time), prefix)
        return v[1:] + scale * (v[:1] - v[1:])

    return integrate(velocity, noise[None], 30)[0]


def our_mel(detokenizer: Detokenizer, codes: list[int], noise: Tensor, state: StreamState) -> Tensor:
    """Return the same as the package makes it."""
    return detokenizer._denoise([Call(codes, state, True, noise=noise)])[0]  # pyright: ignore[reportPrivateUsage]


def costs(detokenizer: Detokenizer, codes: list[int], pairs: int, console: Console) -> None:
    """Print CPU seconds per chunk, both ways."""
    draw = torch.Generator().manual_seed(0)
    state = detokenizer.init_state()
    past = torch.randn(4 * CONTEXT_TOKENS, 80, generator=draw)
    context = detokenizer.dit.encode(past[None], torch.tensor([codes[:1] * CONTEXT_TOKENS]))
    state = replace(state, window=context)
    noise = torch.randn(4 * len(codes), 80, generator=draw)
    plain_vocoder = BigVGAN(detokenizer.vocoder_config, edges="activated").eval()
    plain_vocoder.load_state_dict(detokenizer.vocoder.state_dict())
    log_mel = our_mel(detokenizer, codes, noise, state) * detokenizer.flow_config.mel_std
    log_mel = log_mel[None] + detokenizer.flow_config.mel_mean
    ways = {
        "flow, plain": lambda: plain_mel(detokenizer, codes, noise, context, detokenizer.plan.guidance_scale),
        "flow, ours": lambda: our_mel(detokenizer, codes, noise, state),
        "vocoder, plain": lambda: plain_vocoder(log_mel),
        "vocoder, ours": lambda: detokenizer.vocoder(log_mel),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(pairs):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            spent[name].append(time.process_time() - begin)
    for name, all_ in spent.items():
        console.print(f"{name}: {1000 * statistics.median(all_):.0f} ms")
    for part in ("flow", "vocoder"):
        both = zip(spent[f"{part}, plain"], spent[f"{part}, ours"], strict=True)
        console.print(f"{part}: {statistics.median(a / b for a, b in both):.2f} times as fast")


def quality(detokenizer: Detokenizer, chunks: list[list[int]], console: Console) -> None:
    """Print the mean distance in dB of each solver's mel from that of 120 points, over all bins and frames."""
    draw, plan = torch.Generator().manual_seed(0), detokenizer.plan
    noises = [torch.randn(4 * len(codes), 80, generator=draw) for codes in chunks]
    mels: dict[tuple[Solver, int], list[Tensor]] = {}
    reference: tuple[Solver, int] = "adams-bashforth", 120
    for solver, points in (reference, *WAYS):
        detokenizer.plan = replace(plan, ode_steps=points, solver=solver)
        state = detokenizer.init_state()
        pairs = zip(chunks, noises, strict=True)
        mels[solver, points] = [our_mel(detokenizer, codes, noise, state) for codes, noise in pairs]
    for way in WAYS:
        pairs = zip(mels[way], mels[reference], strict=True)
        far = statistics.mean(float((a - b).abs().mean()) for a, b in pairs)
        console.print(*way, f"{far * detokenizer.flow_config.mel_std * DECIBELS:.2f} dB")


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--quality", action="store_true")
    arguments = parser.parse_args()
    model = KimiAudio("nano", device="cpu")
    assert model.detokenizer is not None
    questions = sorted((model.folder / "questions").glob("*.wav"))[:3]
    chunks = [model.encode_audio(path).codes.tolist()[:CHUNK_TOKENS] for path in questions]
    if arguments.quality:
        quality(model.detokenizer, chunks, Console())
    else:
        costs(model.detokenizer, (chunks[0] * CHUNK_TOKENS)[:CHUNK_TOKENS], arguments.pairs, Console())


if __name__ == "__main__":
    main()
