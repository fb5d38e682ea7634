"""Endpoints of the OpenAI type that take sound: GPT-4o-audio, any other, and the server of this package.

    openai:gpt-4o-audio                         a preset; PRESETS has all
    openai:kimi-audio@http://localhost:8000/v1  a preset, or the name of a model, at another address; no key is sent
    openai:endpoint.yaml                        a file with the fields of ``Endpoint``

The protocol is chat completions with ``input_audio``, streamed where the endpoint can, so that the first text and the
first sound are timed. The key is read from a named environment variable when a request is made and kept nowhere.
"""

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kimi_audio.audio.io import Samples, decode_audio
from kimi_audio.evals.contract.types import Options, Prediction, Sample
from kimi_audio.evals.models.chat_client import ChatClient, EndpointError, Reply, as_object, message_of
from kimi_audio.evals.models.common import check_decoding, wav_bytes
from kimi_audio.evals.run.engines import one_line

FAMILY = "openai-audio"
PCM_RATE_HZ = 24000  # of streamed sound
DECODING = {
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "stop",
}
AT_ONCE = 4  # times as many requests as run in parallel make a batch, so that none waits long for the slowest


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask."""

    model: str
    url: str = "https://api.openai.com/v1"  # up to /chat/completions
    family: str = FAMILY  # whose recipes it takes
    revision: str = "not stated"  # of the weights behind it; if they change and this does not, old answers are reused
    key_variable: str = ""  # environment variable with the key; "" sends none
    voice: str = "alloy"
    decoding: Sequence[str] = ()  # options that it takes besides the usual ones
    stream: bool = True
    parallel: int = 4  # requests of a batch at the same time
    timeout_s: float = 120.0  # of one attempt
    attempts: int = 5
    backoff_s: float = 1.0  # before the second attempt; doubles after each, unless the endpoint says how long to wait

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValueError(f"{self.url!r} is not the address of an endpoint: it starts with https:// or http://")
        if self.parallel < 1 or self.attempts < 1 or self.timeout_s <= 0 or self.backoff_s < 0:
            raise ValueError("parallel and attempts must be at least 1, timeout_s positive, backoff_s not negative")


def _gpt(model: str, revision: str) -> Endpoint:
    return Endpoint(f"{model}-{revision}", revision=revision, key_variable="OPENAI_API_KEY")


PRESETS = {
    "gpt-4o-audio": _gpt("gpt-4o-audio-preview", "2024-12-17"),
    "gpt-4o-mini-audio": _gpt("gpt-4o-mini-audio-preview", "2024-12-17"),
    "kimi-audio": Endpoint(
        "kimi-audio",
        url="http://localhost:8000/v1",
        family="kimi-audio",
        decoding=(
            *(
                f"{row}_{name}"
                for row in ("text", "audio")
                for name in ("temperature", "top_k", "repetition_penalty", "repetition_window_size")
            ),
            "max_new_tokens",
        ),
    ),
}


def load(name: str, device: str | None) -> "OpenAIAudio":
    """Return the adapter of a preset, of MODEL@URL or of an endpoint file; nothing is sent yet.

    Raises:
        ValueError: the name is none of these, the file has unknown fields, or there is no key.
    """
    del device  # the endpoint knows its own
    model = _find(name)
    model.client.key()  # told once, and not by every sample
    return model


def _find(name: str) -> "OpenAIAudio":
    preset, at, url = name.partition("@")
    if name.endswith((".yaml", ".yml")):
        return OpenAIAudio(Path(name).stem, read_endpoint(Path(name)))
    if at:  # the key of one host is not for another
        return OpenAIAudio(preset, replace(PRESETS.get(preset, Endpoint(preset)), url=url, key_variable=""))
    if preset in PRESETS:
        return OpenAIAudio(preset, PRESETS[preset])
    raise ValueError(f"{name!r} is none of {', '.join(PRESETS)}; give MODEL@URL or a file that describes an endpoint")


def read_endpoint(path: Path) -> Endpoint:
    """Read an endpoint file, YAML with the fields of ``Endpoint``.

    Raises:
        ValueError: it cannot be read, is no YAML, or has wrong fields.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from None
    known = {item.name for item in fields(Endpoint)}
    if not isinstance(values, dict) or "model" not in values:
        raise ValueError(f"{path} does not describe an endpoint: it needs 'model: NAME'")
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{path}: unknown field {unknown[0]!r}; there are {', '.join(sorted(known))}")
    return Endpoint(**values)


