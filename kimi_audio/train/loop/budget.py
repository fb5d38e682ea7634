"""What a training run will need, worked out from the sizes alone before anything is loaded.

Weights, gradients and optimiser states are counted. Activations depend on what the network does, which nobody runs
here: they are an estimate from the sizes of its linear layers, good to about a factor of two.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from kimi_audio.nn.precision import computes_bf16
from kimi_audio.train.loop.layers import layers_of
from kimi_audio.train.loop.optimizer import build_optimizer
from kimi_audio.train.loop.schedule import LoopConfig

_NORM_BYTES = 8  # per channel of a norm: its float32 input, before and after scaling


@dataclass(frozen=True)
class Budget:
    """Parameters, tokens, and the memory of one process in bytes."""

    parameters: int
    trained_parameters: int
    processes: int
    micro_batches: int  # of one step, over all processes
    tokens_per_micro_batch: int
    weights_bytes: int  # with buffers
    gradients_bytes: int
    optimizer_bytes: int
    average_bytes: int
    gathered_bytes: int  # weights and gradients that are whole during a step, beside the shards, with their buffers
    loading_bytes: int  # of the whole model, before it is shared out or stored in fewer bits
    activations_bytes: int  # an estimate

    @property
    def tokens_per_step(self) -> int:
        """Tokens between two updates of the weights."""
        return self.micro_batches * self.tokens_per_micro_batch

    @property
    def total_bytes(self) -> int:
        """The memory of one process, as far as it was foreseen."""
        kept = self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.average_bytes
        return kept + self.gathered_bytes + self.activations_bytes

    def report(self) -> str:
        """Return lines to read."""
        rows = [
            ("parameters", f"{self.parameters:,}, of which {self.trained_parameters:,} are trained"),
            ("tokens per step", f"{self.tokens_per_step:,}: {self.micro_batches:,} x {self.tokens_per_micro_batch:,}"),
            ("processes", f"{self.processes:,}; each needs"),
            ("  weights", _gigabytes(self.weights_bytes)),
            ("  gradients", _gigabytes(self.gradients_bytes)),
            ("  optimiser", _gigabytes(self.optimizer_bytes)),
            ("  average", _gigabytes(self.average_bytes)),
            ("  gathered", f"{_gigabytes(self.gathered_bytes)} during a step"),
            ("  loading", f"{_gigabytes(self.loading_bytes)} before the first step"),
            (
                "  activations",
                f"about {_gigabytes(self.activations_bytes)}, an estimate from the sizes of linear layers",
            ),
            ("  together", f"about {_gigabytes(max(self.total_bytes, self.loading_bytes))}"),
        ]
        return "\n".join(f"{name:<16} {value}" for name, value in rows)


@dataclass(frozen=True)
class Masked:
    """Attention under a mask that keeps the samples of a row apart."""

    scores: int = 0  # positions that may be seen times positions that see, of all rows
    layers: int = 0


_NO_MASK = Masked()


def training_budget(
    module: nn.Module,
    config: LoopConfig,
    tokens_per_micro_batch: int,
    *,
    processes: int = 1,
    tokens_at_heads: int | None = None,
    masked: Masked = _NO_MASK,
    loading_bytes: int = 0,
    on_gpu: bool = False,
) -> Budget:
    """Return what training will need.

    Args:
        module: built on the meta device, where it costs nothing.
        config: of the loop.
        tokens_per_micro_batch: positions that the layers see at once, with padding.
        processes: that share the work and the memory.
        masked: attention under a mask.
        loading_bytes: of the whole model.
        on_gpu: where it will run: not every CPU computes in bfloat16.
        tokens_at_heads: positions that linear layers outside module lists see at once; by default all.

    Raises:
        ValueError: the configuration does not fit the module.
    """
    config = replace(config, bf16=config.bf16 and (on_gpu or computes_bf16("cpu")))
    optimizer = build_optimizer(
        module, config.peak_lr, config.betas, config.weight_decay, muon=config.muon, rates=config.rates
    )
    moments = 0
    for part in optimizer.parts:
        per_parameter = 2 if "betas" in part.defaults else 1  # AdamW, Muon
        moments += per_parameter * sum(_bytes(p) for group in part.param_groups for p in group["params"])
    weights, gradients = _weights(module), _gradients(module)
    heads = tokens_per_micro_batch if tokens_at_heads is None else tokens_at_heads
    return Budget(
        parameters=sum(p.numel() for p in module.parameters()),
        trained_parameters=sum(p.numel() for p in module.parameters() if p.requires_grad),
        processes=processes,
        micro_batches=config.micro_batches,
        tokens_per_micro_batch=tokens_per_micro_batch,
        weights_bytes=weights // processes + sum(map(_bytes, module.buffers())),
        gradients_bytes=gradients // processes,
        optimizer_bytes=moments // processes,
        average_bytes=0 if config.ema_decay is None else gradients // processes,
        gathered_bytes=0 if processes == 1 else _gathered(module, config, processes),
        loading_bytes=loading_bytes,
        activations_bytes=_activations(module, config, tokens_per_micro_batch, heads) + _masks(config, masked),
    )


def _gathered(module: nn.Module, config: LoopConfig, processes: int) -> int:
    layers = [m for name, m in layers_of(module) if name.rpartition(".")[0] in config.sharded_layers]
    # What is outside stays whole during a step. Gradients are copied once more to be shared out.
    weights, gradients = (size(module) - sum(map(size, layers)) for size in (_weights, _gradients))
    kept = sum(map(_gradients, layers)) if config.reduce_once and config.micro_batches > processes else 0
    # The next layer's weights come while one is at work, through a buffer.
    return weights + 2 * gradients + kept + max((3 * _weights(m) + 2 * _gradients(m) for m in layers), default=0)


def _masks(config: LoopConfig, masked: Masked) -> int:
    """Return the bytes of the mask, and of what attention makes of it in the precision of the scores in every layer."""
    kept_layers = min(masked.layers, 1) if config.checkpoint_layers else masked.layers
    return masked.scores * (1 + kept_layers * (2 if config.bf16 else 4))


def _activations(module: nn.Module, config: LoopConfig, tokens: int, tokens_at_heads: int) -> int:
    layers = [layer for _, layer in layers_of(module)]
    inside = [sum(_remembered(m, tokens, config) for m in layer.modules()) for layer in layers]
    members = {m for layer in layers for m in layer.modules()}
    outside = sum(_remembered(m, tokens_at_heads, config) for m in module.modules() if m not in members)
    if not config.checkpoint_layers:
        return outside + sum(inside)
    # The input of every layer stays, and all of the one that is computed again.
    inputs = sum(4 * tokens * _width(layer) for layer in layers)
    return outside + inputs + max(inside, default=0)


def _remembered(module: nn.Module, tokens: int, config: LoopConfig) -> int:
    """Return the bytes that a linear layer or norm keeps for the backward pass; of other modules, only parts do."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter):
        return 0
    if isinstance(module, nn.Linear):
        cast = 2 * weight.numel() if config.bf16 else 0  # autocast's copy of the weights
        return tokens * (2 if config.bf16 else 4) * (module.in_features + module.out_features) + cast
    return tokens * _NORM_BYTES * weight.numel() if weight.dim() == 1 else 0


def _width(layer: nn.Module) -> int:
    """Return the channels of a layer's input: those that its first linear layer takes."""
    return next((m.in_features for m in layer.modules() if isinstance(m, nn.Linear)), 0)


def _weights(module: nn.Module) -> int:
    return sum(map(_bytes, module.parameters()))


def _gradients(module: nn.Module) -> int:
    return sum(_bytes(p) for p in module.parameters() if p.requires_grad)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
