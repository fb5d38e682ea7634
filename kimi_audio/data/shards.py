"""Codes and acoustic features of recordings, kept in shards on disk.

tokens/store.json                  which tokenizers made what is here
tokens/problems.json               why some recordings are not here
tokens/shard-00000.safetensors     keys, codes and features of some recordings; written whole or not at all

A recording is known by what is in it, not by its name. Shapes: K recordings, N tokens of one of them, C codes and M
feature rows of a shard, D acoustic feature size.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from kimi_audio.audio.io import AudioSource, Samples
from kimi_audio.core.files import read_json, write_json
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.weights import save_weights

KEY_BYTES = 16
SHARD_TOKENS = 16_384  # 22 minutes; 168 MB of features at the released size
_STORE, _PROBLEMS, _PATTERN = "store.json", "problems.json", "shard-*.safetensors"
FOREIGN_STORE = "holds the tokens of other tokenizers; delete it, or give another folder"


def content_key(source: AudioSource) -> bytes:
    """Return what a recording is known by: 16 bytes that depend on the bytes of its file, or on its samples and rate.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither a path, nor bytes, nor samples.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    if isinstance(source, tuple):
        source = Samples(*source)
    if isinstance(source, Samples):
        array = np.ascontiguousarray(source.array)
        digest.update(f"{source.rate_hz} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    elif isinstance(source, bytes):
        digest.update(source)
    elif isinstance(source, str | Path):
        if not Path(source).is_file():
            raise FileNotFoundError(f"there is no file {source}")
        state = Path(source).stat()
        return _file_key(Path(source).absolute(), state.st_size, state.st_mtime_ns, state.st_ino)
    else:
        raise ValueError(f"a recording must be a path, bytes or samples with their rate, not {type(source).__name__}")
    return digest.digest()


@lru_cache(maxsize=1 << 20)  # about 300 bytes each
def _file_key(path: Path, _size: int, _changed_ns: int, _number: int) -> bytes:
    """Return the key of a file that looks as it did; every epoch would read it twice otherwise."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=KEY_BYTES)).digest()


@dataclass(frozen=True)
class _Index:
    """Where every recording is; 44 bytes each."""

    keys: np.ndarray  # [K] S16, ascending
    shards: np.ndarray  # [K] int32
    sizes: np.ndarray  # [K] int64, tokens
    codes_at: np.ndarray  # [K] int64, first row in the shard
    features_at: np.ndarray  # [K] int64, or -1 where there are none

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Return the index of all shards; of two entries with one key the one with features, or the later, wins."""
        columns = [np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)]
        order = np.lexsort((np.arange(len(columns[0])), columns[4] >= 0, columns[0]))
        keys = columns[0][order]
        order = order[np.append(keys[1:] != keys[:-1], True)] if len(keys) else order
        return cls(*(column[order] for column in columns))

    @classmethod
    def empty(cls) -> Self:
        """Return the index of no shards."""
        return cls(np.empty(0, f"S{KEY_BYTES}"), np.empty(0, np.int32), *(np.empty(0, np.int64) for _ in range(3)))

    @classmethod
    def of(cls, path: Path, number: int) -> Self:
        """Read the index of one shard."""
        with _opened(path) as shard:
            keys = shard.get_tensor("keys").numpy().view(f"S{KEY_BYTES}")[:, 0]
            sizes = shard.get_tensor("sizes").numpy().astype(np.int64)
            has_features = shard.get_tensor("has_features").numpy().astype(bool)
        feature_rows = sizes * has_features
        features_at = np.where(has_features, np.cumsum(feature_rows) - feature_rows, -1)
        return cls(keys, np.full(len(keys), number, np.int32), sizes, np.cumsum(sizes) - sizes, features_at)


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and prepare the tokens again") from None


