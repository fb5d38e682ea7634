"""What datasets share: their files are found, checked and, where there is a network, fetched.

Data stays as its publishers pack it. What defines a dataset (transcripts, lists, labels) is its index; the checksums of
the index are noted in ``checksums.json`` when it is read first, and a later difference is an error.
"""

import csv
import hashlib
import json
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

from rich.progress import Progress

from kimi_audio.core.files import write_whole
from kimi_audio.core.lines import read_lines, read_objects
from kimi_audio.evals.contract.rows import save_values
from kimi_audio.evals.contract.types import Dataset, EvalSample

logger = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
HUB = "hub://"  # hub://owner/name/path/in/the/dataset
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Download:
    """A file of a publisher. An archive is unpacked where it lands, and removed."""

    url: str  # https, or hub://owner/name/path for a dataset of the hub
    file: str  # below the folder of the dataset
    limit_bytes: int  # more is not what was expected, and is refused
    checksum: str = ""  # "sha256:..." or "md5:..."; empty where none is known, then it is noted on first use


@dataclass(frozen=True)
class DatasetFiles:
    """How the folder of a dataset looks, and how it comes about."""

    # Patterns of the files that define it, one for each part that may be missing. Where there is no list, the folder of
    # the recordings is one: their names and sizes then count.
    index: tuple[str, ...]
    by_hand: str  # what to place where, one or two sentences
    downloads: tuple[Download, ...] = ()
    convert: Callable[[Path], None] = lambda folder: None  # what is left to do behind the downloads; may be repeated

    def missing(self, folder: Path) -> list[str]:
        """Return the patterns of the index that no file fits."""
        return [pattern for pattern in self.index if next(folder.glob(pattern), None) is None]


def make_dataset(name: str, source: str, files: DatasetFiles, read: Callable[[Path], Iterable[EvalSample]]) -> Dataset:
    """Return a dataset that explains what it lacks.

    Args:
        name: of the dataset and its folder.
        source: address and licence.
        files: how its folder looks.
        read: gives the samples of a folder whose index is there.
    """

    def load(folder: Path) -> Iterable[EvalSample]:
        missing = files.missing(folder)
        if len(missing) == len(files.index):
            raise ValueError(f"{name} is not in {folder}; run 'kimi-audio eval prepare {name}', or: {files.by_hand}")
        for pattern in missing:
            logger.warning("%s: nothing matches %s in %s; that part is left out", name, pattern, folder)
        check_index(folder, files)
        return read(folder)

    def prepare(folder: Path) -> None:
        if files.downloads and files.missing(folder):
            fetch_all(files, folder)
        files.convert(folder)
        # Whether recordings can be read is seen when they are asked about.
        paths = [clip for sample in load(folder) for clip in sample.audio if isinstance(clip, Path)]
        if gone := [path for path in paths if not path.is_file()]:
            raise ValueError(f"{name}: {len(gone)} of {len(paths)} recordings are missing, such as {gone[0]}")

    return Dataset(name, load, prepare, source)


def check_index(folder: Path, files: DatasetFiles) -> None:
    """Compare the checksums of the index with those that were noted, and note what is new.

    Raises:
        ValueError: a file has changed.
    """
    path = folder / CHECKSUMS
    known: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    there = sorted({file for pattern in files.index for file in folder.glob(pattern)})
    found = {str(file.relative_to(folder)): checksum_of(file, "sha256") for file in there}
    if changed := sorted(name for name, value in found.items() if known.get(name, value) != value):
        raise ValueError(
            f"{folder / changed[0]} is not what it was when it was first used, so scores would not be comparable; "
            f"put the old file back, or remove {path} to accept the new one"
        )
    if set(found) - set(known):
        try:
            save_values(path, known | found)
        except OSError as error:  # a shared folder may be read-only
            logger.warning("the checksums of %s cannot be noted: %s", folder, error)


