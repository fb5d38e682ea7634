"""What judges are told, as data: ``prompts.yaml`` beside this file, or a file of the user in the same form."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import yaml

ReplyForm: TypeAlias = Literal["label", "number", "json"]
OWN = Path(__file__).parent / "prompts.yaml"


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt, and how the reply is read; see ``replies.py``.

    In the text, ``{question}``, ``{reference}``, ``{answer}`` and further names of the task stand for their values.
    """

    name: str
    version: int  # is raised when the wording changes
    text: str
    reply: ReplyForm  # a label in the last line, a number in the last line or in [[ ]], or a key of a JSON object
    system: str = ""
    labels: Mapping[str, float] = field(default_factory=dict)  # what each label is worth
    key: str = ""  # of the JSON object, its field that counts
    low: float = 0.0  # the scale
    high: float = 1.0
    votes: int = 1  # of labels the most frequent counts, of numbers the mean
    decoding: Mapping[str, Any] = field(default_factory=dict)  # temperature, top_p, ...
    hears: bool = False  # the reply is attached as sound

    def __post_init__(self) -> None:
        if self.reply not in get_args(ReplyForm):
            raise ValueError(f"the judge prompt {self.name} wants the reply {self.reply!r}; use label, number or json")
        if self.reply == "label" and not self.labels:
            raise ValueError(f"the judge prompt {self.name} has no labels")
        if self.reply == "json" and not self.key:
            raise ValueError(f"the judge prompt {self.name} does not name the key of the JSON object")
        if not self.low < self.high or self.votes < 1:
            raise ValueError(f"the judge prompt {self.name} needs low < high and at least one vote")

    @cached_property
    def fingerprint(self) -> str:
        """Name, version, and 12 hexadecimal digits that change with any field."""
        canonical = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, allow_nan=False)
        return f"{self.name}/{self.version} {hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def read_prompts(path: Path | None = None) -> dict[str, JudgePrompt]:
    """Return our prompts by name; those of a file take the place of ours with the same name.

    Raises:
        ValueError: the file is no YAML mapping of prompts, or has unknown fields.
        OSError: it cannot be read.
    """
    prompts = _read(OWN)
    return prompts | (_read(path) if path else {})


def _read(path: Path) -> dict[str, JudgePrompt]:
    try:
        rows = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise ValueError(f"{path} holds no judge prompts: write one mapping for each name")
    return {name: _prompt(path, name, row) for name, row in rows.items()}


def _prompt(path: Path, name: str, row: Mapping[str, Any]) -> JudgePrompt:
    known = {item.name for item in fields(JudgePrompt)} - {"name"}
    if unknown := sorted(set(row) - known):
        raise ValueError(f"{path}: unknown field {unknown[0]!r} in {name}; a prompt has {', '.join(sorted(known))}")
    if missing := sorted({"version", "text", "reply"} - set(row)):
        raise ValueError(f"{path}: {name} lacks {', '.join(missing)}")
    return JudgePrompt(name, **row)