class TokenStore:
    """What ``ShardWriter`` wrote; only the index is in memory, and no file stays open.

    Args:
        folder: of the shards.

    Raises:
        ValueError: there is no store, or a shard is damaged.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not (self.folder / _STORE).exists():
            raise ValueError(f"{folder} holds no prepared tokens: it lacks {_STORE}")
        about = read_json(self.folder / _STORE)
        self.fingerprint: str = about["fingerprint"]
        self.codes_fingerprint: str | None = about.get("codes_fingerprint")  # which older stores lack
        self.problems: dict[str, str] = (  # key, in hexadecimal digits -> why the recording could not be encoded
            read_json(self.folder / _PROBLEMS) if (self.folder / _PROBLEMS).exists() else {}
        )
        self._paths = sorted(self.folder.glob(_PATTERN))
        parts = [_Index.of(path, number) for number, path in enumerate(self._paths)]
        self._index = _Index.join([_Index.empty(), *parts])

    def __len__(self) -> int:
        return len(self._index.keys)

    def entries(self) -> Iterator[tuple[bytes, bool]]:
        """Yield every key, and whether there are features."""
        for key, at in zip(self._index.keys, self._index.features_at, strict=True):
            yield key.ljust(KEY_BYTES, b"\0"), bool(at >= 0)

    def get(self, key: bytes, *, features: bool = True) -> AudioTokens | None:
        """Return codes [N], and features [N, D] if wanted, or None if they are not here."""
        index = self._index
        wanted = key.rstrip(b"\0")  # as numpy holds it
        row = int(np.searchsorted(index.keys, np.bytes_(wanted)))
        if row == len(index.keys) or index.keys[row] != wanted:
            return None
        size, codes_at, features_at = (int(c[row]) for c in (index.sizes, index.codes_at, index.features_at))
        if features and features_at < 0:
            return None
        with _opened(self._paths[index.shards[row]]) as shard:
            codes = shard.get_slice("codes")[codes_at : codes_at + size].long()
            if not features:
                return AudioTokens(codes)
            return AudioTokens(codes, shard.get_slice("features")[features_at : features_at + size].float())


@dataclass
class ShardWriter:
    """Adds recordings to a store; used in a ``with`` statement, which writes the last, smaller shard in any case.

    Args:
        folder: of the shards; what earlier runs have left there is kept.
        fingerprint: of the tokenizers.
        codes_fingerprint: of the one that makes the codes.
        shard_tokens: a shard is written when it has so many.

    Raises:
        ValueError: the folder belongs to other tokenizers, or holds a damaged shard.
    """

    folder: Path
    fingerprint: str
    codes_fingerprint: str
    shard_tokens: int = SHARD_TOKENS
    _problems: dict[str, str] = field(default_factory=dict)
    _known: dict[bytes, bool] = field(default_factory=dict)  # key -> whether there are features
    _keys: list[bytes] = field(default_factory=list)
    _tokens: list[AudioTokens] = field(default_factory=list)
    _size: int = 0

    def __post_init__(self) -> None:
        about = {"fingerprint": self.fingerprint, "codes_fingerprint": self.codes_fingerprint}
        if not (self.folder / _STORE).exists():
            write_json(self.folder / _STORE, about)
        store = TokenStore(self.folder)
        if store.fingerprint != self.fingerprint:
            raise ValueError(f"{self.folder} {FOREIGN_STORE}")
        if store.codes_fingerprint is None:
            write_json(self.folder / _STORE, about)
        self._known.update(store.entries())
        self._problems.update(store.problems)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.flush()
        if self._problems:
            write_json(self.folder / _PROBLEMS, self._problems)

    def note_problem(self, key: bytes, reason: str) -> None:
        """Note why a recording could not be encoded, for whoever asks for it."""
        self._problems[key.hex()] = reason

    def has(self, key: bytes, *, features: bool = True) -> bool:
        """Tell whether a recording need not be added."""
        return self._known.get(key, False) or (not features and key in self._known)

    def add(self, key: bytes, tokens: AudioTokens) -> None:
        """Take the tokens of one recording.

        Raises:
            ValueError: features are not finite in float16, as which they are kept.
        """
        tokens = in_half(tokens)
        self._known[key] = tokens.features is not None
        self._keys.append(key)
        self._tokens.append(tokens)
        self._size += len(tokens.codes)
        if self._size >= self.shard_tokens:
            self.flush()

    def flush(self) -> None:
        """Write what has been added."""
        if not self._keys:
            return
        blocks = [tokens.features for tokens in self._tokens if tokens.features is not None]
        has_features = [tokens.features is not None for tokens in self._tokens]
        shard = {
            "keys": torch.frombuffer(bytearray(b"".join(self._keys)), dtype=torch.uint8).view(-1, KEY_BYTES),  # [K, 16]
            "sizes": torch.tensor([len(tokens.codes) for tokens in self._tokens], dtype=torch.int32),  # [K]
            "has_features": torch.tensor(has_features, dtype=torch.uint8),  # [K]
            "codes": torch.cat([tokens.codes for tokens in self._tokens]).int(),  # [C]
            "features": torch.cat(blocks) if blocks else torch.zeros(0, 0, dtype=torch.half),  # [M, D]
        }
        save_weights(self._next_path(), shard)
        self._keys, self._tokens, self._size = [], [], 0

    def _next_path(self) -> Path:
        numbers = [int(path.stem.removeprefix("shard-")) for path in self.folder.glob(_PATTERN)]
        return self.folder / f"shard-{max(numbers, default=-1) + 1:05d}.safetensors"


def in_half(tokens: AudioTokens) -> AudioTokens:
    """Return tokens with their features in float16, as which they are kept.

    Raises:
        ValueError: features are not finite then.
    """
    if tokens.features is None:
        return tokens
    features = tokens.features.half()
    if not features.isfinite().all():
        raise ValueError("the acoustic features are not finite in float16")
    return AudioTokens(tokens.codes, features)
