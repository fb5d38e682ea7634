"""The audio LLM: shared layers, of which the last ones serve text alone, and an audio branch beside those.

Shapes: B batch, T positions, M continuous positions of the batch, D acoustic feature size, N stretches, V vocabulary.
Module names are those of the released tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Inputs
from kimi_audio.lm.cache import RowPart, Stretches
from kimi_audio.nn.attention import Attention, Context, Memory
from kimi_audio.nn.norm import RMSNorm
from kimi_audio.nn.rope import rotary_tables
from kimi_audio.nn.row_product import Linear


@dataclass(frozen=True)
class LMOutput:
    """Scores of the next id of either row over the whole vocabulary.

    Without stretches: at every position, [B, T, V]. With them: after the last position of those that ask for it, in
    their order, [N, V]; None where none does.
    """

    text_logits: Tensor | None
    audio_logits: Tensor | None


@dataclass(frozen=True)
class LMHidden:
    """Normalised states below the two heads, at the positions of ``LMOutput``."""

    text: Tensor | None
    audio: Tensor | None


class AudioLM(nn.Module):
    """The whole LLM with its two heads; the embedding and the heads are three matrices of their own."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
        self.mimo_output = Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, inputs: Inputs, stretches: Stretches | None = None) -> LMOutput:
        """Score the next ids.

        Args:
            inputs: ids [B, T] of both rows, and the features that are added.
            stretches: which request every stretch of the one row [1, T] continues, whose caches it writes; by default
                nothing comes before the inputs.
        """
        return self._scores(self.model(inputs, stretches))

    def step(self, inputs: Inputs, memory: Memory, *, text: bool, audio: bool) -> LMOutput:
        """Score the next ids [B, V] behind one new position [B, 1] each; see ``Backbone.step``."""
        return self._scores(self.model.step(inputs, memory, text=text, audio=audio))

    def _scores(self, hidden: LMHidden) -> LMOutput:
        return LMOutput(
            None if hidden.text is None else self.lm_head(hidden.text),
            None if hidden.audio is None else self.mimo_output(hidden.audio),
        )

    @property
    def device(self) -> torch.device:
        """Where the inputs have to be."""
        return self.model.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What features and caches are kept in."""
        return self.model.norm.weight.dtype

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all matrices from a normal distribution; biases are zero, norms one."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                module.weight.normal_(0.0, self.config.initializer_range, generator=generator)
            elif isinstance(module, (RMSNorm, nn.LayerNorm)):
                module.weight.fill_(1.0)
            bias = getattr(module, "bias", None)
            if bias is not None:
                bias.zero_()


class Backbone(nn.Module):
    """Embeddings and layers of both branches, up to the norms below the heads."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.vq_adaptor = Adaptor(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mimo_layers = nn.ModuleList(Layer(config) for _ in range(config.num_audio_layers))
        self.mimo_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, inputs: Inputs, stretches: Stretches | None = None, audio_rows: Tensor | None = None) -> LMHidden:
        """Return the states below the heads.

        Args:
            inputs: see ``AudioLM.forward``.
            stretches: likewise.
            audio_rows: those of the batch [R] whose states in the audio branch are wanted; by default all. Not with
                stretches.
        """
        if stretches is not None:
            return self._scored_parts(inputs, stretches)
        x, context = self._shared_states(inputs, None)
        text = self._text_states(x, context)
        if audio_rows is not None:
            x, context = x[audio_rows], context.rows(audio_rows)
        return LMHidden(text, self._audio_states(x, context))

    def _scored_parts(self, inputs: Inputs, stretches: Stretches) -> LMHidden:
        # Where the parts are is told to the device before it has anything to do: a copy waits until it has done it.
        rows, device = stretches.stretches, inputs.audio_ids.device
        text = stretches.part([row.text for row in rows], [row.text_scores for row in rows], device)
        audio = stretches.part([row.audio for row in rows], [row.audio_scores for row in rows], device)
        x, context = self._shared_states(inputs, stretches)
        return LMHidden(
            _scored_states(self._text_states, x, context, text), _scored_states(self._audio_states, x, context, audio)
        )

    def step(self, inputs: Inputs, memory: Memory, *, text: bool, audio: bool) -> LMHidden:
        """Return the states [B, hidden] behind one new position of every row, with the layers that are wanted.

        No shape and no choice depends on what the tensors hold, as CUDA graphs demand.

        Args:
            inputs: ids [B, 1].
            memory: of the positions before.
            text: run the layers that serve text alone.
            audio: run the audio branch.
        """
        x, context = self._shared_states(inputs, memory)
        return LMHidden(
            self._text_states(x, context)[:, 0] if text else None,
            self._audio_states(x, context)[:, 0] if audio else None,
        )

    def _shared_states(self, inputs: Inputs, memory: Memory | None) -> tuple[Tensor, Context]:
        x = self.embed(inputs)
        cos, sin = rotary_tables(inputs.positions, self.config.head_size, self.config.rope_theta, x.dtype)
        context = Context(cos, sin, inputs.attention_mask, memory)
        for index in range(self._num_shared):
            x = self.layers[index](x, context, index)
        return x, context

    def _text_states(self, x: Tensor, context: Context) -> Tensor:
        for index in range(self._num_shared, self.config.num_layers):
            x = self.layers[index](x, context, index)
        return self.norm(x)

    def _audio_states(self, x: Tensor, context: Context) -> Tensor:
        for index, layer in enumerate(self.mimo_layers, self.config.num_layers):
            x = layer(x, context, index)
        return self.mimo_norm(x)

    @property
    def _num_shared(self) -> int:
        return self.config.branch_layer_index + 1

    def embed(self, inputs: Inputs) -> Tensor:
        """Mix the ids of both rows and the features to [B, T, hidden], in the official order.

        Features [0, D] are allowed: the adaptor then takes part in the graph without effect, as sharded
        training needs.
        """
        x = self.embed_tokens(inputs.audio_ids)
        if inputs.features is not None:
            adapted = self.vq_adaptor(inputs.features).to(x.dtype)
            sqrt2 = torch.tensor(2.0, dtype=x.dtype).sqrt().item()  # rounded to the dtype, like the official tensor
            heard = inputs.is_continuous.nonzero(as_tuple=True)
            x = x.index_put(heard, (x[heard] + adapted) * sqrt2)
        return x + self.embed_tokens(inputs.text_ids)


