"""The step engine: many requests, one forward pass a step, with any callable of the LLM's signature.

Requests join and leave at every step. All that a step computes, the next id of some and a piece of the prompt of
others, is one row of stretches, so the weights are read once; each request attends to its own cache only and gives
the ids that it gives alone. Every request has a number of ids known and a number of ids computed: a new prompt, a reply
under way, a prompt whose beginning is remembered and a request that had to give its memory back differ in nothing else.
The beams of a reply are rows as those of other requests, but what they go on with is chosen together.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import Inputs, Sequence
from kimi_audio.core.tokens import SpecialIds
from kimi_audio.lm.beams import BeamSearch
from kimi_audio.lm.cache import BLOCK_TOKENS, KVCache, Stretch, Stretches, num_blocks, token_bytes
from kimi_audio.lm.model import LMOutput
from kimi_audio.lm.prefix import Prefix, PrefixStore, fingerprints
from kimi_audio.lm.request import Request
from kimi_audio.lm.rules import DEFAULT_NEW_TOKENS, Event, GenerationOptions, ReplyState
from kimi_audio.lm.sampling import Sampler, SamplingOptions


class LanguageModel(Protocol):
    """What the engine needs of a model; see ``AudioLM``."""

    config: LMConfig

    @property
    def device(self) -> torch.device:
        """Where the inputs have to be."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What features and caches are kept in."""
        ...

    def __call__(self, inputs: Inputs, stretches: Stretches) -> LMOutput:
        """Score the next ids of the stretches."""
        ...


