"""A judge behind any server with OpenAI's chat completions: OpenAI, vLLM, SGLang, llama.cpp, Ollama, ..."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kimi_audio.audio.io import decode_audio
from kimi_audio.evals.contract.keys import Cache, digest_of, key_of
from kimi_audio.evals.contract.prompting import render_prompt
from kimi_audio.evals.contract.types import Clip, Recipe, Sample
from kimi_audio.evals.judges.prompts import JudgePrompt, read_prompts
from kimi_audio.evals.judges.types import JudgeError, Verdict
from kimi_audio.evals.judges.verdicts import combine, read_reply
from kimi_audio.evals.models.chat_client import ChatClient, EndpointError
from kimi_audio.evals.run.engines import one_line


@dataclass(frozen=True)
class EndpointSettings:
    """Which judge, and how it is asked; a YAML file with these fields. What is None is as in the prompt."""

    url: str  # such as https://api.openai.com/v1 or http://localhost:8000/v1
    model: str  # best with its date: gpt-4o-mini-2024-07-18
    key_env: str = ""  # name of the environment variable that holds the key; empty for servers without one
    votes: int | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)  # over that of the prompt; None leaves a field out
    prompts: Path | None = None  # file that replaces prompts of ours
    cache: Path | None = Path("runs/judge-cache")  # of replies that were understood
    timeout_s: float = 60.0
    retries: int = 5  # after connection errors, time-outs, 429 and 5xx, with growing pauses
    concurrency: int = 8

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the judge's url must begin with http:// or https://, not {self.url!r}")
        if (self.votes is not None and self.votes < 1) or self.retries < 0 or self.concurrency < 1:
            raise ValueError("votes and concurrency of a judge must be at least 1, retries at least 0")


class Endpoint:
    """Asks, and remembers replies by model, prompt and text."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.name, self.concurrency = settings.model, settings.concurrency
        self.prompts = read_prompts(settings.prompts)
        self._cache = Cache(settings.cache) if settings.cache else None
        self.client = ChatClient(settings.url, settings.key_env, settings.timeout_s, settings.retries + 1)

    def version(self, prompt: JudgePrompt) -> str:
        """Return model, prompt, votes and decoding."""
        votes, decoding = self._votes(prompt), self._decoding(prompt)
        way = "" if votes == 1 else ", most frequent" if prompt.labels else ", mean"
        listed = ", ".join(f"{name} {value}" for name, value in sorted(decoding.items()))
        who = f"{self.name} at {self.settings.url}, {prompt.fingerprint}"
        return f"{who}, votes {votes}{way}, {listed or 'decoding of the server'}"

    def rate(self, prompt: JudgePrompt, fields: Mapping[str, str], clips: Sequence[Clip] = ()) -> Verdict:
        """Return the verdict of all votes; most of them must be understood."""
        try:
            text = render_prompt(Recipe(prompt.text), Sample(prompt.name, meta=dict(fields)))
        except ValueError as error:
            raise JudgeError(str(error)) from None
        sound = [clip for clip in clips if prompt.hears]
        votes = [self._vote(prompt, text, sound, number) for number in range(self._votes(prompt))]
        values = [value for _, value, _ in votes if value is not None]
        if 2 * len(values) <= len(votes):
            raise JudgeError(next(reason for *_, reason in votes if reason))
        return Verdict(combine(prompt, values), tuple(reply for reply, *_ in votes), len(votes) - len(values))

    def _vote(
        self, prompt: JudgePrompt, text: str, clips: Sequence[Clip], number: int
    ) -> tuple[str, float | None, str]:
        """Return a reply, its number, and why there is none. Replies that are not understood are not remembered."""
        key = key_of(
            model=self.name,
            url=self.settings.url,
            prompt=prompt.fingerprint,
            text=text,
            audio=[digest_of(clip) for clip in clips],
            decoding=self._decoding(prompt),
            vote=number,
        )
        known = self._cache.get(key) if self._cache else None
        reply = known["reply"] if known else self._ask(prompt, text, clips)
        try:
            value = read_reply(prompt, reply)
        except ValueError as error:
            return reply, None, str(error)
        if self._cache and not known:
            self._cache.put(key, {"reply": reply})
        return reply, value, ""

    def _ask(self, prompt: JudgePrompt, text: str, clips: Sequence[Clip]) -> str:
        content = [{"type": "text", "text": text}, *map(_sound_part, clips)] if clips else text
        messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
        request: dict[str, Any] = {**self._decoding(prompt), "model": self.name}
        request["messages"] = [*messages, {"role": "user", "content": content}]
        try:
            completion = self.client.ask(request, lambda reply: reply.json())
            return str(completion["choices"][0]["message"]["content"] or "")
        except (EndpointError, ValueError, OSError) as error:
            raise JudgeError(f"the judge gave no reply: {one_line(error)}") from None
        except (LookupError, TypeError):
            raise JudgeError(f"the judge at {self.settings.url} sent no chat completion") from None

    def _votes(self, prompt: JudgePrompt) -> int:
        return self.settings.votes or prompt.votes

    def _decoding(self, prompt: JudgePrompt) -> dict[str, Any]:
        merged = {**prompt.decoding, **self.settings.decoding}
        return {name: value for name, value in merged.items() if value is not None}


def _sound_part(clip: Clip) -> dict[str, Any]:
    sound, file = decode_audio(clip), io.BytesIO()
    soundfile.write(file, np.asarray(sound.array), sound.rate_hz, format="WAV", subtype="PCM_16")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
