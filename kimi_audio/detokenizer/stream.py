"""Semantic tokens to sound, chunk by chunk, with all that a stream remembers in an explicit state.

One call denoises the mel of its tokens by flow matching, with a few tokens of look-ahead whose frames are thrown away
again, and renders the finished frames with the vocoder. The finished frames, encoded as clean mel, are the context of
the next call. Shapes: N tokens (12.5 Hz), T mel frames (50 Hz), M mel bins, L samples (24 kHz), P frames of context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn

from kimi_audio.audio.join import crossfade
from kimi_audio.audio.mel import LOG_MEL_FLOOR, vocoder_log_mel
from kimi_audio.core.config import FlowConfig, Settings, Solver, VocoderConfig
from kimi_audio.core.units import MEL_FRAMES_PER_TOKEN, OUTPUT_RATE_HZ, OUTPUT_SAMPLES_PER_MEL_FRAME
from kimi_audio.detokenizer.dit import DiT
from kimi_audio.detokenizer.flow import integrate
from kimi_audio.detokenizer.policy import ChunkPolicy, Costs
from kimi_audio.detokenizer.vocoder import BigVGAN


@dataclass(frozen=True, kw_only=True)
class ChunkPlan:
    """How a stream is cut and how carefully each piece is made.

    Args:
        chunk_tokens: most tokens of a call; as many come when playback is far enough behind, see ``policy``.
        first_chunk_tokens: tokens of the first call; fewer of them are heard sooner.
        costs: what the machine is thought to take; from it follow the calls in between.
        look_ahead_tokens: tokens at the end of a call that only inform the frames before them.
        ode_steps: grid points of the flow's solver.
        solver: see ``flow.integrate``.
        guidance_scale: 1 follows the tokens as trained; more exaggerates them, at twice the cost.
        max_kv_frames: context of one call, of which a voice prompt may take two thirds; the oldest frames go first,
            but never those of the prompt.
        prefill_frames: frames of the voice prompt encoded at once.
        vocoder_context_frames: finished frames before, and frames of look-ahead after, that the vocoder hears in
            addition to what it renders.
        crossfade_frames: overlap of successive renderings; so much sound is held back until the next call.
        official: reproduce the official code, for comparison only: each call but the last holds back half of its
            sound, the cross-fade has a gain of 1.08 and is missing before the last call, a prompt is evicted, and
            a long stream forgets its context at once.
    """

    chunk_tokens: int = 30
    first_chunk_tokens: int = 18
    costs: Costs = field(default_factory=Costs)
    look_ahead_tokens: int = 12
    ode_steps: int = 30
    solver: Solver = "euler"
    guidance_scale: float = 1.0
    max_kv_frames: int = 900
    prefill_frames: int = 150
    vocoder_context_frames: int = 24
    crossfade_frames: int = 4
    official: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return how a model is best streamed."""
        return cls(
            first_chunk_tokens=settings.first_chunk_tokens,
            look_ahead_tokens=settings.look_ahead_tokens,
            ode_steps=settings.ode_steps,
            solver=settings.solver,
            guidance_scale=settings.guidance_scale,
            vocoder_context_frames=settings.vocoder_context_frames,
        )

    @property
    def policy(self) -> ChunkPolicy:
        """Return what decides when a chunk is made."""
        return ChunkPolicy(
            first_tokens=self.first_chunk_tokens,
            longest_tokens=self.chunk_tokens,
            look_ahead_tokens=self.look_ahead_tokens,
            held_s=self.crossfade_frames * OUTPUT_SAMPLES_PER_MEL_FRAME / OUTPUT_RATE_HZ,
            costs=self.costs,
        )

    def chunks(self, tokens: list[int]) -> Iterator[tuple[list[int], bool]]:
        """Cut a whole utterance into (tokens, is_final) pairs."""
        start, sizes = 0, self.policy.sizes()
        while start < len(tokens):
            end = start + next(sizes)
            yield tokens[start:end], end >= len(tokens)
            start = end


@dataclass(frozen=True)
class StreamState:
    """Everything that a stream remembers. Nothing in it is ever changed in place: keep one to return to it."""

    prompt: Tensor  # context of the voice prompt [layers, 2, 1, A, P, D]
    window: Tensor  # context of the frames made so far, likewise
    tokens: tuple[int, ...]  # not finished yet: the look-ahead of the last call
    noise: Tensor  # where those tokens' frames start from [T, M]
    mel: Tensor  # the last finished frames, which the vocoder hears again [T, M]
    wav: Tensor  # sound held back for the cross-fade [L]
    position: int = 0  # frames since the context began; only the official behaviour looks at it


