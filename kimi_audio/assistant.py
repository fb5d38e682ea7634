"""KimiAudio: the composed system. Hear (tokenizers), think (LLM), speak (detokenizer)."""

import copy
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, get_args, overload

import torch
from torch import Tensor

from kimi_audio import checkpoint
from kimi_audio.answers import Answer, StreamChunk, Usage
from kimi_audio.arriving import ArrivingAudio
from kimi_audio.audio.io import AudioSource, Damage, audio_blocks, decode_audio, load_audio
from kimi_audio.chat import ChatTemplate, Message, OutputType, parse_messages
from kimi_audio.core.config import Quantize
from kimi_audio.core.numbers import whole_number
from kimi_audio.core.quantized import Format
from kimi_audio.core.sequence import AudioTokens
from kimi_audio.core.sequence import Sequence as Prompt
from kimi_audio.core.units import INPUT_RATE_HZ, OUTPUT_RATE_HZ, tokens_in_audio
from kimi_audio.detokenizer.speaking import CodeChunks, SpeechStream
from kimi_audio.detokenizer.stream import ChunkPlan, Detokenizer, StreamState
from kimi_audio.devices import Device, Devices, default_dtype
from kimi_audio.lm.adapters import load_adapter
from kimi_audio.lm.captured import Steps, with_steps
from kimi_audio.lm.engine import Engine
from kimi_audio.lm.hotwords import Hotwords
from kimi_audio.lm.model import AudioLM
from kimi_audio.lm.quantize import is_faster_on
from kimi_audio.lm.rules import Event, GenerationOptions
from kimi_audio.lm.sampling import SamplingOptions
from kimi_audio.lm.worker import EngineThread, ReplyEvents
from kimi_audio.tokenizer.acoustic import AcousticEncoder
from kimi_audio.tokenizer.semantic import SemanticTokenizer
from kimi_audio.tokenizer.text import TextTokenizer
from kimi_audio.transcript.alignment import word_times
from kimi_audio.transcript.listening import Heard, Passage, passages
from kimi_audio.transcript.timed_text import Segment, Timestamps, separator
from kimi_audio.voice import Voice
from kimi_audio.written_turns import WrittenTurns, in_background, spoken_turns

logger = logging.getLogger(__name__)

Chat = Iterable[Message | Mapping[str, Any]]
MIN_PREFIX_BYTES = 64 * 2**20  # earlier turns are remembered in so much memory, or in an eighth of the LLM's weights
SHORTEST_VOICE_S = 0.1  # of a recording whose voice is taken on


