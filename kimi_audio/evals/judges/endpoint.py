"""A judge behind any server with OpenAI's chat completions: OpenAI, vLLM, SGLang, llama.cpp, Ollama, ..."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kimi_audio.evals.contract.instruments import Judge, JudgeError, JudgePrompt, Verdict
from kimi_audio.evals.contract.keys import Cache, Clip, digest_of, key_of, one_line
from kimi_audio.evals.contract.prompting import render
from kimi_audio.evals.judges.prompts import read_prompts
from kimi_audio.evals.judges.stand_in import StandIn
from kimi_audio.evals.judges.verdicts import RULES, combine, read_reply
from kimi_audio.evals.models.chat_client import ChatClient, Endpoint, EndpointError, read_endpoint
from kimi_audio.evals.models.openai_audio import sound_part


@dataclass(frozen=True, kw_only=True)
class JudgeEndpoint(Endpoint):
    """Which judge, and how it is asked; what is None is as in the prompt."""

    votes: int | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)  # over that of the prompt; None leaves a field out
    prompts: Path | None = None  # file that replaces prompts of ours
    cache: Path | None = Path("runs/judge-cache")  # of replies that were understood
    timeout_s: float = 60.0
    retries: int = 5
    concurrency: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.votes is not None and self.votes < 1:
            raise ValueError("votes of a judge must be at least 1")


def choose_judge(name: str) -> Judge:
    """Return a judge by option: ``stand-in``, or a YAML file, whose paths are relative to where we are.

    Raises:
        ValueError: there is no such file, or it does not describe a judge.
    """
    if name == "stand-in":
        return StandIn()
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"{name} is no judge: give 'stand-in', or a YAML file with url and model")
    found = read_endpoint(path, JudgeEndpoint, "judge", ["url", "model"])
    paths: dict[str, Any] = {key: Path(value) for key in ("prompts", "cache") if (value := getattr(found, key))}
    judge = EndpointJudge(replace(found, **paths))
    judge.client.key()  # told once, and not by every answer
    return judge


class EndpointJudge:
    """Asks, and remembers replies by model, prompt and text."""

    def __init__(self, endpoint: JudgeEndpoint) -> None:
        self.endpoint = endpoint
        self.name, self.concurrency = endpoint.model, endpoint.concurrency
        self.prompts = read_prompts(endpoint.prompts)
        self._cache = Cache(endpoint.cache) if endpoint.cache else None
        self.client = ChatClient(endpoint)

    def version(self, prompt: JudgePrompt) -> str:
        """Return model, prompt, votes, decoding, and the rules that replies are read by."""
        votes, decoding = self._votes(prompt), self._decoding(prompt)
        way = "" if votes == 1 else ", most frequent" if prompt.labels else ", mean"
        listed = ", ".join(f"{name} {value}" for name, value in sorted(decoding.items()))
        who = f"{self.name} at {self.endpoint.url}, {prompt.fingerprint}"
        return f"{who}, votes {votes}{way}, {listed or 'decoding of the server'}, {RULES}"

    def rate(self, prompt: JudgePrompt, fields: Mapping[str, str], clips: Sequence[Clip] = ()) -> Verdict:
        """Return the verdict of all votes; most of them must be understood."""
        try:
            text = render(prompt.text, fields)
        except KeyError as error:
            raise JudgeError(f"the prompt wants {{{error.args[0]}}}, which {prompt.name} does not have") from None
        except ValueError as error:
            raise JudgeError(str(error)) from None
        sound = clips if prompt.hears else ()
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
            url=self.endpoint.url,
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
        content = [{"type": "text", "text": text}, *map(sound_part, clips)] if clips else text
        messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
        request: dict[str, Any] = {**self._decoding(prompt), "model": self.name}
        request["messages"] = [*messages, {"role": "user", "content": content}]
        try:
            completion = self.client.ask(request, lambda reply: reply.json())
            return str(completion["choices"][0]["message"]["content"] or "")
        except (EndpointError, ValueError, OSError) as error:
            raise JudgeError(f"the judge gave no reply: {one_line(error)}") from None
        except (LookupError, TypeError):
            raise JudgeError(f"the judge at {self.endpoint.url} sent no chat completion") from None

    def _votes(self, prompt: JudgePrompt) -> int:
        return self.endpoint.votes or prompt.votes

    def _decoding(self, prompt: JudgePrompt) -> dict[str, Any]:
        merged = {**prompt.decoding, **self.endpoint.decoding}
        return {name: value for name, value in merged.items() if value is not None}
