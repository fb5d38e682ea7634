"""Where the text layers of the LLM look: the attention of some positions onto others, head by head.

Shapes: T positions, R rows (positions that look), N columns (positions looked at), H heads of all layers together.
"""

import torch
from torch import Tensor

from kimi_audio.core.sequence import Inputs, Sequence
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.attention import Context, plain_attention
from kimi_audio.nn.rope import rotary_tables


@torch.inference_mode()
def attention_maps(lm: AudioLM, sequence: Sequence, rows: Tensor, columns: Tensor) -> Tensor:
    """Return [H, R, N] in float32 on the CPU: the share of their attention that rows give to columns.

    The sequence is computed anew, as a whole, because no fast kernel tells its weights.

    Args:
        lm: the LLM.
        sequence: of T positions.
        rows: [R] numbers of positions.
        columns: [N] numbers of positions, none behind the first row.
    """
    model, device = lm.model, lm.device
    features = torch.cat(sequence.features).to(device, lm.dtype) if sequence.features else None
    rows_of_ids = (sequence.audio_ids, sequence.text_ids, sequence.is_continuous)
    audio, text, continuous = (row.to(device)[None] for row in rows_of_ids)
    inputs = Inputs(audio, text, continuous, features, torch.arange(len(sequence), device=device)[None])
    x = model.embed(inputs)
    cos, sin = rotary_tables(inputs.positions, model.config.head_size, model.config.rope_theta, x.dtype)
    recorder = _Recorder(rows.to(device), columns.to(device))
    context = Context(cos, sin, memory=recorder)
    for index in range(model.config.num_layers):
        x = model.layers[index](x, context, index)
    return torch.cat(recorder.maps).cpu()


class _Recorder:
    """A ``Memory`` of attention that notes who looks where."""

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        self._rows, self._columns = rows, columns
        self.maps: list[Tensor] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See ``Memory``; nothing comes before these positions."""
        del layer
        query = q[0, :, self._rows].float()  # [heads, R, C]
        key = k[0].float().repeat_interleave(len(query) // k.shape[1], 0)  # [heads, T, C]
        scores = query @ key.mT * q.shape[-1] ** -0.5
        ahead = torch.arange(k.shape[2], device=k.device) > self._rows[:, None]
        weights = scores.masked_fill(ahead, -torch.inf).softmax(-1)
        self.maps.append(weights[:, :, self._columns])
        return plain_attention(q, k, v)
