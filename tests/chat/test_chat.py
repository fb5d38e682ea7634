"""The prompt template on cases of the official code with the released ids, and the training layout of speech."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kimi_audio.chat import ChatTemplate, Message, parse_messages
from kimi_audio.core.sequence import AudioTokens, Inputs, Sequence
from kimi_audio.core.tokens import SPECIAL_NAMES, SpecialIds, special_token_names
from kimi_audio.lm.cache import Stretches
from kimi_audio.lm.generate import generate
from kimi_audio.lm.model import LMOutput
from kimi_audio.lm.rules import GenerationOptions

RELEASED = SpecialIds.lookup({name: 151643 + i for i, name in enumerate(special_token_names(421))})
B = 151666
AUDIO = {"a": [0, 1, 16383], "b": [7, 4]}
CODES_A = [152064, 152065, 168447]


class FakeTokenizer:
    special = RELEASED
    ids = {  # noqa: RUF012
        "你好，Kimi。": [108386, 3837, 42, 24836, 1773],
        "听到了什么？": [49187, 99495, 99245, 11319],
        "比较": [99792],
        "你好": [108386],
        "你好！": [108386, 6313],
        "请说。": [14880, 36587, 1773],
        "继续": [100640],
        "": [],
        "long": list(range(1, 12)),
    }

    def encode(self, text: str) -> list[int]:
        return list(self.ids[text])


def encode(name: str) -> AudioTokens:
    codes = torch.tensor(AUDIO[name])
    return AudioTokens(codes, torch.ones(len(codes), 4))


TEMPLATE = ChatTemplate(FakeTokenizer(), encode, audio_offset=152064, delay_tokens=6)


def message(role, message_type, content):
    return {"role": role, "message_type": message_type, "content": content}


def user(message_type, content):
    return message("user", message_type, content)


HEARD_A = [151670, 151661, *CODES_A, 151663]
GOLDEN = {
    "text": (
        [user("text", "你好，Kimi。")],
        "text",
        [151670, *[B] * 5, 151645, 151671],
        [B, 108386, 3837, 42, 24836, 1773, B, B],
        [],
    ),
    "audio, reply in text": (
        [user("audio", "a")],
        "text",
        [*HEARD_A, 151675, 151645, 151671],
        [B] * 9,
        [2, 3, 4],
    ),
    "audio, reply in both": (
        [user("audio", "a")],
        "both",
        [*HEARD_A, 151676, 151645, 151671],
        [B] * 9,
        [2, 3, 4],
    ),
    "audio then text": (
        [user("audio", "a"), user("text", "听到了什么？")],
        "both",
        [*HEARD_A, *[B] * 4, 151645, 151671],
        [*[B] * 6, 49187, 99495, 99245, 11319, B, B],
        [2, 3, 4],
    ),
    "text and two audios": (
        [user("text", "比较"), user("audio", "a"), user("audio", "b")],
        "text",
        [151670, B, *HEARD_A[1:], 151661, 152071, 152068, 151663, 151675, 151645, 151671],
        [B, 99792, *[B] * 12],
        [3, 4, 5, 8, 9],
    ),
    "text history": (
        [
            user("text", "你好"),
            message("assistant", "text", "你好！"),
            message("assistant", "text", "请说。"),
            user("text", "继续"),
        ],
        "text",
        [151670, B, 151645, 151671, *[B] * 7, 151645, 151670, B, 151645, 151671],
        [B, 108386, B, B, 108386, 6313, 151667, 14880, 36587, 1773, 151667, B, B, 100640, B, B],
        [],
    ),
    "speech history": (
        [user("audio", "a"), message("assistant", "audio-text", ["b", "你好！"]), user("text", "继续")],
        "both",
        [*HEARD_A, 151676, 151645, 151671, *[B] * 6, 152071, 152068, 151645, 151670, B, 151645, 151671],
        [*[B] * 9, 108386, 6313, *[B] * 8, 100640, B, B],
        [2, 3, 4],
    ),
    "nothing": ([], "text", [151671], [B], []),
    "empty text": ([user("text", "")], "text", [151670, 151645, 151671], [B] * 3, []),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_prompts(name):
    messages, output_type, audio_ids, text_ids, continuous = GOLDEN[name]
    prompt = TEMPLATE.prompt(messages, output_type)
    assert prompt.audio_ids.tolist() == audio_ids
    assert prompt.text_ids.tolist() == text_ids
    assert prompt.is_continuous.nonzero().flatten().tolist() == continuous
    assert sum(len(block) for block in prompt.features) == len(continuous)


def test_released_special_ids():
    assert (RELEASED.message_end, RELEASED.media_begin, RELEASED.media_end) == (151645, 151661, 151663)
    assert (RELEASED.blank, RELEASED.text_end, RELEASED.pad) == (151666, 151667, 152063)
    with pytest.raises(ValueError, match="lacks the special tokens"):
        SpecialIds.lookup(dict.fromkeys(list(SPECIAL_NAMES.values())[1:], 0))


def test_system_text_is_read_as_a_text_of_the_user():
    system = TEMPLATE.prompt([message("system", "text", "比较"), user("audio", "a")])
    plain = TEMPLATE.prompt([user("text", "比较"), user("audio", "a")])
    assert torch.equal(system.audio_ids, plain.audio_ids)
    assert torch.equal(system.text_ids, plain.text_ids)


def test_the_same_message_object_twice():
    again = Message("user", "audio", "a")
    prompt = TEMPLATE.prompt([again, again])
    assert prompt.audio_ids.tolist().count(151675) == 1  # one task token, after the last


def test_history_text_longer_than_its_speech_is_waited_for():
    prompt = TEMPLATE.prompt([user("text", "你好"), message("assistant", "audio-text", ["b", "long"])])
    audio, text = prompt.audio_ids.tolist(), prompt.text_ids.tolist()
    start = audio.index(151671) + 1
    assert text[start : start + 11] == list(range(1, 12))
    assert audio[start : start + 12] == [*[B] * 6, 152071, 152068, B, B, B, 151645]


def test_training_speech_is_laid_out_as_it_is_generated():
    sample = TEMPLATE.training([user("audio", "a"), message("assistant", "audio-text", ["b", "你好！"])])
    start = sample.audio_ids.tolist().index(151671) + 1
    assert sample.audio_ids[start:].tolist() == [*[B] * 6, 152071, 152068, 151645]
    assert sample.text_ids[start:].tolist() == [108386, 6313, 151667, *[B] * 6]
    assert sample.audio_ids[sample.audio_loss].tolist() == [152071, 152068, 151645]
    assert sample.text_ids[sample.text_loss].tolist() == [108386, 6313, 151667]
    assert 151676 in sample.audio_ids  # speaking was asked for


def test_training_waits_for_a_text_longer_than_its_speech():
    sample = TEMPLATE.training([user("text", "你好"), message("assistant", "audio-text", ["b", "long"])])
    assert sample.audio_ids[sample.audio_loss].tolist() == [152071, 152068, B, B, B, B, 151645]
    assert sample.text_ids[sample.text_loss].tolist() == [*range(1, 12), 151667]


def test_earlier_turns_are_trained_as_a_prompt_holds_them():
    history = [user("audio", "a"), message("assistant", "audio-text", ["b", "你好！"]), user("text", "继续")]
    prompt = TEMPLATE.prompt(history, "both")
    sample = TEMPLATE.training([*history, message("assistant", "text", "请说。")], "both")
    assert torch.equal(sample.audio_ids[: len(prompt)], prompt.audio_ids)
    assert torch.equal(sample.text_ids[: len(prompt)], prompt.text_ids)
    assert sample.audio_loss[: len(prompt)].sum() == 3
    assert sample.text_loss[: len(prompt)].sum() == 2


def test_speech_that_is_to_be_learned_needs_its_transcript():
    with pytest.raises(ValueError, match="message 1: the speech of the assistant lacks its transcript"):
        TEMPLATE.training([user("audio", "a"), message("assistant", "audio", "b")])


def test_what_the_assistant_says_is_never_continuous():
    for reply in (["a", "你好！"], [AudioTokens(torch.tensor([1, 2]), torch.ones(2, 4)), "你好！"]):
        sample = TEMPLATE.training([user("audio", "b"), message("assistant", "audio-text", reply)])
        assert sample.is_continuous.nonzero().flatten().tolist() == [2, 3]  # of the user's audio
        assert sum(len(block) for block in sample.features) == 2


def test_learned_speech_must_be_asked_for():
    messages = [user("audio", "a"), message("assistant", "audio-text", ["b", "你好！"])]
    with pytest.raises(ValueError, match="message 1: the assistant speaks, but the output_type asks for text"):
        TEMPLATE.training(messages, "text")
    assert not TEMPLATE.training([messages[0], {**messages[1], "loss": False}], "text").text_loss.any()


# ---------------------------------------------------------------------------------------------------------------------
# What is learned

TURNS = [
    user("text", "你好"),
    message("assistant", "text", "你好！"),
    user("audio", "a"),
    message("assistant", "text", "请说。"),
    message("assistant", "audio-text", ["b", "继续"]),
]
FIRST, SECOND, THIRD = [108386, 6313, 151667], [14880, 36587, 1773, 151667], [100640, 151667]


def learned(messages, template=TEMPLATE, **options) -> tuple[list[int], list[int]]:
    """Return the learned ids of the text row and of the audio row."""
    sample = template.training(messages, **options)
    return sample.text_ids[sample.text_loss].tolist(), sample.audio_ids[sample.audio_loss].tolist()


def test_all_turns_are_learned_or_the_last():
    speech = [152071, 152068, 151645]
    assert learned(TURNS) == ([*FIRST, *SECOND, *THIRD], speech)
    assert learned(TURNS, loss="last") == ([*SECOND, *THIRD], speech)  # both messages of the last turn
    assert learned([*TURNS, user("text", "继续")], loss="last")[0] == [*SECOND, THIRD[0]]
    assert learned([user("text", "你好")], loss="last") == ([], [])
    with pytest.raises(ValueError, match="unknown loss 'first'"):
        TEMPLATE.training(TURNS, loss="first")  # type: ignore[arg-type]


def test_the_choice_of_a_message_goes_first():
    turns = [{**turn, "loss": flag} for turn, flag in zip(TURNS, [None, True, None, False, None], strict=True)]
    assert learned(turns, loss="last")[0] == [*FIRST, *THIRD]
    turns[-1]["loss"] = False
    assert learned(turns) == (FIRST, [])


def test_unlearned_speech_is_history():
    history = [user("text", "你好"), {**message("assistant", "audio-text", ["b", "你好！"]), "loss": False}]
    prompt, sample = TEMPLATE.prompt(history, "both"), TEMPLATE.training(history)
    assert torch.equal(sample.audio_ids, prompt.audio_ids[:-1])
    assert torch.equal(sample.text_ids, prompt.text_ids[:-1])


def test_blanks_are_learned_on_request_only_where_generation_has_them():
    template = replace(TEMPLATE, blank_loss=True)
    turn = [user("text", "你好"), message("assistant", "audio-text", ["b", "你好！"])]
    text, audio = learned(turn, template)
    assert text == [108386, 6313, 151667, *[B] * 6]  # as long as the audio, its end included
    assert audio == [*[B] * 6, 152071, 152068, 151645]
    # In an earlier turn the first blank behind the text stands in the place of its end, so it is no target.
    text, audio = learned([*turn, user("text", "继续")], template)
    assert text == [108386, 6313]
    assert audio == [*[B] * 6, 152071, 152068, 151645]
    assert torch.equal(template.training(turn).text_ids, TEMPLATE.training(turn).text_ids)
    assert learned([user("audio", "a"), message("assistant", "text", "你好！")], template) == (FIRST, [])


# ---------------------------------------------------------------------------------------------------------------------
# Ready codes


def test_ready_codes_take_the_place_of_the_recording():
    reply = message("assistant", "audio-text", [None, "你好！"])
    expected = TEMPLATE.training([user("text", "你好"), message("assistant", "audio-text", ["b", "你好！"])])
    for ready in ({"codes": [7, 4]}, {"audio_tokens": [152071, 152068]}):  # from 0, or as the ids of the official files
        sample = TEMPLATE.training([user("text", "你好"), {**reply, **ready}])
        assert torch.equal(sample.audio_ids, expected.audio_ids)
    heard = TEMPLATE.prompt([{**user("audio", "a"), "codes": [5, 6, 9]}])
    assert heard.audio_ids[2:5].tolist() == [152069, 152070, 152073]
    assert len(heard.features[0]) == 3  # of the recording
    with pytest.raises(ValueError, match="2 codes come with 3 rows"):
        TEMPLATE.prompt([{**user("audio", "a"), "codes": [5, 6]}])
    with pytest.raises(ValueError, match="ids, which begin at 152064 in this model; give codes from 0 as codes"):
        TEMPLATE.prompt([{**user("audio", "a"), "audio_tokens": [152064, 5]}])


def test_codes_that_the_model_has_not():
    template = replace(TEMPLATE, num_codes=16384)
    assert len(template.prompt([user("audio", "a")])) == 9
    for ready in ({"codes": [16384]}, {"codes": [152064]}, {"audio_tokens": [152064, 152064 + 16384]}):
        with pytest.raises(ValueError, match=r"out of range: this model has 16384"):
            template.prompt([{**user("audio", "a"), **ready, "content": None}])
    with pytest.raises(ValueError, match="out of range"):
        template.prompt([user("audio", AudioTokens(torch.tensor([-1])))])


def test_only_codes_are_asked_for_what_the_assistant_says():
    template = replace(TEMPLATE, encode_speech=lambda name: AudioTokens(torch.tensor(AUDIO[name]) + 1))
    sample = template.training([user("audio", "b"), message("assistant", "audio-text", ["b", "你好！"])])
    codes = sample.audio_ids[sample.audio_ids >= 152064]
    assert codes.tolist() == [152071, 152068, 152072, 152069]


# ---------------------------------------------------------------------------------------------------------------------
# Training has at every position what generation feeds there


@dataclass
class Oracle:
    """A model that predicts what a training sequence learns, and nonsense wherever nothing is learned."""

    sample: Sequence
    config: Any = field(
        default_factory=lambda: SimpleNamespace(
            audio_offset=152064, delay_tokens=6, max_positions=8192, pad_id=152063, vocab_size=168448
        )
    )
    fed: dict[int, tuple[int, int]] = field(default_factory=dict)  # position -> audio id, text id
    device, dtype = torch.device("cpu"), torch.float32

    def __call__(self, inputs: Inputs, segments: Stretches) -> LMOutput:
        (segment,) = segments.segments
        rows = inputs.positions[0].tolist(), inputs.audio_ids[0].tolist(), inputs.text_ids[0].tolist()
        for position, *ids in zip(*rows, strict=True):
            self.fed[position] = (ids[0], ids[1])
        after = segment.start + segment.length
        text = self._scores(self.sample.text_ids, self.sample.text_loss, after)
        audio = self._scores(self.sample.audio_ids, self.sample.audio_loss, after)
        return LMOutput(text if segment.text_scores else None, audio if segment.audio_scores else None)

    def _scores(self, ids: Tensor, loss: Tensor | None, position: int) -> Tensor:
        assert loss is not None
        is_learned = position < len(ids) and bool(loss[position])
        nonsense = 152064 + 16000 + position % 100
        scores = torch.zeros(1, 168448)
        scores[..., int(ids[position]) if is_learned else nonsense] = 1
        return scores


HEARD_THEN_SPOKEN = [user("audio", "a"), message("assistant", "audio-text", ["b", "你好！"])]
REPLAYED = {
    "text": [user("audio", "a"), message("assistant", "text", "你好！")],
    "text history": [*TURNS[:3], message("assistant", "text", "请说。")],
    "speech": HEARD_THEN_SPOKEN,
    "long text": [user("text", "你好"), message("assistant", "audio-text", ["b", "long"])],
    "two audios": [user("audio", "a"), user("audio", "b"), message("assistant", "audio-text", ["a", "你好！"])],
    "speech after speech": [*HEARD_THEN_SPOKEN, user("audio", "b"), message("assistant", "audio-text", ["a", "继续"])],
}


@pytest.mark.parametrize("blank_loss", [False, True])
@pytest.mark.parametrize("name", REPLAYED)
def test_training_has_at_every_position_what_generation_feeds_there(name: str, blank_loss: bool):
    messages = REPLAYED[name]
    template = replace(TEMPLATE, blank_loss=blank_loss)
    sample = template.training(messages)
    output_type = "both" if messages[-1]["message_type"] == "audio-text" else "text"
    prompt = template.prompt(messages[:-1], output_type)
    heard = len(prompt)
    assert torch.equal(sample.audio_ids[:heard], prompt.audio_ids)
    assert torch.equal(sample.text_ids[:heard], prompt.text_ids)
    assert torch.equal(sample.is_continuous, torch.nn.functional.pad(prompt.is_continuous, (0, len(sample) - heard)))
    assert all(torch.equal(*pair) for pair in zip(sample.features, prompt.features, strict=True))

    oracle = Oracle(sample)
    options = GenerationOptions(output_type, max_new_tokens=30)  # type: ignore[arg-type]
    (reply,) = generate(oracle, [prompt], RELEASED, options)
    assert reply.finish_reason == "stop"
    fed = [oracle.fed[position] for position in range(len(oracle.fed))]
    # What is drawn last, the end, is not fed any more; in text mode the end of the message is not even drawn.
    assert len(fed) == len(sample) - (1 if output_type == "both" else 2)
    assert fed == list(zip(sample.audio_ids.tolist(), sample.text_ids.tolist(), strict=True))[: len(fed)]
    content = messages[-1]["content"]
    speech, text = content if output_type == "both" else (None, content)
    assert reply.text_ids == FakeTokenizer.ids[text]
    assert reply.codes == ([] if speech is None else AUDIO[speech])


def test_the_oracle_tells_another_layout():
    sample = TEMPLATE.training(HEARD_THEN_SPOKEN)
    early = replace(sample, audio_ids=sample.audio_ids.roll(-1), audio_loss=sample.audio_loss.roll(-1))
    oracle = Oracle(early)
    generate(
        oracle, [TEMPLATE.prompt(HEARD_THEN_SPOKEN[:1], "both")], RELEASED, GenerationOptions("both", max_new_tokens=9)
    )
    assert [oracle.fed[p][0] for p in range(9, 16)] != early.audio_ids[9:16].tolist()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"role": "user", "content": "x"}, "lacks message_type"),
        ({"role": "user", "message_type": "text", "content": "x", "mood": 1}, "unknown fields mood"),
        (message("tool", "text", "x"), "unknown role 'tool'"),
        (user("video", "x"), "unknown message_type 'video'"),
        (user("text", 3), "must be a string, not int"),
        (user("audio", None), "None is not an audio"),
        (user("audio-text", ["a", "x"]), "only an assistant"),
        (message("assistant", "audio-text", "a"), r"must be \[audio, transcript\]"),
        (message("assistant", "audio-text", ["a", 3]), "transcript"),
        (message("system", "audio", "a"), "system message"),
        ({**user("text", "x"), "loss": True}, "only a message of the assistant can be learned"),
        ({**message("assistant", "text", "x"), "loss": "yes"}, "loss must be true or false"),
        ({**user("text", "x"), "audio_tokens": [1]}, "a text message has no audio_tokens"),
        ({**user("audio", "x"), "audio_tokens": []}, "audio_tokens are empty"),
        ({**user("audio", "x"), "codes": []}, "codes are empty"),
        ({**user("audio", "x"), "codes": [1], "audio_tokens": [152065]}, "not both"),
        ({**user("audio", "x"), "audio_tokens": [1, -1]}, "a list of whole numbers from 0"),
        ({**user("audio", "x"), "audio_tokens": [1, 10**30]}, "a list of whole numbers from 0"),
        ({**user("audio", "x"), "audio_tokens": 3}, "a list of whole numbers from 0"),
        (message("assistant", "audio-text", [None, "x"]), "None is not an audio"),
        ("hello", "must be a dictionary"),
    ],
)
def test_wrong_messages_are_named(bad, reason):
    with pytest.raises(ValueError, match=f"message 1: .*{reason}"):
        parse_messages([user("text", "x"), bad])


def test_wrong_output_type_and_messages_type():
    with pytest.raises(ValueError, match="output_type"):
        TEMPLATE.prompt([], "audio")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="list of messages"):
        TEMPLATE.prompt(user("text", "x"))
