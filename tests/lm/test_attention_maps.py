"""The attention that is reported is the attention that is paid."""

import torch

from kimi_audio.core.sequence import SequenceBuilder
from kimi_audio.lm.attention_maps import _Recorder, attention_maps
from kimi_audio.lm.model import AudioLM
from kimi_audio.nn.attention import plain_attention


def test_weights_are_those_of_the_kernel():
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 9, 8, generator=draw) for heads in (4, 2, 2))
    rows = torch.tensor([2, 7, 8])
    recorder = _Recorder(rows, torch.arange(9))
    assert torch.equal(recorder.attend(0, q, k, v), plain_attention(q, k, v))
    torch.testing.assert_close(
        recorder.maps[0] @ v[0].repeat_interleave(2, 0), plain_attention(q, k, v)[0, :, rows], atol=1e-5, rtol=1e-5
    )


def test_maps_cover_all_heads_of_the_text_layers(tiny_lm: AudioLM):
    builder = SequenceBuilder(0).add([3, 4, 5, 6], features=torch.randn(4, tiny_lm.config.adaptor_input_size))
    sequence = builder.add(text=[7, 8, 9]).build()
    rows = torch.arange(3, 7)
    maps = attention_maps(tiny_lm, sequence, rows, torch.arange(7))
    assert maps.shape == (tiny_lm.config.num_layers * tiny_lm.config.num_heads, 4, 7)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:2]))
    assert (maps[:, 0, 4:] == 0).all()
    heard = attention_maps(tiny_lm, sequence, rows, torch.arange(4))
    assert torch.equal(heard, maps[:, :, :4])
