"""How long a listener waits: from the last sample of a question to every piece of the reply's sound."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kimi_audio.answers import StreamChunk
from kimi_audio.assistant import KimiAudio
from kimi_audio.chat import Message
from kimi_audio.core.sequence import Inputs, SequenceBuilder
from kimi_audio.core.tokens import SpecialIds, special_token_names
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.detokenizer.speaking import SpeechStream
from kimi_audio.detokenizer.stream import Detokenizer
from kimi_audio.lm.cache import Stretches
from kimi_audio.lm.captured import Steps, with_steps
from kimi_audio.lm.engine import Engine, LanguageModel
from kimi_audio.lm.model import AudioLM, LMOutput
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.lm.worker import EngineThread
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer

QUESTION_S = 5
REPLY_STEPS = 64  # of random weights
TEXT_ID = 5  # an ordinary one


@dataclass(frozen=True)
class Talk:
    """One reply, timed by a clock but for ``first_sound_cpu_s``."""

    first_text_s: float
    first_sound_s: float
    first_sound_cpu_s: float
    gaps_s: float  # that playback has to wait in
    sound_s: float
    total_s: float

    @classmethod
    def of(cls, chunks: Iterable[StreamChunk]) -> "Talk":
        """Read a reply as it is made, and play its sound in mind."""
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        first_text_s = first_sound_s = cpu_s = gaps_s = sound_s = 0.0
        for chunk in chunks:
            now_s = time.perf_counter() - start_s
            first_text_s = first_text_s or (now_s if chunk.text else 0.0)
            if len(chunk.audio) and not first_sound_s:
                first_sound_s, cpu_s = now_s, time.process_time() - start_cpu_s
            elif len(chunk.audio):
                gaps_s += max(0.0, now_s - (first_sound_s + sound_s + gaps_s))
            sound_s += len(chunk.audio) / OUTPUT_RATE_HZ
        return cls(first_text_s, first_sound_s, cpu_s, gaps_s, sound_s, time.perf_counter() - start_s)


def summary(talks: list[Talk]) -> dict[str, float]:
    """Return medians, and what one reply of twenty exceeds."""
    spoken = [talk for talk in talks if talk.first_sound_s]

    def at(share: float, value: Callable[[Talk], float]) -> float:
        values = torch.tensor([value(talk) for talk in spoken], dtype=torch.float64)
        return float(values.quantile(share)) if spoken else float("nan")

    return {
        "replies": len(spoken),
        "first_text_p50_s": at(0.5, lambda talk: talk.first_text_s),
        "first_text_p95_s": at(0.95, lambda talk: talk.first_text_s),
        "first_sound_p50_s": at(0.5, lambda talk: talk.first_sound_s),
        "first_sound_p95_s": at(0.95, lambda talk: talk.first_sound_s),
        "first_sound_cpu_p50_s": at(0.5, lambda talk: talk.first_sound_cpu_s),
        "gaps_s": sum(talk.gaps_s for talk in spoken),
        "real_time_factor": at(0.5, lambda talk: talk.total_s / talk.sound_s),
    }


def replies_of(model: KimiAudio, questions: Iterable[Tensor]) -> list[Talk]:
    """Return how a model answers questions [L] at 16 kHz; the first is asked before, half as loud, to warm up."""
    questions = list(questions)
    # What a model has written down, it remembers: the very same recording would cost less.
    asked = [*(question / 2 for question in questions[:1]), *questions]
    return [Talk.of(_reply(model, question, seed)) for seed, question in enumerate(asked)][1:]


def _reply(model: KimiAudio, question: Tensor, seed: int) -> Iterator[StreamChunk]:
    """Hear the question when the reply is first read."""
    yield from model.stream([Message("user", "audio", (question, INPUT_RATE_HZ))], "both", seed=seed)


@dataclass(frozen=True)
class RandomModel:
    """Random weights do not speak, so what they draw is replaced: the work is that of a reply."""

    semantic: SemanticTokenizer
    acoustic: AcousticEncoder
    lm: AudioLM
    detokenizer: Detokenizer
    steps: Steps

    def replies(self, count: int) -> list[Talk]:
        """Return how long replies to questions of noise take; one more is made before, to warm up."""
        device = next(self.semantic.parameters()).device
        question = torch.randn(QUESTION_S * INPUT_RATE_HZ, generator=torch.Generator().manual_seed(0)).to(device)
        config, names = self.lm.config, special_token_names()
        special = SpecialIds.lookup({name: config.audio_offset - len(names) + i for i, name in enumerate(names)})
        model, new_cache = with_steps(self.lm, self.steps)
        thread = EngineThread(Engine(_Speaker(model), special, new_cache=new_cache))
        return [Talk.of(self._reply(thread, special.blank, question)) for _ in range(count + 1)][1:]

    @torch.inference_mode()
    def _reply(self, thread: EngineThread, blank_id: int, question: Tensor) -> Iterator[StreamChunk]:
        codes, features = self.semantic.encode_wav(question), self.acoustic.features(question)
        ids = (codes + self.lm.config.audio_offset).tolist()
        prompt = SequenceBuilder(blank_id).add(ids, features=features).build()
        options = GenerationOptions("both", max_new_tokens=REPLY_STEPS, loop_guard=None)
        noise = torch.Generator().manual_seed(0)
        speech = SpeechStream(self.detokenizer, None, noise)
        with thread.start(prompt, options) as events:
            for event in events:
                audio = speech.push(event.code, event.is_last)
                text = "" if event.text_id is None else "word "
                yield StreamChunk(text, audio, event.is_last, event.finish_reason)


class _Speaker:
    """An LLM that always says the same."""

    def __init__(self, lm: LanguageModel) -> None:
        self._lm, self.config, self.device, self.dtype = lm, lm.config, lm.device, lm.dtype

    def __call__(self, inputs: Inputs, stretches: Stretches) -> LMOutput:
        output = self._lm(inputs, stretches)
        for scores, id_ in ((output.text_logits, TEXT_ID), (output.audio_logits, self.config.audio_offset)):
            if scores is not None:
                scores.zero_()
                scores[..., id_] = 1.0
        return output
