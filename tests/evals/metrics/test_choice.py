import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_audio.evals.metrics.choice import extract_choice, find_options, is_same_option

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
    ("The answer is not A.", None),
    ("The answer is not A, it is B.", 1),
    ("Not A, but C.", 2),
    ("It is not a dog.", None),
    ("It's not the dog but the rain", 3),
    ("A is wrong, B is wrong, so C", 2),
    ("The answer isn't A or B; it's D", 3),
    ("答案不是A，是B", 1),
    ("不选A，选C", 2),
    ("The answer is B, not A.", 1),
    ("I would not choose A. I choose B.", 1),
    ("Neither A nor B. C.", 2),
    ("B is not the answer; D is.", 3),
    ("Option A is incorrect.", None),
    ("I'm not sure, but B", 1),
    ("I can't hear well. B", 1),
    ("It could not possibly be C, so D", 3),
    ("I don't think it's A, so it is D.", 3),
    ("The answer is B, and A is too loud.", 1),
    ("B, a dog", 1),
]
ANIMALS = ["a dog", "a cat", "a bird", "a horse"]
SEVERAL = ["The answer is A or B", "the answer is a dog or a cat", "the answer is the dog or the cat", "Answer: A, B"]
SEVERAL += ["答案是A或B", "A, B", "The answer is (A) and (B).", "the answer is dog/cat"]
KEYS = ["C major", "D minor", "A minor", "E major"]
VERBATIM = [
    ("D minor", KEYS, 1),
    ("The key is D minor.", KEYS, 1),
    ("The answer is A minor.", KEYS, 2),
    ("C#", ["C", "C#", "D", "D#"], 1),
    ("C", ["C#", "C", "D", "D#"], 1),
    ("E♭", ["E", "E♭"], 1),
    ("The answer is C#", ["C", "C#", "D", "D#"], 1),
    ("B", ["D", "C", "B", "A"], 2),
    ("car_engine_starting", ["dog_bark", "car_engine_starting"], 1),
    ("Car engine starting.", ["dog_bark", "car_engine_starting"], 1),
    ("dog", ["dog", "cat", "dog"], 0),
    ("3.5", ["35", "3.5"], 1),
    ("-5", ["5", "-5"], 1),
    ("not happy", ["happy", "not happy"], 1),
    ("No.", ["yes", "no"], 1),
    ("5%", ["$5", "5%"], 1),
    ("A-", ["A", "A+", "A-"], 2),
    ("It costs 5", ["$5", "5%"], None),
    ("G minor", KEYS, None),
    *((reply, ANIMALS, None) for reply in SEVERAL),
    *((reply, ANIMALS, 1) for reply in ("cat", "The cat.", "The answer is cat", "not the dog or the bird, the cat")),
    ("dog", ["a dog", "a hot dog"], None),
]


@pytest.mark.parametrize(("reply", "expected"), CASES)
def test_extraction(reply, expected):
    assert extract_choice(reply, OPTIONS) == expected


def test_letters_beyond_d_and_chinese_options():
    scenes = [f"scene{number}" for number in range(15)]
    assert extract_choice("O", scenes) == 14
    assert extract_choice("I hear scene3", scenes) == 3
    assert extract_choice("听起来是下雨的声音", ["狗叫", "下雨"]) == 1


@pytest.mark.parametrize(("reply", "options", "expected"), VERBATIM)
def test_the_text_of_an_option_goes_before_letters(reply, options, expected):
    assert extract_choice(reply, options) == expected


@given(st.lists(st.text("ABC#_ abc+é狗.", min_size=1, max_size=8), min_size=2, max_size=5), st.integers(0, 4))
def test_an_option_given_verbatim_is_right(options, place):
    said = options[place % len(options)]
    chosen = extract_choice(said, options)
    if any(sign.isalnum() for sign in said):
        assert chosen is not None
        assert is_same_option(options[chosen], said)


def test_a_long_reply_is_read_soon():
    for text in ("not A ", "the answer is ", "dog ", "choose B or "):
        extract_choice(text * 30_000, OPTIONS)


def test_right_answers_are_found_by_text_or_letter():
    assert find_options(["Car Horn"], OPTIONS) == [0]
    assert find_options(["(c)"], OPTIONS) == [2]
    assert find_options(["wind", "rain", "dog"], OPTIONS) == [3, 1]
    assert find_options(["5%"], ["$5", "5%"]) == [1]
    assert find_options(["cat"], ANIMALS) == [1]
    for wrong in ("wind", "AB", ""):
        with pytest.raises(ValueError, match="none of the options"):
            find_options([wrong], OPTIONS)


def test_bad_questions_are_refused():
    with pytest.raises(ValueError, match="2 to 26 options"):
        extract_choice("A", ["one"])


@given(st.text(max_size=40), st.integers(2, 26))
def test_any_reply_gives_an_option_or_none(reply, count):
    choice = extract_choice(reply, [f"w{number}" for number in range(count)])
    assert choice is None or 0 <= choice < count


@given(st.integers(0, 25), st.sampled_from(["{}", "({})", "{}.", "Answer: {}", "The answer is {}.", "选{}", "**{}**"]))
def test_a_bare_letter_is_understood_in_every_dress(index, dress):
    assert extract_choice(dress.format("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index]), [f"w{n}" for n in range(26)]) == index
