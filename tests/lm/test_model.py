"""The LLM: caching, segments, filling, packing, the two branches, mixed precision, the released size."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Inputs, SequenceBuilder, collate, pack
from kimi_audio.lm.cache import BLOCK_TOKENS, KVCache, Stretch, Stretches
from kimi_audio.lm.model import AudioLM, LMOutput
from kimi_audio.nn.attention import attend_to_past, plain_attention
from kimi_audio.train.losses import lm_loss


def sample(size: int, seed: int, features: bool = True):
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(80, 120, (size,), generator=random).tolist()
    text = torch.randint(0, 45, (size,), generator=random).tolist()
    heard = torch.randn(size, 8, generator=random) if features else None
    builder = SequenceBuilder(blank_id=68)
    return builder.add(codes, features=heard).add(codes, text, audio_loss=True, text_loss=True).build()


def scores(model, batch):
    with torch.no_grad():
        return model(batch)


def assert_same(actual, expected):
    for row in ("text_logits", "audio_logits"):
        torch.testing.assert_close(getattr(actual, row), getattr(expected, row), rtol=1e-4, atol=1e-5)


def rows_of(output, row, start, stop):
    return type(output)(output.text_logits[row, start:stop], output.audio_logits[row, start:stop])


def pieces(sequence, *cuts):
    """Cut a sequence of ``sample`` (one recording, at the beginning) into the inputs of several passes."""
    batch = collate([sequence], 79)
    for start, stop in pairwise([0, *cuts, len(sequence)]):
        columns = [x[:, start:stop] for x in (batch.audio_ids, batch.text_ids, batch.is_continuous)]
        heard = None if batch.features is None else batch.features[start:stop]
        yield Inputs(*columns, heard, batch.positions[:, start:stop])


def joined(inputs):
    """Put inputs into one row."""
    columns = zip(*((x.audio_ids, x.text_ids, x.is_continuous) for x in inputs), strict=True)
    heard = [x.features for x in inputs if x.features is not None]
    positions = torch.cat([x.positions for x in inputs], 1)
    return Inputs(*(torch.cat(column, 1) for column in columns), torch.cat(heard) if heard else None, positions)


def run(model, inputs, *segments):
    with torch.inference_mode():
        return model(inputs, Stretches(segments))


@pytest.mark.parametrize("cuts", [(5, 8, *range(9, 16)), (), (3, 4, 11)])
def test_cached_equals_recomputed(tiny_lm, cuts):
    whole, cache, start = scores(tiny_lm, collate([sample(8, 0)], 79)), KVCache(), 0
    for inputs in pieces(sample(8, 0), *cuts):
        stop = start + inputs.positions.shape[1]
        part = run(tiny_lm, inputs, Stretch(cache, start, stop - start))
        assert_same(part, rows_of(whole, 0, stop - 1, stop))
        start = stop


def test_the_cache_grows_by_blocks_and_keeps_what_it_holds():
    cache, draw = KVCache(), torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 2, 3 * BLOCK_TOKENS, 4, generator=draw)
    for start, stop in ((0, 100), (100, 101), (101, BLOCK_TOKENS + 1), (BLOCK_TOKENS + 1, 3 * BLOCK_TOKENS)):
        seen = cache.update(0, start, keys[:, start:stop], values[:, start:stop])
        assert torch.equal(seen[0], keys[:, :stop])
        assert torch.equal(seen[1], values[:, :stop])
        assert cache.num_bytes == -(-stop // BLOCK_TOKENS) * BLOCK_TOKENS * 2 * 2 * 4 * 4
    copy = KVCache()
    cache.copy_to(copy, 10)
    cache.update(0, 0, values[:, :5], keys[:, :5])
    assert torch.equal(copy.update(0, 10, keys[:, 10:11], values[:, 10:11])[0], keys[:, :11])


@pytest.mark.parametrize("heads", [(4, 2), (6, 1), (3, 3)])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 9), (4, 9), (9, 9)])
def test_attention_to_the_past_equals_the_plain_one(heads, lengths):
    (num_heads, kv_heads), (new, seen) = heads, lengths
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(2, num_heads, new, 8, generator=draw)
    k, v = torch.randn(2, 2, kv_heads, seen, 8, generator=draw)
    mask = torch.ones(new, seen, dtype=torch.bool).tril(seen - new)[None, None]
    torch.testing.assert_close(attend_to_past(q, k, v), plain_attention(q, k, v, mask))


def test_segments_of_a_row_equal_requests_alone(tiny_lm):
    """Different starts, lengths and wishes side by side: each as if it were alone, and in bounds of its own."""
    samples = [sample(8, 1), sample(5, 2, features=False), sample(6, 3), sample(4, 4)]
    alone = [scores(tiny_lm, collate([one], 79)) for one in samples]
    starts, caches, rest = [10, 0, 7, 3], [KVCache() for _ in samples], []
    for one, start, cache in zip(samples, starts, caches, strict=True):
        *first, last = pieces(one, *([start] if start else []))
        for inputs in first:
            run(tiny_lm, inputs, Stretch(cache, 0, start))
        rest.append(last)
    no_audio, no_text = {"audio": False, "audio_scores": False}, {"text": False, "text_scores": False}
    wishes = [{}, no_audio, no_text, {"text_scores": False}]
    segments = [
        Stretch(cache, start, len(one) - start, **wish)
        for one, start, cache, wish in zip(samples, starts, caches, wishes, strict=True)
    ]
    together = run(tiny_lm, joined(rest), *segments)
    expected_text = [alone[0].text_logits[0, -1], alone[1].text_logits[0, -1]]
    expected_audio = [alone[row].audio_logits[0, -1] for row in (0, 2, 3)]
    assert_same(together, LMOutput(torch.stack(expected_text), torch.stack(expected_audio)))


def test_what_nobody_asks_for_is_not_computed(tiny_lm):
    ran = []
    layers = dict(enumerate([*tiny_lm.model.layers, *tiny_lm.model.mimo_layers])) | {
        "text head": tiny_lm.lm_head,
        "audio head": tiny_lm.mimo_output,
    }
    hooks = [layer.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, layer in layers.items()]
    expected = {
        (True, True, True, True): [0, 1, 2, 3, 4, "text head", "audio head"],
        (True, False, True, False): [0, 1, 2, "text head"],
        (False, True, False, True): [0, 1, 3, 4, "audio head"],  # behind the text's end
        (True, True, True, False): [0, 1, 2, 3, 4, "text head"],  # in the delay
        (True, True, False, False): [0, 1, 2, 3, 4],  # in the middle of a prompt
    }
    (inputs,) = pieces(sample(4, 5))
    for wanted, names in expected.items():
        ran.clear()
        run(tiny_lm, inputs, Stretch(KVCache(), 0, 8, *wanted))
        assert ran == names
    for hook in hooks:
        hook.remove()


def test_filled_and_packed_rows_equal_sequences_alone(tiny_lm):
    sequences = [sample(3, 1), sample(6, 2, features=False), sample(5, 3)]
    alone = [scores(tiny_lm, collate([sequence], 79)) for sequence in sequences]
    filled = scores(tiny_lm, collate(sequences, 79))
    for row, (sequence, expected) in enumerate(zip(sequences, alone, strict=True)):
        assert_same(rows_of(filled, row, 0, len(sequence)), rows_of(expected, 0, 0, len(sequence)))
    packed = scores(tiny_lm, pack([sequences], 79, length=40))
    start = 0
    for sequence, expected in zip(sequences, alone, strict=True):
        stop = start + len(sequence)
        assert_same(rows_of(packed, 0, start, stop), rows_of(expected, 0, 0, len(sequence)))
        start = stop


def test_the_branch_leaves_after_its_layer(tiny_lm):
    batch = collate([sample(4, 5)], 79)
    batch_loss = lm_loss(tiny_lm, batch)
    grads = torch.autograd.grad(batch_loss.audio.total, list(tiny_lm.model.layers.parameters()), allow_unused=True)
    used = {
        name.split(".")[0]
        for (name, _), grad in zip(tiny_lm.model.layers.named_parameters(), grads, strict=True)
        if grad is not None
    }
    assert used == {"0", "1"}  # branch_layer_index is 1


def test_embedding_mix(tiny_lm):
    """(audio + adapted features) · √2 + text where features are, audio + text elsewhere."""
    backbone = tiny_lm.model
    audio, text = torch.tensor([[90, 91]]), torch.tensor([[68, 3]])
    features = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = backbone.embed(Inputs(audio, text, torch.tensor([[True, False]]), features, torch.arange(2)[None]))
        table, adapted = backbone.embed_tokens.weight, backbone.vq_adaptor(features)[0]
    torch.testing.assert_close(x[0, 0], (table[90] + adapted) * 2**0.5 + table[68])
    torch.testing.assert_close(x[0, 1], table[91] + table[3])


def test_bfloat16_uses_the_rounded_root(tiny_lm):
    model = AudioLM(tiny_lm.config).to(torch.bfloat16)
    model.load_state_dict(tiny_lm.state_dict())
    backbone = model.model
    features = torch.randn(1, 8).to(torch.bfloat16)
    ids = torch.tensor([[90]])
    with torch.no_grad():
        inputs = Inputs(ids, ids, torch.tensor([[True]]), features, torch.zeros_like(ids))
        x = backbone.embed(inputs)
        e = backbone.embed_tokens.weight[90]
        root = torch.tensor(1.4140625, dtype=torch.bfloat16)
        assert torch.equal(x[0, 0], (e + backbone.vq_adaptor(features)[0]) * root + e)
        assert model(inputs).text_logits.dtype == torch.bfloat16


def test_no_features_still_reach_the_adaptor(tiny_lm):
    batch = collate([sample(4, 6, features=False)], 79)
    x = tiny_lm.model.embed(replace(batch, features=torch.zeros(0, 8)))
    grads = torch.autograd.grad(x.sum(), list(tiny_lm.model.vq_adaptor.parameters()))
    assert all((grad == 0).all() for grad in grads)


def test_mixed_precision(tiny_lm):
    batch = collate([sample(4, 7), sample(6, 8)], 79)
    exact = lm_loss(tiny_lm, batch).mean
    with torch.autocast("cpu", torch.bfloat16):
        rounded = lm_loss(tiny_lm, batch).mean
        (inputs,) = pieces(sample(4, 7))
        cached = tiny_lm(inputs, Stretches((Stretch(KVCache(), 0, 8),)))
    rounded.backward()
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.0)
    assert cached.text_logits.isfinite().all()
    assert tiny_lm.model.layers[0].mlp.up_proj.weight.grad is not None
    tiny_lm.zero_grad()


def test_parameters_are_drawn_from_the_generator(tiny_lm):
    first, second = AudioLM(tiny_lm.config), AudioLM(tiny_lm.config)
    for model in (first, second):
        model.reset_parameters(torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert abs(first.lm_head.weight.std().item() - 0.3) < 0.02
    assert first.model.layers[0].self_attn.q_proj.bias.abs().max() == 0


def test_released_size():
    config = LMConfig(
        vocab_size=168448,
        hidden_size=3584,
        intermediate_size=18944,
        num_layers=28,
        num_heads=28,
        num_kv_heads=4,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        max_positions=8192,
        num_audio_layers=6,
        branch_layer_index=21,
        audio_offset=152064,
        adaptor_input_size=5120,
        pad_id=152063,
    )
    with torch.device("meta"):
        model = AudioLM(config)
    assert len(model.state_dict()) == 453 - 34  # without the 34 stored rotary frequencies
    assert sum(p.numel() for p in model.parameters()) == 9_766_334_464
