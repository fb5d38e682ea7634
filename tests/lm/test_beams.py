"""Beams: the likeliest text that is found beside others, whoever else is served."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
import torch

from kimi_audio.core.sequence import Inputs, Sequence
from kimi_audio.lm import beams as search
from kimi_audio.lm.beams import MARGIN
from kimi_audio.lm.cache import BLOCK_TOKENS
from kimi_audio.lm.engine import Engine
from kimi_audio.lm.generate import generate
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.rules import GenerationOptions, ReplyState
from kimi_audio.lm.sampling import SamplingOptions
from tests.lm.test_engine import BLOCK_BYTES, SPECIAL, Asked, prompt, run, tiny_lm_with_context

LIMIT = 9


def options(beams: int, limit: int = LIMIT, output_type: Literal["text", "both"] = "text") -> GenerationOptions:
    greedy = SamplingOptions()
    return GenerationOptions(output_type, greedy, greedy, beams=beams, max_new_tokens=limit)


def asked(size: int, beams: int, arrives: int = 0, limit: int = LIMIT) -> Asked:
    return Asked(prompt(size), options(beams, limit), 0, arrives)


@pytest.fixture
def lm(tiny_lm):
    """A model that ends texts now and then; the tiny one by itself never does."""
    with torch.no_grad():
        before = tiny_lm.lm_head.weight[SPECIAL.text_end].clone()
        tiny_lm.lm_head.weight *= 8
        tiny_lm.lm_head.weight[SPECIAL.text_end] += tiny_lm.lm_head.weight[:40].mean(0) * 3
    yield tiny_lm
    with torch.no_grad():
        tiny_lm.lm_head.weight /= 8
        tiny_lm.lm_head.weight[SPECIAL.text_end] = before


def log_likelihoods(lm, given: Sequence, text: list[int]) -> torch.Tensor:
    """Return [V] of the id that follows a text, from a pass over everything."""
    blanks = torch.full((len(text),), SPECIAL.blank)
    inputs = Inputs(
        torch.cat((given.audio_ids, blanks))[None],
        torch.cat((given.text_ids, torch.tensor(text, dtype=torch.int64)))[None],
        torch.cat((given.is_continuous, torch.zeros(len(text), dtype=torch.bool)))[None],
        torch.cat(given.features),
        torch.arange(len(given) + len(text))[None],
    )
    with torch.inference_mode():
        return lm(inputs).text_logits[0, -1].log_softmax(-1)


def plain_search(lm, given: Sequence, beams: int, limit: int) -> list[int]:
    """Return the likeliest text of a search without any memory, with its end."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    whole: list[tuple[float, list[int]]] = []
    for length in range(1, limit + 1):
        found = []
        for score, text in live:
            scores = log_likelihoods(lm, given, text)
            found += [(score + float(scores[id_]), [*text, id_]) for id_ in scores.topk(2 * beams).indices.tolist()]
        found = sorted(found, reverse=True)[: 2 * beams]
        ended = [one for one in found if one[1][-1] == SPECIAL.text_end or length == limit]
        whole += [(score / math.sqrt(length), text) for score, text in ended]
        live = [one for one in found if one not in ended][:beams]
        live = [one for one in live if one[0] > live[0][0] - MARGIN]
        if not live or (whole and max(whole)[0] >= live[0][0] / math.sqrt(length)):
            break
    return max(whole)[1]


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("beams", [2, 4])
def test_the_text_is_that_of_a_search_without_memory(lm, size, beams):
    (reply,) = generate(lm, [prompt(size)], SPECIAL, options(beams))
    expected = plain_search(lm, prompt(size), beams, LIMIT)
    assert reply.sampled_text_ids == [id_ for id_ in expected if id_ != SPECIAL.text_end]
    assert reply.finish_reason == ("stop" if expected[-1] == SPECIAL.text_end else "length")


