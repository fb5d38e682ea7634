from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kimi_audio.core.config import FlowConfig, VocoderConfig
from kimi_audio.core.units import OUTPUT_SAMPLES_PER_MEL_FRAME, OUTPUT_SAMPLES_PER_TOKEN
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.stream import Call, ChunkPlan, Detokenizer, StreamState
from kimi_audio.detokenizer.vocoder import BigVGAN

FAST = ChunkPlan(chunk_tokens=8, first_chunk_tokens=5, look_ahead_tokens=3, ode_steps=3, vocoder_context_frames=8)


@pytest.fixture(scope="module")
def detokenizer() -> Detokenizer:
    torch.manual_seed(0)
    flow, vocoder = FlowConfig.tiny(), VocoderConfig.tiny()
    dit = DiT(flow.dit)
    for parameter in dit.parameters():  # the initial network answers zero
        torch.nn.init.normal_(parameter, std=0.2)
    return Detokenizer(dit.requires_grad_(False), BigVGAN(vocoder).requires_grad_(False), flow, vocoder, FAST)


def with_plan(detokenizer: Detokenizer, plan: ChunkPlan) -> Detokenizer:
    return Detokenizer(detokenizer.dit, detokenizer.vocoder, detokenizer.flow_config, detokenizer.vocoder_config, plan)


def codes(number: int, seed: int = 0) -> list[int]:
    return torch.randint(100, (number,), generator=generator(seed)).tolist()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Recording(Detokenizer):
    """Keeps the mel of the last call, and can leave out the vocoder where no sound is compared."""

    mel: Tensor
    mute: bool = False

    def _render(self, log_mel: Tensor) -> Tensor:
        if self.mute:
            return torch.zeros(len(log_mel) * OUTPUT_SAMPLES_PER_MEL_FRAME)
        return super()._render(log_mel)

    def _join_official(self, mel: Tensor, state: StreamState, is_final: bool) -> tuple[Tensor, StreamState]:
        self.mel = mel
        return super()._join_official(mel, state, is_final)


@pytest.mark.reference
def test_runs_equal_official(
    dit: DiT,
    vocoder: BigVGAN,
    flow_config: FlowConfig,
    vocoder_config: VocoderConfig,
    expected: dict[str, Tensor],
):
    detokenizer = Recording(dit, vocoder, flow_config, vocoder_config)
    runs = [name.removesuffix(".chunks") for name in expected if name.endswith(".chunks")]
    assert runs
    for run in runs:
        prefix = f"{run}."
        check_run(detokenizer, {n.removeprefix(prefix): t for n, t in expected.items() if n.startswith(prefix)})


@torch.inference_mode()
def check_run(recording: Recording, run: dict[str, Tensor]):
    recording.plan = ChunkPlan(ode_steps=int(run["ode_steps"]), official=True)
    if "prompt_chunk" in run:
        recording.plan = replace(recording.plan, prefill_frames=int(run["prompt_chunk"]))
    state = recording.init_state()
    if "prompt_mel" in run:  # a code of its own for each frame: more than the public method lets pass
        state = recording._prefill(run["prompt_tokens_50hz"], run["prompt_mel"])
    chunks = run["tokens"].split(run["chunks"].tolist())
    for k, chunk in enumerate(chunks):
        is_final = k == len(chunks) - 1
        recording.mute = not {f"wav.{k}", f"wav.{k + 1}"} & run.keys()
        wav, state = recording.decode_chunk(chunk.tolist(), state, is_final, noise=run[f"noise.{k}"])
        torch.testing.assert_close(recording.mel, run[f"mel.{k}"], atol=1e-3, rtol=0)
        if f"wav.{k}" in run:
            torch.testing.assert_close(wav[None], run[f"wav.{k}"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5, 13, 30])
@pytest.mark.parametrize("sizes", [[5, 8], [1], [2, 100]])
def test_every_chunking_gives_all_samples(detokenizer: Detokenizer, number: int, sizes: list[int]):
    state, tokens, samples, k = detokenizer.init_state(), codes(number), 0, 0
    while True:
        size = sizes[min(k, len(sizes) - 1)]
        chunk, tokens, k = tokens[:size], tokens[size:], k + 1
        wav, state = detokenizer.decode_chunk(chunk, state, not tokens, generator())
        samples += len(wav)
        if not tokens:
            break
    assert samples == number * OUTPUT_SAMPLES_PER_TOKEN


