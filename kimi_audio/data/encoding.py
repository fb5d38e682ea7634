"""From recordings to codes and features: on the fly, or once into shards; both are called alike.

``encoder(source)`` gives codes and features, ``encoder.codes(source)`` codes alone. Shapes: L samples at 16 kHz,
N tokens, D acoustic feature size.
"""

import hashlib
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from kimi_audio.audio.io import AudioSource, load_audio
from kimi_audio.core.files import alone
from kimi_audio.core.lines import BadSampleError, Problem
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.units import INPUT_RATE_HZ, SAMPLES_PER_TOKEN
from kimi_audio.data.conversations import Conversation, ConversationFile
from kimi_audio.data.documents import Document, DocumentFile, holds_documents
from kimi_audio.data.reports import Progress
from kimi_audio.data.shards import FOREIGN_STORE, KEY_BYTES, SHARD_TOKENS, ShardWriter, TokenStore, content_key, in_half
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer


@dataclass(frozen=True)
class AudioEncoder:
    """The two tokenizers of what is heard; results are on the CPU, features in float32."""

    semantic: SemanticTokenizer
    acoustic: AcousticEncoder

    def __call__(self, source: AudioSource) -> AudioTokens:
        """Return codes [N] and features [N, D]; errors as for ``load_audio``."""
        return self.encode_wav(load_audio(source, INPUT_RATE_HZ, damage="refuse"))

    def codes(self, source: AudioSource) -> AudioTokens:
        """Return codes [N] alone, which is enough for what the assistant says."""
        return self.encode_wav(load_audio(source, INPUT_RATE_HZ, damage="refuse"), features=False)

    def encode_wav(self, wav: Tensor, *, features: bool = True) -> AudioTokens:
        """Encode samples [L] at 16 kHz."""
        wav = wav.to(self.semantic.codebook.weight.device)
        codes = self.semantic.encode_wav(wav).cpu()
        if not features:
            return AudioTokens(codes)
        return AudioTokens(codes, self.acoustic.features(wav).float().cpu())

    def encode_wavs(self, wavs: Sequence[Tensor], features: Sequence[bool]) -> list[AudioTokens]:
        """Encode recordings [L] at 16 kHz together, which is faster on a GPU; some get features as well."""
        device = self.semantic.codebook.weight.device
        wavs = [wav.to(device) for wav in wavs]
        heard = [number for number, wanted in enumerate(features) if wanted]
        known = dict(zip(heard, self.acoustic.features_of([wavs[number] for number in heard]), strict=True))
        return [
            AudioTokens(codes.cpu(), known[number].float().cpu() if number in known else None)
            for number, codes in enumerate(self.semantic.encode_wavs(wavs))
        ]

    def fingerprint(self) -> str:
        """Return what tells these tokenizers from all others; it reads all weights."""
        return _fingerprint((self.semantic, self.semantic.config), (self.acoustic, self.acoustic.config))

    def codes_fingerprint(self) -> str:
        """Return what tells the tokenizer of the codes from all others."""
        return _fingerprint((self.semantic, self.semantic.config))


def _fingerprint(*modules: tuple[nn.Module, object]) -> str:
    digest = hashlib.blake2b(b"bfloat16=False", digest_size=KEY_BYTES)  # as in the stores that there are
    for module, config in modules:
        digest.update(repr(config).encode())
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True)
class StoredEncoder:
    """An encoder that looks into a store first; what is not there is encoded on the fly, or is an error.

    Raises:
        ValueError: the store was made by other tokenizers than those of ``fallback``.
    """

    store: TokenStore
    fallback: AudioEncoder | None = None

    def __post_init__(self) -> None:
        if self.fallback is not None and self.fallback.fingerprint() != self.store.fingerprint:
            raise ValueError(f"{self.store.folder} {FOREIGN_STORE}")

    def __call__(self, source: AudioSource) -> AudioTokens:
        """Return codes [N] and features [N, D]."""
        key = content_key(source)
        return self.store.get(key) or self._fallback(key, source)(source)

    def known(self, key: bytes, name: str, *, features: bool) -> AudioTokens:
        """Return the tokens with a key of their own.

        Raises:
            ValueError: they are not in the store.
        """
        found = self.store.get(key, features=features)
        return self._missing(key, name) if found is None else found

    def codes(self, source: AudioSource) -> AudioTokens:
        """Return codes [N] alone."""
        key = content_key(source)
        return self.store.get(key, features=False) or self._fallback(key, source).codes(source)

    def _fallback(self, key: bytes, source: AudioSource) -> AudioEncoder:
        if self.fallback is None:
            self._missing(key, str(source) if isinstance(source, str | Path) else "a recording")
        return self.fallback

    def _missing(self, key: bytes, name: str) -> NoReturn:
        reason = self.store.problems.get(key.hex())
        if reason is not None:
            raise ValueError(f"{name} could not be encoded: {reason}")
        raise ValueError(f"the tokens of {name} are not in {self.store.folder}; prepare the tokens again")


