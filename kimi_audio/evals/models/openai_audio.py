"""Endpoints of the OpenAI type that take sound: GPT-4o-audio, any other, and the server of this package.

    openai:gpt-4o-audio                         a preset; PRESETS has all
    openai:kimi-audio@http://localhost:8000/v1  a preset, or the name of a model, at another address; no key is sent
    openai:endpoint.yaml                        a file with the fields of ``ModelEndpoint``

The protocol is chat completions with ``input_audio``, streamed where the endpoint can, so that the first text and the
first sound are timed. The key is read from a named environment variable when a request is made and kept nowhere.
"""

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kimi_audio.audio.io import Samples, decode_audio
from kimi_audio.evals.contract.keys import Clip, one_line
from kimi_audio.evals.contract.types import EvalSample, Options, Prediction
from kimi_audio.evals.models.chat_client import (
    ChatClient,
    Endpoint,
    EndpointError,
    ServerReply,
    as_object,
    message_of,
    read_endpoint,
)
from kimi_audio.evals.models.common import check_decoding, presets, wav_bytes

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


@dataclass(frozen=True, kw_only=True)
class ModelEndpoint(Endpoint):
    """An endpoint with a model to evaluate."""

    family: str = "openai-audio"  # whose recipes it takes
    revision: str = "not stated"  # of the weights behind it; if they change and this does not, old answers are reused
    voice: str = "alloy"
    decoding: Sequence[str] = ()  # options that it takes besides the usual ones
    stream: bool = True


def load(name: str, device: str | None) -> "OpenAIAudio":
    """Return the adapter of a preset, of MODEL@URL or of an endpoint file; nothing is sent yet.

    Raises:
        ValueError: the name is none of these, the file has unknown fields, or there is no key.
        OSError: the file cannot be read.
    """
    del device  # the endpoint knows its own
    known = presets("endpoints")
    preset, at, url = name.partition("@")
    if name.endswith((".yaml", ".yml")):
        preset, endpoint = Path(name).stem, read_endpoint(Path(name), ModelEndpoint, "endpoint", ["model"])
    elif at:  # the key of one host is not for another
        fields: dict[str, Any] = {**known.get(preset, {"model": preset}), "url": url, "key_env": ""}
        endpoint = ModelEndpoint(**fields)
    elif preset in known:
        endpoint = ModelEndpoint(**known[preset])
    else:
        raise ValueError(f"{name!r} is none of {', '.join(known)}; give MODEL@URL or a file that describes an endpoint")
    model = OpenAIAudio(preset, endpoint)
    model.client.key()  # told once, and not by every sample
    return model


@dataclass
class OpenAIAudio:
    """An endpoint under the contract of evaluations."""

    name: str
    endpoint: ModelEndpoint
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        endpoint = self.endpoint
        self.family = endpoint.family
        # The address belongs to it: two servers may call their models alike.
        self.revision = f"{endpoint.model} {endpoint.revision} at {endpoint.url}"
        self.at_once = AT_ONCE * endpoint.concurrency
        self.client = ChatClient(endpoint, self.sleep)

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        """Answer a batch, some samples of it at the same time; what happens to a sample is in its prediction."""
        check_decoding(self.name, options, DECODING.union(self.endpoint.decoding))
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        try:
            return list(pool.map(lambda sample: self._answer(sample, options), samples))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, no request is begun

    def _answer(self, sample: EvalSample, options: Options) -> Prediction:
        try:
            return self.client.ask(request_body(self.endpoint, sample, options), _read)
        except (EndpointError, ValueError, OSError) as error:
            return Prediction(error=one_line(error))


def _read(reply: ServerReply) -> Prediction:
    answer = _Answer(reply.started_s)
    if reply.is_stream:
        answer.read_stream(reply)
    else:
        answer.take(reply.json(), "message")
    return answer.prediction(is_timed=reply.is_stream)


def request_body(endpoint: ModelEndpoint, sample: EvalSample, options: Options) -> dict[str, Any]:
    """Return the JSON of a request: the text before the sound; ValueError if the sound cannot be read."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": sample.text}] if sample.text.strip() else []
    parts += map(sound_part, sample.audio)
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


def sound_part(clip: Clip) -> dict[str, Any]:
    """Return sound as a part of a message."""
    data = base64.b64encode(wav_bytes(clip)).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


@dataclass
class _Answer:
    """An answer while it arrives."""

    started_s: float
    text: list[str] = field(default_factory=list)
    sound: list[bytes] = field(default_factory=list)
    first_text_s: float | None = None
    first_sound_s: float | None = None
    finish_reason: str = ""

    def read_stream(self, reply: ServerReply) -> None:
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
