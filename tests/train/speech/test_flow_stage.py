import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kimi_audio.core.config import DiTConfig, FlowConfig
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.flow import interpolate
from kimi_audio.detokenizer.stream import Call, ChunkPlan, Detokenizer
from kimi_audio.train.loop.loop import LoopConfig
from kimi_audio.train.speech.flow_stage import (
    CHUNKED,
    FULL_CONTEXT,
    ONE_SPEAKER,
    FlowBatch,
    FlowBatches,
    FlowExample,
    FlowStage,
    flow_loss,
    held_out_loss,
    load_examples,
    mel_statistics,
    save_examples,
    train_flow,
)

CONFIG = FlowConfig.tiny(dit=DiTConfig.tiny(num_mel_bins=6, num_codes=10, hidden_size=32), mel_mean=-4.0, mel_std=2.0)
STAGE = FlowStage(batch_frames=400, min_chunk_tokens=2, max_chunk_tokens=4, whole_share=0.0, drop_share=0.0)


def examples(number: int) -> list[FlowExample]:
    """Utterances whose mel follows from their codes."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(10, 6, generator=generator)
    rows = []
    for _ in range(number):
        codes = torch.randint(10, (int(torch.randint(3, 12, (), generator=generator)),), generator=generator)
        rows.append(FlowExample(codes, -4 + 2 * table[codes].repeat_interleave(4, 0)))
    return rows


def random_dit() -> DiT:
    dit = DiT(CONFIG.dit)
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return dit


def batch(stage: FlowStage = STAGE, step: int = 0) -> FlowBatch:
    return FlowBatches(examples(20), CONFIG, stage, seed=1)(step)


def test_batches_depend_on_the_step_alone():
    assert torch.equal(batch().noise, batch().noise)
    assert not torch.equal(batch().noise, batch(step=1).noise[:, :1])


def test_time_is_one_per_chunk_and_covers_the_range():
    drawn = batch()
    for row, chunks in zip(drawn.time, drawn.chunks, strict=True):
        assert all(len(row[chunks == chunk].unique()) == 1 for chunk in chunks.unique())
    assert drawn.time[:, 0].min() < 300
    assert drawn.time[:, 0].max() > 700


def test_training_sees_what_a_stream_sees():
    """The velocity of the last chunk equals that of a stream that encoded the chunks before it one by one."""
    dit, rows = random_dit(), [FlowExample(torch.arange(9), torch.randn(36, 6))]
    drawn = FlowBatches(rows, CONFIG, replace(STAGE, min_chunk_tokens=3, max_chunk_tokens=3), seed=1)(0)
    chunks, captured = drawn.chunks[0], []
    hook = dit.final_layer.register_forward_hook(lambda module, inputs, output: captured.append(output))
    flow_loss(dit, drawn)
    hook.remove()
    context = dit.empty_context()
    x, _ = interpolate(drawn.mel, drawn.noise, drawn.time.repeat_interleave(4, 1)[..., None])
    for chunk in chunks.unique():
        here = chunks == chunk
        frames = here.repeat_interleave(4)
        prefix = dit.rotate_context(context)
        streamed = dit(x[:, frames], drawn.codes[:, here], drawn.time[:, here], prefix)
        torch.testing.assert_close(captured[0][:, frames], streamed, atol=1e-4, rtol=1e-4)
        context = torch.cat([context, dit.encode(drawn.mel[:, frames], drawn.codes[:, here], prefix)], dim=-2)
    assert len(chunks.unique()) > 2


def test_padding_changes_nothing():
    dit, drawn = random_dit(), batch()
    assert not drawn.valid.all()
    beyond = ~drawn.valid.repeat_interleave(4, 1)[..., None]
    changed = replace(drawn, mel=drawn.mel + 5 * beyond, noise=drawn.noise - 3 * beyond)
    torch.testing.assert_close(flow_loss(dit, changed), flow_loss(dit, drawn))
    assert flow_loss(dit, drawn).isfinite()


def test_dropped_tokens_are_unknown_to_the_noisy_frames():
    dit, drawn = random_dit(), batch(replace(STAGE, whole_share=1.0, drop_share=1.0))
    assert drawn.dropped.all()
    assert not drawn.chunks.any()
    other = replace(drawn, codes=(drawn.codes + 1) % 10)
    torch.testing.assert_close(flow_loss(dit, other), flow_loss(dit, drawn))


def test_examples_survive_the_disk(tmp_path: Path):
    save_examples(tmp_path / "pairs.safetensors", examples(5))
    for read, written in zip(load_examples(tmp_path / "pairs.safetensors"), examples(5), strict=True):
        assert torch.equal(read.codes, written.codes)
        torch.testing.assert_close(read.log_mel.float(), written.log_mel, atol=1e-2, rtol=0)


def test_statistics_normalise():
    mean, std = mel_statistics(examples(50))
    assert abs(mean + 4) < 1
    assert 1 < std < 3


def test_stage_learns(tmp_path: Path):
    loop = LoopConfig(steps=60, peak_lr=3e-3, warmup_steps=5, bf16=False, log_every_steps=10)
    train_flow(CONFIG, loop, replace(STAGE, whole_share=0.3), examples(40), examples(4), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert "held_out_loss" in rows[-1]


# ---------------------------------------------------------------------------------------------------------------------
# The three stages


def long_rows() -> list[FlowExample]:
    """Four utterances of 16 s."""
    return [FlowExample(torch.arange(200) % 10, torch.zeros(800, 6)) for _ in range(4)]


def test_the_first_stage_sees_whole_utterances_the_others_chunks_of_half_a_second_to_three():
    rows = long_rows()
    assert all(not FlowBatches(rows, CONFIG, FULL_CONTEXT, 0)(step).chunks.any() for step in range(20))
    for stage in (CHUNKED, ONE_SPEAKER):
        lengths, whole = set(), 0
        for step in range(60):
            chunks = FlowBatches(rows, CONFIG, stage, 0)(step).chunks
            whole += not chunks.any()
            if chunks.any():  # the last chunk is cut by the end, the first by the drawn offset
                lengths |= {count for row in chunks for count in row.bincount()[1:-1].tolist()}
        assert min(lengths) * 0.08 == pytest.approx(0.5, abs=0.1)
        assert max(lengths) * 0.08 == pytest.approx(3.0, abs=0.1)
        assert 3 < whole < 25


def test_later_stages_go_on_from_trained_weights_and_the_last_at_a_lower_rate(tmp_path: Path):
    loop = LoopConfig(steps=1, peak_lr=1e-3, warmup_steps=1, bf16=False, log_every_steps=1)
    for stage in (CHUNKED, ONE_SPEAKER):
        with pytest.raises(ValueError, match="goes on from trained weights"):
            train_flow(CONFIG, loop, stage, examples(4), [], tmp_path / "none")
    start = random_dit()
    for stage, rate in ((CHUNKED, 1e-3), (ONE_SPEAKER, 3e-4)):
        folder = tmp_path / str(rate)
        dit = train_flow(CONFIG, loop, stage, examples(4), [], folder, start)
        assert json.loads((folder / "log.jsonl").read_text())["lr"] == pytest.approx(rate)
        moved = (dit.input_linear.weight - start.input_linear.weight).abs().max()
        assert 0 < moved < 2 * rate


def test_training_predicts_what_a_stream_computes_from_the_same_clean_past():
    """The detokenizer's own context and velocity, not a copy of them: one Euler step from the noise of time 0."""
    torch.manual_seed(0)
    dit, rows = random_dit(), [FlowExample(torch.arange(9), torch.randn(36, 6))]
    drawn = FlowBatches(rows, CONFIG, replace(STAGE, min_chunk_tokens=3, max_chunk_tokens=3), seed=1)(0)
    drawn = replace(drawn, time=torch.zeros_like(drawn.time))  # pure noise everywhere
    captured = []
    hook = dit.final_layer.register_forward_hook(lambda module, inputs, output: captured.append(output))
    flow_loss(dit, drawn)
    hook.remove()
    plan = ChunkPlan(ode_steps=2, look_ahead_tokens=0)
    detokenizer = Detokenizer(dit, None, CONFIG, None, plan)  # pyright: ignore[reportArgumentType]
    state = detokenizer.init_state()
    for chunk in drawn.chunks[0].unique():
        here = drawn.chunks[0] == chunk
        frames = here.repeat_interleave(4)
        noise, ids = drawn.noise[0, frames], drawn.codes[0, here].tolist()
        (mel,) = detokenizer._denoise([Call(ids, state, False, noise=noise)])  # pyright: ignore[reportPrivateUsage]
        torch.testing.assert_close(mel, noise + captured[0][0, frames], atol=1e-4, rtol=1e-4)
        state = detokenizer._remember(drawn.mel[0, frames], ids, state)  # pyright: ignore[reportPrivateUsage]