def checksum_of(path: Path, algorithm: str) -> str:
    """Return "algorithm:hexadecimal digits" of a file; of a folder, those of the names and sizes of its files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = "".join(f"{file.relative_to(path).as_posix()} {file.stat().st_size}\n" for file in files)
        return f"{algorithm}:{hashlib.new(algorithm, listed.encode()).hexdigest()}"
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


# ---------------------------------------------------------------------------------------------------------------------
# Fetching


def fetch_all(files: DatasetFiles, folder: Path) -> None:
    """Download and unpack what is not there yet.

    Raises:
        ValueError: a file cannot be had, or is not what its publisher made; the message says what to do by hand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for download in files.downloads:
        try:
            fetch(download, folder)
        except (OSError, HTTPException) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{download.url} cannot be downloaded ({reason}); {files.by_hand}") from None


def fetch(download: Download, folder: Path) -> None:
    """Download one file, check it, and unpack it if it is an archive; nothing if that was done before."""
    target = folder / download.file
    done = target.with_name(target.name + ".unpacked")
    if done.exists():
        return
    if target.exists():
        _check(target, download)
    else:
        with write_whole(target) as partial:
            (_fetch_from_hub if download.url.startswith(HUB) else _fetch_by_https)(partial, download)
            _check(partial, download)
    if target.name.endswith((".zip", ".tar.gz", ".tgz")):
        unpack(target, target.parent)
        done.touch()
        target.unlink()


def _check(path: Path, download: Download) -> None:
    wanted = download.checksum
    if wanted and (found := checksum_of(path, wanted.partition(":")[0])) != wanted:
        raise ValueError(
            f"{path} from {download.url} is damaged, or was changed by its publisher: its checksum is {found}, not "
            f"{wanted}; remove it and try again"
        )


def _fetch_from_hub(path: Path, download: Download) -> None:
    from huggingface_hub import hf_hub_download  # imported late, as it takes long
    from huggingface_hub.errors import HfHubHTTPError

    owner, repository, file = download.url.removeprefix(HUB).split("/", 2)
    try:
        shutil.copyfile(hf_hub_download(f"{owner}/{repository}", file, repo_type="dataset"), path)
    except HfHubHTTPError as error:
        raise OSError(str(error)) from error


class _OnlyHttps(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if not newurl.startswith("https://"):
            raise OSError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch_by_https(path: Path, download: Download) -> None:
    if not download.url.startswith("https://"):
        raise ValueError(f"{download.url} is not https")
    with build_opener(_OnlyHttps).open(download.url, timeout=60) as response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        if total > download.limit_bytes:
            raise OSError(f"it has {total} bytes, more than the {download.limit_bytes} that were expected")
        with Progress(transient=True) as progress:
            bar = progress.add_task(Path(download.file).name, total=total or None)
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                progress.advance(bar, len(block))
                if file.tell() > download.limit_bytes:
                    raise OSError(f"it has more than the {download.limit_bytes} bytes that were expected")
        if total and file.tell() != total:
            raise OSError(f"the connection broke off after {file.tell()} of {total} bytes")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar.gz; ValueError if it is damaged or wants to write outside the folder."""
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as file:
                file.extractall(folder)  # noqa: S202 - zipfile drops absolute paths and ".."
        else:
            with tarfile.open(archive) as file:
                file.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive} cannot be unpacked: {error}; remove it and try again") from None


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_pairs(path: Path) -> dict[str, str]:
    """Read a file of the Kaldi kind: a key, white space, and the rest of the line."""
    lines = (line.split(maxsplit=1) for line in read_lines(path))
    return {parts[0]: parts[1].strip() if len(parts) > 1 else "" for parts in lines}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines; ValueError if a line cannot be read, for its publishers' can."""
    rows, problems = read_objects(path)
    if problems:
        raise ValueError(f"{path}, line {problems[0].line}: {problems[0].reason}")
    return list(rows.values())


def read_csv(path: Path, columns: Iterable[str], delimiter: str = ",") -> Iterator[Mapping[str, str]]:
    """Yield the rows of a table with a head; ValueError if a column is missing."""
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE  # tables with tabs hold bare quotes
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter, quoting=quoting)
        for column in columns:
            if column not in (rows.fieldnames or ()):
                raise ValueError(f"{path} has no column {column!r}; it has {', '.join(rows.fieldnames or ())}")
        yield from rows


def read_json(path: Path) -> Any:
    """Read a JSON file; ValueError if it is none."""
    try:
        return json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
