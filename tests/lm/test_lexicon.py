"""Lexicons: a beam that spells no word loses to one that does, and to nothing else."""

from collections.abc import Iterable

import pytest
import torch

from kimi_audio.lm.engine import Engine
from kimi_audio.lm.generate import generate
from kimi_audio.lm.lexicon import Lexicon
from kimi_audio.lm.model import LMOutput
from kimi_audio.lm.rules import GenerationOptions
from tests.lm.test_engine import SPECIAL, prompt

PIECES = ["see", " the", " bo", "at", "ut", " bu", ",", " 7x", "船", " New"]


class Pieces:
    """A tokenizer of a few pieces."""

    vocab_size = len(PIECES)

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(PIECES[id_] for id_ in ids)


LEXICON = Lexicon(frozenset({"see", "the", "boat", "but"}), Pieces(), penalty=2.0)


def ids(*pieces: str) -> list[int]:
    return [PIECES.index(piece) for piece in pieces]


@pytest.mark.parametrize(
    ("text", "is_unknown"),
    [
        ([], False),
        (["see"], False),
        (["see", " the", " bo", "at"], False),
        (["see", " the", " bo", "ut"], True),
        (["see", " bo", "ut", " the"], False),  # that one was over before
        (["see", " the", " bo", "at", ","], False),
        (["see", " the", " bo", "ut", ","], True),
        (["see", " 7x"], False),  # digits and other scripts are not judged
        (["see", "船"], False),
        (["see", " New"], False),  # nor is what has letters that no word has
    ],
)
def test_only_the_last_word_is_judged(text, is_unknown):
    assert LEXICON.ends_in_unknown(ids(*text)) == is_unknown


def test_a_word_is_paid_for_when_it_is_over():
    bad, good = ids("see", " bo", "ut"), ids("see", " bo", "at")
    penalties = LEXICON.penalties([bad, good], num_ids=12, end_id=11)
    assert penalties[0].tolist() == [0, 2, 2, 0, 0, 2, 0, 2, 0, 2, 0, 2]
    assert not penalties[1].any()


def test_words_can_be_added():
    more = LEXICON.with_words(["About Bout,", "x"])
    assert not more.ends_in_unknown(ids(" bo", "ut"))
    assert more.words - LEXICON.words == {"about", "bout", "x"}


class Scripted:
    """A model whose likeliest text is the same for every prompt: ``bout``, a little likelier than ``boat``."""

    def __init__(self, model, odds: float) -> None:
        self.config, self.device, self.dtype, self._odds = model.config, model.device, model.dtype, odds

    def __call__(self, inputs, stretches) -> LMOutput:
        wanted = [stretch.text_scores for stretch in stretches.stretches]
        ends = torch.tensor([stretch.length for stretch in stretches.stretches]).cumsum(0) - 1
        last = inputs.text_ids[0, ends][torch.tensor(wanted)]
        scores = torch.full((len(last), self.config.vocab_size), -20.0)
        for row, id_ in zip(scores, last.tolist(), strict=True):
            if id_ == PIECES.index(" bo"):
                row[ids("ut", "at")] = torch.tensor([self._odds, 0.0])
            elif id_ in ids("ut", "at"):
                row[SPECIAL.text_end] = 0.0
            else:
                row[PIECES.index(" bo")] = 0.0
        return LMOutput(scores, None)


@pytest.mark.parametrize(
    ("odds", "lexicon", "expected"),
    [(1.0, None, " bout"), (1.0, LEXICON, " boat"), (3.0, LEXICON, " bout")],
)
def test_what_is_spelled_right_wins_where_both_are_nearly_as_likely(tiny_lm, odds, lexicon, expected):
    options = GenerationOptions(beams=2, lexicon=lexicon, max_new_tokens=8)
    (reply,) = generate(Scripted(tiny_lm, odds), [prompt(3)], SPECIAL, options)
    assert Pieces().decode(reply.text_ids) == expected


def test_a_lexicon_reaches_no_other_request(tiny_lm):
    model = Scripted(tiny_lm, 1.0)
    engine = Engine(model, SPECIAL)
    options = [GenerationOptions(beams=2, lexicon=one, max_new_tokens=8) for one in (None, LEXICON)]
    requests = [engine.prepare(prompt(3), one) for one in options]
    for request in requests:
        engine.admit(request)
    while not engine.is_idle:
        engine.step()
    assert [Pieces().decode(request.reply().text_ids) for request in requests] == [" bout", " boat"]


def test_a_lexicon_needs_beams_to_choose_from():
    with pytest.raises(ValueError, match="at least two"):
        GenerationOptions(lexicon=LEXICON)
    with pytest.raises(ValueError, match="lexicon must be Lexicon"):
        GenerationOptions(beams=2, lexicon=["boat"])  # type: ignore[arg-type]
