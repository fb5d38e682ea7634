"""Which instance of a stage does which job, and what happens when one fails or does not answer.

A conversation stays with its instance, where what was said is remembered; everything else goes to the instance with the
least to do. An instance that fails, or from which nothing comes for too long, is given nothing more. The job that met
with it ends with an error, others that it has under way may still end well, and a new one takes its place.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kimi_audio.serve.http_errors import ApiError
from kimi_audio.serve.instance import KEPT, Instance, Job, LostError
from kimi_audio.serve.metrics import Metrics

logger = logging.getLogger(__name__)
Item = TypeVar("Item")

_END = object()
_RETRY_S = 5
_PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # between attempts to put a new instance in a place


class StalledError(Exception):
    """Nothing comes of a job any more."""


class BegunElsewhereError(ApiError):
    """What a job goes on with was lost with an instance that failed; the whole of it may be begun anew."""


@dataclass(eq=False)
class Place:
    """Where an instance works; None while there is no good one."""

    number: int
    instance: Instance | None
    room: asyncio.Semaphore
    routes: int = 0  # of conversations

    @property
    def load(self) -> int:
        """What a new conversation or job would find there."""
        return self.routes + (self.instance.load if self.instance else 0)


@dataclass(eq=False)
class Route:
    """The way of one conversation: always to the same place, as long as there is an instance."""

    place: Place | None = None

    def move(self, place: Place | None) -> None:
        """Go to another place; None ends the conversation."""
        if self.place is not None:
            self.place.routes -= 1
        if place is not None:
            place.routes += 1
        self.place = place


@dataclass(frozen=True)
class Patience:
    """How long the scheduler waits.

    Args:
        stall_s: for the next chunk of a job.
        job_s: for a job.
    """

    stall_s: float
    job_s: float


@dataclass(eq=False)
class Scheduler:
    """Gives the jobs of one stage to its instances. It belongs to one event loop.

    Args:
        stage: its name.
        make: returns a new instance for a place; it may block.
        count: of instances.
        jobs: that an instance does at once; others wait.
        probe: jobs that a new instance must do, all as the job "probe", before it is given others.
        patience: with instances.
        metrics: of the server.
    """

    stage: str
    make: Callable[[int], Instance]
    count: int
    jobs: int
    probe: Sequence[Job]
    patience: Patience
    metrics: Metrics
    _places: list[Place] = field(init=False)
    _leaving: list[Instance] = field(default_factory=list)  # they may have jobs under way
    _restarts: set["asyncio.Task[None]"] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self._places = [Place(number, self.make(number), asyncio.Semaphore(self.jobs)) for number in range(self.count)]
        self._count_ready()

    async def start(self) -> None:
        """Let every instance do something, so that nobody waits for what happens only once."""
        for instance in [place.instance for place in self._places if place.instance]:
            for job in self.probe:
                async for _ in instance.submit("probe", job, math.inf):  # however long it takes
                    pass
            instance.cancel("probe")

    @property
    def is_ready(self) -> bool:
        """Whether there is an instance to work."""
        return any(place.instance for place in self._places)

    @property
    def load(self) -> int:
        """How many jobs are under way."""
        return sum(place.instance.load for place in self._places if place.instance)

    @property
    def kept_bytes(self) -> int:
        """Memory of earlier jobs from which later ones go on."""
        return sum(place.instance.kept_bytes for place in self._places if place.instance)

    def cancel(self, job_id: str) -> None:
        """Stop a job, wherever it is."""
        for place in self._places:
            if place.instance is not None:
                place.instance.cancel(job_id)

    def close(self) -> None:
        """Stop everything."""
        for task in self._restarts:
            task.cancel()
        for instance in [place.instance for place in self._places if place.instance] + self._leaving:
            instance.close()

    async def stream(self, job: Job, route: Route | None = None, job_id: str | None = None) -> AsyncIterator[Any]:
        """Yield what comes of a job; to stop reading cancels it.

        Args:
            job: what to do.
            route: of the conversation that it belongs to.
            job_id: by default a new one.

        Raises:
            ValueError: the job cannot be done.
            BegunElsewhereError: what it goes on with is lost.
            ApiError: there is no instance, or it does not answer; a later attempt may succeed.
        """
        deadline_s, is_done = time.monotonic() + self.patience.job_s, False
        while not is_done:
            place = await self._find(route)
            async with place.room:
                if place.instance is not None:  # else it failed while this job waited
                    is_done = True
                    chunks = self._watched(place, job_id or secrets.token_hex(8), job, deadline_s)
                    async with aclosing(chunks) as open_chunks:  # pyright: ignore[reportArgumentType] - a generator
                        async for chunk in open_chunks:
                            yield chunk

    async def _watched(self, place: Place, job_id: str, job: Job, deadline_s: float) -> AsyncIterator[Any]:
        """Yield what comes of a job; replace the instance that does not do it well."""
        instance = place.instance
        assert instance is not None
        try:
            with self.metrics.jobs.track_inprogress():
                async with aclosing(self._chunks(instance, job_id, job, deadline_s)) as chunks:  # pyright: ignore
                    async for chunk in chunks:
                        yield chunk
        except StalledError as error:
            self._replace(place, instance, "stalled")
            message = f"The model did not answer ({error}) and is started anew; try again."
            raise ApiError(message, 503, code="model_stalled", retry_after_s=_RETRY_S) from None
        except LostError:
            message = "The model is started anew and lost what this is to go on with; try again."
            raise BegunElsewhereError(message, 503, code="model_restarts", retry_after_s=_RETRY_S) from None
        finally:
            if not instance.is_healthy:
                self._replace(place, instance, "failed")
            self._leaving = [old for old in self._leaving if old.load]

    async def _chunks(self, instance: Instance, job_id: str, job: Job, deadline_s: float) -> AsyncIterator[Any]:
        """Yield what comes of a job; stop it when nobody reads any more, and when it takes too long."""
        chunks, is_over = instance.submit(job_id, job, deadline_s), False
        try:
            while (chunk := await self._next(chunks, deadline_s)) is not _END:
                yield chunk
            is_over = True
        finally:
            if not (is_over and isinstance(job, KEPT)):  # what it keeps is for jobs to come
                instance.cancel(job_id)
            await chunks.aclose()  # pyright: ignore[reportAttributeAccessIssue] - they are generators

    async def _next(self, chunks: AsyncIterator[Any], deadline_s: float) -> Any:
        left_s = deadline_s - time.monotonic()
        waiting = asyncio.timeout(min(self.patience.stall_s, left_s))
        try:
            async with waiting:
                return await anext(chunks, _END)
        except TimeoutError:
            if not waiting.expired():
                raise
            if left_s < self.patience.stall_s:
                raise ApiError("The model took too long.", 503, code="model_timeout") from None
            raise StalledError(f"nothing came for {self.patience.stall_s:g} s") from None

    # -----------------------------------------------------------------------------------------------------------------
    # Which one

    async def _find(self, route: Route | None) -> Place:
        """Return the place for a job; wait for one where there is none."""
        try:
            async with asyncio.timeout(self.patience.stall_s), self._changed:
                await self._changed.wait_for(lambda: self.is_ready)
        except TimeoutError:
            message = "The model is being started anew; try again in a moment."
            raise ApiError(message, 503, code="model_restarts", retry_after_s=_RETRY_S) from None
        return self._choose(route)

    def _choose(self, route: Route | None) -> Place:
        if route is not None and route.place is not None and route.place.instance is not None:
            return route.place
        ready = [place for place in self._places if place.instance is not None]
        place = min(ready, key=lambda one: one.load)
        if route is not None:
            route.move(place)
        return place

    # -----------------------------------------------------------------------------------------------------------------
    # A new one

    def _replace(self, place: Place, instance: Instance, reason: str) -> None:
        """Put another instance in a place, unless that has happened already."""
        if place.instance is not instance:
            return
        logger.error("instance %d of %s %s and is started anew", place.number, self.stage, reason)
        self.metrics.instance_restarts.labels(self.stage, reason).inc()
        self._leaving.append(instance)
        place.instance = None
        self._count_ready()
        task = asyncio.create_task(self._restart(place))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _restart(self, place: Place) -> None:
        attempt = 0
        while place.instance is None:
            try:
                instance = await asyncio.to_thread(self.make, place.number)
                await self._try(instance)
            except Exception:
                logger.exception("instance %d of %s cannot be started", place.number, self.stage)
                await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
                attempt += 1
            else:
                async with self._changed:
                    place.instance = instance
                    self._count_ready()
                    self._changed.notify_all()

    async def _try(self, instance: Instance) -> None:
        deadline_s = time.monotonic() + self.patience.job_s
        for job in self.probe:
            chunks = instance.submit("probe", job, deadline_s)
            while await self._next(chunks, deadline_s) is not _END:
                pass
        instance.cancel("probe")

    def _count_ready(self) -> None:
        ready = sum(place.instance is not None for place in self._places)
        self.metrics.instances_ready.labels(self.stage).set(ready)


async def all_of(items: AsyncIterator[Item]) -> list[Item]:
    """Return all items of an iterator, and close it."""
    async with aclosing(items) as open_items:  # pyright: ignore[reportArgumentType] - they are generators
        return [item async for item in open_items]
