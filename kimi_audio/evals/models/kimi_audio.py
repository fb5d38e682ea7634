"""Kimi-Audio in this process: nano, a model folder (official or fine-tuned), or a hub id."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kimi_audio import checkpoint
from kimi_audio.answers import Answer
from kimi_audio.assistant import KimiAudio
from kimi_audio.audio.io import Samples, audio_blocks
from kimi_audio.audio.segments import cut_at_pauses
from kimi_audio.audio.speech_gate import holds_speech
from kimi_audio.chat import Message
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from kimi_audio.evals.contract.keys import Clip, hash_of
from kimi_audio.evals.contract.types import EvalSample, Options, Prediction
from kimi_audio.lm.rules import GenerationOptions
from kimi_audio.lm.sampling import SamplingOptions

FAMILY = "kimi-audio"
PIECES_AT_ONCE = 8  # of long recordings
FIELDS = {  # of SamplingOptions, by the name that follows text_ or audio_ in the official call
    "temperature": "temperature",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
    "repetition_window_size": "repetition_window",
}
CUT = "cut_at_pauses"  # an option of ours: recordings longer than a segment of the model are heard in pieces
BEAMS = "beams"  # another: so many texts are looked at side by side
EACH_TURN = "reply_to_each"  # another: each recording is a turn, the model's own replies lie between, the last counts
KNOWN = (*(f"{row}_{name}" for row in ("text", "audio") for name in FIELDS), "max_new_tokens", BEAMS, CUT, EACH_TURN)


def load(name: str, device: str | None) -> "InProcess":
    """Load a model by its name; raises what ``KimiAudio`` raises."""
    model = KimiAudio.from_pretrained(name, device=device)
    folders = (model.folder, checkpoint.find_semantic_tokenizer(model.folder))
    precision = model.quantize or str(model.dtype).removeprefix("torch.")
    return InProcess(name, f"{hash_of(folders)}-{precision}", model)


@dataclass
class InProcess:
    """A loaded model under the contract of evaluations."""

    name: str
    revision: str
    model: KimiAudio
    family: str = FAMILY

    def generate(self, samples: Sequence[EvalSample], options: Options) -> list[Prediction]:
        """Answer a batch; a sample alone is streamed, so that its first text and sound are timed."""
        how = self._generation(options)
        if options.decoding.get(CUT):
            if options.output != "text":
                raise ValueError(f"{CUT} goes with answers in text alone")
            return self._in_pieces(samples, options, how)
        if options.decoding.get(EACH_TURN):
            return [self._conversed(sample, options, how) for sample in samples]
        if len(samples) == 1:
            return [self._streamed(samples[0], options, how)]
        started = time.perf_counter()
        chats = [_chat(sample.audio, sample.text, options.system) for sample in samples]
        answers = self._answers(chats, samples, options, how)
        taken_s = time.perf_counter() - started
        return [_prediction(answer, taken_s) for answer in answers]

    def _answers(
        self, chats: Sequence[list[Message]], samples: Sequence[EvalSample], options: Options, how: GenerationOptions
    ) -> list[Answer]:
        """Reply to one conversation per sample; all are heard before the first reply begins, which begin together."""
        pairs = [(self._heard(chat), sample) for chat, sample in zip(chats, samples, strict=True)]
        replies = [self.model.stream(chat, how, seed=options.seed_of(sample)) for chat, sample in pairs]
        return [Answer.of(reply) for reply in replies]

    def _heard(self, chat: Sequence[Message]) -> list[Message]:
        encode = self.model.encode_audio
        return [m if m.message_type == "text" else replace(m, content=encode(m.content)) for m in chat]

    def _generation(self, options: Options) -> GenerationOptions:
        """Return the model's own decoding with what the recipe sets; ValueError if a name is not known."""
        if unknown := sorted(set(options.decoding) - set(KNOWN)):
            raise ValueError(f"{FAMILY} has no decoding option {unknown[0]!r}; it has {', '.join(KNOWN)}")
        found = self.model.default_options(options.output)
        found = found.with_text(_sampling(found.text, "text", options))
        found = replace(found, audio=_sampling(found.audio, "audio", options))
        if BEAMS in options.decoding:
            beams: Any = options.decoding[BEAMS]
            found = replace(found, beams=beams, lexicon=self.model.transcript_options(beams=beams).lexicon)
        limit: Any = options.decoding.get("max_new_tokens", -1)
        return replace(found, max_new_tokens=None if limit == -1 else limit)

    def _streamed(self, sample: EvalSample, options: Options, how: GenerationOptions) -> Prediction:
        started = time.perf_counter()
        first_text_s = first_sound_s = None
        chunks = []
        chat = _chat(sample.audio, sample.text, options.system)
        for chunk in self.model.stream(chat, how, seed=options.seed_of(sample)):
            now_s = time.perf_counter() - started
            first_text_s = now_s if first_text_s is None and chunk.text else first_text_s
            first_sound_s = now_s if first_sound_s is None and len(chunk.audio) else first_sound_s
            chunks.append(chunk)
        answer = _prediction(Answer.of(chunks), time.perf_counter() - started)
        return replace(answer, first_text_s=first_text_s, first_sound_s=first_sound_s)

    def _conversed(self, sample: EvalSample, options: Options, how: GenerationOptions) -> Prediction:
        """Reply to each recording as a turn of its own, in text and speech as wanted; the last reply is returned."""
        started = time.perf_counter()
        messages = _chat((), sample.text, options.system)
        answer = None
        for clip in sample.audio:
            messages += [answer.message()] if answer else []
            messages.append(Message("user", "audio", clip))
            answer = self.model.answer(messages, how, seed=options.seed_of(sample))
        if answer is None:
            raise ValueError(f"{EACH_TURN} needs recordings, and {sample.id} has none")
        return _prediction(answer, time.perf_counter() - started)

    def _in_pieces(self, samples: Sequence[EvalSample], options: Options, how: GenerationOptions) -> list[Prediction]:
        """Answer each piece with speech and join the texts, as ``KimiAudio.transcribe`` does."""
        started = time.perf_counter()
        pieces = [(place, piece) for place, sample in enumerate(samples) for piece in self._pieces_of(sample)]
        answers: list[list[Answer]] = [[] for _ in samples]
        for start in range(0, len(pieces), PIECES_AT_ONCE):
            some = pieces[start : start + PIECES_AT_ONCE]
            chats = [_chat((piece,), samples[place].text, options.system) for place, piece in some]
            found = self._answers(chats, [samples[place] for place, _ in some], options, how)
            for (place, _), answer in zip(some, found, strict=True):
                answers[place].append(answer)
        taken_s = time.perf_counter() - started
        return [
            Prediction(
                " ".join(answer.text for answer in parts if answer.text),
                total_s=taken_s,
                finish_reason=next((part.finish_reason for part in parts if part.finish_reason != "stop"), "stop"),
            )
            for parts in answers
        ]

    def _pieces_of(self, sample: EvalSample) -> list[Samples]:
        (clip,) = sample.audio
        pieces = cut_at_pauses(audio_blocks(clip, INPUT_RATE_HZ), self.model.settings.segment_s)
        return [Samples(piece, INPUT_RATE_HZ) for piece in pieces if holds_speech(piece)]


def _sampling(usual: SamplingOptions, row: str, options: Options) -> SamplingOptions:
    """Return how a row is drawn, with what the recipe sets."""
    names = {field: f"{row}_{name}" for name, field in FIELDS.items()}
    given: dict[str, Any] = {field: options.decoding[name] for field, name in names.items() if name in options.decoding}
    return replace(usual, **given)


def _chat(audio: Iterable[Clip], text: str, system: str) -> list[Message]:
    """Return the messages of a question: the text before the sound, as the model was trained."""
    first = [Message("system", "text", system)] if system else []
    first += [Message("user", "text", text)] if text.strip() else []
    return first + [Message("user", "audio", clip) for clip in audio]


def _prediction(answer: Answer, taken_s: float) -> Prediction:
    speech = None if answer.audio is None or not len(answer.audio) else Samples(answer.audio, OUTPUT_RATE_HZ)
    return Prediction(answer.text, speech, taken_s, finish_reason=answer.finish_reason)
