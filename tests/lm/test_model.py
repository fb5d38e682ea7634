"""The LLM: caching, filling, packing, the two branches, mixed precision, the released size."""

import pytest
import torch

from kimi_audio.config import LMConfig
from kimi_audio.lm.model import AudioLM
from kimi_audio.sequence import SequenceBuilder, collate, pack
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
        return model(
            batch.audio_ids,
            batch.text_ids,
            is_continuous=batch.is_continuous,
            features=batch.features,
            positions=batch.positions,
            attention_mask=batch.attention_mask,
        )


def assert_same(actual, expected):
    for row in ("text_logits", "audio_logits"):
        torch.testing.assert_close(getattr(actual, row), getattr(expected, row), rtol=1e-4, atol=1e-5)


def rows_of(output, row, start, stop):
    return type(output)(output.text_logits[row, start:stop], output.audio_logits[row, start:stop])


def test_cached_equals_recomputed(tiny_lm):
    batch = collate([sample(8, 0)], 79)
    whole = scores(tiny_lm, batch)
    cache = tiny_lm.new_cache(1, 20)
    cache.keys.fill_(7.0)  # what lies in unused slots must not matter
    cache.values.fill_(7.0)
    spans = [(0, 5), (5, 8), *((t, t + 1) for t in range(8, 16))]
    for start, stop in spans:
        heard = slice(start, min(stop, 8))
        with torch.inference_mode():
            part = tiny_lm(
                batch.audio_ids[:, start:stop],
                batch.text_ids[:, start:stop],
                is_continuous=batch.is_continuous[:, start:stop] if start < 8 else None,
                features=batch.features[heard] if start < 8 else None,
                positions=batch.positions[:, start:stop],
                cache=cache,
                num_slots=stop if start % 2 else None,
            )
        assert_same(rows_of(part, 0, 0, stop - start), rows_of(whole, 0, start, stop))


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


def test_text_only_leaves_the_audio_branch_out(tiny_lm):
    batch = collate([sample(4, 4)], 79)
    whole = scores(tiny_lm, batch)
    with torch.no_grad():
        cache = tiny_lm.new_cache(1, 8, text_only=True)
        output = tiny_lm(
            batch.audio_ids,
            batch.text_ids,
            is_continuous=batch.is_continuous,
            features=batch.features,
            positions=batch.positions,
            cache=cache,
            text_only=True,
            logits_at=torch.tensor([7]),
        )
    assert output.audio_logits is None
    assert len(cache.keys) == tiny_lm.config.num_layers
    torch.testing.assert_close(output.text_logits[:, 0], whole.text_logits[:, 7], rtol=1e-4, atol=1e-5)


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
        x = backbone.embed(audio, text, torch.tensor([[True, False]]), features)
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
        x = backbone.embed(ids, ids, torch.tensor([[True]]), features)
        e = backbone.embed_tokens.weight[90]
        root = torch.tensor(1.4140625, dtype=torch.bfloat16)
        assert torch.equal(x[0, 0], (e + backbone.vq_adaptor(features)[0]) * root + e)
        assert model(ids, ids).text_logits.dtype == torch.bfloat16


def test_no_features_still_reach_the_adaptor(tiny_lm):
    batch = collate([sample(4, 6, features=False)], 79)
    x = tiny_lm.model.embed(batch.audio_ids, batch.text_ids, batch.is_continuous, torch.zeros(0, 8))
    grads = torch.autograd.grad(x.sum(), list(tiny_lm.model.vq_adaptor.parameters()))
    assert all((grad == 0).all() for grad in grads)


@pytest.mark.slow
def test_a_decoding_step_is_one_graph_for_all_positions(tiny_lm):
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    step = torch.compile(tiny_lm, backend=count, fullgraph=True, dynamic=False)
    ids, cache = torch.tensor([[90], [91]]), tiny_lm.new_cache(2, 16)
    for position in range(4):
        with torch.inference_mode():
            step(ids, ids, positions=torch.tensor([[position], [position + 3]]), cache=cache)
    assert len(graphs) == 1


def test_mixed_precision(tiny_lm):
    batch = collate([sample(4, 7), sample(6, 8)], 79)
    exact = lm_loss(tiny_lm, batch).mean
    with torch.autocast("cpu", torch.bfloat16):
        rounded = lm_loss(tiny_lm, batch).mean
        cached = tiny_lm(batch.audio_ids, batch.text_ids, positions=batch.positions, cache=tiny_lm.new_cache(2, 16))
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
