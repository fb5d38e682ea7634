"""Downloads: what is fetched, checked, unpacked, and said when that is not possible."""

import hashlib
import io
import logging
import tarfile
import zipfile
from pathlib import Path

import pytest

from kimi_audio.evals.contract.types import EvalSample
from kimi_audio.evals.tasks import datasets
from kimi_audio.evals.tasks.datasets import (
    DatasetFiles,
    Download,
    fetch,
    fetch_all,
    make_dataset,
    read_csv,
    read_pairs,
    unpack,
)


@pytest.fixture
def served(monkeypatch) -> dict[str, bytes]:
    """What the network has, by address; nothing else can be reached."""
    files: dict[str, bytes] = {}

    def fetch_by_https(path: Path, download: Download) -> None:
        if download.url not in files:
            raise OSError("there is no network\nhere")
        path.write_bytes(files[download.url])

    monkeypatch.setattr(datasets, "_fetch_by_https", fetch_by_https)
    return files


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, value in files.items():
            archive.writestr(f"{name}.txt", value)
    return content.getvalue()


def test_archives_are_unpacked_once(tmp_path, served):
    served["https://here/a.zip"] = zipped(words="a b")
    download = Download("https://here/a.zip", "a.zip", 1000)
    fetch(download, tmp_path)
    assert (tmp_path / "words.txt").read_text() == "a b"
    assert not (tmp_path / "a.zip").exists()
    served.clear()
    fetch(download, tmp_path)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_wrong_checksums_are_refused(tmp_path, served, algorithm):
    served["https://here/a.txt"] = b"right"
    right = hashlib.new(algorithm, b"right").hexdigest()
    download = Download("https://here/a.txt", "a.txt", 1000, f"{algorithm}:{right}")
    fetch(download, tmp_path)
    (tmp_path / "a.txt").write_bytes(b"wrong")
    with pytest.raises(ValueError, match=f"not {algorithm}:{right}; remove it and try again"):
        fetch(download, tmp_path)


def test_without_a_network_it_says_what_to_do(tmp_path, served):
    layout = DatasetFiles(("words.txt",), "place words.txt there", (Download("https://here/a.zip", "a.zip", 1000),))
    with pytest.raises(ValueError, match=r"a.zip cannot be downloaded \(there is no network\); place words.txt there"):
        fetch_all(layout, tmp_path)


def test_prepared_datasets_need_no_network(tmp_path, served):
    layout = DatasetFiles(("*.txt",), "place words.txt there", (Download("https://here/a.zip", "a.zip", 1000),))
    dataset = make_dataset("words", "", layout, lambda folder: [EvalSample("a")])
    served["https://here/a.zip"] = zipped(words="a b")
    dataset.prepare(tmp_path / "words")
    served.clear()
    dataset.prepare(tmp_path / "words")
    assert list(dataset.load(tmp_path / "words")) == [EvalSample("a")]


def test_only_https():
    with pytest.raises(ValueError, match="http://here/a is not https"):
        datasets._fetch_by_https(Path("never"), Download("http://here/a", "a", 1000))


def test_archives_stay_in_their_folder(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(path, tmp_path / "inside")
    assert not (tmp_path / "outside").exists()
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(path, tmp_path)


def test_read_only_folders_can_be_used(tmp_path, monkeypatch, caplog):
    (tmp_path / "words.txt").write_text("a")

    def refuse(path: Path, content: str) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(datasets, "save_values", refuse)
    with caplog.at_level(logging.WARNING):
        dataset = make_dataset("words", "", DatasetFiles(("words.txt",), ""), lambda folder: [EvalSample("a")])
        assert list(dataset.load(tmp_path)) == [EvalSample("a")]
    assert "cannot be noted: read-only" in caplog.text


def test_tables(tmp_path):
    (tmp_path / "pairs").write_text("a  one two\n\nb\nc\tthree\n")
    assert read_pairs(tmp_path / "pairs") == {"a": "one two", "b": "", "c": "three"}
    (tmp_path / "t.csv").write_text('file,text\na.wav,"one, two"\n')
    assert list(read_csv(tmp_path / "t.csv", ("file",))) == [{"file": "a.wav", "text": "one, two"}]
    with pytest.raises(ValueError, match="has no column 'label'; it has file, text"):
        list(read_csv(tmp_path / "t.csv", ("label",)))