def test_whole_utterance_equals_its_chunks(detokenizer: Detokenizer):
    whole = detokenizer.decode(codes(20), generator=generator())
    state, noise, wavs = detokenizer.init_state(), generator(), []
    for chunk, is_final in FAST.chunks(codes(20)):
        wav, state = detokenizer.decode_chunk(chunk, state, is_final, noise)
        wavs.append(wav)
    assert len(wavs) > 2
    assert torch.equal(whole, torch.cat(wavs))


def test_final_call_may_come_without_tokens(detokenizer: Detokenizer):
    plan, state = codes(9), detokenizer.init_state()
    first, state = detokenizer.decode_chunk(plan, state, False, generator())
    last, _ = detokenizer.decode_chunk([], state, True, generator())
    assert len(first) + len(last) == 9 * OUTPUT_SAMPLES_PER_TOKEN


def test_streams_are_independent_and_states_can_be_restored(detokenizer: Detokenizer):
    alone = [detokenizer.decode(codes(13, seed), generator=generator(seed)) for seed in (1, 2)]
    states, noise, wavs = [detokenizer.init_state()] * 2, [generator(1), generator(2)], [[], []]
    plans = [list(FAST.chunks(codes(13, seed))) for seed in (1, 2)]
    for step in range(2):
        for stream in (0, 1):
            chunk, is_final = plans[stream][step]
            before, drawn = states[stream], noise[stream].get_state()
            wav, states[stream] = detokenizer.decode_chunk(chunk, before, is_final, noise[stream])
            noise[stream].set_state(drawn)
            again, _ = detokenizer.decode_chunk(chunk, before, is_final, noise[stream])
            assert torch.equal(wav, again)
            wavs[stream].append(wav)
    for stream in (0, 1):
        torch.testing.assert_close(torch.cat(wavs[stream]), alone[stream])


