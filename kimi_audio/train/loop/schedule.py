"""What a training run does when: the configuration of the loop, the learning rate, and which parts are frozen."""

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast to train, what to keep, and how to use memory and processes.

    Names of parameters are given by how they begin: ``"model.vq_adaptor."``.
    """

    steps: int  # updates of the weights
    peak_lr: float
    final_lr: float = 0.0
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    bf16: bool = True  # autocast, where the device computes in it; the weights stay float32
    loading_processes: int = 0  # that make batches; with none, a thread does, which a GPU soon outruns
    micro_batches: int = 1  # of one update, over all processes together
    checkpoint_every_steps: int = 100
    keep_last: int = 2  # checkpoints; with one alone, there is none to go back to when it is damaged
    best_score: str | None = None  # the score of the evaluation by which the best weights are kept
    best_is_highest: bool = False  # by default, the lowest score is the best
    patience: int | None = None  # evaluations in a row without a new best score, after which the run ends early
    log_every_steps: int = 10
    tensorboard: bool = False  # write the log for TensorBoard, too
    seed: int = 0
    muon: bool = False  # see ``build_optimizer``
    ema_decay: float | None = None  # average the weights; evaluation and export then use the average
    frozen: Mapping[str, float] = field(default_factory=dict)  # beginning of names: share of the steps, from the first
    rates: Mapping[str, float] = field(default_factory=dict)  # beginning of names: factor of the learning rate
    checkpoint_layers: bool = False  # recompute what is inside layers instead of remembering it
    compile_backend: str | None = None  # "inductor" compiles every layer
    sharded_layers: tuple[str, ...] = ()  # module lists that several processes gather layer by layer, see ``parallel``
    reduce_once: bool = False  # processes share their gradients once per step, and keep them whole until then

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a value is out of its range.
        """
        for name in ("steps", "micro_batches", "checkpoint_every_steps", "keep_last", "log_every_steps"):
            check_range(f"loop.{name}", getattr(self, name), least=1)
        for name in ("peak_lr", "final_lr", "warmup_steps", "weight_decay", "seed", "loading_processes"):
            check_range(f"loop.{name}", getattr(self, name), least=0)
        # Clipped to 0, all gradients would vanish; infinity clips nothing.
        check_range("loop.clip_norm", self.clip_norm, above=0, may_be_infinite=True)
        for beta in self.betas:
            check_range("each of loop.betas", beta, least=0, below=1)
        if self.ema_decay is not None:
            check_range("loop.ema_decay", self.ema_decay, least=0, below=1)
        if self.patience is not None:
            check_range("loop.patience", self.patience, least=1)
            if self.best_score is None:
                raise ValueError("loop.patience waits for a better score: name it, such as loop.best_score=dev_loss")
        for part, share in self.frozen.items():
            check_range(f"the share of {part!r} in loop.frozen", share, least=0, most=1)
        for part, factor in self.rates.items():
            check_range(f"the factor of {part!r} in loop.rates", factor, least=0)


def check_range(
    name: str,
    value: float,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    may_be_infinite: bool = False,
) -> None:
    """Check a number of a configuration.

    Raises:
        ValueError: it is not in its range; NaN never is, infinity only if it may be.
    """
    words = []
    fits = not math.isnan(value) and (may_be_infinite or not math.isinf(value))
    for word, limit, compare in (
        ("at least", least, operator.ge),
        ("more than", above, operator.gt),
        ("at most", most, operator.le),
        ("less than", below, operator.lt),
    ):
        if limit is not None:
            words.append(f"{word} {limit:g}")
            fits = fits and compare(value, limit)
    if not fits:
        raise ValueError(f"{name} must be {' and '.join(words)}, not {value:g}")


def learning_rate(step: int, config: LoopConfig) -> float:
    """Return the rate of update ``step``: linear warm-up, then a cosine down to ``final_lr``."""
    if step < config.warmup_steps:
        return config.peak_lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.final_lr + (config.peak_lr - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@contextmanager
def staged_freezing(module: nn.Module, config: LoopConfig) -> Iterator[Callable[[int], None]]:
    """Yield a function that freezes the parts that rest in a step, and frees the others.

    A frozen parameter has no gradient: neither decay nor momentum moves it. At the end all are free again.

    Raises:
        ValueError: no trained parameter has such a name.
    """
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    check_prefixes(config.frozen, trained)
    free_from = {
        name: max(
            (share * config.steps for prefix, share in config.frozen.items() if name.startswith(prefix)), default=0
        )
        for name in trained
    }

    def freeze(step: int) -> None:
        for name, first_step in free_from.items():
            trained[name].requires_grad_(step >= first_step)

    try:
        yield freeze
    finally:
        freeze(config.steps)


def check_prefixes(prefixes: Mapping[str, float], names: Mapping[str, object]) -> None:
    """Check that every prefix begins a name.

    Raises:
        ValueError: one does not.
    """
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            parts = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in names))
            raise ValueError(f"no trained parameter begins with {prefix!r}; there are {parts}")
