"""A model in as few bytes as the bundled one: ``python -m recipes.nano.bundle MODEL FILE.jsonl ... --out FOLDER``.

Everything large but the codebook is stored at 8 bits, and at 4 some feed-forward matrices of the layers that serve text
alone, the last ones first: as many as it takes for all weights to fit. Those are rounded for what enters them while the
model goes on with conversations of the files (``rounding.py``).
"""

import argparse
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from kimi_audio import KimiAudio, Message
from kimi_audio.checkpoint import load_lm
from kimi_audio.core.quantized import Stored
from kimi_audio.core.weights import WEIGHTS, read_safetensors, save_weights
from kimi_audio.data.conversations import ConversationFile
from kimi_audio.lm.model import AudioLM
from recipes.nano.model_folder import save_with_llm
from recipes.nano.rounding import measured, rounded

MOST_BYTES = 30_000_000
ASKED = 100  # conversations of each file that are gone on with
PRODUCTS = "down_proj", "up_proj", "gate_proj"


def weights_bytes(folder: Path) -> int:
    """Return the size of all files of weights."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def candidates(lm: AudioLM) -> list[str]:
    """Return what may be stored at 4 bits, in this order."""
    layers = range(lm.config.num_layers - 1, lm.config.branch_layer_index, -1)
    return [f"model.layers.{layer}.mlp.{name}.weight" for layer in layers for name in PRODUCTS]


def moments_of(model: Path, files: Iterable[Path]) -> Mapping[str, Tensor]:
    """Return the second moments of what enters the matrices that may be stored at 4 bits, by their names.

    Args:
        model: model folder.
        files: of conversations, of which the model gives some of the last replies.

    Raises:
        ValueError: a file has conversations that cannot be learned.
    """
    assistant = KimiAudio(model, load_detokenizer=False, device="cpu", quantize="none")
    with measured(assistant.lm, candidates(assistant.lm)) as moments:
        for messages in track([*_beginnings(files)], "Measuring", console=Console(stderr=True)):
            assistant.answer(messages, "text")
    return moments


def _beginnings(files: Iterable[Path]) -> Iterator[list[Message]]:
    """Yield conversations without their last turn, evenly from each file."""
    for file in files:
        conversations = ConversationFile(file)
        for index in range(0, len(conversations), max(1, len(conversations) // ASKED)):
            messages = [*conversations[index].messages]
            while messages[-1].role == "assistant":
                messages.pop()
            yield messages


def bundle(model: Path, out: Path, moments: Mapping[str, Tensor], most_bytes: int = MOST_BYTES) -> int:
    """Write the model; return how many matrices are stored at 4 bits.

    Args:
        model: model folder.
        out: to be made.
        moments: of all candidates, see ``moments_of``.
        most_bytes: of all weights.

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
    weights: dict[str, Stored] = {**lm.state_dict()}
    for count, name in enumerate(candidates(lm)):
        if weights_bytes(out) <= most_bytes:
            return count
        weights[name] = rounded(lm.get_parameter(name).detach(), moments[name])
        save_weights(out / WEIGHTS, weights, int8=True)
    if weights_bytes(out) > most_bytes:
        shutil.rmtree(out)
        raise ValueError(f"{model} does not fit into {most_bytes:,} bytes; use fewer or narrower layers")
    return len(candidates(lm))


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("files", type=Path, nargs="+", help="conversations, as for training")
    parser.add_argument("--out", type=Path, required=True, help="model folder to be made")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bundle(arguments.model, arguments.out, moments_of(arguments.model, arguments.files))


if __name__ == "__main__":
    main()