def test_beams_find_what_is_likelier_than_the_likeliest_ids(lm):
    def likelihood(size: int, beams: int) -> float:
        (reply,) = generate(lm, [prompt(size)], SPECIAL, options(beams))
        text = reply.sampled_text_ids + [SPECIAL.text_end] * (reply.finish_reason == "stop")
        scores = [float(log_likelihoods(lm, prompt(size), text[:n])[id_]) for n, id_ in enumerate(text)]
        return sum(scores) / math.sqrt(len(scores))

    gains = [likelihood(size, 4) - likelihood(size, 1) for size in range(1, 12)]
    assert min(gains) > -1e-4
    assert max(gains) > 0.05


def test_few_rows_go_on_where_there_is_no_doubt(lm, monkeypatch):
    def most_rows(margin: float) -> int:
        monkeypatch.setattr(search, "MARGIN", margin)
        engine, rows = Engine(lm, SPECIAL), []
        engine.admit(engine.prepare(prompt(5), options(4)))
        while not engine.is_idle:
            engine.step()
            rows.append(len(engine._running))
        return max(rows)

    assert most_rows(math.inf) == 4
    assert most_rows(1e-6) == 1


def test_one_beam_is_a_reply_as_any_other(lm):
    prompts = [prompt(size) for size in (3, 5)]
    assert generate(lm, prompts, SPECIAL, options(1)) == generate(
        lm, prompts, SPECIAL, GenerationOptions(max_new_tokens=LIMIT)
    )


def plain_speech(lm, given: Sequence, text: list[int], limit: int) -> list[int]:
    """Return the likeliest audio ids beside a text, each from a pass over everything."""
    delay = lm.config.delay_tokens
    audio: list[int] = []
    while len(audio) < limit and audio[-1:] not in ([SPECIAL.message_end], [SPECIAL.media_end]):
        said = (text + [SPECIAL.blank] * limit)[: len(audio)]
        inputs = Inputs(
            torch.cat((given.audio_ids, torch.tensor(audio, dtype=torch.int64)))[None],
            torch.cat((given.text_ids, torch.tensor(said, dtype=torch.int64)))[None],
            torch.cat((given.is_continuous, torch.zeros(len(audio), dtype=torch.bool)))[None],
            torch.cat(given.features),
            torch.arange(len(given) + len(audio))[None],
        )
        with torch.inference_mode():
            scores = lm(inputs).audio_logits[0, -1]
        audio.append(SPECIAL.blank if len(audio) < delay else int(scores.argmax()))
    return audio[delay:]


@pytest.mark.parametrize("delay_tokens", [0, 3, 6])
@pytest.mark.parametrize("size", [1, 4, 9])
@pytest.mark.parametrize("limit", [2, 20])
def test_a_spoken_reply_says_the_text_that_was_found(lm, size, delay_tokens, limit):
    delayed = AudioLM(replace(lm.config, delay_tokens=delay_tokens)).eval()
    delayed.load_state_dict(lm.state_dict())
    (found,) = generate(delayed, [prompt(size)], SPECIAL, options(4, limit))
    (reply,) = generate(delayed, [prompt(size)], SPECIAL, options(4, limit, "both"))
    assert reply.text_ids == found.text_ids
    text = found.sampled_text_ids + [SPECIAL.text_end] * (found.finish_reason == "stop")
    spoken = plain_speech(delayed, prompt(size), text, limit)
    assert reply.sampled_audio_ids == spoken


def test_what_was_computed_before_the_search_is_found_again(lm):
    """The next turn goes on from the prompt of a spoken reply, and of one in text."""
    engine = Engine(lm, SPECIAL, prefix_bytes=2**20)
    for output_type in ("text", "both"):
        first, again = (Asked(prompt(20), options(2, 20, output_type), 0) for _ in range(2))
        (one,) = run(engine, [first])
        (two,) = run(engine, [again])
        assert two.num_recalled == len(prompt(20)) - 1
        assert one.reply() == two.reply() == first.alone(lm)


