"""The engine: who joins when, what it costs in memory, who fails alone, and what is remembered."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kimi_audio.core.sequence import Sequence, SequenceBuilder, concatenate
from kimi_audio.core.tokens import SpecialIds, special_token_names
from kimi_audio.lm.cache import BLOCK_TOKENS
from kimi_audio.lm.engine import Engine, Request
from kimi_audio.lm.generate import generate
from kimi_audio.lm.hotwords import Hotwords
from kimi_audio.lm.prefix import fingerprints
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.lm.sampling import SamplingOptions

SPECIAL = SpecialIds.lookup({name: 45 + i for i, name in enumerate(special_token_names())})  # ids 45..79
BLOCK_BYTES = BLOCK_TOKENS * 2 * 2 * 8 * 4  # of one layer of the tiny model


def prompt(size: int, seed: int = 0, *, heard: bool = True) -> Sequence:
    draw = torch.Generator().manual_seed(1000 * size + seed)
    codes = torch.randint(80, 120, (size,), generator=draw).tolist()
    features = torch.randn(size, 8, generator=draw) if heard else None
    return SequenceBuilder(SPECIAL.blank).add(codes, features=features).add(text=[1, 2, seed]).build()


def options(output_type: str = "text", temperature: float = 0.0, limit: int = 12) -> GenerationOptions:
    sampling = SamplingOptions(temperature=temperature, top_k=8, repetition_penalty=1.2, repetition_window=5)
    return GenerationOptions(output_type, text=sampling, audio=sampling, max_new_tokens=limit)


@dataclass
class Asked:
    """One request, and the step before which it comes."""

    prompt: Sequence
    options: GenerationOptions
    seed: int
    arrives: int = 0

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def alone(self, model):
        return generate(model, [self.prompt], SPECIAL, self.options, generators=[self.generator()])[0]


def run(engine: Engine, asked: list[Asked]) -> list[Request]:
    """Let requests join at their steps; check that each tells its own events, and that nothing is left behind."""
    requests: dict[int, Request] = {}
    events, step = [], 0
    while len(requests) < len(asked) or not engine.is_idle:
        for place, one in enumerate(asked):
            if one.arrives == step:
                requests[place] = engine.prepare(one.prompt, one.options, one.generator())
                engine.admit(requests[place])
        news = engine.step()
        searching = {request.number for place, request in requests.items() if asked[place].options.beams > 1}
        one_by_one = [event.row for event in news if event.row not in searching]
        assert len(set(one_by_one)) == len(one_by_one)
        events += news
        step += 1
    for request in requests.values():
        own = [event for event in events if event.row == request.number]
        assert [event.is_last for event in own] == [False] * (len(own) - 1) + [True]
        assert [e.code for e in own if e.code is not None] == request.reply().codes
    assert engine.num_cache_bytes == 0
    return [requests[place] for place in range(len(asked))]


def replies(engine: Engine, asked: list[Asked]):
    return [request.reply() for request in run(engine, asked)]


ANYTHING = st.lists(
    st.builds(
        Asked,
        st.builds(prompt, st.integers(1, 40), st.integers(0, 9), heard=st.booleans()),
        st.one_of(
            st.builds(options, st.sampled_from(["text", "both"]), st.sampled_from([0.0, 1.0]), st.integers(1, 20)),
            st.builds(
                GenerationOptions,
                st.sampled_from(["text", "both"]),
                beams=st.just(2),
                max_new_tokens=st.integers(1, 20),
            ),
        ),
        st.integers(0, 99),
        st.integers(0, 12),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate])
@given(asked=ANYTHING, chunk_tokens=st.sampled_from([1, 3, 16, 512]), blocks=st.sampled_from([None, 10, 14]))
def test_every_request_gives_what_it_gives_alone(tiny_lm, asked, chunk_tokens, blocks):
    cache_bytes = None if blocks is None else blocks * BLOCK_BYTES
    engine = Engine(tiny_lm, SPECIAL, chunk_tokens=chunk_tokens, cache_bytes=cache_bytes, prefix_bytes=2**20)
    assert replies(engine, asked) == [one.alone(tiny_lm) for one in asked]


def test_a_long_prompt_does_not_stall_the_others(tiny_lm):
    engine = Engine(tiny_lm, SPECIAL, chunk_tokens=10)
    talking, long, short = (engine.prepare(prompt(size), options(limit=40)) for size in (2, 100, 3))
    engine.admit(talking)
    assert [event.row for event in engine.step()] == [talking.number]
    engine.admit(long)
    engine.admit(short)
    told = [[event.row for event in engine.step()] for _ in range(14)]
    assert all(talking.number in rows for rows in told)
    assert short.number in told[1]  # it shares the chunks with the long one
    assert long.number not in told[9]
    assert long.number in told[13]


def test_first_come_first_served(tiny_lm):
    """A request that does not fit waits, and those behind it wait as well, though they would fit."""
    engine = Engine(tiny_lm, SPECIAL, cache_bytes=7 * BLOCK_BYTES)
    first = engine.prepare(prompt(3), options(limit=4))  # three blocks: text alone uses three layers
    spoken = engine.prepare(prompt(3), options("both", limit=4))  # five
    third = engine.prepare(prompt(4), options(limit=4))
    for request in (first, spoken, third):
        engine.admit(request)
    told = []
    while not engine.is_idle:
        told.append([event.row for event in engine.step()])
        assert engine.num_cache_bytes <= 7 * BLOCK_BYTES
    assert told[0] == [first.number]
    assert max(i for i, rows in enumerate(told) if spoken.number in rows) < min(
        i for i, rows in enumerate(told) if third.number in rows
    )


def test_who_came_last_gives_way_and_comes_back(tiny_lm):
    """Two replies grow into a second block each, and there are but three: the younger one is computed again."""
    model_blocks = 3 * tiny_lm.config.num_layers
    long = [Asked(prompt(BLOCK_TOKENS - 20, seed), options(limit=40), seed) for seed in (0, 1)]
    model = tiny_lm_with_context(tiny_lm, 512)
    engine = Engine(model, SPECIAL, cache_bytes=model_blocks * BLOCK_BYTES)
    requests = [engine.prepare(one.prompt, one.options, one.generator()) for one in long]
    for request in requests:
        engine.admit(request)
    waits = 0
    while not engine.is_idle:
        rows = {event.row for event in engine.step()}
        waits += rows == {requests[0].number}
        assert engine.num_cache_bytes <= engine.cache_bytes
    assert waits > 5
    assert [request.reply() for request in requests] == [one.alone(model) for one in long]


def tiny_lm_with_context(model, max_positions):
    from kimi_audio.lm.model import AudioLM

    larger = AudioLM(replace(model.config, max_positions=max_positions))
    larger.load_state_dict(model.state_dict())
    return larger.eval()


def test_a_reply_ends_where_the_memory_ends(tiny_lm):
    model = tiny_lm_with_context(tiny_lm, 512)
    engine = Engine(model, SPECIAL, cache_bytes=3 * BLOCK_BYTES)
    endless = replace(options(limit=400), loop_guard=None)
    (request,) = run(engine, [Asked(prompt(BLOCK_TOKENS - 10), endless, 0)])
    assert request.reply().finish_reason in ("length", "stop")
    assert request.num_known <= BLOCK_TOKENS
    with pytest.raises(ValueError, match="memory for one request ends at 256 tokens"):
        engine.prepare(prompt(BLOCK_TOKENS))
    with pytest.raises(ValueError, match="memory for one request ends at 0 tokens"):
        engine.prepare(prompt(3), options("both"))


def test_what_cannot_be_answered_is_refused_at_once(tiny_lm):
    engine = Engine(tiny_lm, SPECIAL)
    with pytest.raises(ValueError, match="256 tokens, which leaves no room"):
        engine.prepare(prompt(253))
    with pytest.raises(ValueError, match="empty"):
        engine.prepare(SequenceBuilder(SPECIAL.blank).build())
    for rows in (slice(1, None), slice(0)):
        with pytest.raises(ValueError, match=r"4 positions that hear something, and [30] rows"):
            engine.prepare(replace(prompt(4), features=(prompt(4).features[0][rows],)))
    assert engine.is_idle


def test_cancellation_within_one_step(tiny_lm):
    engine = Engine(tiny_lm, SPECIAL, cache_bytes=6 * BLOCK_BYTES, prefix_bytes=2**20)
    kept, running, waiting = (engine.prepare(prompt(size), options(limit=9)) for size in (3, 4, 5))
    for request in (kept, running, waiting):
        engine.admit(request)
    engine.step()
    before = engine.num_cache_bytes
    engine.cancel(running)
    engine.cancel(waiting)
    assert engine.num_cache_bytes == before / 2
    events = engine.step()
    assert [(e.row, e.finish_reason) for e in events[:2]] == [(r.number, "cancelled") for r in (running, waiting)]
    engine.cancel(running)  # a second time
    while not engine.is_idle:
        assert {event.row for event in engine.step()} == {kept.number}
    assert kept.reply() == Asked(prompt(3), options(limit=9), 0).alone(tiny_lm)
    assert waiting.reply().text_ids == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: replace(p, features=(torch.full_like(p.features[0], torch.nan),)), "not finite"),
        (lambda p: replace(p, features=(p.features[0][:, :5],)), ""),
        (lambda p: replace(p, text_ids=torch.full_like(p.text_ids, 5000)), ""),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_who_fails_fails_alone(tiny_lm, spoil, message, temperature):
    """Bad features and ids, in the middle of a batch; the others do not notice, and nothing bad is remembered."""
    good = [Asked(prompt(size), options("both", temperature), size) for size in (3, 5)]
    engine = Engine(tiny_lm, SPECIAL, prefix_bytes=2**20)
    requests = [engine.prepare(one.prompt, one.options, one.generator()) for one in good]
    bad = engine.prepare(spoil(prompt(4)), options("both", temperature))
    for request in (requests[0], bad, requests[1]):
        engine.admit(request)
    events = []
    while not engine.is_idle:
        events += engine.step()
    (failure,) = (event for event in events if event.row == bad.number)
    assert message in str(failure.error)
    assert failure.is_last
    assert [request.reply() for request in requests] == [one.alone(tiny_lm) for one in good]
    assert engine.num_cache_bytes == 0
    assert len(engine.prefixes) == 2


@pytest.mark.parametrize(
    "hotwords",
    [
        Hotwords(()),
        Hotwords(((),)),
        Hotwords(((1, 5000),)),
        Hotwords(((1,),), openings=((-1,),)),
        Hotwords(((1,),), bonus=float("nan")),
    ],
)
def test_hotwords_that_no_step_could_favour_are_refused_at_once(tiny_lm, hotwords):
    with pytest.raises(ValueError, match=r"hotwords? (need|must)"):
        Engine(tiny_lm, SPECIAL).prepare(prompt(3), replace(options(), hotwords=hotwords))


def test_a_generator_of_another_device_is_refused_at_once(tiny_lm):
    with pytest.raises(ValueError, match="the generator is on meta, and the model on cpu"):
        Engine(tiny_lm, SPECIAL).prepare(prompt(3), options(), SimpleNamespace(device=torch.device("meta")))


# ---------------------------------------------------------------------------------------------------------------------
# What is remembered


class Counting:
    """A model that counts the positions it computes."""

    def __init__(self, model):
        self.model, self.config, self.device, self.dtype = model, model.config, model.device, model.dtype
        self.computed = 0

    def __call__(self, inputs, segments):
        self.computed += inputs.positions.numel()
        return self.model(inputs, segments)


def next_turn(history: Sequence, reply, seed: int) -> Sequence:
    """The conversation with the reply as it was fed, and another question."""
    fed = max(len(reply.sampled_text_ids), len(reply.sampled_audio_ids) + 6)
    text = [*reply.sampled_text_ids, SPECIAL.text_end][:fed]
    audio = [SPECIAL.blank] * 6 + reply.sampled_audio_ids if reply.sampled_audio_ids else []
    said = SequenceBuilder(SPECIAL.blank).add(audio, text).build()
    return concatenate([history, said, prompt(7, seed)])


@pytest.mark.parametrize("output_type", ["text", "both"])
def test_a_later_turn_computes_what_is_new(tiny_lm, output_type):
    model = Counting(tiny_lm)
    remembering, plain = Engine(model, SPECIAL, prefix_bytes=2**22), Engine(tiny_lm, SPECIAL)
    history, unseen = prompt(9), 12
    for turn in range(5):
        asked = [Asked(history, options(output_type, limit=15), turn)]
        model.computed = 0
        (reply,) = replies(remembering, asked)
        assert [reply] == replies(plain, asked)
        steps = max(len(reply.sampled_text_ids), len(reply.sampled_audio_ids) + 6 if output_type == "both" else 0)
        assert model.computed <= unseen + steps
        # Next: the question, the last ids, which were not fed, and those that the text layers have not seen.
        unseen = 10 + 2 + steps - len(reply.sampled_text_ids)
        history = next_turn(history, reply, turn)
    assert len(remembering.prefixes) == 1  # the last turn holds all before it


def test_other_sound_is_another_prefix(tiny_lm):
    """The same ids with other features, or without: only what is equal is taken."""
    one, codes = prompt(9), prompt(9, heard=False)
    other = replace(one, features=(one.features[0].clone(),))
    other.features[0][4, 3] += 1
    assert torch.equal(one.audio_ids, codes.audio_ids)
    rows = [fingerprints(p) for p in (one, other, codes)]
    assert (rows[0] != rows[1]).any(-1).nonzero().flatten().tolist() == [4]
    assert (rows[0] != rows[2]).any(-1).nonzero().flatten().tolist() == list(range(9))
    model = Counting(tiny_lm)
    for second, computed in ((one, 1), (other, 12 - 4), (codes, 12)):
        engine = Engine(model, SPECIAL, prefix_bytes=2**20)
        run(engine, [Asked(one, options(limit=1), 0)])
        model.computed = 0
        assert replies(engine, [Asked(second, options(limit=1), 0)]) == replies(
            Engine(tiny_lm, SPECIAL), [Asked(second, options(limit=1), 0)]
        )
        assert model.computed == computed


def test_text_alone_is_no_prefix_of_speech(tiny_lm):
    model = Counting(tiny_lm)
    engine = Engine(model, SPECIAL, prefix_bytes=2**20)
    spoken = Asked(prompt(9), options("both", limit=1), 0)
    run(engine, [Asked(prompt(9), options(limit=1), 0)])
    model.computed = 0
    assert replies(engine, [spoken]) == [spoken.alone(tiny_lm)]
    assert model.computed == 12
    run(engine, [Asked(prompt(9), options(limit=1), 0)])  # but speech is one of text
    assert model.computed == 13


def test_the_memory_of_prefixes_has_a_limit(tiny_lm):
    engine = Engine(tiny_lm, SPECIAL, prefix_bytes=6 * BLOCK_BYTES)  # two prefixes of text
    model = engine.model = Counting(tiny_lm)
    for seed in (0, 1, 0, 2):  # 1 was not used for longest when 2 comes
        run(engine, [Asked(prompt(5, seed), options(limit=1), 0)])
        assert engine.prefixes.num_bytes <= 6 * BLOCK_BYTES
    computed = []
    for seed in (0, 2, 1):
        model.computed = 0
        run(engine, [Asked(prompt(5, seed), options(limit=1), 0)])
        computed.append(model.computed)
    assert computed == [1, 1, 8]
    engine.prefixes.clear()
    assert engine.prefixes.num_bytes == 0


def test_what_is_not_to_be_kept_takes_no_room_from_earlier_turns(tiny_lm):
    engine = Engine(tiny_lm, SPECIAL, prefix_bytes=3 * BLOCK_BYTES)  # one prefix of text
    run(engine, [Asked(prompt(5, 0), options(limit=1), 0)])
    kept = engine.prefixes.num_bytes
    passing = [Asked(prompt(5, seed), replace(options(limit=2), is_kept=False), 0) for seed in (1, 2)]
    assert replies(engine, passing) == [one.alone(tiny_lm) for one in passing]
    assert engine.prefixes.num_bytes == kept
    model = engine.model = Counting(tiny_lm)
    run(engine, [Asked(prompt(5, 0), options(limit=1), 0)])
    assert model.computed == 1


def test_hotwords_of_one_request_do_not_reach_another(tiny_lm):
    plain = options(limit=8)
    favoured = replace(plain, hotwords=Hotwords(((21, 22, 23),), bonus=1e4))
    asked = [Asked(prompt(9, seed), one, seed) for seed, one in enumerate([plain, favoured, plain])]
    first, biased, last = replies(Engine(tiny_lm, SPECIAL), asked)
    assert [first, last] == [asked[place].alone(tiny_lm) for place in (0, 2)]
    assert biased == asked[1].alone(tiny_lm)
    assert set(biased.sampled_text_ids[:2]) <= {21, 22, 23}
    assert not set(first.sampled_text_ids + last.sampled_text_ids) & {21, 22, 23}
