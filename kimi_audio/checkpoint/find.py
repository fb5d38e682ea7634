"""Find the folder of a model: bundled, on this machine, or on the hub."""

import os
import re
from pathlib import Path

from kimi_audio.checkpoint.layout import (
    DETOKENIZER_FILES,
    FILES,
    NANO,
    NANO_FOLDER,
    SEMANTIC,
    SEMANTIC_HUB_ID,
    SEMANTIC_REVISION,
    SMALL_FILES,
)
from kimi_audio.core.weights import WEIGHTS


def find_model(
    name: str | os.PathLike[str],
    *,
    with_detokenizer: bool = True,
    with_weights: bool = True,
    revision: str | None = None,
) -> Path:
    """Return the folder of a model: the bundled nano, a local folder, or a hub repository (downloaded if needed).

    Args:
        name: of the model.
        with_detokenizer: download the detokenizer, too.
        with_weights: download more than what tells the sizes of LLM and encoders, and the text tokenizer.
        revision: commit, tag or branch of a hub repository, by default its newest state.

    Raises:
        ValueError: the name is neither "nano" nor a folder nor a hub id, or the folder holds no model.
        ConnectionError: the hub cannot be reached and the model is not in its local cache.
    """
    is_local = str(name) == NANO or Path(name).exists()
    if is_local and revision is not None:
        raise ValueError(f"a revision is that of a hub repository, but {name} is on this machine")
    if str(name) == NANO:
        folder = NANO_FOLDER
    elif is_local:
        folder = Path(name)
        if not folder.is_dir():
            raise ValueError(f"{name} is a file; a model is a folder with config.json")
    else:
        wanted = FILES + (DETOKENIZER_FILES if with_detokenizer else [])
        folder = _download(str(name), wanted if with_weights else SMALL_FILES, revision)
    if not (folder / "config.json").exists():
        if folder == NANO_FOLDER:
            raise ValueError("the nano model is not part of this installation; give the folder of another model")
        raise ValueError(f"{folder} is not a model folder: it has no config.json")
    return folder


def find_semantic_tokenizer(folder: Path) -> Path:
    """Return the folder of the semantic tokenizer that belongs to the model in ``folder``."""
    for candidate in (folder / SEMANTIC, folder.resolve().parent / SEMANTIC):
        if (candidate / "config.json").exists():
            return candidate
    return _download(SEMANTIC_HUB_ID, ["config.json", WEIGHTS], SEMANTIC_REVISION)


def is_base_model(name: str | os.PathLike[str]) -> bool:
    """Tell whether the name is that of the released base model, which was not tuned for instructions."""
    return re.search(r"Kimi-Audio-7B(?!-Instruct)", str(name)) is not None


def find_transformers(name: str) -> Path:
    """Return the folder of a model of transformers (a text model, a Whisper): local, or a hub repository.

    Raises:
        ValueError, ConnectionError: as for ``find_model``.
    """
    patterns = ["config.json", "tokenizer.json", WEIGHTS, f"{WEIGHTS}.index.json", "model-*.safetensors"]
    return Path(name) if Path(name).is_dir() else _download(name, patterns)


def _download(hub_id: str, patterns: list[str], revision: str | None = None) -> Path:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", hub_id):
        raise ValueError(f'there is no model "{hub_id}": give "{NANO}", a folder, or a hub id such as owner/name')
    # Imported late: it costs 0.3 s that local models need not pay.
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=patterns, revision=revision))
    except LocalEntryNotFoundError:
        raise ConnectionError(
            f"{hub_id} is not on this machine and the hub cannot be reached; download it elsewhere and give its folder"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise ValueError(f"the hub has no model {hub_id} that may be read: {_first_line(error)}") from error
    except Exception as error:  # every transport has its own; a full disk ends here, too
        raise ConnectionError(
            f"the download of {hub_id} broke off ({type(error).__name__}: {_first_line(error)}); try again to go on"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]
