"""The audio LLM: shared layers, of which the last ones serve text alone, and an audio branch beside those.

Shapes: B batch, T positions, M continuous positions of the batch, D acoustic feature size, V vocabulary.
Module names are those of the released tensors.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kimi_audio.config import LMConfig
from kimi_audio.nn.attention import Attention, Context, KVCache
from kimi_audio.nn.norm import RMSNorm
from kimi_audio.nn.rope import rotary_tables


@dataclass(frozen=True)
class LMOutput:
    """Scores of the next id of either row over the whole vocabulary."""

    text_logits: Tensor  # [B, T or 1, V]
    audio_logits: Tensor | None  # the same; None in text-only mode


@dataclass(frozen=True)
class LMHidden:
    """Normalised states below the two heads."""

    text: Tensor  # [B, T, hidden]
    audio: Tensor | None  # the same; None in text-only mode


class AudioLM(nn.Module):
    """The whole LLM with its two heads; the embedding and the heads are three matrices of their own."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.mimo_output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self,
        audio_ids: Tensor,
        text_ids: Tensor,
        *,
        is_continuous: Tensor | None = None,
        features: Tensor | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        num_slots: int | None = None,
        text_only: bool = False,
        logits_at: Tensor | None = None,
    ) -> LMOutput:
        """Score the next ids.

        Args:
            audio_ids: [B, T].
            text_ids: [B, T].
            is_continuous: [B, T] bool, where acoustic features are added; needed with ``features``.
            features: [M, D] in the order of the continuous positions, row after row.
            positions: [B, T]; by default 0, 1, 2, ...
            attention_mask: [B, 1, T, T] bool, True = may attend; by default causal. Not with a cache.
            cache: keys and values of earlier positions; those of the new ones are added in place.
            num_slots: leading slots of the cache to attend over, at least the highest position + 1; by
                default all.
            text_only: leave out the audio branch.
            logits_at: [B] int64, the one position of every row to score; by default all.
        """
        hidden = self.model(
            audio_ids,
            text_ids,
            is_continuous,
            features,
            positions,
            attention_mask,
            cache,
            num_slots,
            text_only,
        )
        text, audio = hidden.text, hidden.audio
        if logits_at is not None:
            rows = torch.arange(len(logits_at), device=logits_at.device)[:, None]
            text = text[rows, logits_at[:, None]]
            audio = None if audio is None else audio[rows, logits_at[:, None]]
        return LMOutput(self.lm_head(text), None if audio is None else self.mimo_output(audio))

    def new_cache(self, batch_size: int, num_slots: int, text_only: bool = False) -> KVCache:
        """Reserve a cache for ``num_slots`` positions on the model's device, in its dtype."""
        config, weight = self.config, self.lm_head.weight
        layers = config.num_layers + (0 if text_only else config.num_audio_layers)
        return KVCache.allocate(
            layers, batch_size, config.num_kv_heads, num_slots, config.head_size, weight.device, weight.dtype
        )

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

    def forward(
        self,
        audio_ids: Tensor,
        text_ids: Tensor,
        is_continuous: Tensor | None = None,
        features: Tensor | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        num_slots: int | None = None,
        text_only: bool = False,
    ) -> LMHidden:
        """Return the states below the heads; arguments as for ``AudioLM.forward``."""
        x = self.embed(audio_ids, text_ids, is_continuous, features)
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device).expand(audio_ids.shape)
        context = self._context(positions, attention_mask, cache, num_slots)
        branch = x
        for index, layer in enumerate(self.layers):
            x = layer(x, context, index)
            if index == self.config.branch_layer_index:
                branch = x
        if text_only:
            return LMHidden(self.norm(x), None)
        for index, layer in enumerate(self.mimo_layers, self.config.num_layers):
            branch = layer(branch, context, index)
        return LMHidden(self.norm(x), self.mimo_norm(branch))

    def embed(
        self, audio_ids: Tensor, text_ids: Tensor, is_continuous: Tensor | None, features: Tensor | None
    ) -> Tensor:
        """Mix the ids [B, T] of both rows and the features to [B, T, hidden], in the official order.

        Features [0, D] are allowed: the adaptor then takes part in the graph without effect, as sharded
        training needs.
        """
        x = self.embed_tokens(audio_ids)
        if features is not None:
            assert is_continuous is not None, "features need is_continuous"
            adapted = self.vq_adaptor(features).to(x.dtype)
            sqrt2 = torch.tensor(2.0, dtype=x.dtype).sqrt().item()  # rounded to the dtype, like the official tensor
            heard = is_continuous.nonzero(as_tuple=True)
            x = x.index_put(heard, (x[heard] + adapted) * sqrt2)
        return x + self.embed_tokens(text_ids)

    def _context(
        self, positions: Tensor, attention_mask: Tensor | None, cache: KVCache | None, num_slots: int | None
    ) -> Context:
        config = self.config
        dtype = self.embed_tokens.weight.dtype
        cos, sin = rotary_tables(positions, config.head_size, config.rope_theta, dtype)
        if cache is None:
            return Context(cos, sin, attention_mask, positions)
        assert attention_mask is None, "the cache makes its own mask"
        num_slots = cache.num_slots if num_slots is None else num_slots
        slots = torch.arange(num_slots, device=positions.device)
        mask = slots <= positions[:, None, :, None]
        return Context(cos, sin, mask, positions, cache, num_slots)


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
    """The gated feed-forward network."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, hidden] -> [B, T, hidden]."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
