"""Model folders some of whose parts are made of those of another folder."""

from pathlib import Path

from kimi_audio.checkpoint import WHISPER, released_acoustic
from kimi_audio.core.files import copy_whole, read_json, write_json
from kimi_audio.core.weights import WEIGHTS, save_weights
from kimi_audio.lm.model import AudioLM
from kimi_audio.tokenizer.acoustic import AcousticEncoder

CONFIG = "config.json"


def save_with_llm(out: Path, folder: Path, lm: AudioLM, *, int8: bool = False) -> None:
    """Write a model folder that is another one but for its LLM.

    Args:
        out: to be made.
        folder: has all other parts.
        lm: the LLM.
        int8: store its matrices at 8 bits, as those of the bundled nano.

    Raises:
        FileExistsError: there is something at ``out``.
    """
    if out.exists():
        raise FileExistsError(f"there is something at {out}; give the name of a new folder")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        is_written_below = file.parent == folder and (".safetensors" in file.name or file.name == CONFIG)
        if not is_written_below:
            (out / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            copy_whole(file, out / file.relative_to(folder))
    save_weights(out / WEIGHTS, lm.state_dict(), int8=int8)
    settings = read_json(folder / CONFIG) | lm.config.to_dict()
    write_json(out / CONFIG, settings)  # last: without it, a folder is no model


def save_encoder(folder: Path, acoustic: AcousticEncoder, *, int8: bool = False) -> None:
    """Write another acoustic encoder of the same sizes into a model folder."""
    save_weights(folder / WHISPER / WEIGHTS, released_acoustic(acoustic), int8=int8)
