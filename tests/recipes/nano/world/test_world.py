"""Nano's world: what is reserved stays away from training, replies are right, and everything can be read aloud."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_audio.chat.tools import parse_call, parse_result, parse_tools
from kimi_audio.core.words import normalise
from recipes.nano.closed.splits import is_reserved
from recipes.nano.stock import WORDNET
from recipes.nano.world import dictionary, refusals
from recipes.nano.world.judging import is_refusal
from recipes.nano.world.registry import FACT_SHARES, KINDS, NUMBER_SHARES, REFUSED, take_talks
from recipes.nano.world.tools import TOOLS, is_call_right
from recipes.nano.world.types import Talk, Turn
from recipes.nano.world.wording import is_readable, read_list

pytestmark = pytest.mark.skipif(not WORDNET.is_dir(), reason="Debian's package wordnet-base is not installed")
SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=15, deadline=None)
# Their right reply may hold words of other replies: what was said before, or any text.
ECHOES = ("echo", "again", "aloud")


def judged(talk: Talk, reply: str) -> bool:
    return KINDS[talk.kind].is_right(talk, reply)


@pytest.fixture(scope="module")
def talks() -> list[Talk]:
    return [talk for kind in KINDS.values() for talk in kind.talks(25, random.Random(5), reserved=False)]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_two_sides_that_share_nothing(name: str):
    learned = KINDS[name].talks(60, random.Random(1), reserved=False)
    kept = KINDS[name].talks(20, random.Random(2), reserved=True)
    assert len(learned) == 60
    assert len(kept) == 20
    assert not {talk.key for talk in learned} & {talk.key for talk in kept}


@FEW
@given(SEEDS)
def test_nothing_reserved_is_learned(seed: int):
    for talk in take_talks(60, random.Random(seed), reserved=False):
        assert not is_reserved(talk.key)
        assert not any(map(is_reserved, talk.lines)), "a line is reserved as a text, so nobody may hear it"
        assert not any(map(is_reserved, talk.atoms))


@FEW
@given(SEEDS)
def test_reserved_names_topics_and_phrasings_are_never_learned(seed: int):
    names = {name for name in read_list("names") if is_reserved(f"name:{name.lower()}")}
    phrasings = {phrasing for phrasing, _ in refusals.phrasings() if is_reserved(f"phrasing:{phrasing}")}
    assert 15 < len(names) < 60
    assert 15 < len(phrasings) < 60
    generator = random.Random(seed)
    for kind in ("recall-name", "recall-relative", "farewell"):
        for talk in KINDS[kind].talks(10, generator, reserved=False):
            assert not names & set(" ".join(turn.reply for turn in talk.turns[:1]).strip(".").split())
    topics = {topic for topic in refusals.topics()["place"] if is_reserved(f"topic:{topic}")}
    for talk in KINDS["refusal"].talks(20, generator, reserved=False):
        assert not any(f" {topic}." in talk.turns[0].said for topic in topics)
        assert talk.turns[0].said not in phrasings


def test_own_replies_are_right(talks: list[Talk]):
    wrong = [talk for talk in talks if not judged(talk, talk.turns[-1].reply)]
    assert not wrong


def test_own_replies_are_right_as_transcripts(talks: list[Talk]):
    wrong = [talk for talk in talks if not judged(talk, normalise(talk.turns[-1].reply))]
    assert not wrong


def test_replies_to_something_else_are_wrong(talks: list[Talk]):
    generator = random.Random(3)
    checked: Counter[str] = Counter()
    for talk in talks:
        other = generator.choice([other for other in talks if other.kind == talk.kind])
        if other.essential != talk.essential and talk.kind not in REFUSED:
            checked[talk.kind] += 1
            if talk.kind not in ("joke", "rhyme"):  # several are right
                assert not judged(talk, other.turns[-1].reply), (talk, other)
    assert len(checked) > 60


def test_nothing_and_refusals_are_wrong_where_it_knows(talks: list[Talk]):
    for talk in talks:
        assert not judged(talk, "")
        if talk.kind not in (*REFUSED, *ECHOES):
            assert not judged(talk, "I do not know that, but I can explain common words, do sums and name capitals.")


def test_only_what_is_unknown_is_refused(talks: list[Talk]):
    for talk in talks:
        if talk.kind not in ECHOES:
            assert is_refusal(talk.turns[-1].reply) == (talk.kind in REFUSED), talk


def test_naming_a_second_candidate_is_wrong():
    def reply(kind: str, *parts: str) -> tuple[Talk, str]:
        talk = KINDS[kind].talks(1, random.Random(8), reserved=False)[0]
        return talk, f"{talk.turns[-1].reply} {' '.join(parts)}"

    for kind, more in (
        ("capital", "Or is it Paris or Rome?"),
        ("add", "Or nine hundred."),
        ("opposite", "Or small, or big."),
        ("recall-name", "Or Anna, or Ben."),
        ("spell", "Z."),
        ("count", "One."),
        ("is-a", "No. Yes."),
    ):
        assert not judged(*reply(kind, more)), kind


@pytest.mark.parametrize(
    ("kind", "said", "essential", "reply", "right"),
    [
        ("units-of-time", "How many days are in a week?", "seven days", "A week has seven days.", True),
        ("units-of-time", "How many days are in a week?", "seven days", "A week has twenty seven days.", False),
        ("small-talk", "Thank you.", "welcome", "You are welcome.", True),
        (
            "tool-timer",
            "Wake me in five minutes.",
            "the timer is set for five minutes",
            "The timer is set for ten.",
            False,
        ),
        ("rhyme", "What rhymes with cat?", "hat", "Bat rhymes with cat.", True),
        ("rhyme", "What rhymes with cat?", "hat", "Dog rhymes with cat.", False),
        ("joke", "Tell me a joke.", "", "Why did the bicycle fall over? It was two tired.", True),
        ("count", "Count in tens to thirty.", "ten twenty thirty", "Ten, twenty, thirty, forty.", False),
        ("aloud", "Say, the red boat.", "the red boat", "The red boat", True),
        ("aloud", "Say, the red boat.", "the red boat", "The boat", False),
        ("number", "What is my number plus two?", "nine", "Seven plus two is nine.", False),  # nobody told seven
    ],
)
def test_judging(kind: str, said: str, essential: str, reply: str, right: bool):
    assert KINDS[kind].is_right(Talk(kind, (Turn(said, ""),), essential), reply) is right


def test_all_that_is_said_can_be_read_aloud(talks: list[Talk]):
    for talk in talks:
        for turn in talk.turns:
            assert is_readable(turn.said), turn
            assert is_readable(turn.reply), turn
            assert "  " not in turn.said + turn.reply
            assert turn.said[0].isupper(), turn
            assert turn.reply[0].isupper(), turn
        assert 1 <= len(talk.turns) <= 6


def test_the_same_seed_draws_the_same():
    assert take_talks(80, random.Random(4), False) == take_talks(80, random.Random(4), False)
    assert take_talks(80, random.Random(4), False) != take_talks(80, random.Random(5), False)


def test_talks_are_many_and_mostly_different():
    drawn = take_talks(1500, random.Random(6), False)
    assert len(drawn) == 1500
    assert len({talk.key for talk in drawn}) > 1400
    assert len({talk.kind for talk in drawn}) > 60


def test_what_is_learned_by_heart_holds_definitions_most_often_and_none_of_it_reserved():
    drawn = take_talks(600, random.Random(7), reserved=False, shares=FACT_SHARES)
    assert not any(talk.is_reserved for talk in drawn)
    assert {talk.kind for talk in drawn} <= FACT_SHARES.keys() < KINDS.keys()
    kinds = Counter(talk.kind for talk in drawn)
    assert kinds.most_common(1)[0][0] == "definition"
    assert 0.2 < kinds["definition"] / len(drawn) < 0.5


def test_numbers_are_drawn_by_kinds_that_exist_and_none_of_them_is_reserved():
    assert NUMBER_SHARES.keys() < KINDS.keys()
    drawn = take_talks(600, random.Random(8), reserved=False, shares=NUMBER_SHARES)
    assert not any(talk.is_reserved for talk in drawn)
    kinds = Counter(talk.kind for talk in drawn)
    assert kinds.keys() <= NUMBER_SHARES.keys()
    assert {kind for kind, _ in kinds.most_common(2)} == {"add", "subtract"}


# ---------------------------------------------------------------------------------------------------------------------
# Dictionary and refusals


def test_dictionary_is_large_and_explains_shortly():
    entries = dictionary.entries()
    assert len(entries) >= 1000
    assert Counter(entry.part for entry in entries.values()).keys() == {"noun", "verb", "adjective"}
    for entry in entries.values():
        assert 1 <= len(entry.meaning.split()) <= 14, entry
        assert is_readable(entry.explanation), entry
        assert entry.word not in normalise(entry.meaning).split(), entry


@pytest.mark.parametrize(
    ("word", "explanation"),
    [
        ("hammer", "A hammer is a hand tool with a heavy rigid head and a handle."),
        ("dog", "A dog is an animal that barks and is often kept as a pet."),
        ("ice", "Ice is water frozen in the solid state."),
        ("whisper", "To whisper means to speak very quietly."),
        ("brief", "Brief means of short duration or distance."),
        ("ant", "An ant is a social insect living in organized colonies."),
    ],
)
def test_explanations(word: str, explanation: str):
    assert dictionary.entries()[word].explanation == explanation


def test_opposites_and_kinds():
    assert len(dictionary.opposites()) > 300
    pairs = {"hot": "cold", "cold": "hot", "ability": "inability", "lock": "unlock"}
    assert pairs.items() <= dictionary.opposites().items()
    assert dictionary.kinds()["robin"] == ("bird", "animal")
    assert dictionary.kinds()["apple"] == ("fruit", "food")


def test_definitions_need_most_words_and_few_others():
    talk = next(
        talk
        for talk in KINDS["definition"].talks(2000, random.Random(1), reserved=False)
        if talk.essential == "a hand tool with a heavy rigid head and a handle"
    )
    assert judged(talk, "It is a tool for the hand with a heavy head and a handle.")
    assert not judged(talk, "It is a tool.")
    assert not judged(talk, "A hammer is a musical instrument with strings.")
    assert not judged(talk, f"{talk.turns[0].reply} A dog is an animal that barks. Ice is water in the solid state.")


def test_unknown_words_are_not_in_the_dictionary():
    words = {word for word, _ in dictionary.rarer_words()}
    assert len(words) > 5000
    assert not words & set(dictionary.entries())
    for talk in KINDS["unknown-word"].talks(200, random.Random(2), reserved=False):
        assert talk.essential not in dictionary.entries()


def test_refusals_are_asked_in_many_ways():
    said = [phrasing for phrasing, _ in refusals.phrasings()]
    assert len(said) == len(set(said)) > 250
    assert len({reply for _, reply in refusals.phrasings()}) <= 6
    assert all(is_refusal(reply) for _, reply in refusals.phrasings())
    assert min(map(len, refusals.topics().values())) >= 7


# ---------------------------------------------------------------------------------------------------------------------
# Tools


@pytest.mark.parametrize("kind", [f"tool-{tool.name}" for tool in TOOLS])
def test_calls_follow_the_grammar_and_the_listed_tools(kind: str):
    for talk in KINDS[kind].talks(60, random.Random(7), reserved=False):
        tools = parse_tools(talk.system)
        assert set(tools) <= set(TOOLS)
        for turn in talk.turns:
            if turn.call:
                parse_call(turn.call, tools)
                parse_result(turn.result)
        assert is_call_right(talk, talk.turns[-1].call)
        assert not is_call_right(talk, "<call>time zone=utc</call>")
        assert not is_call_right(talk, talk.turns[-1].reply)


def test_calculator_is_right():
    operations = {"plus": int.__add__, "minus": int.__sub__, "times": int.__mul__, "divided by": int.__floordiv__}
    for talk in KINDS["tool-calculator"].talks(100, random.Random(7), reserved=False):
        turn = talk.turns[-1]
        first, operation, second = parse_call(turn.call).arguments.values()
        assert isinstance(first, int)
        assert isinstance(second, int)
        result = operations[str(operation)](first, second)
        if "failed" not in turn.result:
            assert normalise(str(result)) == normalise(parse_result(turn.result))
            assert normalise(turn.reply).endswith(normalise(str(result)))


def test_without_its_tool_nothing_is_called():
    for talk in KINDS["no-tool"].talks(60, random.Random(7), reserved=False):
        assert not any(turn.call for turn in talk.turns)
        assert is_refusal(talk.turns[-1].reply)
