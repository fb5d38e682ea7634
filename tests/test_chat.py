"""The prompt template on cases of the official code with the released ids, and the training layout of speech."""

import pytest
import torch

from kimi_audio.chat import ChatTemplate, Message, parse_messages
from kimi_audio.sequence import AudioTokens
from kimi_audio.tokens import SPECIAL_NAMES, SpecialIds, special_token_names

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


def test_predicted_codes_come_without_the_features_that_see_their_future():
    sample = TEMPLATE.training([user("audio", "a"), message("assistant", "audio", "b")])
    assert sample.is_continuous.sum() == 3
    assert sample.audio_ids[sample.audio_loss].tolist() == [152071, 152068, 151663]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"role": "user", "content": "x"}, "lacks message_type"),
        ({"role": "user", "message_type": "text", "content": "x", "loss": 1}, "unknown fields loss"),
        (message("tool", "text", "x"), "unknown role 'tool'"),
        (user("video", "x"), "unknown message_type 'video'"),
        (user("text", 3), "must be a string, not int"),
        (user("audio", None), "None is not an audio"),
        (user("audio-text", ["a", "x"]), "only an assistant"),
        (message("assistant", "audio-text", "a"), r"must be \[audio, transcript\]"),
        (message("assistant", "audio-text", ["a", 3]), "transcript"),
        (message("system", "audio", "a"), "system message"),
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
