"""A model that hears as one and speaks as another: ``python -m recipes.nano.fork HEARS SPEAKS --out FOLDER``.

Where text and codes share most layers, one can hardly learn without moving the other. Here the audio branch leaves
behind the first layer already, and takes along the other's layers that were shared before. Of one model alone, the
fork is the same function; of two, its branch has to learn what it gets from the first layer (``training.py:speaking``).
"""

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from kimi_audio.checkpoint import load_lm
from kimi_audio.lm.model import AudioLM
from recipes.nano.model_folder import save_with_llm

BRANCH = "model.mimo_layers."


def forked(hears: AudioLM, speaks: AudioLM) -> AudioLM:
    """Return the text path of one model with the audio branch of another, which leaves behind the first layer.

    Raises:
        ValueError: the models have different sizes.
    """
    if hears.config != speaks.config:
        raise ValueError("the two LLMs have different sizes; a fork is made of like ones")
    taken = speaks.config.branch_layer_index  # layers that were shared and are the branch's own now
    config = replace(hears.config, branch_layer_index=0, num_audio_layers=taken + speaks.config.num_audio_layers)
    lm = AudioLM(config)
    text, speech = hears.state_dict(), speaks.state_dict()
    lm.load_state_dict({name: _taken(name, taken, text, speech) for name in lm.state_dict()})
    return lm


def _taken(name: str, taken: int, text: dict[str, Tensor], speech: dict[str, Tensor]) -> Tensor:
    """Return the weight of a fork whose branch begins with so many layers that were shared."""
    if not name.startswith(BRANCH):
        return (speech if name.startswith(("model.mimo_", "mimo_output")) else text)[name]
    number, _, rest = name.removeprefix(BRANCH).partition(".")
    place = int(number)
    return speech[f"model.layers.{place + 1}.{rest}" if place < taken else f"{BRANCH}{place - taken}.{rest}"]


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hears", type=Path, help="model folder")
    parser.add_argument("speaks", type=Path, help="model folder")
    parser.add_argument("--out", type=Path, required=True, help="model folder to be made")
    arguments = parser.parse_args()
    save_with_llm(arguments.out, arguments.hears, forked(load_lm(arguments.hears), load_lm(arguments.speaks)))


if __name__ == "__main__":
    main()
