"""Asks the stable version once more, beside the candidate: how much two answers differ when nothing changed.

Both are one record's work, one after the other, so that no more calls run at once than may. The baseline is written,
and Kafka's word on it awaited, before the candidate's response ends the record: whoever is killed in between has
committed nothing, and the next owner asks both again, in the same order, for responses of the same ids.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from shadowlane.errors import CodecError
from shadowlane.processors.produce import Done, RecordTooLargeError
from shadowlane.processors.worker.ahead import Asking, Ending
from shadowlane.processors.worker.places import Places
from shadowlane.processors.worker.progress import Progress
from shadowlane.processors.worker.question import Question
from shadowlane.processors.worker.smaller import without_bulk
from shadowlane.processors.worker.target import Noise, Plan
from shadowlane.schemas.codec import encode
from shadowlane.schemas.config import Rollout
from shadowlane.schemas.events import Failure, MirroredRequest, Response

Ask = Callable[[Question, Rollout], Coroutine[Any, Any, Ending]]
Put = Callable[[str, bytes, Done], None]
"""(request id, encoded response, what is told of it) to the topic; told on another thread."""


class Twice:
    """Use within one event loop. ``ask`` never raises for what a version does."""

    def __init__(self, ask: Ask, put: Put, progress: Progress, places: Places) -> None:
        self._ask, self._put, self._progress, self._places = ask, put, progress, places

    def asking(self, request: MirroredRequest, plan: Plan, noise: Noise) -> Asking | None:
        """The candidate's response, once the baseline is in Kafka; None where the request is not of the sample.

        What is returned keeps nothing of the request that the responses do not. Called, it raises BrokerError where
        Kafka does not take the baseline.
        """
        sample = noise.sample
        if not sample.takes(request.request_id, request.key, request.arm, request.model):
            return None
        asked, again = Question.of(request, plan), Question.again(request, plan, noise.target)
        return partial(self._in_turn, plan.rollout, asked, again, sample.baseline_first(request.request_id))

    async def _in_turn(
        self, rollout: Rollout, asked: Question, again: Question, baseline_first: bool
    ) -> Ending:
        if baseline_first:
            baseline = (await self._ask(again, rollout))()
            await self._places.again()  # where the first one waited in vain, and has left it
            ending = await self._ask(asked, rollout)
        else:
            ending = await self._ask(asked, rollout)
            await self._places.again()
            baseline = (await self._ask(again, rollout))()
        await self._write(baseline)
        self._progress.responded_again(baseline)
        return ending

    async def _write(self, baseline: Response) -> None:
        try:
            line = encode(baseline)
        except CodecError as exc:  # the candidate's response goes out all the same
            baseline = dataclasses.replace(
                baseline,
                output="",
                tool_calls=None,
                error=Failure.BAD_RESPONSE.value,
                error_message=f"the answer can't be written: {exc}"[:500],
            )
            line = encode(baseline)
        error = await self._written(baseline.request_id, line)
        while isinstance(error, RecordTooLargeError) and (smaller := without_bulk(baseline)) is not None:
            baseline = smaller
            error = await self._written(baseline.request_id, encode(baseline))
        if error is not None:
            raise error

    async def _written(self, request_id: str, line: bytes) -> Exception | None:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Exception | None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            if not told.done():  # cancelled, at a stop
                told.set_result(error)

        def done(error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to hear it
                loop.call_soon_threadsafe(tell, error)

        self._put(request_id, line, done)
        return await told
