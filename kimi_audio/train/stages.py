"""The stages that there are."""

from typing import Any

from kimi_audio.train.pretrain import PRETRAINING, PretrainConfig
from kimi_audio.train.sft import FINETUNING, FinetuneConfig
from kimi_audio.train.stage import Stage

STAGES: dict[type, Stage[Any, Any]] = {FinetuneConfig: FINETUNING, PretrainConfig: PRETRAINING}


def stage_of(config: object) -> Stage[Any, Any]:
    """Return the stage that a configuration belongs to.

    Raises:
        ValueError: none.
    """
    if type(config) not in STAGES:
        names = ", ".join(kind.__name__ for kind in STAGES)
        raise ValueError(f"a recipe returns one of {names}, not {type(config).__name__}")
    return STAGES[type(config)]