def test_streams_side_by_side_give_what_each_gives_alone(detokenizer: Detokenizer):
    """Rows of unequal length, context and voice, one without enough tokens, one that ends without any."""
    d = with_plan(detokenizer, replace(FAST, guidance_scale=2.0))
    mel = -4 + 2 * torch.randn(40, d.vocoder_config.num_mels, generator=generator())
    starts = [d.prefill(codes(10), mel=mel), d.init_state(), d.init_state(), d.init_state()]
    _, starts[1] = d.decode_chunk(codes(9, 7), starts[1], False, generator(7))
    _, starts[3] = d.decode_chunk(codes(2, 8), starts[3], False, generator(8))
    rows = [(codes(6, 1), False), (codes(11, 2), True), (codes(2, 3), False), ([], True)]

    calls = [Call(tokens, starts[n], final, generator(n)) for n, (tokens, final) in enumerate(rows)]
    together = d.decode_chunks(calls)
    for n, ((tokens, final), (wav, state)) in enumerate(zip(rows, together, strict=True)):
        alone, after = d.decode_chunk(tokens, starts[n], final, generator(n))
        assert len(wav) > 0 or n == 2
        torch.testing.assert_close(wav, alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(state.window, after.window, atol=1e-4, rtol=1e-4)
        assert (state.tokens, state.noise.shape) == (after.tokens, after.noise.shape)


def test_utterances_side_by_side(detokenizer: Detokenizer):
    utterances = [codes(13, 1), [], codes(30, 2), codes(4, 3)]
    wavs = detokenizer.decode_all(utterances, [generator(n) for n in range(4)])
    for n, (tokens, wav) in enumerate(zip(utterances, wavs, strict=True)):
        assert len(wav) == len(tokens) * OUTPUT_SAMPLES_PER_TOKEN
        torch.testing.assert_close(wav, detokenizer.decode(tokens, generator=generator(n)), atol=1e-5, rtol=0)


def test_joined_sound_equals_one_rendering(detokenizer: Detokenizer):
    """With enough frames on both sides the vocoder cannot tell where the chunks were cut."""
    d = with_plan(detokenizer, replace(FAST, vocoder_context_frames=48))
    mel = -4 + 2 * torch.randn(160, d.vocoder_config.num_mels, generator=generator())
    state, wavs = d.init_state(), []
    with torch.inference_mode():
        for start, end in [(0, 30), (30, 32), (32, 90), (90, 160)]:
            wav, state = d._join(mel[start:end], mel[end : end + 60], state, end == 160)
            wavs.append(wav)
        torch.testing.assert_close(torch.cat(wavs), d._render(mel), atol=1e-4, rtol=0)


def test_only_the_crossfade_is_held_back(detokenizer: Detokenizer):
    wav, _ = detokenizer.decode_chunk(codes(10), detokenizer.init_state(), False, generator())
    ready_frames = (10 - FAST.look_ahead_tokens) * 4 - FAST.crossfade_frames
    assert len(wav) == ready_frames * OUTPUT_SAMPLES_PER_MEL_FRAME


def test_prompt_changes_the_voice_and_outlives_the_window(detokenizer: Detokenizer):
    d = with_plan(detokenizer, replace(FAST, max_kv_frames=60))
    mel = -4 + 2 * torch.randn(40, d.vocoder_config.num_mels, generator=generator())
    state = d.prefill(codes(10, seed=5), mel=mel)
    wav, after = d.decode_chunk(codes(40), state, False, generator())
    assert after.prompt is state.prompt
    assert d._context(after).shape[-2] == 60
    assert torch.equal(d._context(after)[..., :40, :], state.prompt)
    without, _ = d.decode_chunk(codes(40), d.init_state(), False, generator())
    assert (wav - without).abs().max() > 1e-4
    _, fresh = d.decode_chunk([], after, True, generator())
    assert fresh.prompt is state.prompt
    assert fresh.window.shape[-2] == 0


def test_two_thirds_of_the_context_hold_the_end_of_a_long_prompt(detokenizer: Detokenizer):
    d = with_plan(detokenizer, replace(FAST, max_kv_frames=60))
    mel = -4 + 2 * torch.randn(100, d.vocoder_config.num_mels, generator=generator())
    whole, end = d.prefill(codes(25), mel=mel).prompt, d.prefill(codes(25)[-10:], mel=mel[-40:]).prompt
    assert whole.shape[-2] == 40
    assert torch.equal(whole, end)


def test_prompt_from_a_recording_is_fitted_to_its_tokens(detokenizer: Detokenizer):
    wav = 0.1 * torch.randn(3 * OUTPUT_SAMPLES_PER_TOKEN - 700, generator=generator())
    assert detokenizer.prefill(codes(3), wav).prompt.shape[-2] == 12
    assert detokenizer.prefill(codes(2), wav).prompt.shape[-2] == 8
    with pytest.raises(ValueError, match="recording"):
        detokenizer.prefill(codes(3))


def test_guidance_leads_from_the_unguided_mel_past_the_guided_one(detokenizer: Detokenizer):
    """One Euler step is linear in the velocity, and the null token is what guidance leads away from."""

    def mel(scale: float, tokens: list[int]) -> Tensor:
        d = with_plan(detokenizer, replace(FAST, guidance_scale=scale, ode_steps=2))
        noise = torch.randn(24, d.flow_config.dit.num_mel_bins, generator=generator())
        with torch.inference_mode():
            return d._denoise([Call(tokens, d.init_state(), True, noise=noise)])[0]

    guided, unguided = mel(1.0, codes(6)), mel(1.0, [detokenizer.dit.null_token] * 6)
    assert (guided - unguided).abs().max() > 0.1
    for scale in (1.0 + 1e-6, 0.0, 3.0):
        expected = unguided + scale * (guided - unguided)
        torch.testing.assert_close(mel(scale, codes(6)), expected, atol=1e-4, rtol=1e-4)


def test_long_streams_keep_the_newest_frames_of_the_window(detokenizer: Detokenizer):
    """A smaller window is the end of a larger one as long as both still saw the same past."""
    chunks = [codes(8, seed) for seed in range(4)]

    def window(max_kv_frames: int) -> list[Tensor]:
        d = with_plan(detokenizer, replace(FAST, max_kv_frames=max_kv_frames, ode_steps=2))
        state, windows = d.init_state(), []
        for seed, chunk in enumerate(chunks):
            _, state = d.decode_chunk(chunk, state, False, generator(seed))
            windows.append(state.window)
        return windows

    large, small = window(900), window(24)
    assert [frames.shape[-2] for frames in large] == [20, 52, 84, 116]
    assert [frames.shape[-2] for frames in small] == [20, 24, 24, 24]
    for call in (0, 1):
        torch.testing.assert_close(small[call], large[call][..., -24:, :])
    assert (small[2] - large[2][..., -24:, :]).abs().max() > 1e-4  # by now the smaller one has forgotten


def test_noise_needs_a_source(detokenizer: Detokenizer):
    with pytest.raises(ValueError, match="Generator"):
        detokenizer.decode([1, 2, 3])
