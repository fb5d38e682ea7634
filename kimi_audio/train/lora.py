"""LoRA and QLoRA of the audio LLM through peft: which layers get adapters, and checkpoints that hold only those.

The adapters sit beside all projections of the shared, text and audio layers and in the adaptor of the acoustic
features; at will also beside heads and embeddings. QLoRA keeps the frozen layers at 4 bits (NF4, Dettmers et al. 2023)
through bitsandbytes, which has a slow CPU path, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kimi_audio.lm.adapters import import_peft
from kimi_audio.lm.model import AudioLM
from kimi_audio.train.loop.schedule import check_range

_LAYERS = r"model\.(layers|mimo_layers)\.\d+\.(self_attn|mlp)\.[a-z]+_proj"
_ADAPTOR = r"model\.vq_adaptor\.layers\.[03]"
_HEADS = "lm_head|mimo_output"
_EMBEDDINGS = r"model\.embed_tokens"
FOUR_BIT_BYTES = 0.5 + 4 / 64  # per weight: two weights share a byte, 64 a float32 scale


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Sizes and places of the adapters."""

    rank: int = 16
    alpha: float = 32.0  # an adapter counts alpha / rank
    dropout: float = 0.0
    heads: bool = False  # also beside the two heads
    embeddings: bool = False  # also beside the embeddings of ids
    four_bit: bool = False  # QLoRA

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: a value is out of its range.
        """
        check_range("lora.rank", self.rank, least=1)
        check_range("lora.alpha", self.alpha, above=0)
        check_range("lora.dropout", self.dropout, least=0, below=1)

    @property
    def targets(self) -> str:
        """The regular expression of the changed modules."""
        return "|".join(
            [_LAYERS, _ADAPTOR, *([_HEADS] if self.heads else []), *([_EMBEDDINGS] if self.embeddings else [])]
        )


def add_lora(lm: AudioLM, options: LoraOptions, seed: int = 0) -> Any:
    """Add adapters to the LLM in place, frozen otherwise; return peft's view of it, which saves and merges them.

    Args:
        lm: the model, on its device. It stays usable as it is.
        options: sizes and places.
        seed: of the adapters' first weights.

    Raises:
        ValueError: peft or, for 4 bits, bitsandbytes is not installed.
    """
    peft = import_peft()
    lm.requires_grad_(False)
    if options.four_bit:
        _store_in_four_bits(lm)
    config = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=options.targets
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return peft.get_peft_model(lm, config)


def _store_in_four_bits(lm: AudioLM) -> None:
    """Replace the linear layers inside the layers by such with 4 bits per weight."""
    try:
        import bitsandbytes
    except ImportError:
        raise ValueError("QLoRA needs the bitsandbytes library: install kimi-audio[train]") from None
    for layers in (lm.model.layers, lm.model.mimo_layers):
        for parent in [module for layer in layers for module in layer.modules()]:
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, _four_bit(child, bitsandbytes))
    lm.is_loaded_in_4bit = True  # pyright: ignore[reportArgumentType] - where peft looks


def _four_bit(linear: nn.Linear, bitsandbytes: Any) -> nn.Module:
    device = linear.weight.device
    new = bitsandbytes.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
        quant_type="nf4",
        device="meta",
    )
    new.weight = bitsandbytes.nn.Params4bit(
        linear.weight.detach().cpu(), requires_grad=False, quant_type="nf4", compress_statistics=False, module=new
    )
    new.bias = linear.bias
    return new.to(device)  # quantises


@contextmanager
def only_trained(module: nn.Module) -> Iterator[None]:
    """Let the state of a module, for the time being, consist of what needs gradients now.

    A checkpoint then holds the adapters and not the frozen model, which is on disk already.
    """
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}

    def leave_out(_module: nn.Module, state: dict[str, Any], _prefix: str, _metadata: Any) -> None:
        for name in [name for name in state if name not in trained]:
            del state[name]

    def accept(_module: nn.Module, keys: Any) -> None:
        keys.missing_keys[:] = [name for name in keys.missing_keys if name in trained]

    handles = [module.register_state_dict_post_hook(leave_out), module.register_load_state_dict_post_hook(accept)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