@dataclass(frozen=True)
class EncodingJob:
    """Something to encode; ``key`` is that of its content, or any other by which it will be asked for."""

    key: bytes
    load: Callable[[], Tensor]  # gives samples [L] at 16 kHz
    features: bool = True
    line: int = 0  # where it is mentioned, for problems


# What became of a recording: codes and features, without torch's own way through pipes, or what went wrong.
Outcome = tuple[np.ndarray, np.ndarray | None] | Exception
_LOADED = 32  # recordings that a worker loads before it hands them on
_AHEAD = 4  # recordings that every worker is given at once
_TOGETHER = 8192  # recordings that a GPU is given at once, some 1.5 GB: those of one length are encoded together
_encoder_of_worker: AudioEncoder | None = None


@dataclass(frozen=True)
class EncodeReport:
    """What was encoded, what had been already, and what could not be."""

    num_encoded: int
    num_found: int
    encoded_s: float
    problems: tuple[Problem, ...]


def encode_recordings(
    recordings: Iterable[EncodingJob],
    encoder: AudioEncoder,
    out: str | Path,
    *,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
) -> EncodeReport:
    """Encode recordings into a store; those that it has are not even loaded.

    A recording that cannot be loaded is a problem of the report. An interruption loses nothing, and the next call goes
    on. The store has the same order for any number of workers, each of which uses one core: on a CPU, they encode; for
    another device, which encodes many recordings together, they load.

    Raises:
        ValueError: ``out`` belongs to other tokenizers, or another process is writing it.
    """
    num_encoded = num_found = num_tokens = 0
    problems: list[Problem] = []
    with (
        alone(Path(out)),  # two writers would give their shards the same names
        ShardWriter(Path(out), encoder.fingerprint(), encoder.codes_fingerprint(), shard_tokens) as writer,
        _workers(encoder, workers) as encode,
    ):
        on_cpu = encoder.semantic.codebook.weight.device.type == "cpu"
        size = _TOGETHER if not on_cpu else 1 if workers == 1 else _AHEAD * workers
        for window in _windows(recordings, size):
            missing = [r for r in window if not writer.has(r.key, features=r.features)]
            new = _different(missing)
            broken: dict[bytes, str] = {}
            for recording, outcome in zip(new, encode(new), strict=True):
                if isinstance(outcome, Exception):
                    broken[recording.key] = str(outcome)
                    writer.note_problem(recording.key, str(outcome))
                    continue
                codes, features = outcome
                tokens = AudioTokens(torch.from_numpy(codes), None if features is None else torch.from_numpy(features))
                writer.add(recording.key, tokens)
                num_encoded += 1
                num_tokens += len(codes)
            problems += [Problem(r.line, broken[r.key]) for r in missing if r.key in broken]
            num_found += len(window) - len(new) - sum(r.key in broken for r in missing) + len(broken)
    return EncodeReport(num_encoded, num_found, num_tokens * SAMPLES_PER_TOKEN / INPUT_RATE_HZ, tuple(problems))


def _windows(recordings: Iterable[EncodingJob], size: int) -> Iterator[list[EncodingJob]]:
    """Yield so many recordings at a time."""
    coming = iter(recordings)
    while window := list(islice(coming, size)):
        yield window


def _different(recordings: Sequence[EncodingJob]) -> list[EncodingJob]:
    """Return one of the recordings of every key: the first, or the first with features."""
    found: dict[bytes, EncodingJob] = {}
    for recording in recordings:
        if recording.key not in found or (recording.features and not found[recording.key].features):
            found[recording.key] = recording
    return list(found.values())


@contextmanager
def _workers(encoder: AudioEncoder, count: int) -> Iterator[Callable[[Iterable[EncodingJob]], Iterable[Outcome]]]:
    """Yield what encodes recordings, in their order, in so many processes."""
    # Forked processes would wait for locks of torch's threads for ever.
    context = multiprocessing.get_context("spawn")
    if encoder.semantic.codebook.weight.device.type != "cpu":
        with ProcessPoolExecutor(count, context, _begin_worker, (None,)) as pool:
            yield partial(_together, encoder, partial(pool.map, _loaded, chunksize=_LOADED))
    elif count == 1:
        yield partial(map, partial(_outcome, encoder))
    else:
        with ProcessPoolExecutor(count, context, _begin_worker, (encoder,)) as pool:
            yield partial(pool.map, _outcome_in_worker)