def _scored_states(
    branch: Callable[[Tensor, Context], Tensor], x: Tensor, context: Context, part: RowPart
) -> Tensor | None:
    """Run a branch at the positions of a part of the stretches; return the states [N, hidden] that are to be scored."""
    if not part.memory.stretches:
        return None
    if part.places is not None:
        x = x[:, part.places]
        context = Context(context.cos[:, :, part.places], context.sin[:, :, part.places], memory=part.memory)
    x = branch(x, context)
    return None if part.ends is None else x[0, part.ends]


class Adaptor(nn.Module):
    """Acoustic features to the hidden size."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.layers = nn.Sequential(
            nn.Linear(config.adaptor_input_size, size),
            nn.SiLU(),
            nn.Dropout(0.0),  # keeps the released indices of the layers behind it
            nn.Linear(size, size),
            nn.LayerNorm(size, eps=config.rms_norm_eps),
        )

    def forward(self, features: Tensor) -> Tensor:
        """[M, D] -> [M, hidden]."""
        return self.layers(features)


class Layer(nn.Module):
    """A pre-norm Transformer layer of Qwen2."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config.hidden_size, config.num_heads, config.num_kv_heads, config.head_size)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, context: Context, index: int) -> Tensor:
        """[B, T, hidden] -> [B, T, hidden]; ``index`` is the layer's place in the cache."""
        x = x + self.self_attn(self.input_layernorm(x), context, index)
        return x + self.mlp(self.post_attention_layernorm(x))


class MLP(nn.Module):
    """The gated feed-forward network; ``JOINED`` as in ``Attention``."""

    JOINED: ClassVar = {"gate_up_proj": ("gate_proj", "up_proj")}

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.gate_up_proj: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, hidden] -> [B, T, hidden]."""
        if self.gate_up_proj is None:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(F.silu(gate) * up)