@dataclass(frozen=True)
class Call:
    """The next tokens of one stream.

    Args:
        tokens: codes [N], any number, also none. As long as no more than the look-ahead is known, nothing can be
            rendered, and the waveform is empty.
        state: of this stream.
        is_final: nothing follows; what was held back comes out.
        generator: of the noise, on the CPU, so that all devices draw the same.
        noise: instead of a generator, the start of all frames of this call, look-ahead of the last call included
            [T, M].
    """

    tokens: list[int]
    state: StreamState
    is_final: bool
    generator: torch.Generator | None = None
    noise: Tensor | None = None


class Detokenizer:
    """Flow matching and vocoder as one streaming renderer. Many streams can share it, each with its own state."""

    def __init__(
        self,
        dit: DiT,
        vocoder: BigVGAN,
        flow_config: FlowConfig,
        vocoder_config: VocoderConfig,
        plan: ChunkPlan | None = None,
    ) -> None:
        self.dit = dit
        self.vocoder = vocoder
        self.flow_config = flow_config
        self.vocoder_config = vocoder_config
        self.plan = plan or ChunkPlan()
        weight = dit.input_linear.weight
        self.device, self.dtype = weight.device, weight.dtype

    def init_state(self) -> StreamState:
        """Return the state of a stream that has neither a voice prompt nor a past."""
        context = self.dit.empty_context()
        frames = torch.zeros(0, self.flow_config.dit.num_mel_bins, device=self.device)
        return StreamState(context, context, (), frames, frames, torch.zeros(0, device=self.device))

    @torch.inference_mode()
    def prefill(self, tokens: list[int], wav: Tensor | None = None, *, mel: Tensor | None = None) -> StreamState:
        """Return the state of a stream that speaks in the voice of a recording.

        Args:
            tokens: the recording's semantic tokens [N].
            wav: the recording at 24 kHz [L]; or give its ``mel``.
            mel: natural log-mel [T, M]. It is cut, or filled up with silence, to the frames of the tokens.

        The end of a recording too long for the context is used.
        """
        if mel is None:
            if wav is None:
                raise ValueError("a voice prompt needs the recording's waveform or its mel")
            mel = vocoder_log_mel(wav, self.vocoder_config)
        frames = len(tokens) * MEL_FRAMES_PER_TOKEN
        silence = mel.new_full((max(0, frames - len(mel)), mel.shape[1]), LOG_MEL_FLOOR)
        mel = torch.cat([mel[:frames], silence])
        ids = torch.tensor(tokens, dtype=torch.long).repeat_interleave(MEL_FRAMES_PER_TOKEN)
        return self._prefill(ids.to(self.device), mel.to(self.device))

    def _prefill(self, ids: Tensor, mel: Tensor) -> StreamState:
        """Encode a prompt of codes [T], one per frame, and log-mel [T, M], block by block."""
        if not self.plan.official:
            kept = 2 * self.plan.max_kv_frames // 3
            mel, ids = mel[-kept:], ids[-kept:]
        state = self.init_state()
        prompt, mel = state.prompt, self._normalise(mel)
        for start, end in _prefill_blocks(len(ids), self.plan.prefill_frames):
            new = self._encode(mel[start:end], ids[start:end], prompt)
            prompt = torch.cat([prompt, new], dim=-2)[..., -self.plan.max_kv_frames :, :]
        return replace(state, prompt=prompt, position=len(ids))

    def decode_chunk(
        self,
        tokens: list[int],
        state: StreamState,
        is_final: bool,
        generator: torch.Generator | None = None,
        *,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, StreamState]:
        """Render the next tokens of a stream; arguments as for ``Call``.

        Returns:
            Waveform [L] in float32, and the state of the stream: after the final call, one for another utterance
            in the same voice.
        """
        (made,) = self.decode_chunks([Call(tokens, state, is_final, generator, noise)])
        return made

    @torch.inference_mode()
    def decode_chunks(self, calls: Sequence[Call]) -> list[tuple[Tensor, StreamState]]:
        """Render the next tokens of several streams side by side, of each what it gives alone up to rounding."""
        calls = [self._with_look_ahead(call) for call in calls]
        waiting = {row for row, call in enumerate(calls) if self._kept(call) == 0 and not call.is_final}
        mels = iter(self._denoise([call for row, call in enumerate(calls) if row not in waiting]))
        return [
            (call.state.wav.new_zeros(0), replace(call.state, tokens=tuple(call.tokens), noise=call.noise))
            if row in waiting
            else self._finish(call, next(mels))
            for row, call in enumerate(calls)
        ]

    def _with_look_ahead(self, call: Call) -> Call:
        """Return the call with all tokens that are not finished yet, and the noise of their frames."""
        noise = call.noise
        if noise is None:
            noise = torch.cat([call.state.noise, self._draw(len(call.tokens), call.generator)])
        return replace(call, tokens=[*call.state.tokens, *call.tokens], noise=noise.to(self.device))

    def _kept(self, call: Call) -> int:
        """Return how many tokens of a call with its look-ahead are finished by it."""
        return len(call.tokens) if call.is_final else max(0, len(call.tokens) - self.plan.look_ahead_tokens)

    def _finish(self, call: Call, mel: Tensor) -> tuple[Tensor, StreamState]:
        """Render the finished frames of a normalised mel [4 N, M] and remember them."""
        kept, state = self._kept(call), call.state
        frames = kept * MEL_FRAMES_PER_TOKEN
        log_mel = mel * self.flow_config.mel_std + self.flow_config.mel_mean
        if self.plan.official:
            wav, state = self._join_official(log_mel[:frames], state, call.is_final)
        else:
            wav, state = self._join(log_mel[:frames], log_mel[frames:], state, call.is_final)
        if call.is_final:
            return wav, replace(self.init_state(), prompt=state.prompt, position=state.prompt.shape[-2])
        assert call.noise is not None
        state = self._remember(mel[:frames], call.tokens[:kept], state)
        return wav, replace(state, tokens=tuple(call.tokens[kept:]), noise=call.noise[frames:])

    def decode(
        self, tokens: list[int], state: StreamState | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Render a whole utterance [N] to [1920 N] samples, in the chunks of the plan."""
        (wav,) = self.decode_all([tokens], [generator], state)
        return wav

    def decode_all(
        self,
        utterances: Sequence[list[int]],
        generators: Sequence[torch.Generator | None],
        state: StreamState | None = None,
    ) -> list[Tensor]:
        """Render whole utterances side by side, each with its own generator, all in the voice of ``state``."""
        plans = [self.plan.chunks(tokens) for tokens in utterances]
        states = [state or self.init_state()] * len(plans)
        wavs = [[one.wav.new_zeros(0)] for one in states]
        while chunks := {row: chunk for row, plan in enumerate(plans) if (chunk := next(plan, None))}:
            calls = [Call(tokens, states[row], final, generators[row]) for row, (tokens, final) in chunks.items()]
            for row, (wav, states[row]) in zip(chunks, self.decode_chunks(calls), strict=True):
                wavs[row].append(wav)
        return [torch.cat(parts) for parts in wavs]

    def _draw(self, num_tokens: int, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            raise ValueError("decoding draws noise: give a torch.Generator, or the noise itself")
        shape = num_tokens * MEL_FRAMES_PER_TOKEN, self.flow_config.dit.num_mel_bins
        return torch.randn(shape, generator=generator).to(self.device)

    def _normalise(self, log_mel: Tensor) -> Tensor:
        return (log_mel - self.flow_config.mel_mean) / self.flow_config.mel_std

    def _context(self, state: StreamState) -> Tensor:
        """Return prompt and window, as many frames as the plan allows: [layers, 2, 1, A, P, D]."""
        room = self.plan.max_kv_frames
        if self.plan.official:  # the prompt is evicted like everything else
            return torch.cat([state.prompt, state.window], dim=-2)[..., -room:, :]
        room -= state.prompt.shape[-2]
        return torch.cat([state.prompt, state.window[..., -room:, :]], dim=-2)

    def _denoise(self, calls: Sequence[Call]) -> list[Tensor]:
        """Return the normalised mel [4 N, M] of each call, which holds its look-ahead and its noise."""
        noise = [call.noise for call in calls if call.noise is not None]
        rows = [row for row, call in enumerate(calls) if call.tokens]  # there may be nothing left to finish
        if not rows:
            return noise
        codes, contexts = [calls[row].tokens for row in rows], [self._context(calls[row].state) for row in rows]
        scale = self.plan.guidance_scale
        if scale != 1:  # the same rows without tokens
            codes, contexts = codes + [[self.dit.null_token] * len(own) for own in codes], 2 * contexts
        chunk = self.dit.open_chunk(codes, contexts)

        def velocity(x: Tensor, time: int) -> Tensor:
            times = torch.full((len(codes),), time, device=self.device)
            v = self.dit.velocity(x.repeat(len(codes) // len(rows), 1, 1), times, chunk)
            return v if scale == 1 else torch.lerp(v[len(rows) :], v[: len(rows)], scale)

        start = nn.utils.rnn.pad_sequence([noise[row] for row in rows], batch_first=True)
        mels = integrate(velocity, start, self.plan.ode_steps, self.plan.solver)
        for row, mel in zip(rows, mels, strict=True):
            noise[row] = mel[: len(noise[row])]
        return noise

    def _encode(self, mel: Tensor, ids: Tensor, context: Tensor) -> Tensor:
        """Return the context of finished frames: normalised mel [T, M], codes [N]."""
        return self.dit.encode(mel[None], ids[None], self.dit.rotate_context(context))

    def _remember(self, mel: Tensor, ids: list[int], state: StreamState) -> StreamState:
        """Append finished frames to the window."""
        position = state.position + len(mel)
        if self.plan.official and position + 2 * len(mel) > self.flow_config.dit.max_frames:
            return replace(state, window=state.window[..., :0, :], position=state.prompt.shape[-2])
        new = self._encode(mel, torch.tensor(ids, device=self.device), self._context(state))
        window = torch.cat([state.window, new], dim=-2)[..., -self.plan.max_kv_frames :, :]
        return replace(state, window=window, position=position)

    def _render(self, log_mel: Tensor) -> Tensor:
        """Return the waveform [480 T] of a log-mel [T, M] in float32."""
        if not len(log_mel):
            return log_mel.new_zeros(0)
        return self.vocoder(log_mel[None].to(self.vocoder.conv_pre.weight.dtype))[0].float()

    def _join(self, mel: Tensor, look_ahead: Tensor, state: StreamState, is_final: bool) -> tuple[Tensor, StreamState]:
        """Render new frames [T, M] with frames on both sides, and blend in what was held back.

        Only the last frames are held back: long before the end of the new frames the look-ahead, though not
        final, gives the vocoder nearly the same right context as the next call will.
        """
        heard = torch.cat([state.mel, mel])
        held = len(state.wav) // OUTPUT_SAMPLES_PER_MEL_FRAME
        wav = self._render(torch.cat([heard, look_ahead[: self.plan.vocoder_context_frames]]))
        begin, end = len(state.mel) - held, len(heard)
        wav = wav[begin * OUTPUT_SAMPLES_PER_MEL_FRAME : end * OUTPUT_SAMPLES_PER_MEL_FRAME]
        wav = crossfade(state.wav, wav)
        held = 0 if is_final else min(self.plan.crossfade_frames, end - begin)
        ready = len(wav) - held * OUTPUT_SAMPLES_PER_MEL_FRAME
        known = min(len(heard), self.plan.vocoder_context_frames + held)
        return wav[:ready], replace(state, mel=heard[len(heard) - known :], wav=wav[ready:])

    def _join_official(self, mel: Tensor, state: StreamState, is_final: bool) -> tuple[Tensor, StreamState]:
        """Render and smooth as the official code does; see ``ChunkPlan.official``."""
        wav = self._render(torch.cat([state.mel, mel]))
        if is_final:
            return wav, state
        if not len(state.mel):
            ready = len(wav) // 2
            return wav[:ready], replace(state, mel=mel[len(mel) // 2 :], wav=wav[ready:])
        ready = 2 * len(state.wav) if len(wav) > 2 * len(state.wav) else len(wav) // 2
        fade = torch.hamming_window(ready, device=wav.device)
        overlap = ready // 2
        wav[:overlap] = wav[:overlap] * fade[:overlap] + state.wav[:overlap] * fade[overlap : 2 * overlap]
        tail = (len(wav) - ready) // OUTPUT_SAMPLES_PER_MEL_FRAME
        return wav[:ready], replace(state, mel=mel[len(mel) - tail :], wav=wav[ready:])


def _prefill_blocks(frames: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut a prompt into blocks of ``size`` frames, the remainder first, as the official code does."""
    ends = range(frames, 0, -size)
    yield from reversed([(max(0, end - size), end) for end in ends])
