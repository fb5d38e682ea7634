"""The chunk policy against simulated machines that make tokens and chunks in turns."""

from dataclasses import replace
from itertools import islice

import pytest

from kimi_audio.core.config import Settings
from kimi_audio.detokenizer.policy import TOKEN_S, ChunkPolicy, Costs
from kimi_audio.detokenizer.stream import ChunkPlan

POLICY = ChunkPlan().policy
FAST = Costs(step_s=0.001, call_s=0.01, call_token_s=0.001)
# Keeps up with chunks of 30 tokens (2.4 s of sound in 2.2), but cannot make a second chunk in time for the first.
HEAVY = Costs(step_s=0.02, call_s=0.5, call_token_s=0.026)
SLOW = Costs(step_s=0.05, call_s=0.5, call_token_s=0.06)


def simulate(policy: ChunkPolicy, machine: Costs, tokens: int) -> tuple[list[int], int]:
    """Stream so many tokens on a machine, with its clock. Return the sizes of the chunks, and the gaps of playback."""
    now_s = ends_s = 0.0  # the moment, and when playback will have played all that was made
    waiting, sizes, gaps = 0, [], 0
    for made in range(1, tokens + 1):
        now_s, waiting = now_s + machine.step_s, waiting + 1
        in_hand_s = max(0.0, ends_s - now_s) if sizes else None
        if made < tokens and not policy.decode_now(waiting, in_hand_s):
            continue
        now_s += machine.call_s + machine.call_token_s * (waiting + policy.look_ahead_tokens)
        gaps += bool(sizes) and now_s > ends_s
        ends_s = max(ends_s, now_s) + policy.heard_s(waiting, is_first=not sizes)
        sizes.append(waiting)
        waiting = 0
    return sizes, gaps


def heard_tokens(sizes: list[int]) -> list[int]:
    return [sizes[0] - POLICY.look_ahead_tokens, *sizes[1:]]


def test_settings_of_a_model_say_how_it_is_cut():
    assert ChunkPlan.of(Settings()) == ChunkPlan()  # that of the release
    plan = ChunkPlan.of(Settings(first_chunk_tokens=8, look_ahead_tokens=4, ode_steps=5, guidance_scale=2.0))
    assert next(len(tokens) for tokens, _ in plan.chunks([0] * 40)) == 8
    assert (plan.policy.look_ahead_tokens, plan.ode_steps, plan.guidance_scale) == (4, 5, 2.0)


@pytest.mark.parametrize("machine", [FAST, Costs()])
@pytest.mark.parametrize("tokens", [19, 60, 500])
def test_a_machine_that_keeps_up_has_no_gap(machine: Costs, tokens: int):
    sizes, gaps = simulate(replace(POLICY, costs=machine), machine, tokens)
    assert gaps == 0
    assert sum(sizes) == tokens
    assert sizes[0] == min(POLICY.first_tokens, tokens)


def test_a_machine_faster_than_estimated_has_no_gap():
    assert simulate(POLICY, FAST, 500)[1] == 0


def test_chunks_grow_while_playback_is_ahead():
    sizes, _ = simulate(POLICY, Costs(), 500)
    heard = heard_tokens(sizes[:-1])
    assert heard == sorted(heard)
    assert heard[0] < heard[1] < heard[-1] == POLICY.longest_tokens


def test_a_gap_that_cannot_be_avoided_is_followed_by_none():
    sizes, gaps = simulate(replace(POLICY, costs=HEAVY), HEAVY, 500)
    assert gaps == 1
    assert set(sizes[1:-1]) == {POLICY.longest_tokens}


def test_a_slow_machine_has_at_most_one_gap_for_each_of_the_longest_chunks():
    sizes, gaps = simulate(replace(POLICY, costs=SLOW), SLOW, 500)
    assert 0 < gaps <= sizes.count(POLICY.longest_tokens) + 1  # and one for the end
    assert gaps < 500 / POLICY.longest_tokens


def test_decisions_at_the_last_moment():
    policy = ChunkPolicy(
        first_tokens=5,
        longest_tokens=8,
        look_ahead_tokens=3,
        held_s=0.0,
        costs=Costs(step_s=0.1, call_s=0.0, call_token_s=0.1, reserve_s=0.0),
    )
    assert [policy.decode_now(n, None) for n in (4, 5)] == [False, True]
    assert not policy.decode_now(2, 0.75)  # one more: ready after 0.7 s
    assert policy.decode_now(2, 0.65)  # now: after 0.5 s
    assert not policy.decode_now(2, 0.45)  # too late: the longest chunk, then
    assert policy.decode_now(8, 0.0)
    assert not policy.decode_now(0, 0.35)


def test_sizes_are_those_of_a_machine_as_estimated():
    simulated, _ = simulate(POLICY, POLICY.costs, 500)
    assert list(islice(POLICY.sizes(), len(simulated) - 1)) == simulated[:-1]
    assert POLICY.heard_s(10, is_first=False) == pytest.approx(10 * TOKEN_S)


@pytest.mark.parametrize("machine", [FAST, POLICY.costs])
def test_cutting_as_estimated_leaves_no_gap_on_a_machine_that_is_no_slower(machine: Costs):
    now_s, ends_s = 0.0, None
    for size in islice(POLICY.sizes(), 20):
        # A chunk is only made when one token more is known: it may be the last.
        now_s += (size + (ends_s is None)) * machine.step_s
        now_s += machine.call_s + machine.call_token_s * (size + POLICY.look_ahead_tokens)
        assert ends_s is None or now_s <= ends_s
        ends_s = (now_s if ends_s is None else ends_s) + POLICY.heard_s(size, is_first=ends_s is None)


def play(policy: ChunkPolicy, slowness: float) -> tuple[int, bool]:
    """Return after how many chunks playback begins on a machine slower than estimated, and whether it stands still."""
    now_s = in_hand_s = 0.0
    begun_after, stood_still = 0, False
    for made, tokens in enumerate(islice(policy.sizes(), 12), 1):
        chunk_s = slowness * policy.chunk_s(tokens)
        now_s += chunk_s
        if begun_after:
            stood_still = stood_still or in_hand_s < chunk_s
            in_hand_s = max(0.0, in_hand_s - chunk_s)
        in_hand_s += policy.heard_s(tokens, is_first=made == 1)
        if not begun_after and not policy.foresees_gap(made, in_hand_s, now_s):
            begun_after = made
    return begun_after, stood_still


@pytest.mark.parametrize("policy", [POLICY, ChunkPlan(first_chunk_tokens=8, look_ahead_tokens=4).policy])
def test_a_machine_as_fast_as_estimated_plays_the_first_chunk_at_once(policy: ChunkPolicy):
    assert play(policy, 1.0) == (1, False)
    assert play(policy, 0.2) == (1, False)


@pytest.mark.parametrize("policy", [POLICY, ChunkPlan(first_chunk_tokens=8, look_ahead_tokens=4).policy])
@pytest.mark.parametrize("slowness", [1.5, 2.0, 2.5, 3.0])
def test_a_busy_machine_begins_later_and_has_no_gap(policy: ChunkPolicy, slowness: float):
    begun_after, stood_still = play(policy, slowness)
    assert begun_after > 1
    assert not stood_still


def test_a_machine_that_never_keeps_up_is_waited_for():
    assert play(POLICY, 10.0)[0] > 5