def _outcome(encoder: AudioEncoder, recording: EncodingJob) -> Outcome:
    try:
        return _halved(encoder.encode_wav(recording.load(), features=recording.features))
    except (ValueError, OSError) as error:
        return error


def _together(
    encoder: AudioEncoder,
    load_all: Callable[[Iterable[EncodingJob]], Iterable[np.ndarray | Exception]],
    recordings: Iterable[EncodingJob],
) -> list[Outcome]:
    jobs = list(recordings)
    loaded = list(load_all(jobs))
    good = [(number, wav) for number, wav in enumerate(loaded) if isinstance(wav, np.ndarray)]
    wavs = [torch.from_numpy(wav) for _, wav in good]
    tokens = encoder.encode_wavs(wavs, [jobs[number].features for number, _ in good])
    found = {number: _halved(item) for (number, _), item in zip(good, tokens, strict=True)}
    return [wav if isinstance(wav, Exception) else found[number] for number, wav in enumerate(loaded)]


def _loaded(recording: EncodingJob) -> np.ndarray | Exception:
    try:
        return recording.load().numpy()
    except (ValueError, OSError) as error:
        return error


def _halved(tokens: AudioTokens) -> Outcome:
    try:
        tokens = in_half(tokens)
    except ValueError as error:
        return error
    return tokens.codes.numpy(), None if tokens.features is None else tokens.features.numpy()


def _begin_worker(encoder: AudioEncoder | None) -> None:
    global _encoder_of_worker  # a process has no other place that lasts from one task to the next
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that writes
    torch.set_num_threads(1)
    _encoder_of_worker = encoder


def _outcome_in_worker(recording: EncodingJob) -> Outcome:
    assert _encoder_of_worker is not None
    return _outcome(_encoder_of_worker, recording)


def tokens_folder(file: Path) -> Path:
    """Return where the tokens of a file are by default."""
    return file.with_suffix(".tokens")


def encode_file(
    path: str | Path,
    encoder: AudioEncoder,
    out: str | Path,
    *,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
    progress: Progress | None = None,
) -> EncodeReport:
    """Encode every recording of a JSONL file of conversations or documents into a store.

    Of conversations, what the assistant says gets no features, and nothing at all where the file has its
    codes. Of documents, nothing gets features: pre-training makes them of the sound.

    Args:
        path: see ``conversations`` and ``documents``.
        encoder: the tokenizers.
        out: folder of the store; what it holds is not encoded again.
        shard_tokens: size of a shard.
        workers: processes that encode, each on one core.
        progress: told after every line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, there are several workers for one device, or see ``encode_recordings``.
    """
    is_documents = holds_documents(Path(path))
    file = DocumentFile(path) if is_documents else ConversationFile(path)
    problems: list[Problem] = []
    recordings = _recordings(file, problems, progress)
    report = encode_recordings(recordings, encoder, out, shard_tokens=shard_tokens, workers=workers)
    problems += report.problems
    return replace(report, problems=tuple(sorted(problems, key=lambda problem: problem.line)))


def _recordings(
    file: ConversationFile | DocumentFile, problems: list[Problem], progress: Progress | None
) -> Iterator[EncodingJob]:
    for index in range(len(file)):
        try:
            sample = file[index]
            yield from _of_document(sample, index + 1) if isinstance(sample, Document) else _said(sample, index + 1)
        except BadSampleError as error:
            problems += [Problem(index + 1, reason) for reason in error.reasons]
        except (ValueError, OSError) as error:
            problems.append(Problem(index + 1, str(error)))
        if progress is not None:
            progress(index + 1, len(file))


def _said(conversation: Conversation, line: int) -> Iterator[EncodingJob]:
    for message in conversation.messages:
        if message.message_type == "text" or message.audio is None:
            continue
        features = message.message_type == "audio"
        if features or message.num_codes is None:
            load = partial(load_audio, message.audio, INPUT_RATE_HZ, damage="refuse")
            yield EncodingJob(content_key(message.audio), load, features, line)


def _of_document(document: Document, line: int) -> Iterator[EncodingJob]:
    for segment in document.segments:
        if segment.audio is not None:
            yield EncodingJob(segment.audio.key(), segment.audio.load, features=False, line=line)