@pytest.mark.parametrize("blocks", [None, 8, 12])
@pytest.mark.parametrize("chunk_tokens", [2, 512])
def test_it_is_the_same_alone_and_among_others(lm, blocks, chunk_tokens):
    """Beside replies of all kinds, with a prompt in pieces, and where memory is short."""
    everyone = [
        asked(7, 1, limit=30),
        asked(5, 4, arrives=1),
        asked(9, 2, arrives=2, limit=20),
        Asked(prompt(4), GenerationOptions("both", max_new_tokens=12), 0, 2),
        asked(11, 3, arrives=4),
        Asked(prompt(6), options(2, 20, "both"), 0, 5),
    ]
    cache_bytes = None if blocks is None else blocks * 2 * BLOCK_BYTES
    engine = Engine(lm, SPECIAL, chunk_tokens=chunk_tokens, cache_bytes=cache_bytes, prefix_bytes=2**20)
    replies = [request.reply() for request in run(engine, everyone)]
    assert replies == [one.alone(lm) for one in everyone]
    assert engine.is_idle


def test_beams_that_outgrow_the_memory_begin_again(tiny_lm):
    """The later ones give way while they are made, and then give what they give alone."""
    model = tiny_lm_with_context(tiny_lm, 512)
    both = [asked(BLOCK_TOKENS - size, 2, limit=30) for size in (10, 11)]
    engine = Engine(model, SPECIAL, cache_bytes=6 * model.config.num_layers * BLOCK_BYTES)
    requests = [engine.prepare(one.prompt, one.options) for one in both]
    for request in requests:
        engine.admit(request)
    lengths = []
    while not engine.is_idle:
        engine.step()
        lengths.append(requests[1].num_computed)
        assert engine.num_cache_bytes <= engine.cache_bytes
    assert [later < now for now, later in pairwise(lengths)].count(True) == 1
    assert [request.reply() for request in requests] == [one.alone(model) for one in both]


def test_cancelled_beams_leave_nothing(lm):
    engine = Engine(lm, SPECIAL)
    request = engine.prepare(prompt(5), options(3, 100))
    engine.admit(request)
    for _ in range(3):
        engine.step()
    assert engine.num_cache_bytes
    engine.cancel(request)
    (event,) = engine.step()
    assert event.finish_reason == "cancelled"
    assert engine.is_idle
    assert engine.num_cache_bytes == 0


def test_broken_scores_end_one_reply_alone(lm):
    bad = replace(prompt(4), features=(torch.full((4, 8), float("nan")),))
    engine = Engine(lm, SPECIAL)
    good, broken = engine.prepare(prompt(5), options(2)), engine.prepare(bad, options(2))
    for request in (broken, good):
        engine.admit(request)
    events = []
    while not engine.is_idle:
        events += engine.step()
    (failure,) = (event for event in events if event.row == broken.number)
    assert "not finite" in str(failure.error)
    assert good.reply() == asked(5, 2).alone(lm)


def test_the_text_is_told_at_its_end(lm):
    engine = Engine(lm, SPECIAL)
    request = engine.prepare(prompt(5), options(2))
    engine.admit(request)
    told = []
    while not engine.is_idle:
        told.append(engine.step())
    assert not any(told[:-1])
    assert [event.text_id for event in told[-1]] == [*request.reply().text_ids, None]
    assert [event.is_last for event in told[-1]] == [False] * (len(told[-1]) - 1) + [True]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beams": 0}, "beams"),
        ({"beams": 17}, "beams"),
        ({"beams": 2, "text": SamplingOptions(temperature=0.5)}, "temperature of 0"),
        ({"beams": 2, "text": SamplingOptions(repetition_penalty=1.1)}, "penalty"),
    ],
)
def test_what_beams_do_not_go_with_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        GenerationOptions(**values)


def test_a_state_that_parted_goes_its_own_way(tiny_lm):
    state = ReplyState(tiny_lm.config, SPECIAL, GenerationOptions(), 9)
    state.advance(3, None)
    other = state.fork()
    other.advance(4, None)
    state.advance(SPECIAL.text_end, None)
    assert (state.text_history, other.text_history) == ([3, SPECIAL.text_end], [3, 4])
    assert (state.finish_reason, other.finish_reason) == ("stop", None)


def test_a_text_that_is_drawn_is_not_looked_for():
    looked_for = GenerationOptions("both", beams=3, max_new_tokens=7)
    drawn = SamplingOptions(temperature=0.5)
    assert looked_for.with_text(drawn) == GenerationOptions("both", drawn, max_new_tokens=7)
    assert looked_for.with_text(SamplingOptions()).beams == 3
