"""A judge by option: ``stand-in``, or a YAML file with the fields of ``EndpointSettings``."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from kimi_audio.evals.judges.endpoint import Endpoint, EndpointSettings
from kimi_audio.evals.judges.stand_in import StandIn
from kimi_audio.evals.judges.types import Judge

STAND_IN = "stand-in"


def choose_judge(name: str) -> Judge:
    """Return the judge; paths in its file are relative to where we are.

    Raises:
        ValueError: there is no such file, or it does not describe a judge.
    """
    if name == STAND_IN:
        return StandIn()
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name} is no judge: give 'stand-in', or a YAML file with url and model")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    known = {item.name for item in fields(EndpointSettings)}
    if not isinstance(values, dict) or not {"url", "model"} <= set(values):
        raise ValueError(f"{path} describes no judge: it needs url and model")
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{path}: unknown field {unknown[0]!r}; a judge has {', '.join(sorted(known))}")
    paths: dict[str, Any] = {key: Path(values[key]) for key in ("prompts", "cache") if values.get(key)}
    judge = Endpoint(EndpointSettings(**values | paths))
    judge.client.key()  # told once, and not by every answer
    return judge