@dataclass
class OpenAIAudio:
    """An endpoint under the contract of evaluations."""

    name: str
    endpoint: Endpoint
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        endpoint = self.endpoint
        self.family = endpoint.family
        # The address belongs to it: two servers may call their models alike.
        self.revision = f"{endpoint.model} {endpoint.revision} at {endpoint.url}"
        self.at_once = AT_ONCE * endpoint.parallel
        self.client = ChatClient(
            endpoint.url, endpoint.key_variable, endpoint.timeout_s, endpoint.attempts, endpoint.backoff_s, self.sleep
        )

    def generate(self, samples: Sequence[Sample], options: Options) -> list[Prediction]:
        """Answer a batch, some samples of it at the same time; what befalls a sample is in its prediction."""
        check_decoding(self.name, options, DECODING.union(self.endpoint.decoding))
        pool = ThreadPoolExecutor(self.endpoint.parallel)
        try:
            return list(pool.map(lambda sample: self._answer(sample, options), samples))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, no request is begun

    def _answer(self, sample: Sample, options: Options) -> Prediction:
        try:
            return self.client.ask(request_body(self.endpoint, sample, options), _read)
        except (EndpointError, ValueError, OSError) as error:
            return Prediction(error=one_line(error))


def _read(reply: Reply) -> Prediction:
    answer = _Answer(reply.started_s)
    if reply.is_stream:
        answer.read_stream(reply)
    else:
        answer.take(reply.json(), "message")
    return answer.prediction(is_timed=reply.is_stream)


def request_body(endpoint: Endpoint, sample: Sample, options: Options) -> dict[str, Any]:
    """Return the JSON of a request: the text before the sound; ValueError if the sound cannot be read."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": sample.text}] if sample.text.strip() else []
    for clip in sample.audio:
        data = base64.b64encode(wav_bytes(clip)).decode()
        parts.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    system = [{"role": "system", "content": options.system}] if options.system else []
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [*system, {"role": "user", "content": parts}],
        "modalities": ["text"],
        "seed": options.seed_of(sample),
        **options.decoding,
    }
    if options.output == "both":
        body["modalities"] = ["text", "audio"]
        body["audio"] = {"voice": endpoint.voice, "format": "pcm16" if endpoint.stream else "wav"}
    if endpoint.stream:
        body["stream"] = True
    return body


@dataclass
class _Answer:
    """An answer while it arrives."""

    started_s: float
    text: list[str] = field(default_factory=list)
    sound: list[bytes] = field(default_factory=list)
    first_text_s: float | None = None
    first_sound_s: float | None = None
    finish_reason: str = ""

    def read_stream(self, reply: Reply) -> None:
        """Take all events; ConnectionError if the stream ends before the answer does."""
        for line in reply.lines():
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            self.take(as_object(data), "delta")
        if not self.finish_reason:
            raise ConnectionError("the answer broke off")

    def take(self, values: Mapping[str, Any], kind: str) -> None:
        """Take a whole answer (kind "message") or a part of it ("delta")."""
        if complaint := values.get("error"):
            raise EndpointError(message_of(complaint))
        choices = values.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        if not choice and kind == "delta":
            return  # such as the usage at the end
        message = choice.get(kind) if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise EndpointError(f"the endpoint sent no {kind}: {json.dumps(values)[:200]}")
        audio = message.get("audio")
        audio = audio if isinstance(audio, dict) else {}
        now_s = time.perf_counter() - self.started_s
        if text := message.get("content") or audio.get("transcript"):
            self.text.append(str(text))
            self.first_text_s = now_s if self.first_text_s is None else self.first_text_s
        if data := audio.get("data"):
            self.sound.append(_decoded(data))
            self.first_sound_s = now_s if self.first_sound_s is None else self.first_sound_s
        self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)

    def prediction(self, *, is_timed: bool) -> Prediction:
        """Return what has arrived; first times only if it was streamed."""
        sound = b"".join(self.sound)
        return Prediction(
            "".join(self.text),
            _samples(sound) if sound else None,
            total_s=time.perf_counter() - self.started_s,
            first_text_s=self.first_text_s if is_timed else None,
            first_sound_s=self.first_sound_s if is_timed else None,
            finish_reason=self.finish_reason,
        )


def _samples(sound: bytes) -> Samples:
    if sound.startswith(b"RIFF"):
        return decode_audio(sound)
    whole = len(sound) // 2 * 2
    return Samples(np.frombuffer(sound[:whole], "<i2").astype(np.float32) / 32768, PCM_RATE_HZ)


def _decoded(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise EndpointError("the endpoint sent sound that is not base64") from None
