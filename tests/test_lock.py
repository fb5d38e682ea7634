"""requirements.lock holds what the command line needs, torch aside, each with hashes."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
ENTRIES = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text("utf-8").strip())
LOCKED = {canonicalize_name(entry.partition("==")[0]): entry for entry in ENTRIES}


def test_every_package_has_a_version_and_hashes():
    for entry in ENTRIES:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ;[^\\]+)? \\(\s+--hash=sha256:[0-9a-f]{64}( \\)?)+", entry), entry[:80]


def test_all_that_is_required_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = [Requirement(text) for text in [*project["dependencies"], *extras["media"], *extras["vad"]]]
    assert len(required) > 10
    for one in required:
        if one.name != "torch":
            version = LOCKED[canonicalize_name(one.name)].split()[0].partition("==")[2]
            assert version in one.specifier, one


def test_builds_for_one_machine_are_not_prescribed():
    assert [name for name in LOCKED if re.match("torch|nvidia|cuda|triton", name)] == []
