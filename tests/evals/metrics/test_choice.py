import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.evals.metrics.choice import extract_choice, score_choices

OPTIONS = ("car horn", "dog", "car", "rain")
CASES = [
    ("B", 1),
    ("b", 1),
    ("(c)", 2),
    ("B. dog", 1),
    ("d) rain", 3),
    ("**D**", 3),
    ("Answer: D", 3),
    ("答案是B", 1),
    ("选B", 1),
    ("The answer is actually B.", 1),
    ("definitely C", 2),
    ("The correct answer is option (C), because A and B are silent.", 2),
    ("The answer is A. Wait, the answer is D.", 3),
    ("C. Because option A is wrong.", 2),
    ("I think that a dog barks.", 1),
    ("It is the car horn.", 0),
    ("A dog barks.", 1),
    ("The answer is a dog.", 1),
    ("The answer is A because it honks.", 0),
    (r"\boxed{B}", 1),
    ("Ｂ", 1),
    ("", None),
    ("I don't know.", None),
    ("Either A or B", None),
    ("a dog in the rain", None),
    ("The answer is E.", None),
    ("carnival", None),
]


@pytest.mark.parametrize(("reply", "expected"), CASES)
def test_extraction(reply, expected):
    assert extract_choice(reply, OPTIONS) == expected


def test_letters_beyond_d_and_chinese_options():
    scenes = [f"scene{number}" for number in range(15)]
    assert extract_choice("O", scenes) == 14
    assert extract_choice("I hear scene3", scenes) == 3
    assert extract_choice("听起来是下雨的声音", ["狗叫", "下雨"]) == 1


def test_unparsed_rows_are_counted_and_wrong():
    score = score_choices(["A", "no idea", None, "B"], [0, 1, 2, 2], [OPTIONS] * 4)
    assert score.chosen == (0, None, None, 1)
    assert score.correct == (True, False, False, False)
    assert (score.unparsed, score.missing, score.total) == (1, 1, 4)
    assert score.accuracy == 1 / 4
    # Two rows would be guessed, at 1 in 4 each.
    assert score.accuracy_with_chance == (1 + 2 / 4) / 4


def test_bad_questions_are_refused():
    with pytest.raises(ValueError, match="2 to 26 options"):
        extract_choice("A", ["one"])
    with pytest.raises(ValueError, match="option 4, but there are 4"):
        score_choices(["A"], [4], [OPTIONS])


@given(st.text(max_size=40), st.integers(2, 26))
def test_any_reply_gives_an_option_or_none(reply, count):
    choice = extract_choice(reply, [f"w{number}" for number in range(count)])
    assert choice is None or 0 <= choice < count


@given(st.integers(0, 25), st.sampled_from(["{}", "({})", "{}.", "Answer: {}", "The answer is {}.", "选{}", "**{}**"]))
def test_a_bare_letter_is_understood_in_every_dress(index, dress):
    assert extract_choice(dress.format("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index]), ["x"] * 26) == index