def test_the_held_out_loss_is_the_same_every_time():
    dit = random_dit()
    stage = replace(STAGE, drop_share=0.5)
    assert held_out_loss(dit, CONFIG, stage, examples(6)) == held_out_loss(dit, CONFIG, stage, examples(6))


# ---------------------------------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(
    ("codes", "log_mel", "message"),
    [
        ([], torch.zeros(0, 6), "example 1 has no codes"),
        ([1, 10], torch.zeros(8, 6), "example 1 holds code 10, but there are 10 codes"),
        ([1, -1], torch.zeros(8, 6), "example 1 holds code -1"),
        ([1, 2], torch.zeros(7, 6), r"has a mel of \(7, 6\) for 2 codes; \(8, 6\) is wanted"),
        ([1, 2], torch.zeros(8, 5), r"has a mel of \(8, 5\) for 2 codes"),
        ([1, 2], torch.full((8, 6), float("nan")), "the mel of example 1 is not finite"),
    ],
)
def test_examples_that_cannot_be_learnt_from_are_named(codes: list[int], log_mel: torch.Tensor, message: str):
    bad = FlowExample(torch.tensor(codes, dtype=torch.long), log_mel)
    with pytest.raises(ValueError, match=message):
        FlowBatches([*examples(1), bad], CONFIG, STAGE, seed=0)


def test_chunks_that_cannot_be_drawn_are_refused():
    for low, high in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match=f"chunks of {low} to {high} tokens"):
            FlowStage(min_chunk_tokens=low, max_chunk_tokens=high)
