"""Names that other people listed: which are learned, and which only belong to the lexicon."""

import gzip

from recipes.nano.closed.splits import is_reserved
from recipes.nano.stock import first_names, proper_names
from recipes.nano.world.types import name_atom


def test_first_names_are_learned_each_once_but_those_that_are_reserved(tmp_path):
    names = [f"Al{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]
    reserved = {name for name in names if is_reserved(name_atom(name))}
    assert 0 < len(reserved) < len(names)
    (tmp_path / "names.gz").write_bytes(gzip.compress("\n".join([*names, "O'Neil", names[0]]).encode()))
    assert first_names(tmp_path / "names.gz") == [name for name in names if name not in reserved]


def test_names_are_the_words_that_begin_with_a_capital_letter(tmp_path):
    (tmp_path / "words").write_text("Kevin\nKevin's\nkettle\nÅngström\nOslo\n", "utf-8")
    assert proper_names(tmp_path / "words") == {"kevin", "oslo"}
