import pytest

from kimi_audio.evals.metrics.ifeval import INSTRUCTIONS, check, follow

GERMAN = "Das ist ein ganz gewöhnlicher deutscher Satz, und er sagt leider nicht besonders viel."
ENGLISH = "this is a perfectly ordinary english sentence that does not say very much at all."
# instruction, arguments, a reply that follows, one that does not
CASES = [
    ("keywords:existence", {"keywords": ["cat", "dog"]}, "Cats and Dogs.", "Cats only."),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "at least"}, "cat Cat", "cat"),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "less than"}, "cat", "cat cat"),
    ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "category", "a Cat."),
    ("keywords:letter_frequency", {"letter": "a", "let_frequency": 3, "let_relation": "at least"}, "Aaa", "Aa"),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 1, "let_relation": "less than"}, "abc", "Q"),
    ("language:response_language", {"language": "de"}, GERMAN, ENGLISH),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "Dr. Who ran.", "I. Ran."),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "A? B! Yes.", "A? Yes."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb\n***", "a *** *** b"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "it's me", "two words"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "yes"},
        "No.\n\n'Yes, sir.",
        "No.\n\nNo.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [place]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi.\nP.S. bye", "Hi. PS bye"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Hi.\nP. P. S bye", "Hi.\nP.S. bye"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b\n**c**", "* a\n* b\n* c"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
        "SECTION 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<a poem>>\nit rains", "<< >>\n<poem>"),
    ("combination:two_responses", {}, "a\n******\nb", "a******a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "say hi. Hi!", "Hi!"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'It was so. the end."', "The end. Or not."),
    ("startend:quotation", {}, ' "yes" ', '"yes'),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "GO to the U.S.A. now",
        "Go to the U.S.A. now",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
    ("change_case:english_lowercase", {}, ENGLISH, ENGLISH.capitalize()),
    ("punctuation:no_comma", {}, "so it is", "so, it is"),
]


@pytest.mark.parametrize(("instruction", "arguments", "good", "bad"), CASES)
def test_every_instruction_tells_good_from_bad(instruction, arguments, good, bad):
    assert check(instruction, good, arguments)
    assert not check(instruction, bad, arguments)


def test_all_instructions_are_covered():
    assert {case[0] for case in CASES} == set(INSTRUCTIONS)
    assert len(INSTRUCTIONS) == 25


def test_the_language_of_a_short_text_is_always_the_same():
    assert len({check("language:response_language", "ok no va", {"language": "it"}) for _ in range(10)}) == 1


def test_zero_is_a_number_and_none_is_not_given():
    arguments = {"letter": "q", "let_frequency": 0, "let_relation": "at least", "keywords": None}
    assert check("keywords:letter_frequency", "abc", arguments)
    assert not check("detectable_format:number_bullet_lists", "* a", {"num_bullets": 0})


def test_bad_data_is_explained():
    with pytest.raises(ValueError, match="no instruction keywords:none"):
        check("keywords:none", "a", {})
    with pytest.raises(ValueError, match=r"arguments of keywords:frequency do not fit.*frequency"):
        check("keywords:frequency", "a", {"keyword": "a", "relation": "at least"})
    with pytest.raises(ValueError, match='not "about"'):
        check("length_constraints:number_words", "a", {"num_words": 1, "relation": "about"})


def test_loose_forgives_introductions_and_asterisks():
    ends = follow("Sure!\nSay hi.\nBye", ["combination:repeat_prompt"], [{"prompt_to_repeat": "Say hi."}])
    assert ends == ([False], [True])
    stars = follow("**The end**", ["startend:end_checker"], [{"end_phrase": "end"}])
    assert stars == ([False], [True])
