"""Files of other trainers: recognised, and made into conversations."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from kimi_audio.data.conversations import ConversationFile
from kimi_audio.data.documents import DocumentFile, holds_documents
from kimi_audio.data.foreign import convert_file
from tests.train.conversations import record

AUDIO = "<audio>"
SWIFT = {
    "messages": [{"role": "user", "content": f"{AUDIO}What is said?"}, {"role": "assistant", "content": "hello"}],
    "audios": ["0.wav"],
}
SHAREGPT = {
    "conversations": [{"from": "human", "value": f"{AUDIO}What is said?"}, {"from": "gpt", "value": "hello"}],
    "audios": ["0.wav"],
}
QUERY = {"query": f"{AUDIO}What is said?", "response": "hello", "audios": ["0.wav"]}
ALPACA = {"instruction": "What is said?", "input": "", "output": "hello", "audios": ["0.wav"]}
FOREIGN = {"swift": SWIFT, "sharegpt": SHAREGPT, "query": QUERY, "alpaca": ALPACA}
HEARD = [
    {"role": "user", "message_type": "audio", "content": "0.wav"},
    {"role": "user", "message_type": "text", "content": "What is said?"},
    {"role": "assistant", "message_type": "text", "content": "hello"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path / "0.wav", 300, 0.2)
    record(tmp_path / "1.wav", 400, 0.2)
    return tmp_path


def write(folder: Path, *samples: Any, as_list: bool = False) -> Path:
    file = folder / "foreign.json"
    file.write_text(json.dumps(samples, indent=2) if as_list else "".join(json.dumps(s) + "\n" for s in samples))
    return file


def converted(folder: Path, *samples: Any, **options: bool) -> list[dict[str, Any]]:
    out = folder / "conversations.jsonl"
    done = convert_file(write(folder, *samples, **options), out)
    assert (done.num_samples, done.problems) == (len(samples), ())
    assert len(list(ConversationFile(out))) == len(samples)  # and can be learned
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_named_with_the_way_over_and_converted(folder: Path, name: str, as_list: bool):
    file = write(folder, FOREIGN[name], FOREIGN[name], as_list=as_list)
    for use in (ConversationFile, DocumentFile, holds_documents):
        with pytest.raises(ValueError, match=r"kimi-audio prepare convert .*foreign\.json") as error:
            use(file)
        assert "\n" not in str(error.value)
    for line in converted(folder, FOREIGN[name], FOREIGN[name], as_list=as_list):
        assert line == {"task_type": "understanding", "conversation": HEARD}


def test_recordings_stand_where_they_are_heard_in_dialogues_of_any_length(folder: Path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"Compare {AUDIO} with {AUDIO}."},
        {"role": "assistant", "content": "They differ."},
        {"role": "user", "content": "How?"},
        {"role": "assistant", "content": "One is higher."},
    ]
    (line,) = converted(folder, {"messages": messages, "audios": ["0.wav", "1.wav"]})
    told = [(message["message_type"], message["content"]) for message in line["conversation"]]
    assert told[:6] == [
        ("text", "Be brief."),
        ("text", "Compare"),
        ("audio", "0.wav"),
        ("text", "with"),
        ("audio", "1.wav"),
        ("text", "."),
    ]
    assert len(told) == 9


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "audio"}, {"type": "text", "text": "What is said?"}],
        [{"type": "text", "text": f"{AUDIO}What is said?"}],
        [{"type": "text", "text": "What is said?"}],
        [{"type": "audio", "path": "0.wav"}, {"type": "text", "text": "What is said?"}],
    ],
)
def test_parts_take_the_recordings_beside_the_messages(folder: Path, parts: list[dict[str, str]]):
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "hello"}]
    (line,) = converted(folder, {"messages": messages, "audios": ["0.wav"]})
    assert line["conversation"] == HEARD


def test_null_is_absent(folder: Path):
    reply = {"role": "assistant", "content": "hello", "value": None}
    asked = {"role": "user", "content": None, "value": "What is said?"}
    heard, unheard = converted(
        folder,
        {"messages": [{"role": "user", "content": None}, reply], "audios": ["0.wav"]},
        {"messages": [asked, reply], "audios": None, "system": None},
    )
    assert heard["conversation"] == [HEARD[0], HEARD[2]]
    assert unheard["conversation"] == HEARD[1:]


def test_speech_of_the_assistant_has_its_transcript(folder: Path):
    messages = [{"role": "user", "content": AUDIO}, {"role": "assistant", "content": f"{AUDIO}hello"}]
    (line,) = converted(folder, {"messages": messages, "audios": ["0.wav", "1.wav"]})
    assert line["task_type"] == "speech2speech"
    assert line["conversation"][1] == {"role": "assistant", "message_type": "audio-text", "content": ["1.wav", "hello"]}


def test_sound_in_the_file_is_written_beside_the_new_one(folder: Path):
    sound = base64.b64encode((folder / "0.wav").read_bytes()).decode()
    parts = [
        {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": f"data:audio/x-wav;base64,{sound}"}},
        {"type": "text", "text": "What is said?"},
    ]
    sample = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "hello"}]}
    (line,) = converted(folder, sample)
    for number in (1, 2):
        name = line["conversation"][number - 1]["content"]
        assert name == f"conversations-000001-{number}.wav"
        assert (folder / name).read_bytes() == (folder / "0.wav").read_bytes()


def test_conversations_with_sound_in_their_lines_are_converted_too(folder: Path):
    sound = f"data:audio/wav;base64,{base64.b64encode((folder / '0.wav').read_bytes()).decode()}"
    spoken = {"role": "assistant", "message_type": "audio-text", "content": [sound, "hello"]}
    sample = {"conversation": [HEARD[0] | {"content": sound}, HEARD[0] | {"content": "1.wav"}, spoken], "id": 7}
    (line,) = converted(folder, sample)
    first, second, reply = (message["content"] for message in line["conversation"])
    assert (first, second, reply) == ("conversations-000001-1.wav", "1.wav", ["conversations-000001-2.wav", "hello"])
    assert line["id"] == 7
    assert (folder / first).read_bytes() == (folder / reply[0]).read_bytes() == (folder / "0.wav").read_bytes()


def test_half_a_character_does_not_end_the_conversion(folder: Path):
    done = convert_file(write(folder, SWIFT, QUERY | {"response": "half \ud83d"}), folder / "out.jsonl")
    assert done.num_converted + len(done.problems) == 2
    assert (folder / "out.jsonl").read_text("utf-8").count("hello") == 1


def test_paths_go_with_the_new_file(folder: Path):
    out = folder / "elsewhere" / "new.jsonl"
    out.parent.mkdir()
    convert_file(write(folder, SWIFT | {"audios": [str(folder / "0.wav")]}, SWIFT), out)
    absolute, relative = ConversationFile(out)
    assert absolute.messages[0].content == folder / "0.wav"
    assert relative.messages[0].content.resolve() == (folder / "0.wav").resolve()


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (SWIFT | {"audios": []}, "there are more <audio> than recordings"),
        (SWIFT | {"audios": ["0.wav", "1.wav"]}, "there are fewer <audio> than recordings"),
        (SWIFT | {"images": ["a.png"]}, "it has images"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "the role 'tool'"),
        ({"messages": [{"role": "user", "content": 3}]}, "must be a text or a list of parts"),
        ({"messages": ["x"]}, "must be a dictionary"),
        ({"a": 1}, "holds no messages that are known"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "has the role"),
        ({"messages": [{"role": "user", "content": None}]}, "must be a text or a list of parts"),
        (ALPACA | {"instruction": 5}, "instruction must be a text, not int"),
        (ALPACA | {"input": ["x"]}, "input must be a text, not list"),
        (QUERY | {"history": 3}, "history must be a list"),
        (QUERY | {"history": [1]}, "history must be a list"),
        (SWIFT | {"audios": 3}, "a recording must be a path, not int"),
        ({"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}, "of the kind"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "not in base 64"),
        ([1], "must be a dictionary"),
        (SWIFT | {"audios": ["s3://bucket/0.wav"]}, "is an address"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "of the kind 'image_url'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "?"}}]}]},
            "is not in base 64",
        ),
    ],
)
def test_what_cannot_be_converted_is_reported_and_the_rest_goes_on(folder: Path, sample: Any, reason: str):
    done = convert_file(write(folder, SWIFT, sample), folder / "out.jsonl")
    assert (done.num_samples, done.num_converted) == (2, 1)
    (problem,) = done.problems
    assert problem.line == 2
    assert reason in problem.reason
    with pytest.raises(ValueError, match="no sample that can be converted; sample 1: "):
        convert_file(write(folder, sample), folder / "none.jsonl")
    assert not (folder / "none.jsonl").exists()


def test_the_file_itself_is_not_overwritten(folder: Path):
    file = write(folder, SWIFT)
    with pytest.raises(ValueError, match="is the file that is to be converted"):
        convert_file(file, file)
