"""The mean of two models, which hears better than either: ``python -m recipes.nano.mean FIRST SECOND --out FOLDER``.

It is that of their LLMs and of their acoustic encoders. Both models have to come from one run or from one base,
otherwise their mean knows nothing. What a run ends with is to a good part the noise of its last batches, and two of
them have different noise; and a mean forgets less of what the second did not meet.
"""

import argparse
from pathlib import Path
from typing import TypeVar

from kimi_audio.checkpoint import load_acoustic, load_lm
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from recipes.nano.model_folder import save_encoder, save_with_llm

Part = TypeVar("Part", AudioLM, AcousticEncoder)


def mean(first: Part, second: Part, share: float) -> Part:
    """Return the mean, of which ``share`` is the second: the first one, with other weights.

    Raises:
        ValueError: the sizes differ, or the share is none.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the second must be between 0 and 1, not {share:g}")
    if first.config != second.config:
        raise ValueError("the two models have different sizes; only like ones have a mean")
    others = second.state_dict()
    first.load_state_dict({name: tensor.lerp(others[name], share) for name, tensor in first.state_dict().items()})
    return first


def main() -> None:
    """Read the arguments and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="model folder")
    parser.add_argument("second", type=Path, help="model folder")
    parser.add_argument("--out", type=Path, required=True, help="model folder to be made")
    parser.add_argument("--share", type=float, default=0.5, help="of the second in the mean")
    parser.add_argument("--int8", action="store_true", help="store matrices at 8 bits")
    arguments = parser.parse_args()
    first, second, share = arguments.first, arguments.second, arguments.share
    encoder = mean(load_acoustic(first), load_acoustic(second), share)
    save_with_llm(arguments.out, first, mean(load_lm(first), load_lm(second), share), int8=arguments.int8)
    save_encoder(arguments.out, encoder, int8=arguments.int8)


if __name__ == "__main__":
    main()
