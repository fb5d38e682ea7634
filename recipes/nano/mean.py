"""The mean of two LLMs, which hears better than either: ``python -m recipes.nano.mean FIRST SECOND --out FOLDER``.

Both have to come from one run or from one base, otherwise their mean knows nothing. What a run ends with is to a good
part the noise of its last batches, and two of them have different noise.
"""

import argparse
from pathlib import Path

from kimi_audio.checkpoint import load_lm
from kimi_audio.core.files import copy_whole
from kimi_audio.core.weights import WEIGHTS, save_weights

CONFIG = "config.json"


def mean(first: Path, second: Path, out: Path, share: float = 0.5, *, int8: bool = False) -> None:
    """Write a model folder that is the first one but for its LLM.

    Args:
        first: a model folder.
        second: another one, whose LLM has the same sizes.
        out: receives the model.
        share: of the second in the mean.
        int8: store matrices at 8 bits, as those of the bundled nano.

    Raises:
        ValueError: the sizes differ, or the share is none.
        FileExistsError: there is something at ``out``.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the second must be between 0 and 1, not {share:g}")
    one, other = load_lm(first), load_lm(second)
    if one.config != other.config:
        raise ValueError(f"the LLMs of {first} and {second} have different sizes; only like ones have a mean")
    if out.exists():
        raise FileExistsError(f"there is something at {out}; give the name of a new folder")
    others = other.state_dict()
    weights = {name: tensor.lerp(others[name], share) for name, tensor in one.state_dict().items()}
    for file in sorted(path for path in first.rglob("*") if path.is_file()):
        is_written_below = file.parent == first and (".safetensors" in file.name or file.name == CONFIG)
        if not is_written_below:
            (out / file.relative_to(first)).parent.mkdir(parents=True, exist_ok=True)
            copy_whole(file, out / file.relative_to(first))
    save_weights(out / WEIGHTS, weights, int8=int8)
    copy_whole(first / CONFIG, out / CONFIG)  # last: without it, a folder is no model


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="model folder")
    parser.add_argument("second", type=Path, help="model folder")
    parser.add_argument("--out", type=Path, required=True, help="model folder to be made")
    parser.add_argument("--share", type=float, default=0.5, help="of the second in the mean")
    parser.add_argument("--int8", action="store_true", help="store matrices at 8 bits")
    arguments = parser.parse_args()
    mean(arguments.first, arguments.second, arguments.out, arguments.share, int8=arguments.int8)


if __name__ == "__main__":
    main()
