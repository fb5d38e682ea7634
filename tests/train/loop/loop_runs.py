"""Training runs in processes of their own, some of which are killed: ``python loop_runs.py killed|parallel FOLDER``.

Everything that the loop offers takes part: losses that are means of unequal counts, accumulation, dropout, an average
of the weights, parts that are frozen at first, a rate of its own. Processes are forked: that spares them the imports,
which are all made here; optimisers would import ``torch._dynamo`` where they are made, which takes seconds.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.train.loop.loop import LoopConfig, train
from kimi_audio.train.loop.parallel import joined, rank

CONFIG = LoopConfig(
    steps=8,
    peak_lr=0.02,
    warmup_steps=2,
    checkpoint_every_steps=3,
    log_every_steps=1,
    bf16=False,
    micro_batches=2,
    ema_decay=0.5,
    frozen={"adaptor.": 0.3, "embed.": 0.5, "layers.0.": 0.7},
    rates={"audio_head.": 0.5},
    keep_last=2,
    best_score="distance",
)


@dataclass(frozen=True)
class Batch:
    ids: list[str]
    tokens: Tensor  # [B, T]
    features: Tensor | None  # [B, T, 3]; half of the micro-batches hear nothing
    broken: tuple[tuple[str, str], ...] = ()


def batch_of(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    tokens = torch.randint(11, (2, 3 + number % 5), generator=generator)
    features = None if number % 2 else torch.randn(*tokens.shape, 3, generator=generator)
    return Batch([f"{number}-{row}" for row in range(2)], tokens, features)


def counts_of(batch: Batch) -> dict[str, float]:
    return {"text": batch.tokens.numel(), "audio": 0 if batch.features is None else batch.tokens.numel()}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.dropout(self.down(self.norm(self.up(x)).tanh()), 0.2, self.training)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 8)
        self.adaptor = nn.Linear(3, 8)
        self.layers = nn.ModuleList(Block() for _ in range(2))
        self.text_head, self.audio_head = nn.Linear(8, 11), nn.Linear(8, 3)

    def losses(self, batch: Batch, _step: int) -> dict[str, Tensor]:
        x = self.embed(batch.tokens)
        if batch.features is not None:
            x = x + self.adaptor(batch.features)
        for layer in self.layers:
            x = layer(x)
        x = x + 0.1 * torch.randn_like(x)
        text = F.cross_entropy(self.text_head(x).flatten(0, 1), batch.tokens.flatten())
        if batch.features is None:
            return {"text": text}
        return {"text": text, "audio": (self.audio_head(x) - batch.features).square().mean()}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self.eval()
        return {"distance": float(self.losses(batch_of(2), 0)["audio"] * 0 + self.embed.weight.square().mean())}


def run(
    folder: Path,
    config: LoopConfig = CONFIG,
    break_at: Callable[[Batch, int], None] | None = None,
    make: Callable[[int], Batch] = batch_of,
    left_out: Callable[[str, Exception], None] | None = None,
) -> Network:
    """Train a network; ``break_at`` sees every batch before its forward pass."""
    network = Network()

    def loss_of(batch: Batch, step: int) -> dict[str, Tensor]:
        if break_at is not None:
            break_at(batch, step)
        return network.losses(batch, step)

    train(network, loss_of, make, config, folder, network.evaluate, 2, counts_of, left_out=left_out)
    return network


def forked(function: Callable[[], Any]) -> int:
    """Start a process and return its number; what the function returns does not matter."""
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
    with suppress(KeyboardInterrupt):
        function()
        os._exit(0)
    os._exit(1)


def together(functions: Mapping[Path, Callable[[], Any]]) -> None:
    """Call functions in two processes as ``torchrun`` would, and write what both said at the end of each.

    One after the other in the same two: what torch learns about sharded tensors takes longer than these runs. They meet
    at stores that this process keeps, at ports that nobody else can take meanwhile, as the agent of ``torchrun`` does.
    """
    stores = [dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in functions]

    def member(number: int) -> None:
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "TORCHELASTIC_USE_AGENT_STORE": "True"}
        for (result, function), store in zip(functions.items(), stores, strict=True):
            os.environ["MASTER_PORT"] = str(store.port)
            with joined():
                try:
                    function()
                    said = "done"
                except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
                    said = f"{type(error).__name__}: {error}"
            Path(f"{result}.{number}").write_text(said)

    for pid in [forked(lambda number=number: member(number)) for number in range(2)]:
        os.waitpid(pid, 0)


# ---------------------------------------------------------------------------------------------------------------------
# Killed


def killed(folder: Path) -> None:
    """Kill a run in every step, in the middle and while it saves; resume each one."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def in_step(step: int) -> Callable[[Batch, int], None]:
        return lambda batch, now: kill() if now == step and batch.ids[0] == f"{2 * step + 1}-0" else None

    def while_saving() -> None:
        usual = torch.save

        def half(state: dict[str, Any], file: Any) -> None:
            if state["step"] == 6:
                file.write(b"half")
                kill()
            usual(state, file)

        torch.save = half
        run(folder / "saving")

    codes = {}
    runs: dict[str, Callable[[], Any]] = {
        str(step): lambda step=step: run(folder / str(step), break_at=in_step(step)) for step in range(CONFIG.steps)
    }
    for name, start in (runs | {"saving": while_saving}).items():
        codes[name] = os.waitstatus_to_exitcode(os.waitpid(forked(start), 0)[1])
        os.waitpid(forked(lambda name=name: torch.save(run(folder / name).state_dict(), folder / f"{name}.pt")), 0)
    os.waitpid(forked(lambda: torch.save(run(folder / "whole").state_dict(), folder / "whole.pt")), 0)
    (folder / "codes.json").write_text(json.dumps(codes))