class Engine:
    """Makes replies step by step. It belongs to one thread; only ``prepare`` may be called from others.

    Args:
        model: the LLM.
        special: ids of the special tokens.
        cache_bytes: limit of the memory of running requests; others wait, first come, first served. None: no limit.
        prefix_bytes: limit of the memory that finished requests leave for those that begin alike; 0 keeps nothing.
        chunk_tokens: positions of prompts that are computed in one step beside the replies under way.
        new_cache: makes the memory of a request that begins.
    """

    def __init__(
        self,
        model: LanguageModel,
        special: SpecialIds,
        *,
        cache_bytes: int | None = None,
        prefix_bytes: int = 0,
        chunk_tokens: int = 512,
        new_cache: Callable[[], KVCache] = KVCache,
    ) -> None:
        self.model, self.special, self._new_cache = model, special, new_cache
        self.cache_bytes, self.chunk_tokens = cache_bytes, chunk_tokens
        self.prefixes = PrefixStore(prefix_bytes)
        self._numbers = count()
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []  # in the order in which they came
        self._searches: dict[int, BeamSearch] = {}  # of the replies that have several beams, by their numbers
        self._events: list[Event] = []  # for the next step to tell

    @property
    def is_idle(self) -> bool:
        """Whether a step has nothing to do."""
        return not (self._waiting or self._running or self._events)

    @property
    def num_cache_bytes(self) -> int:
        """Memory of running requests."""
        return sum(request.cache.num_bytes for request in self._running)

    def prepare(
        self,
        prompt: Sequence,
        options: GenerationOptions | None = None,
        generator: torch.Generator | None = None,
    ) -> Request:
        """Return a request, which ``admit`` accepts.

        Args:
            prompt: what to continue; it is moved to the model's device.
            options: of this reply.
            generator: on the model's device, for sampling at a temperature; by default one with a fresh seed.

        Raises:
            ValueError: the prompt is empty, lacks features, or leaves no room for a reply in the context or the memory;
                or the options do not fit the model.
        """
        options = options or GenerationOptions()
        self._check(options, generator)
        room = self._room(prompt, options)
        heard, given = int(prompt.is_continuous.sum()), sum(len(block) for block in prompt.features)
        if heard != given:
            raise ValueError(f"the prompt has {heard} positions that hear something, and {given} rows of features")
        limit = options.max_new_tokens or DEFAULT_NEW_TOKENS[options.output_type]
        number = next(self._numbers)
        return Request(
            ReplyState(self.model.config, self.special, options, min(limit, room), number),
            generator or _fresh_generator(self.model.device),
            prompt.audio_ids.tolist(),
            prompt.text_ids.tolist(),
            prompt.is_continuous.tolist(),
            torch.cat(prompt.features).to(self.model.device, self.model.dtype) if prompt.features else None,
            fingerprints(prompt) if options.is_kept and self.prefixes.budget_bytes else None,
        )

    def _check(self, options: GenerationOptions, generator: torch.Generator | None) -> None:
        """Refuse what would end a step in which others take part, too."""
        if not isinstance(options, GenerationOptions):
            raise ValueError(f"options must be GenerationOptions, not {type(options).__name__}")
        if options.hotwords is not None:
            options.hotwords.check(self.model.config.vocab_size)
        if generator is not None and generator.device.type != self.model.device.type:
            raise ValueError(f"the generator is on {generator.device}, and the model on {self.model.device}")

    def _room(self, prompt: Sequence, options: GenerationOptions) -> int:
        length, context = len(prompt), self.model.config.max_positions
        if length == 0:
            raise ValueError("the prompt is empty")
        if length >= context:
            raise ValueError(
                f"the prompt has {length} tokens, which leaves no room for a reply in the context of {context}; "
                "shorten the conversation or the audio"
            )
        if self.cache_bytes is None:
            return context - length
        held = self.cache_bytes // self._block_bytes(options) * BLOCK_TOKENS
        if length >= held:
            raise ValueError(
                f"the prompt has {length} tokens, but the memory for one request ends at {held} tokens "
                f"({self.cache_bytes:,} bytes); shorten the conversation or the audio, or give it more"
            )
        return min(context, held) - length

    def admit(self, request: Request) -> None:
        """Let a request wait for its turn."""
        if request.state.options.beams > 1:
            self._searches[request.number] = BeamSearch(request)
        self._waiting.append(request)

    def cancel(self, request: Request) -> None:
        """End a request and free its memory; the next step tells its last event. Without effect on a finished one."""
        if request in self._waiting:
            self._waiting.remove(request)
            self._searches.pop(request.number, None)
        elif request in self._running:
            self._leave(request)
        else:
            return
        self._events.append(request.state.cancel())

    def clear(self) -> None:
        """Forget all requests, and all that is remembered."""
        for request in self._running:
            request.close()
        for requests in (self._waiting, self._running, self._searches, self._events):
            requests.clear()
        self.prefixes.clear()

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Compute once; return what became known: one event of a request, more of one whose beams are at their end."""
        events, self._events = self._events, []
        self._make_room()
        lengths = self._schedule()
        if lengths:
            events += self._compute(lengths)
        return events

    # -----------------------------------------------------------------------------------------------------------------
    # Who takes part

    def _make_room(self) -> None:
        """Let the youngest requests wait that do not fit any more, and those begin that do."""
        while self._running and not self._fits(self._running):
            rows = self._rows(self._running[-1])
            del self._running[-len(rows) :]
            self._waiting.appendleft(rows[0])
            if search := self._searches.get(rows[0].number):
                search.restart()
            rows[0].forget()
        while self._waiting and self._fits([*self._running, self._waiting[0]]):
            request = self._waiting.popleft()
            self._recall(request)
            self._running.append(request)

    def _fits(self, requests: Iterable[Request]) -> bool:
        if self.cache_bytes is None:
            return True
        asked = [request for request in requests if not request.is_twin]
        sizes = (num_blocks(max(one.num_known, one.num_needed)) * self._block_bytes(one.state.options) for one in asked)
        return sum(sizes) <= self.cache_bytes

    def _block_bytes(self, options: GenerationOptions) -> int:
        """Return the memory of a block of positions in all beams."""
        token = token_bytes(self.model.config, self._num_layers(options), self.model.dtype)
        return BLOCK_TOKENS * token * options.beams

    def _rows(self, request: Request) -> list[Request]:
        """Return the beams of a request, which run behind one another, the one that was asked for first."""
        search = self._searches.get(request.number)
        return [*search.rows] if search else [request]

    def _num_layers(self, options: GenerationOptions) -> int:
        config = self.model.config
        return config.num_layers + (config.num_audio_layers if options.output_type == "both" else 0)

    def _recall(self, request: Request) -> None:
        """Begin where a remembered request was equal; the last position has to be computed for its scores."""
        request.cache = self._new_cache()
        if request.fingerprints is None or not request.state.needs_text:
            return
        wanted = request.fingerprints[: request.num_known - 1]
        request.num_computed = self.prefixes.find(wanted, request.cache, with_audio=request.is_to_be_spoken)
        request.num_computed_text = request.num_recalled = request.num_computed

    def _leave(self, request: Request) -> None:
        """Take a request out and remember what its text layers have seen."""
        self._end_search(request)
        self._running.remove(request)
        length = request.num_computed_text
        if request.fingerprints is not None and length:
            fed = [torch.tensor(ids[len(request.fingerprints) :]) for ids in (request.audio_ids, request.text_ids)]
            fed = torch.stack((*fed, *torch.zeros(2, len(fed[0]), dtype=torch.int64)), -1)
            seen = torch.cat((request.fingerprints, fed.long()))[:length]
            kept = KVCache()
            request.cache.copy_to(kept, length, self._num_layers(request.state.options))
            self.prefixes.add(Prefix(seen, kept, request.state.is_spoken))
        request.close()

    def _end_search(self, request: Request) -> None:
        """Go on without the other beams of a request, if it has any."""
        for twin in self._rows(request)[1:]:
            self._running.remove(twin)
            twin.close()
        self._searches.pop(request.number, None)

    def _schedule(self) -> dict[Request, int]:
        """Return how many positions of every request are computed now.

        Replies go on by one; those with more to compute share a chunk in equal parts, so that neither a long prompt
        keeps a short one waiting nor the other way round.
        """
        num_filling = sum(request.num_pending > 1 for request in self._running)
        share = -(-self.chunk_tokens // max(1, num_filling))
        return {request: min(request.num_pending, share) for request in self._running}

    # -----------------------------------------------------------------------------------------------------------------
    # A step

    def _compute(self, lengths: dict[Request, int]) -> list[Event]:
        """Compute positions of several requests together; if that fails, one by one, to find out which is to blame.

        Nothing but memory that is written again has changed by then.
        """
        stretches = {request: request.stretch(length) for request, length in lengths.items()}
        try:
            output = self.model(self._inputs(stretches), Stretches(tuple(stretches.values())))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other requests go on
            alone = [{row: lengths[row] for row in self._rows(one)} for one in lengths if not one.is_twin]
            if len(alone) == 1:
                return [self._fail(next(iter(lengths)), error)]
            return [event for some in alone for event in self._compute(some)]
        for request, stretch in stretches.items():
            request.computed(stretch)
        return self._advance(stretches, output)

    def _inputs(self, stretches: dict[Request, Stretch]) -> Inputs:
        rows: tuple[list[int], ...] = ([], [], [], [])
        features = []
        for request, stretch in stretches.items():
            start, stop = stretch.start, stretch.start + stretch.length
            is_continuous, heard = request.heard(start, stop)
            features += [] if heard is None else [heard]
            news = request.audio_ids[start:stop], request.text_ids[start:stop], is_continuous, range(start, stop)
            for row, new in zip(rows, news, strict=True):
                row += new
        audio, text, continuous, positions = torch.tensor(rows, device=self.model.device)[:, None]
        return Inputs(audio, text, continuous.bool(), torch.cat(features) if features else None, positions)

    def _advance(self, stretches: dict[Request, Stretch], output: LMOutput) -> list[Event]:
        """Draw the next ids of all that are ready for them."""
        text = [request for request, stretch in stretches.items() if stretch.text_scores]
        audio = [request for request, stretch in stretches.items() if stretch.audio_scores]
        searched = {request.number for request in text} & self._searches.keys()
        events, drawn = [], []
        if output.text_logits is not None:
            logits = _biased(output.text_logits, [request.state for request in text], self.special.text_end)
            if searched:
                events = self._search(searched, text, logits)
                places = [place for place, request in enumerate(text) if request.number not in searched]
                text, logits = [text[place] for place in places], logits[places]
            states = [request.state for request in text]
            options, histories = [one.options.text for one in states], [one.text_history for one in states]
            drawn += [_draw(logits, options, histories, [request.generator for request in text])] if text else []
        if output.audio_logits is not None:
            states = [request.state for request in audio]
            options, histories = [one.options.audio for one in states], [one.audio_history for one in states]
            drawn.append(_draw(output.audio_logits, options, histories, [request.generator for request in audio]))
        ids = torch.cat(drawn).tolist() if drawn else []  # without beams, the only wait for the device in a step
        text_ids = dict(zip(text, ids[: len(text)], strict=True))
        audio_ids = dict(zip(audio, ids[len(text) :], strict=True))
        # Behind the end of a short text and before the first code there is nothing to draw.
        ready = [one for one in stretches if one.num_pending == 0 and one.number not in searched]
        return events + [self._take(request, text_ids.get(request), audio_ids.get(request)) for request in ready]

    def _search(self, numbers: set[int], text: list[Request], logits: Tensor) -> list[Event]:
        """Let the beams of these requests go on by the scores [N, V] of all rows; tell the texts that are whole."""
        events = []
        for number in sorted(numbers):
            search = self._searches[number]
            request, begin, end = search.rows[0], self._running.index(search.rows[0]), len(search.rows)
            places = [place for place, row in enumerate(text) if row.number == number]
            try:
                is_over = search.advance(logits[places], self._new_cache)
            except ValueError as error:  # its scores are broken
                events.append(self._fail(request, error))
                continue
            if is_over:
                events += self._found(request)
            else:
                self._running[begin : begin + end] = search.rows
        return events

    def _found(self, request: Request) -> list[Event]:
        """Tell the text that the beams of a request have found, or begin to say it."""
        search = self._searches[request.number]
        self._end_search(request)
        events = request.say() if request.is_to_be_spoken else search.events()
        if request.state.finish_reason is not None:
            self._leave(request)
        return events

    def _take(self, request: Request, text_id: int | None, audio_id: int | None) -> Event:
        try:
            event = request.state.advance(text_id, audio_id)
        except ValueError as error:  # its scores are broken
            return self._fail(request, error)
        if event.is_last:
            self._leave(request)
        else:
            request.feed()
        return event

    def _fail(self, request: Request, error: Exception) -> Event:
        request.forget()  # what a failure leaves is not to be found by others
        self._leave(request)
        return Event(request.number, error=error)


def _biased(logits: Tensor, states: list[ReplyState], end_id: int) -> Tensor:
    """Return scores [N, V] of the text in which the hotwords of each reply are favoured."""
    if all(one.options.hotwords is None for one in states):
        return logits
    rows = [
        row if one.options.hotwords is None else one.options.hotwords.biased(row, one.text_history, end_id)
        for row, one in zip(logits, states, strict=True)
    ]
    return torch.stack(rows)


def _draw(
    logits: Tensor,
    options: list[SamplingOptions],
    histories: list[list[int]],
    generators: list[torch.Generator],
) -> Tensor:
    """Return the next id of every row of logits [N, V]; rows with equal options are drawn together: [N]."""
    alike = defaultdict(list)
    for place, one in enumerate(options):
        alike[one].append(place)
    if len(alike) == 1:  # places would have to be copied to the device, which waits for it
        return Sampler(options[0])(logits, histories, generators)
    ids = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
    for one, places in alike.items():
        some = [histories[place] for place in places], [generators[place] for place in places]
        ids[places] = Sampler(one)(logits[places], *some)
    return ids


def _fresh_generator(device: torch.device) -> torch.Generator:
    generator = torch.Generator(device)
    generator.seed()
    return generator
