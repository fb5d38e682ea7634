"""The step engine on scripted models: delay, stop rules, limits, loops, cancellation; and batches on a real one."""

import random
from dataclasses import replace

import pytest
import torch

from kimi_audio.core.sequence import Inputs, SequenceBuilder
from kimi_audio.core.tokens import SpecialIds, special_token_names
from kimi_audio.lm.cache import KVCache
from kimi_audio.lm.engine import Engine
from kimi_audio.lm.generate import generate
from kimi_audio.lm.model import LMOutput
from kimi_audio.lm.rules import GenerationOptions, LoopGuard
from kimi_audio.lm.sampling import SamplingOptions

SPECIAL = SpecialIds.lookup({name: 45 + i for i, name in enumerate(special_token_names())})  # ids 45..79
BLANK, END, TEXT_END = SPECIAL.blank, SPECIAL.message_end, SPECIAL.text_end
PROMPT = SequenceBuilder(BLANK).add(text=[1, 2, 3]).build()
BOTH = GenerationOptions(output_type="both")


class Scripted:
    """Wants given ids at every step of every row (the last one for ever) and records what it is fed."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, config, text, audio=None):
        self.config, self.text, self.audio = config, text, audio or [[BLANK]] * len(text)
        self.fed: list[list[tuple[int, int, int]]] = []
        self._rows: dict[KVCache, int] = {}  # requests come in the order of the scripts

    def __call__(self, inputs, segments):
        rows = segments.stretches
        fed = torch.stack((inputs.audio_ids, inputs.text_ids, inputs.positions), -1)[0].tolist()
        if all(segment.length == 1 for segment in rows):
            self.fed.append(fed)
        text = [self._scores(self.text, segment) for segment in rows if segment.text_scores]
        audio = [self._scores(self.audio, segment) for segment in rows if segment.audio_scores]
        return LMOutput(torch.stack(text) if text else None, torch.stack(audio) if audio else None)

    def _scores(self, scripts, segment):
        script = scripts[self._rows.setdefault(segment.cache, len(self._rows))]
        step = segment.start + segment.length - len(PROMPT)
        id_ = torch.tensor(script[min(step, len(script) - 1)])
        return torch.nn.functional.one_hot(id_, self.config.vocab_size).float()


@pytest.fixture(scope="module")
def config(tiny_lm):
    return tiny_lm.config


def reply_of(model, options=BOTH):
    return generate(model, [PROMPT], SPECIAL, options)[0]


def test_text_mode_ends_with_the_text(config):
    model = Scripted(config, [[5, 6, TEXT_END]])
    reply = reply_of(model, GenerationOptions())
    assert (reply.text_ids, reply.codes, reply.finish_reason) == ([5, 6], [], "stop")
    assert model.fed == [[[BLANK, 5, 3]], [[BLANK, 6, 4]]]


@pytest.mark.parametrize("end", [SPECIAL.message_end, SPECIAL.media_end])
def test_speech_is_delayed_and_ends_with_its_end_token(config, end):
    model = Scripted(config, [[5, TEXT_END, 7]], [[end] * 6 + [80, 81, end]])
    reply = reply_of(model)
    assert (reply.text_ids, reply.codes, reply.finish_reason) == ([5], [0, 1], "stop")
    assert [row[0][0] for row in model.fed] == [BLANK] * 6 + [80, 81]
    assert [row[0][1] for row in model.fed] == [5, TEXT_END] + [BLANK] * 6  # nothing after the end of the text


def test_speech_that_ends_first_ends_the_reply(config):
    reply = reply_of(Scripted(config, [[5, 6]], [[BLANK] * 6 + [80, END]]))
    assert reply.text_ids == [5] + [6] * 7
    assert reply.codes == [0]


def test_illegal_ids_are_fed_but_not_returned(config):
    model = Scripted(config, [[5, 90, BLANK, 6, TEXT_END]], [[0] * 6 + [80, 3, 81, END]])
    reply = reply_of(model)
    assert reply.text_ids == [5, 6]
    assert reply.codes == [0, 1]
    assert reply.sampled_text_ids == [5, 90, BLANK, 6]
    assert reply.sampled_audio_ids == [80, 3, 81, END]
    assert model.fed[1][0][1] == 90


def test_limits(config):
    for output_type in ("text", "both"):
        options = GenerationOptions(output_type=output_type, max_new_tokens=11, loop_guard=None)
        model = Scripted(config, [[5]], [[80]])
        reply = reply_of(model, options)
        assert len(reply.text_ids) == 11
        assert reply.finish_reason == "length"
        reply = reply_of(Scripted(config, [[5]], [[80]]), replace(options, max_new_tokens=None))
        assert len(reply.text_ids) == config.max_positions - len(PROMPT)  # the context's limit
    full = SequenceBuilder(BLANK).add(text=[1] * config.max_positions).build()
    with pytest.raises(ValueError, match="leaves no room"):
        generate(model, [full], SPECIAL)


def test_long_replies_lose_nothing(config):
    ids = random.Random(0).choices(range(45), k=5000)
    model = Scripted(replace(config, max_positions=8192), [[*ids, TEXT_END]])
    assert reply_of(model, GenerationOptions(max_new_tokens=6000)).text_ids == ids


def test_a_loop_is_noticed(config):
    guard = LoopGuard(text_tokens=12, audio_tokens=20, max_period=4)
    text = GenerationOptions(loop_guard=guard)
    reply = reply_of(Scripted(config, [[9, *[1, 2, 3] * 30]]), text)
    assert reply.finish_reason == "loop"
    assert len(reply.text_ids) == 13
    assert reply_of(Scripted(config, [[*[1, 2, 3] * 3, 4, TEXT_END]]), text).finish_reason == "stop"
    assert reply_of(Scripted(config, [[*[1, 2, 3, 4, 5] * 9, TEXT_END]]), text).finish_reason == "stop"
    both = GenerationOptions(output_type="both", loop_guard=guard)
    reply = reply_of(Scripted(config, [[5, TEXT_END]], [[BLANK] * 6 + [80]]), both)
    assert reply.finish_reason == "loop"
    assert len(reply.codes) == 20
    # The blanks behind a finished text are no loop.
    codes = random.Random(0).choices(range(80, 120), k=60)
    reply = reply_of(Scripted(config, [[5, TEXT_END]], [[BLANK] * 6 + [*codes, END]]), both)
    assert reply.finish_reason == "stop"


def events_of(model, prompts, options=None):
    """All events, step by step."""
    engine = Engine(model, SPECIAL)
    for prompt in prompts:
        engine.admit(engine.prepare(prompt, options))
    while not engine.is_idle:
        yield from engine.step()


def test_events_are_the_reply(config):
    script = ([[5, 6, TEXT_END]], [[BLANK] * 6 + [80, 81, END]])
    reply = reply_of(Scripted(config, *script))
    events = list(events_of(Scripted(config, *script), [PROMPT], BOTH))
    assert [e.text_id for e in events if e.text_id is not None] == reply.text_ids
    assert [e.code for e in events if e.code is not None] == reply.codes
    assert [e.finish_reason for e in events] == [None] * 8 + ["stop"]
    assert generate(Scripted(config, []), [], SPECIAL) == []


def test_finished_rows_leave(config):
    model = Scripted(config, [[5, TEXT_END], [6, 7, 8, 9, TEXT_END]])
    events = list(events_of(model, [PROMPT, PROMPT]))
    assert [e.row for e in events] == [0, 1, 0, 1, 1, 1, 1]
    assert [[position for *_, position in rows] for rows in model.fed] == [[3, 3], [4], [5], [6]]


def prompts():
    def heard(size):
        draw = torch.Generator().manual_seed(size)
        codes = torch.randint(80, 120, (size,), generator=draw).tolist()
        return SequenceBuilder(BLANK).add(codes, features=torch.randn(size, 8, generator=draw)).build()

    return [heard(3), PROMPT, heard(17), heard(8)]


@pytest.mark.parametrize("output_type", ["text", "both"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batched_equals_alone(tiny_lm, output_type, temperature):
    sampling = SamplingOptions(temperature=temperature, top_k=8, repetition_penalty=1.2, repetition_window=5)
    options = GenerationOptions(output_type=output_type, text=sampling, audio=sampling, max_new_tokens=40)

    def run(chosen, first_seed):
        random = [torch.Generator().manual_seed(first_seed + i) for i in range(len(chosen))]
        return generate(tiny_lm, chosen, SPECIAL, options, generators=random)

    batch = run(prompts(), 0)
    assert batch == [run([prompt], i)[0] for i, prompt in enumerate(prompts())]
    assert len({tuple(reply.sampled_text_ids) for reply in batch}) == 4  # the prompts matter


def test_steps_equal_recomputation(tiny_lm):
    options = GenerationOptions(output_type="both", max_new_tokens=30, loop_guard=None)
    prompt = prompts()[2]
    reply = generate(tiny_lm, [prompt], SPECIAL, options)[0]
    audio, text = prompt.audio_ids.tolist(), prompt.text_ids.tolist()
    continuous = torch.zeros(1, 80, dtype=torch.bool)
    continuous[0, : len(prompt)] = prompt.is_continuous
    for step in range(len(reply.sampled_text_ids)):
        with torch.no_grad():
            ids = torch.tensor([audio]), torch.tensor([text])
            mask, positions = continuous[:, : len(audio)], torch.arange(len(audio))[None]
            output = tiny_lm(Inputs(*ids, mask, prompt.features[0], positions))
        assert output.text_logits[0, -1].argmax() == reply.sampled_text_ids[step]
        audio_id = int(output.audio_logits[0, -1].argmax())
        if step >= 6:
            assert audio_id == reply.sampled_audio_ids[step - 6]
        audio.append(audio_id if step >= 6 else BLANK)
        text.append(reply.sampled_text_ids[step])


@pytest.mark.parametrize("row", ["text", "audio"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_not_finite_end_a_reply_with_an_error(config, row, temperature):
    class Broken(Scripted):
        def __call__(self, *arguments, **options):
            output = super().__call__(*arguments, **options)
            scores = output.text_logits if row == "text" else output.audio_logits
            if len(self.fed) == 8:
                scores[..., 3] = torch.nan
            return output

    model = Broken(config, [[5]], [[config.audio_offset]])
    sampling = SamplingOptions(temperature=temperature)
    options = GenerationOptions(output_type="both", text=sampling, audio=sampling, loop_guard=None)
    with pytest.raises(ValueError, match="the model's scores are not finite"):
        generate(model, [PROMPT], SPECIAL, options)
    assert len(model.fed) == 8


@pytest.mark.parametrize("wrong", [{"text": None}, {"audio": {"top_k": 5}}, {"hotwords": ["Anna"]}, {"loop_guard": 3}])
def test_options_of_another_kind_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        GenerationOptions(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"output_type": "audio"}, *({"max_new_tokens": value} for value in (0, 5.0, "5", True, float("nan")))]
)
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match=r"max_new_tokens must be a whole number|unknown output_type"):
        GenerationOptions(**wrong)