# ---------------------------------------------------------------------------------------------------------------------
# Parallel


def counted(folder: Path, config: LoopConfig) -> None:
    """Train, and note how often gradients were shared."""
    calls = []

    def spied(usual: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **options: calls.append(1) or usual(*arguments, **options)

    for name in {"reduce_scatter_tensor", "reduce_scatter_single"} & set(dir(dist)):  # older and newer torch
        setattr(dist, name, spied(getattr(dist, name)))
    run(folder, config)
    (folder / f"shared.{rank()}").write_text(str(len(calls)))


def lacking(folder: Path, config: LoopConfig) -> None:
    """Train on batches of which two lack an item, and note what every process was told."""
    told: dict[str, str] = {}

    def make(number: int) -> Batch:
        return replace(batch_of(number), broken=((f"{number}-gone", "it is damaged"),) if number in (3, 6) else ())

    def left_out(name: str, error: Exception) -> None:
        told[name] = str(error)
        (folder / f"told.{rank()}").write_text(json.dumps(told))
        if len(told) > 1:
            raise ValueError("too many")

    run(folder, config, make=make, left_out=left_out)


def parallel(folder: Path) -> None:
    """Train in two processes what one process trains, too."""
    import torch.distributed.fsdp  # once, before the forks
    import torch.distributed.tensor

    layered = replace(CONFIG, sharded_layers=("layers",))
    economical = replace(layered, checkpoint_layers=True)
    muon = replace(CONFIG, muon=True)

    def kill(_batch: Batch, step: int) -> None:
        if step == 4:
            os._exit(9)

    def interrupt(_batch: Batch, step: int) -> None:
        if step == 4 and rank() == 1:
            os.kill(os.getpid(), signal.SIGINT)

    def unlucky(number: int) -> Batch:
        if number == 9:
            raise OSError("the disk is gone")
        return batch_of(number)

    def poison(batch: Batch, step: int) -> None:
        if step == 4 and batch.features is not None:
            batch.features.fill_(torch.nan)

    four = replace(CONFIG, micro_batches=4)
    for name, config in {"plain": CONFIG, "muon": muon, "four": four}.items():
        os.waitpid(forked(lambda name=name, config=config: run(folder / f"one-{name}", config)), 0)
    os.waitpid(forked(lambda: run(folder / "one-two", break_at=kill)), 0)
    four_layered = replace(four, sharded_layers=("layers",))
    together(
        {
            folder / "two-plain.said": lambda: run(folder / "two-plain"),
            folder / "two-layered.said": lambda: run(folder / "two-layered", layered),
            folder / "two-economical.said": lambda: run(folder / "two-economical", economical),
            folder / "two-muon.said": lambda: run(folder / "two-muon", muon),
            folder / "two-four.said": lambda: counted(folder / "two-four", replace(four_layered, reduce_once=False)),
            folder / "two-once.said": lambda: counted(folder / "two-once", replace(four_layered, reduce_once=True)),
            folder / "one-two.said": lambda: run(folder / "one-two", layered),
            folder / "stopped.said": lambda: run(folder / "stopped", layered, interrupt),
            folder / "poisoned.said": lambda: run(folder / "poisoned", layered, poison),
            folder / "unlucky.said": lambda: run(folder / "unlucky", layered, make=unlucky),
            folder / "went-on.said": lambda: run(folder / "unlucky", layered),
            folder / "lacking.said": lambda: lacking(folder / "lacking", layered),
            folder / "other.said": lambda: run(folder / "stopped", replace(layered, seed=1)),
            folder / "odd.said": lambda: run(folder / "odd", replace(CONFIG, micro_batches=3)),
        }
    )
    together({folder / "two-one.said": lambda: run(folder / "two-one", layered, kill)})
    os.waitpid(forked(lambda: run(folder / "two-one")), 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"killed": killed, "parallel": parallel}[sys.argv[1]](Path(sys.argv[2]))
