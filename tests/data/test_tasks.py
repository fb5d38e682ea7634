"""The seven pre-training tasks, position by position, against table 3 of the technical report."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import AudioTokens, Sequence
from kimi_audio.data.tasks import TASKS, Item, Layout, Task, TaskSegment
from kimi_audio.tokenizer.text import train_bpe

BLANK, OFFSET, DELAY = 9, 100, 2
LAYOUT = Layout(BLANK, OFFSET, DELAY)

# (sequence of four segments with a star behind what is learned, share)
REPORT = {
    "text": ("t1* t2* t3* t4*", 7),
    "audio": ("a1^d* a2^d* a3^d* a4^d*", 1),
    "asr": ("a1 t1* a2 t2* a3 t3* a4 t4*", 1),
    "tts": ("t1 a1^d* t2 a2^d* t3 a3^d* t4 a4^d*", 1),
    "audio-to-semantic": ("a1 a2^d* a3 a4^d*", 1),
    "audio-to-text": ("a1 t2* a3 t4*", 1),
    "audio-to-semantic-and-text": ("a1 a2^d*/t2* a3 a4^d*/t4*", 2),
}


def segment(number: int, codes: int = 2, ids: int = 1) -> TaskSegment:
    """TaskSegment 3 has codes 30, 31, ..., features of value 3, and text ids 13, 13, ..."""
    tokens = AudioTokens(number * 10 + torch.arange(codes), torch.full((codes, 4), float(number)))
    return TaskSegment(tokens, (10 + number,) * ids)


SEGMENTS = [segment(1), segment(2, ids=2), segment(3, codes=3), segment(4, codes=1, ids=5)]


def columns(sequence: Sequence) -> list[str]:
    """Write every position as ``audio/text``: _ is a blank, + has features, * is learned."""
    assert sequence.audio_loss is not None
    assert sequence.text_loss is not None

    def cell(id_: int, is_learned: bool, is_continuous: bool = False) -> str:
        shown = "_" if id_ == BLANK else f"c{id_ - OFFSET}" if id_ >= OFFSET else f"t{id_ - 10}"
        return shown + "+" * is_continuous + "*" * is_learned

    audio = zip(sequence.audio_ids.tolist(), sequence.audio_loss.tolist(), sequence.is_continuous.tolist(), strict=True)
    text = zip(sequence.text_ids.tolist(), sequence.text_loss.tolist(), strict=True)
    return [cell(*a) + "/" + cell(*t) for a, t in zip(audio, text, strict=True)]


POSITIONS = {
    "text": "_/t1* _/t2* _/t2* _/t3* _/t4* _/t4* _/t4* _/t4* _/t4*",
    "audio": "c10*/_ c11*/_ c20*/_ c21*/_ c30*/_ c31*/_ c32*/_ c40*/_",
    "asr": """c10+/_ c11+/_ _/t1* c20+/_ c21+/_ _/t2* _/t2* c30+/_ c31+/_ c32+/_ _/t3*
              c40+/_ _/t4* _/t4* _/t4* _/t4* _/t4*""",
    "tts": """_/t1 c10*/_ c11*/_ _/t2 _/t2 c20*/_ c21*/_ _/t3 c30*/_ c31*/_ c32*/_
              _/t4 _/t4 _/t4 _/t4 _/t4 c40*/_""",
    "audio-to-semantic": "c10+/_ c11+/_ c20*/_ c21*/_ c30+/_ c31+/_ c32+/_ c40*/_",
    "audio-to-text": "c10+/_ c11+/_ _/t2* _/t2* c30+/_ c31+/_ c32+/_ _/t4* _/t4* _/t4* _/t4* _/t4*",
    # Two blanks of delay before the codes of segments 2 and 4; the text begins with the first of them.
    "audio-to-semantic-and-text": """c10+/_ c11+/_ _/t2* _/t2* c20*/_ c21*/_ c30+/_ c31+/_ c32+/_
                                     _/t4* _/t4* c40*/t4* _/t4* _/t4*""",
}


@pytest.mark.parametrize("name", REPORT)
def test_every_position_is_as_in_the_report(name: str):
    sequence = TASKS[name].build(SEGMENTS, LAYOUT)
    assert columns(sequence) == POSITIONS[name].split()


@pytest.mark.parametrize("name", REPORT)
def test_features_are_those_of_the_segments_that_are_heard_and_of_no_other(name: str):
    sequence = TASKS[name].build(SEGMENTS, LAYOUT)
    heard = [int(number) for number in re.findall(r"a(\d)(?!\^d)", REPORT[name][0])]
    assert [block.unique().tolist() for block in sequence.features] == [[number] for number in heard]
    for block, number in zip(sequence.features, heard, strict=True):
        assert len(block) == len(SEGMENTS[number - 1].audio.codes)  # pyright: ignore[reportOptionalMemberAccess]
    assert sum(map(len, sequence.features)) == int(sequence.is_continuous.sum())


def test_forms_and_shares_are_those_of_the_report():
    assert {name: (task.form, task.weight) for name, task in TASKS.items()} == REPORT
    assert [task.weight for task in TASKS.values()] == [7, 1, 1, 1, 1, 1, 2]
    assert all(name == task.name for name, task in TASKS.items())


@pytest.mark.parametrize("name", [name for name in REPORT if name.startswith("audio-to")])
def test_what_is_heard_before_an_answer_is_never_learned(name: str):
    for start in (0, 1):
        sequence = TASKS[name].build(SEGMENTS, LAYOUT, start=start)
        assert sequence.audio_loss is not None
        assert sequence.text_loss is not None
        assert sequence.is_continuous.any()
        assert not (sequence.is_continuous & (sequence.audio_loss | sequence.text_loss)).any()


def test_interleaving_may_begin_with_what_is_learned_and_end_with_what_is_heard():
    task = TASKS["audio-to-semantic"]
    begins = columns(task.build(SEGMENTS[:3], LAYOUT, start=1))
    assert " ".join(begins) == "c10*/_ c11*/_ c20+/_ c21+/_ c30*/_ c31*/_ c32*/_"
    assert columns(task.build(SEGMENTS[:3], LAYOUT))[-1] == "c32+/_"


def test_tasks_need_of_a_segment_only_what_they_write_of_it():
    codes_alone = [TaskSegment(AudioTokens(torch.tensor([1, 2])))]
    assert columns(TASKS["audio"].build(codes_alone, LAYOUT)) == ["c1*/_", "c2*/_"]
    assert columns(TASKS["text"].build([TaskSegment(text=(11,))], LAYOUT)) == ["_/t1*"]
    with pytest.raises(ValueError, match="task asr, segment 1 of 1: its audio is heard and has no acoustic features"):
        TASKS["asr"].build(codes_alone, LAYOUT)
    with pytest.raises(ValueError, match="task tts, segment 1 of 1: it has no text"):
        TASKS["tts"].build(codes_alone, LAYOUT)
    with pytest.raises(ValueError, match="task audio, segment 2 of 2: it has no audio"):
        TASKS["audio"].build([*codes_alone, TaskSegment(text=(11,))], LAYOUT)
    with pytest.raises(ValueError, match="has no audio"):
        TASKS["audio"].build([TaskSegment(AudioTokens(torch.zeros(0, dtype=torch.long)))], LAYOUT)


@pytest.mark.parametrize("name", [name for name in REPORT if name.startswith("audio-to")])
def test_a_document_without_anything_to_learn_is_refused(name: str):
    with pytest.raises(ValueError, match=f"task {name} learns nothing from 1 segment;"):
        TASKS[name].build(SEGMENTS[:1], LAYOUT)
    TASKS[name].build(SEGMENTS[:1], LAYOUT, start=1)
    with pytest.raises(ValueError, match="learns nothing from 0 segments"):
        TASKS["text"].build([], LAYOUT)


@given(
    st.sampled_from(list(TASKS.values())),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=5),
    st.integers(0, 7),
    st.integers(0, 1),
)
def test_lengths_are_known_before_anything_is_loaded(
    task: Task, sizes: list[tuple[int, int]], delay_tokens: int, start: int
):
    layout = Layout(BLANK, OFFSET, delay_tokens)
    segments = [segment(number, *size) for number, size in enumerate(sizes, 1)]
    assert len(task.build(segments, layout, start=start)) == task.positions(sizes, layout, start=start)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 7))
def test_speech_starts_behind_the_delay_and_text_at_once(codes: int, ids: int, delay_tokens: int):
    layout = Layout(BLANK, OFFSET, delay_tokens)
    sequence = TASKS["audio-to-semantic-and-text"].build([segment(1, codes=3), segment(2, codes, ids)], layout)
    item = columns(sequence)[3:]
    audio, text = ([column.split("/")[row] for column in item] for row in (0, 1))
    assert audio[:delay_tokens] == ["_"] * delay_tokens  # without loss
    assert audio[delay_tokens : delay_tokens + codes] == [f"c{20 + number}*" for number in range(codes)]
    assert text[:ids] == ["t2*"] * ids
    assert set(audio[delay_tokens + codes :] + text[ids:]) <= {"_"}
    assert len(item) == max(delay_tokens + codes, ids)


def test_the_layout_comes_from_the_model():
    special = train_bpe(["a text"], 260).special
    config = LMConfig.tiny(vocab_size=400, audio_offset=350, delay_tokens=5)
    assert Layout.of(config, special) == Layout(special.blank, 350, 5)


def test_items_say_what_is_learned():
    assert {item: item.is_learned for item in Item} == {
        Item.HEARD: False,
        Item.READ: False,
        Item.TEXT: True,
        Item.CODES: True,
        Item.SPEECH: True,
    }
