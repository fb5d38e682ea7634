"""A model whose LLM has more layers for text and says the same: ``python -m recipes.nano.grow MODEL --out FOLDER``.

The new layers stand among those that only the text has, are copies of the layers before them, and add nothing until
they are trained: their last products begin as zeros. So a small model goes on from what it knows when it has no room
for more.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from kimi_audio.checkpoint import load_lm
from kimi_audio.lm.model import AudioLM
from recipes.nano.model_folder import save_with_llm

LAST_PRODUCTS = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


@torch.no_grad()
def grown(lm: AudioLM, layers: int) -> AudioLM:
    """Return a model that says the same, with so many more layers behind those that text and codes share.

    Raises:
        ValueError: no layers are wanted, or the text has none of its own among which they could stand.
    """
    shared = lm.config.branch_layer_index + 1
    own = lm.config.num_layers - shared
    if layers < 1 or not own:
        raise ValueError(f"{layers} layers cannot be added to the {own} that the text has for itself")
    # Of which layer each place has a copy: the first one is the layer itself, further ones are new.
    sources = [*range(shared), *(shared + place * own // (own + layers) for place in range(own + layers))]
    larger = AudioLM(replace(lm.config, num_layers=len(sources)))
    known = lm.state_dict()
    weights = {name: tensor for name, tensor in known.items() if not name.startswith("model.layers.")}
    for place, source in enumerate(sources):
        is_new = place > 0 and sources[place - 1] == source
        for name in lm.model.layers[source].state_dict():
            tensor = known[f"model.layers.{source}.{name}"]
            weights[f"model.layers.{place}.{name}"] = tensor * 0 if is_new and name in LAST_PRODUCTS else tensor.clone()
    larger.load_state_dict(weights)
    return larger


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--out", type=Path, required=True, help="model folder to be made")
    parser.add_argument("--layers", type=int, default=4, help="how many are added")
    arguments = parser.parse_args()
    save_with_llm(arguments.out, arguments.model, grown(load_lm(arguments.model), arguments.layers))


if __name__ == "__main__":
    main()