class KimiAudio:
    """Speech recognition, audio questions, conversation and speech from one model.

    Args:
        model_path: "nano", a model folder in the released layout, or a hub id.
        load_detokenizer: without it only text comes out, and less memory is needed.
        device: of all parts, or of each (see ``Devices.of``); by default CUDA where there is one, else the CPU.
        dtype: by default bfloat16 on CUDA and float32 on the CPU. The semantic tokenizer and the vocoder are always
            float32.
        semantic_tokenizer: folder of the semantic tokenizer, if it is neither in nor beside the model's folder.
        adapter: folder of a LoRA adapter for the LLM, which is added to its weights.
        revision: commit, tag or branch of a hub repository; a commit always gives the same files.
        quantize: "int8" or "int4" holds the matrices of the LLM at so many bits: less memory and faster steps, slightly
            other scores; "none" does not. By default as the model's settings say, on a CPU where it is faster, if
            neither a dtype nor an adapter is given.
        steps: how the LLM's decoding steps are made: "plain"; "graphs", as CUDA graphs; or "compiled". The first of
            every shape takes time, and their memory is of a fixed size.

    Raises:
        ValueError: there is no such model or part of one, its files are incomplete or damaged, or an adapter is to be
            added to quantised weights.
        ConnectionError: it would have to be downloaded and the hub cannot be reached.
        MemoryError: it does not fit.
        RuntimeError: the device does not exist.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] = checkpoint.NANO,
        load_detokenizer: bool = True,
        *,
        device: Device | Mapping[str, Device] | None = None,
        dtype: torch.dtype | None = None,
        semantic_tokenizer: str | os.PathLike[str] | None = None,
        adapter: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        quantize: Quantize | None = None,
        steps: Steps = "plain",
    ) -> None:
        if quantize not in (None, "none") and adapter is not None:
            raise ValueError("an adapter cannot be added to quantised weights; export the merged model, quantize that")
        if quantize not in (None, *get_args(Quantize)):
            raise ValueError(f"quantize must be one of {', '.join(get_args(Quantize))}, not {quantize!r:.60}")
        self.devices = Devices.of(device)
        self._dtype = dtype
        self._steps: Steps = steps
        folder = checkpoint.find_model(model_path, with_detokenizer=load_detokenizer, revision=revision)
        semantic_folder = Path(semantic_tokenizer) if semantic_tokenizer else checkpoint.find_semantic_tokenizer(folder)
        if checkpoint.is_base_model(model_path):
            logger.warning("%s is the base model: it continues sequences and does not follow instructions", model_path)
        self.folder = folder
        self.settings = checkpoint.load_settings(folder)
        self.text_tokenizer = TextTokenizer.load(folder)
        self.lexicon = checkpoint.load_lexicon(folder, self.text_tokenizer)
        checkpoint.check_parts(folder, semantic_folder, self.text_tokenizer, with_detokenizer=load_detokenizer)
        self.semantic: SemanticTokenizer = checkpoint.load_semantic(semantic_folder, self.devices.encoders)
        self.acoustic: AcousticEncoder = checkpoint.load_acoustic(folder, *self._placed(self.devices.encoders))
        self._quantize: Quantize | None = "none" if quantize is None and adapter is not None else quantize
        lm = self._load_lm()
        self.lm = lm if adapter is None else load_adapter(lm, adapter)
        self.template = ChatTemplate.of(self.lm.config, self.text_tokenizer, self.encode_audio)
        self.detokenizer = self._load_detokenizer() if load_detokenizer else None

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str] = checkpoint.NANO, **options: Any) -> Self:
        """Load a model by name; options as for the constructor."""
        return cls(name, **options)

    def _placed(self, device: torch.device) -> tuple[torch.device, torch.dtype]:
        """Return the device of a part, and the dtype that it has there."""
        return device, self._dtype or default_dtype(device)

    @property
    def device(self) -> torch.device:
        """Where the LLM runs."""
        return self.devices.llm

    @property
    def dtype(self) -> torch.dtype:
        """What the LLM computes in."""
        return self.lm.dtype

    @property
    def quantize(self) -> Format | None:
        """The format of the LLM's matrices, if they are quantised."""
        chosen = self._quantize
        if chosen is None:
            is_usual = self._dtype is None and is_faster_on(self.devices.llm)
            chosen = self.settings.quantize if is_usual else "none"
        return None if chosen == "none" else chosen

    def _load_lm(self) -> AudioLM:
        return checkpoint.load_lm(self.folder, *self._placed(self.devices.llm), self.quantize)

    def _load_detokenizer(self) -> Detokenizer:
        dit, flow_config = checkpoint.load_flow(self.folder, *self._placed(self.devices.detokenizer))
        # The vocoder stays in float32: in bfloat16 its 8-bit significand is heard as noise.
        vocoder, vocoder_config = checkpoint.load_vocoder(self.folder, self.devices.detokenizer)
        return Detokenizer(dit, vocoder, flow_config, vocoder_config, ChunkPlan.of(self.settings))

    @property
    def lm(self) -> AudioLM:
        """The LLM.

        Another one may be put in its place. Its weights must not be changed: what they made of earlier turns is kept.
        """
        return self._lm

    @lm.setter
    def lm(self, lm: AudioLM) -> None:
        self._lm = lm
        weights_bytes = sum(tensor.nbytes for tensor in (*lm.parameters(), *lm.buffers()))
        model, new_cache = with_steps(lm, self._steps)
        prefix_bytes = max(MIN_PREFIX_BYTES, weights_bytes // 8)
        special = self.text_tokenizer.special
        self._engine = EngineThread(Engine(model, special, prefix_bytes=prefix_bytes, new_cache=new_cache))
        self._written = WrittenTurns()

    def to(self, device: Device | Mapping[str, Device]) -> Self:
        """Move all parts to a device, or each to its own, see ``Devices.of``.

        Raises:
            ValueError: there is no such part.
            RuntimeError: the device does not exist.
        """
        found = Devices.of(device)
        # Quantised weights are laid out for a kind of device.
        is_new_kind = self.quantize is not None and found.llm.type != self.devices.llm.type
        self.devices = found
        for module in (self.semantic, self.acoustic):
            module.to(found.encoders)
        self.lm = self._load_lm() if is_new_kind else self.lm.to(found.llm)
        if self.detokenizer is not None:
            old = self.detokenizer
            dit, vocoder = old.dit.to(found.detokenizer), old.vocoder.to(found.detokenizer)
            self.detokenizer = Detokenizer(dit, vocoder, old.flow_config, old.vocoder_config, old.plan)
        return self

    def with_own_engine(self) -> Self:
        """Return this model on the same weights with an engine of its own, which knows nothing of what this one does.

        Replies of both are computed side by side and not together, so one model for all is faster. But where this one
        does not come back from a step, the other works.
        """
        other = copy.copy(self)
        other.lm = self.lm
        other.template = ChatTemplate.of(self.lm.config, self.text_tokenizer, other.encode_audio)
        return other

    # -----------------------------------------------------------------------------------------------------------------
    # Hearing

    def encode_audio(self, source: AudioSource | AudioTokens, most_tokens: int | None = None) -> AudioTokens:
        """Return codes [N] and acoustic features [N, D] of a recording, on the CPU.

        A recording that is quieter than the model is used to is made louder, if its settings say so.

        Args:
            source: a path, the bytes of an audio file, an open file, samples with their rate, or ready tokens.
            most_tokens: refuse a recording of so many or more before anything is computed.

        Raises:
            ValueError: it cannot be read, or is too long.
        """
        if isinstance(source, AudioTokens):
            return source
        if most_tokens is not None:
            source = self._read(source, most_tokens), INPUT_RATE_HZ
        return self._encoded(raised(load_audio(source, INPUT_RATE_HZ), self.settings.least_peak))

    def _encoded(self, wav: Tensor, continues: bool = False) -> AudioTokens:
        """Return the tokens of sound [L] at 16 kHz, or of what follows whole windows."""
        wav = wav.to(self.devices.encoders)
        return AudioTokens(self.semantic.encode_wav(wav, continues=continues).cpu(), self.acoustic.features(wav).cpu())

    def prefill(self, messages: Chat, output_type: OutputType = "both") -> ReplyEvents:
        """Begin to compute what a reply to a conversation that begins with these messages starts from."""
        options = GenerationOptions(output_type, max_new_tokens=1)
        return self._engine.start(self._prompt(messages, output_type), options)

    def hear(
        self, history: Chat | None = (), *, output_type: OutputType = "both", rate_hz: int = INPUT_RATE_HZ
    ) -> ArrivingAudio:
        """Return what a recording is pushed into while it is spoken; its ``finish`` gives the tokens for a message.

        What is known is computed meanwhile: the history at once, and each window of 30 s as it is complete. So a
        reply to ``[*history, Message("user", "audio", tokens)]`` begins with little left to do.

        Args:
            history: the conversation so far; None where the LLM is not to begin meanwhile.
            output_type: of the reply.
            rate_hz: of the samples.
        """
        running = list[ReplyEvents]()
        known = None if history is None else parse_messages(history)

        def heard(tokens: AudioTokens) -> None:
            if known is not None:
                running.append(self.prefill([*known, Message("user", "audio", tokens)], output_type))

        if known:
            running.append(self.prefill(known, output_type))
        return ArrivingAudio(rate_hz, self.settings.least_peak, self._encoded, heard, running)

    # -----------------------------------------------------------------------------------------------------------------
    # The official call, and its streamed form

    def generate(
        self,
        chats: Chat,
        output_type: OutputType = "text",
        audio_temperature: float = 0.0,
        audio_top_k: int = 5,
        text_temperature: float = 0.0,
        text_top_k: int = 5,
        audio_repetition_penalty: float = 1.0,
        audio_repetition_window_size: int = 64,
        text_repetition_penalty: float = 1.0,
        text_repetition_window_size: int = 16,
        max_new_tokens: int = -1,
        *,
        seed: int | None = None,
    ) -> tuple[Tensor | None, str]:
        """Reply to a conversation; the signature of the official package.

        Args:
            chats: messages, each a dictionary with ``role``, ``message_type`` and ``content``, or a ``Message``.
            output_type: "text", or "both" for text and speech.
            audio_temperature: of the codes; 0 takes the likeliest.
            audio_top_k: of the codes; 0 draws from all.
            text_temperature: of the text; 0 takes the likeliest, for which beams look as the settings say.
            text_top_k: of the text.
            audio_repetition_penalty: above 1 disfavours codes of the window below.
            audio_repetition_window_size: in codes.
            text_repetition_penalty: above 1 disfavours text tokens of the window below.
            text_repetition_window_size: in text tokens.
            max_new_tokens: length of the reply in steps; -1 leaves it to the model and its context.
            seed: makes sampling and the noise of the speech repeatable; None draws a new one.

        Returns:
            Waveform [1, L] in float32 at 24 kHz on the CPU, and the text. As in the official script, "both" always
            gives a waveform: one of no samples where the reply has no speech. "text" gives None.

        Raises:
            ValueError: messages are malformed, audio cannot be read, or the history does not fit the context.
        """
        text = SamplingOptions(text_temperature, text_top_k, text_repetition_penalty, text_repetition_window_size)
        options = replace(
            self.default_options(output_type).with_text(text),
            audio=SamplingOptions(
                audio_temperature, audio_top_k, audio_repetition_penalty, audio_repetition_window_size
            ),
            max_new_tokens=None if max_new_tokens == -1 else max_new_tokens,
        )
        answer = self.answer(chats, options, seed=seed)
        if output_type == "text":
            return None, answer.text
        return (torch.zeros(1, 0) if answer.audio is None else answer.audio[None]), answer.text

    def _options(self, options: GenerationOptions | OutputType) -> GenerationOptions:
        return options if isinstance(options, GenerationOptions) else self.default_options(options)

    def default_options(self, output_type: OutputType) -> GenerationOptions:
        """Return how this model replies best: the likeliest text, codes drawn as its settings say."""
        return self._looking(self.reading_options(output_type), self.settings.reply_beams)

    def reading_options(self, output_type: OutputType = "both") -> GenerationOptions:
        """Return how this model best says what is given: as it replies, but without looking for a text."""
        audio = SamplingOptions(self.settings.audio_temperature, self.settings.audio_top_k)
        return GenerationOptions(output_type=output_type, audio=audio)

    def _looking(self, options: GenerationOptions, beams: int, phrases: Sequence[str] = ()) -> GenerationOptions:
        """Return options that look for the likeliest text with so many beams, for which these phrases are words."""
        lexicon = self.lexicon if beams > 1 else None
        if lexicon is not None and phrases:
            lexicon = lexicon.with_words(phrases)
        return replace(options, beams=beams, lexicon=lexicon)

    def transcript_options(self, hotwords: Iterable[str] = (), beams: int | None = None) -> GenerationOptions:
        """Return how transcripts are made; see ``transcribe``."""
        phrases = hotwords if isinstance(hotwords, str) else [*hotwords]
        options = replace(
            self.reading_options("text"),
            hotwords=Hotwords.of(phrases, self.text_tokenizer),
            is_kept=False,  # nobody goes on with a piece, and the turns of conversations would make room for it
        )
        return self._looking(options, self.settings.transcribe_beams if beams is None else beams, phrases)

    def answer(
        self,
        messages: Chat,
        options: GenerationOptions | OutputType = "text",
        *,
        seed: int | None = None,
        voice: Voice | AudioSource | None = None,
    ) -> Answer:
        """Reply to a conversation and tell why the reply ended.

        Args:
            messages: the conversation.
            options: output type, sampling and limits; an output type stands for its ``default_options``.
            seed: see ``generate``.
            voice: a recording whose voice the speech takes on, as far as the detokenizer was trained to.

        Raises:
            ValueError: see ``generate``; or the voice is one that the model takes on by name, which it does only where
                it reads aloud (``speak``) or says a recording again (``convert_voice``).
        """
        return Answer.of(self.stream(messages, options, seed=seed, voice=voice))

    @property
    def kept_bytes(self) -> int:
        """Memory of earlier turns, from which later ones go on."""
        return self._engine.kept_bytes

    @property
    def context_tokens(self) -> int:
        """How many positions a conversation and its reply may have together."""
        return self.lm.config.max_positions

    def count_tokens(self, messages: Chat, output_type: OutputType = "both") -> int:
        """Return how many positions of the context a conversation takes; sounds given as tokens are not encoded."""
        return len(self._prompt(messages, output_type))

    def _prompt(self, messages: Chat, output_type: OutputType) -> Prompt:
        """Return what the LLM continues; what was said in earlier turns stands there as far as it is known."""
        read = self._read_all(messages)
        if self.settings.transcribe_first:
            read = self._written.written_into(self._encoded_all(read))
        return self.template.prompt(read, output_type)

    def _read_all(self, messages: Chat) -> list[Message]:
        """Return the messages with their sounds read. None is encoded yet: they may be too long together."""
        room_tokens = self.lm.config.max_positions
        read = []
        for message in parse_messages(messages):
            if message.message_type != "text" and message.audio is not None:
                sound = message.audio
                if not isinstance(sound, AudioTokens):
                    sound = self._read(sound, room_tokens), INPUT_RATE_HZ
                    room_tokens -= tokens_in_audio(len(sound[0]))
                message = message.with_audio(sound)
            read.append(message)
        if not read:
            raise ValueError("there is nothing to reply to: give at least one message")
        return read

    def _encoded_all(self, messages: Iterable[Message]) -> list[Message]:
        """Return the messages with tokens for their sounds, so that none is encoded twice."""
        return [
            message
            if message.message_type == "text" or message.audio is None
            else message.with_audio(self.encode_audio(message.audio))
            for message in messages
        ]

    def _read(self, source: AudioSource, room_tokens: int) -> Tensor:
        """Return a recording [L] at 16 kHz that is shorter than the room for it."""
        blocks, samples = [], 0
        for block in audio_blocks(source, INPUT_RATE_HZ):
            blocks.append(block)
            samples += len(block)
            if tokens_in_audio(samples) >= room_tokens:
                raise ValueError(
                    f"the audio is too long: {samples / INPUT_RATE_HZ:.0f} s of it leave no room for a reply in the "
                    f"context of {self.lm.config.max_positions} tokens of 80 ms; shorten it, or cut it into parts"
                )
        return torch.cat(blocks)

    def stream(
        self,
        messages: Chat,
        options: GenerationOptions | OutputType = "both",
        *,
        seed: int | None = None,
        voice: Voice | AudioSource | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[StreamChunk]:
        """Begin a reply, and return an iterator of its text and sound while they are made; the last chunk is final.

        Replies are made side by side and do not wait for their readers: to reply to many conversations at once, begin
        all streams before the first is read, then take ``Answer.of`` each. Each is as if it were alone. Recordings
        that were encoded before (``encode_audio``) let them begin together. A stream that nobody holds is given up.

        Turns that are one recording are written down first where the settings of the model say so, and the reply begins
        when they are; each is written down once.

        Args:
            messages: the conversation.
            options: see ``answer``.
            seed: see ``generate``.
            voice: see ``answer``.
            cancelled: asked before every step is told; True ends the reply.

        Raises:
            ValueError: see ``answer``; where a turn is written down first and its text is too long, when the reply is
                read.
        """
        options = self._options(options)
        speech = self.begin_speech(voice, seed) if options.output_type == "both" else None
        return self._reply(messages, options, seed, speech, cancelled)

    def think(
        self,
        messages: Chat,
        options: GenerationOptions | OutputType = "both",
        *,
        seed: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[StreamChunk]:
        """Begin a reply as ``stream`` does, of which only the codes are made, no sound; arguments as there."""
        return self._reply(messages, self._options(options), seed, None, cancelled)

    def begin_speech(self, voice: Voice | AudioSource | None = None, seed: int | None = None) -> SpeechStream:
        """Return what makes sound of the codes of one reply; arguments and errors as for ``stream``."""
        self._check_output("both")
        assert self.detokenizer is not None
        return SpeechStream(self.detokenizer, self._voice_state(voice), _generator(seed, "cpu"))

    def code_chunks(self) -> CodeChunks:
        """Return what cuts the codes of one reply for ``SpeechStream.render``."""
        self._check_output("both")
        assert self.detokenizer is not None
        return CodeChunks(self.detokenizer.plan.policy)

    def _reply(
        self,
        messages: Chat,
        options: GenerationOptions,
        seed: int | None,
        speech: SpeechStream | None,
        cancelled: Callable[[], bool] | None,
    ) -> Iterator[StreamChunk]:
        generator, read = _generator(seed, self.device), self._read_all(messages)
        if not self.settings.transcribe_first:
            return self._chunks(_done(self._begin(read, options, generator)), speech, cancelled)
        heard = self._encoded_all(read)
        self._engine.check(self._prompt(heard, options.output_type), options, generator)
        writing = self._write_turns(heard, cancelled)
        begin = partial(self._begin, heard, options, generator, writing)
        return self._chunks(in_background(begin) if writing else _done(begin()), speech, cancelled)

    def _write_turns(
        self, messages: list[Message], cancelled: Callable[[], bool] | None
    ) -> list[tuple[AudioTokens, Iterator[StreamChunk]]]:
        """Begin to write down all turns whose transcript is not known, and is wanted."""
        longest_tokens = tokens_in_audio(round(self.settings.segment_s * INPUT_RATE_HZ))
        heard = [messages[number].audio for number in spoken_turns(messages)]
        unknown = [tokens for tokens in heard if tokens is not None and self._written.get(tokens) is None]
        options = self.transcript_options()
        return [
            (tokens, self.stream(_question(tokens, self.settings.transcribe_prompt), options, cancelled=cancelled))
            for tokens in unknown
            if len(tokens.codes) <= longest_tokens
        ]

    def _begin(
        self,
        messages: list[Message],
        options: GenerationOptions,
        generator: torch.Generator,
        writing: Iterable[tuple[AudioTokens, Iterator[StreamChunk]]] = (),
    ) -> "_Begun":
        """Begin a reply as soon as all turns are written down."""
        for tokens, transcript in writing:
            answer = Answer.of(transcript)
            if answer.finish_reason != "cancelled":  # of what is cut off, nothing is to be believed
                self._written.put(tokens, answer.text if answer.finish_reason == "stop" else "")
        prompt = self._prompt(messages, options.output_type)
        return _Begun(prompt, self._engine.start(prompt, options, generator))

    def _chunks(
        self, begun: "Future[_Begun]", speech: SpeechStream | None, cancelled: Callable[[], bool] | None
    ) -> Iterator[StreamChunk]:
        prompt, events = begun.result()
        with events:
            text_stream = self.text_tokenizer.decode_stream()
            codes: list[int] = []
            num_text = num_codes = 0
            for event in _unless(cancelled, events):
                num_text, num_codes = num_text + (event.text_id is not None), num_codes + (event.code is not None)
                text = "" if event.text_id is None else text_stream.push(event.text_id)
                text += text_stream.finish() if event.is_last else ""
                codes += [] if event.code is None else [event.code]
                audio = torch.zeros(0) if speech is None else speech.push(event.code, event.is_last)
                if text or len(audio) or event.is_last or (codes and speech is None):
                    usage = self._usage(prompt, events.num_cached, num_text, num_codes) if event.is_last else None
                    yield StreamChunk(text, audio, event.is_last, event.finish_reason, tuple(codes), usage)
                    codes = []

    def _usage(self, prompt: Prompt, num_cached: int, num_text: int, num_codes: int) -> Usage:
        prompt_text = int((prompt.text_ids != self.text_tokenizer.special.blank).sum())
        prompt_audio = int((prompt.audio_ids >= self.lm.config.audio_offset).sum())
        return Usage(prompt_text, prompt_audio, num_cached, num_text, num_codes)

    # -----------------------------------------------------------------------------------------------------------------
    # Everyday calls

    @overload
    def transcribe(
        self,
        source: AudioSource,
        *,
        timestamps: None = None,
        instruction: str | None = None,
        hotwords: Iterable[str] = (),
        beams: int | None = None,
        damage: Damage = "cut",
    ) -> str: ...

    @overload
    def transcribe(
        self,
        source: AudioSource,
        *,
        timestamps: Timestamps,
        instruction: str | None = None,
        hotwords: Iterable[str] = (),
        beams: int | None = None,
        damage: Damage = "cut",
    ) -> list[Segment]: ...

    def transcribe(
        self,
        source: AudioSource,
        *,
        timestamps: Timestamps | None = None,
        instruction: str | None = None,
        hotwords: Iterable[str] = (),
        beams: int | None = None,
        damage: Damage = "cut",
    ) -> str | list[Segment]:
        """Return what is said in a recording of any length.

        Args:
            source: see ``encode_audio``.
            timestamps: "segment" or "word" to get segments with their times, or with those of their words, too.
            instruction: what the model is asked for, by default what its settings say.
            hotwords: words or phrases that are likely to be said, such as names.
            beams: so many texts are looked at side by side for the likeliest, by default as the model's settings say.
            damage: which damage of a file is borne, see ``load_audio``.
        """
        asked = {"instruction": instruction, "hotwords": hotwords, "beams": beams, "damage": damage}
        if timestamps is None:
            return "".join(self.stream_transcript(source, **asked))
        return [segment for heard in self.listen(source, timestamps, **asked) for segment in heard.segments]

    def stream_transcript(
        self,
        source: AudioSource,
        *,
        instruction: str | None = None,
        hotwords: Iterable[str] = (),
        beams: int | None = None,
        damage: Damage = "cut",
    ) -> Iterator[str]:
        """Yield what is said in a recording while it is read; the parts joined are the transcript. See ``listen``."""
        before = ""
        asked = {"instruction": instruction, "hotwords": hotwords, "beams": beams, "damage": damage}
        for heard in self.listen(source, **asked):
            for segment in heard.segments:
                yield separator(before, segment.text) + segment.text
                before = segment.text

    def listen(
        self,
        source: AudioSource,
        timestamps: Timestamps = "segment",
        *,
        instruction: str | None = None,
        hotwords: Iterable[str] = (),
        beams: int | None = None,
        damage: Damage = "cut",
        start_samples: int = 0,
    ) -> Iterator[Heard]:
        """Yield passages of a recording of any length, with what is said in them, while it is read.

        A recording longer than the model takes at once is cut at its pauses. Memory does not grow with its length.
        Pieces in which nobody speaks are left out: the model writes words for silence and noise, too.

        Args:
            source: see ``encode_audio``.
            timestamps: "word" adds the times of words, which cost another pass of the LLM over each piece.
            instruction: what the model is asked for, by default what its settings say.
            hotwords: see ``transcribe``.
            beams: likewise.
            damage: which damage of a file is borne, see ``load_audio``.
            start_samples: go on where an earlier passage ended.
        """
        write = self._writer(timestamps, instruction, hotwords, beams)
        heard = self.passages(source, damage=damage, start_samples=start_samples)
        return (Heard(write(passage), passage.until_samples) for passage in heard)

    def passages(self, source: AudioSource, *, damage: Damage = "cut", start_samples: int = 0) -> Iterator[Passage]:
        """Yield the tokens of a recording while it is read: the hearing of ``listen``, with its arguments."""

        def encode(wav: Tensor) -> AudioTokens:
            return self.encode_audio((wav, INPUT_RATE_HZ))

        blocks = audio_blocks(source, INPUT_RATE_HZ, damage=damage)
        return passages(blocks, self.settings.segment_s, encode, start_samples)

    def write_down(
        self,
        passage: Passage,
        timestamps: Timestamps = "segment",
        *,
        instruction: str | None = None,
        hotwords: Iterable[str] = (),
        beams: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[Segment, ...]:
        """Return what is said in a passage of a recording: the writing of ``listen``, with its arguments.

        Where ``cancelled`` ends it, as in ``stream``, what was written so far is returned.
        """
        return self._writer(timestamps, instruction, hotwords, beams, cancelled)(passage)

    def _writer(
        self,
        timestamps: Timestamps,
        instruction: str | None,
        hotwords: Iterable[str],
        beams: int | None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Callable[[Passage], tuple[Segment, ...]]:
        if timestamps not in ("segment", "word"):
            raise ValueError(f"unknown timestamps {timestamps!r}; use 'segment' or 'word'")
        request = self.settings.transcribe_prompt if instruction is None else instruction
        options = self.transcript_options(hotwords, beams)
        is_known = self.settings.transcribe_first and instruction is None and options == self.transcript_options()

        def write(passage: Passage) -> tuple[Segment, ...]:
            chats = [_question(piece.tokens, request) for piece in passage.pieces]
            # A turn of a conversation was written down for the reply to it.
            known = [self._written.get(piece.tokens) if is_known else None for piece in passage.pieces]
            # All of them begin before the first is read.
            replies = [
                None if text else self.stream(chat, options, cancelled=cancelled)
                for chat, text in zip(chats, known, strict=True)
            ]
            texts = []
            for piece, text, reply in zip(passage.pieces, known, replies, strict=True):
                if reply is None:
                    texts.append(text)
                    continue
                answer = Answer.of(reply)
                _tell_if_cut_off(answer, f"the transcript from {piece.start_s:.0f} s on")
                texts.append(answer.text)
            if timestamps == "segment":
                return passage.segments([(text, []) for text in texts])
            pairs = zip((self._prompt(chat, "text") for chat in chats), texts, strict=True)
            return passage.segments(
                [(text, word_times(self.lm, self.text_tokenizer, prompt, text)) for prompt, text in pairs]
            )

        return write

    def ask(self, source: AudioSource, question: str) -> str:
        """Return the answer to a written question about a recording."""
        return self.answer(_question(source, question)).text

    def speak(self, text: str, *, voice: Voice | AudioSource | None = None, seed: int | None = None) -> Tensor:
        """Return speech [L] at 24 kHz that says ``text``.

        Args:
            text: what to say.
            voice: see ``Voice.find``; the model's own are in ``settings.voices``.
            seed: see ``generate``.
        """
        messages, found = self.reading(text, voice)
        return self._spoken(messages, seed, found)

    def stream_speech(
        self,
        text: str,
        *,
        voice: Voice | AudioSource | None = None,
        instructions: str = "",
        seed: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[StreamChunk]:
        """Yield what ``speak`` returns while it is made.

        Args:
            text: what to say.
            voice: see ``speak``.
            instructions: how to say it, in words, for a model that was trained to follow such.
            seed: see ``generate``.
            cancelled: see ``stream``.
        """
        messages, found = self.reading(text, voice, instructions)
        return self.stream(messages, self.reading_options(), seed=seed, voice=found, cancelled=cancelled)

    def reading(
        self, text: str, voice: Voice | AudioSource | None = None, instructions: str = ""
    ) -> tuple[list[Message], Voice | None]:
        """Return what asks for a text to be read, and the recording whose voice the detokenizer takes on.

        Arguments as for ``stream_speech``.

        Raises:
            ValueError: there is no text, or no such voice.
        """
        if not text.strip():
            raise ValueError("there is no text to speak")
        found, request = self._find_voice(voice), self.settings.speak_prompt
        if found is not None and found.name is not None:
            request, found = self.settings.speak_as_prompt.replace("{voice}", found.name), None
        system = [Message("system", "text", instructions)] if instructions else []
        return [*system, Message("user", "text", request.replace("{text}", text))], found

    def _find_voice(self, voice: Voice | AudioSource | None) -> Voice | None:
        return None if voice is None else Voice.find(voice, self.settings.voices)

    def _spoken(self, messages: Chat, seed: int | None, voice: Voice | None) -> Tensor:
        answer = self.answer(messages, self.reading_options(), seed=seed, voice=voice)
        _tell_if_cut_off(answer, "the speech")
        return torch.zeros(0) if answer.audio is None else answer.audio

    def convert_voice(
        self, source: AudioSource, *, voice: Voice | AudioSource | None = None, seed: int | None = None
    ) -> Tensor:
        """Return the recording said again [L] at 24 kHz.

        Args:
            source: what to say again.
            voice: see ``speak``; one of the model's own is taken on by the LLM, that of a recording by the detokenizer.
            seed: see ``generate``.
        """
        self._check_output("both")
        found = self._find_voice(voice)
        if found is not None and found.name is not None:
            request = self.settings.convert_prompt.replace("{voice}", found.name)
            return self._spoken(_question(source, request), seed, None)
        codes = self.semantic.encode_wav(load_audio(source, INPUT_RATE_HZ).to(self.devices.encoders))
        return self.synthesise(codes.tolist(), seed=seed, voice=found)

    def synthesise(
        self, codes: Iterable[int], *, seed: int | None = None, voice: Voice | AudioSource | None = None
    ) -> Tensor:
        """Return speech [L] at 24 kHz, on the CPU, of semantic codes.

        Raises:
            ValueError: a code is none of the model's, or the voice is too short.
        """
        self._check_output("both")
        last = self.lm.config.num_codes - 1
        return self._render([whole_number("a code", code, 0, last) for code in codes], seed, self._voice_state(voice))

    def _render(self, codes: list[int], seed: int | None, state: StreamState | None) -> Tensor:
        assert self.detokenizer is not None
        wav = self.detokenizer.decode(codes, state, _generator(seed, "cpu"))
        return wav.cpu().clone()  # the copy is an ordinary tensor, which its owner may change

    def _voice_state(self, voice: Voice | AudioSource | None) -> StreamState | None:
        found = self._find_voice(voice)
        if found is None or self.detokenizer is None:
            return None
        if found.recording is None:
            raise ValueError(
                f"the model takes on {found.name} by name only where it reads aloud or says a recording again; "
                "give a recording of the voice"
            )
        sound = decode_audio(found.recording)
        wav = load_audio(sound, INPUT_RATE_HZ)
        if len(wav) < SHORTEST_VOICE_S * INPUT_RATE_HZ:
            raise ValueError(
                f"the recording of the voice lasts {1000 * len(wav) / INPUT_RATE_HZ:.0f} ms; "
                f"at least {SHORTEST_VOICE_S} s are needed, and several seconds are better"
            )
        codes = self.semantic.encode_wav(wav.to(self.devices.encoders))
        sound = load_audio(sound, OUTPUT_RATE_HZ).to(self.devices.detokenizer)
        return self.detokenizer.prefill(codes.tolist(), sound)

    def _check_output(self, output_type: str) -> None:
        if output_type == "both" and self.detokenizer is None:
            raise ValueError("speech needs the detokenizer; load the model with load_detokenizer=True")


class _Begun(NamedTuple):
    prompt: Prompt
    events: ReplyEvents


def _done(begun: _Begun) -> "Future[_Begun]":
    future: Future[_Begun] = Future()
    future.set_result(begun)
    return future


def raised(wav: Tensor, least_peak: float) -> Tensor:
    """Return sound [L] whose loudest sample has at least this size, if it is not all zero."""
    peak = float(wav.abs().max())
    return wav * (least_peak / peak) if 0 < peak < least_peak else wav


def _unless(cancelled: Callable[[], bool] | None, events: ReplyEvents) -> Iterator[Event]:
    """Yield the events; end the reply when ``cancelled``, which is asked before each of them, says so."""
    while not events.is_over:
        if cancelled is not None and cancelled():
            events.cancel()
        yield next(events)


def _tell_if_cut_off(answer: Answer, what: str) -> None:
    """Warn of a reply whose caller gets a part of it alone, without the reason why it ended."""
    if answer.finish_reason not in ("stop", "cancelled"):
        logger.warning("%s was cut off (%s)", what, answer.finish_reason)


def _question(source: AudioSource | AudioTokens, question: str) -> list[Message]:
    return [Message("user", "text", question), Message("user", "audio", source)]


def _generator(seed: int | None, device: torch.device | str) -> torch.Generator:
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(whole_number("seed", seed, -(2**63), 2**64 - 1))
    return generator
