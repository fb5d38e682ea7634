"""A model in as few bytes as the bundled one: ``python -m recipes.nano.bundle MODEL --out FOLDER``.

Everything large but the codebook is stored at 8 bits, and at 4 some feed-forward matrices of the layers that serve text
alone, the last ones first: as many as it takes for all weights to fit.
"""

import argparse
import shutil
from pathlib import Path

from torch import Tensor

from kimi_audio.checkpoint import load_lm
from kimi_audio.core.weights import WEIGHTS, read_safetensors, save_weights
from kimi_audio.lm.model import AudioLM
from recipes.nano.model_folder import save_with_llm

MOST_BYTES = 30_000_000
PRODUCTS = "down_proj", "up_proj", "gate_proj"


def weights_bytes(folder: Path) -> int:
    """Return the size of all files of weights."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def candidates(lm: AudioLM) -> list[str]:
    """Return what may be stored at 4 bits, in this order."""
    layers = range(lm.config.num_layers - 1, lm.config.branch_layer_index, -1)
    return [f"model.layers.{layer}.mlp.{name}.weight" for layer in layers for name in PRODUCTS]


def bundle(model: Path, out: Path, most_bytes: int = MOST_BYTES) -> int:
    """Write the model; return how many matrices are stored at 4 bits.

    Raises:
        FileExistsError: there is something at ``out``.
        ValueError: it does not fit.
    """
    lm = load_lm(model)
    save_with_llm(out, model, lm, int8=True)
    for file in out.rglob(WEIGHTS):
        if file.parent != out:
            tensors: dict[str, Tensor] = dict(read_safetensors(file))
            save_weights(file, tensors, int8=True, exact=[name for name in tensors if name.endswith(".filter")])
    names, count = candidates(lm), 0
    while weights_bytes(out) > most_bytes:
        count += 1
        if count > len(names):
            shutil.rmtree(out)
            raise ValueError(f"{model} does not fit into {most_bytes:,} bytes; use fewer or narrower layers")
        save_weights(out / WEIGHTS, lm.state_dict(), int8=True, int4=names[:count])
    return count


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--out", type=Path, required=True, help="model folder to be made")
    arguments = parser.parse_args()
    bundle(arguments.model, arguments.out)


if __name__ == "__main__":
    main()
