"""Whether a call may be made now: nobody stopped it, its budget has enough, its provider lets itself be asked, and its
target answers. What may not is a response that says why, and the pair abstains. What only has to wait does so in its
target's line, without the place that others could use meanwhile (decision 0021).

Nothing here is looked at before the topics of stops and budgets were read to their end: until then no call is made.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import aiohttp

from shadowlane import metrics
from shadowlane.processors.budget.amounts import NOTHING, Amount
from shadowlane.processors.budget.book import Entry
from shadowlane.processors.budget.log import Lines, Stops, Writer, follow_budgets, follow_stops
from shadowlane.processors.budget.purse import Exhausted, Later, Purse, Reservation
from shadowlane.processors.watch.figures import Family, figures
from shadowlane.processors.watch.waits import Waiting
from shadowlane.processors.worker.costs import limits_of, most_of, spent_by
from shadowlane.processors.worker.deadline import Deadlines, StoppedError
from shadowlane.processors.worker.guarded import FREE, Admission, Guarded, Targets
from shadowlane.processors.worker.places import Seat
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.processors.worker.switch import Switch
from shadowlane.processors.worker.windows import Windows
from shadowlane.schemas.config import Rollout, Settings
from shadowlane.schemas.events import Failure

log = logging.getLogger("shadowlane.worker")

LOOK_S = 0.2  # how often the file is looked for, and who waits looks again
WAKE_S = 0.02  # how soon they do once a call has settled what it cost
CLOSE_S = 2.0  # how long an end waits for Kafka
WAITS = 0.5  # of the time for which pairing has the other half: a request waits no longer for a limit
REPORT_S = 60.0  # how often what was spent is said
BUDGET = "its budget"
DEAD = frozenset({Failure.TIMEOUT, Failure.CONNECTION})


class Gate:
    """One worker's. In its event loop, but for what the following threads tell.

    Args:
        worker: this worker's name in the log of budgets: another one after each start.
        abort: told that what stops calls has changed, in the event loop.
    """

    def __init__(self, settings: Settings, worker: str, abort: Callable[[], None]) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._abort = abort
        self._changed = asyncio.Event()
        self._waits = Deadlines(settings.pairing.wait_s * WAITS)
        self._waiters = 0
        self._waking = False
        stops = Stops(lambda: self._tell(self._stopped))
        self._switch = Switch(stops, settings.worker.stop_file)
        self.stopped = self._switch.stopped
        self._lines = Lines(lambda: self._tell(self._changed.set))
        self._windows = Windows(settings.rollouts, self._lines)
        self._purse = Purse(worker, self._lines.book)
        kafka = settings.kafka
        self._writer = Writer(kafka, self._lost)
        self._followers = [follow_stops(kafka, stops)]
        if any(limits_of(rollout) for rollout in settings.rollouts):
            self._followers.append(follow_budgets(kafka, self._lines))
        self._targets = Targets(settings.prices)
        self.open = False
        """Whether nobody stops any calls, and that is known."""
        self._ready = False
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        for each in self._followers:
            each.start()
        self._watching = self._loop.create_task(self._watch())

    async def close(self) -> None:
        """Says what was spent, gives back what was not, once all calls are over."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        deadline = time.monotonic() + CLOSE_S
        while self._purse.waits() and time.monotonic() < deadline:
            await self._wait(LOOK_S)
        now = time.time()
        with self._lines.lock:
            lines = self._purse.close(now)
        self._writer.budgets(lines, now)
        await asyncio.to_thread(self._writer.close, CLOSE_S)
        for each in self._followers:
            await asyncio.to_thread(each.stop, CLOSE_S)

    def told(self) -> Iterator[str]:
        """What is not as usual, for people. From any thread."""
        if not self._ready:
            yield "no call is made before the stops and the budgets are read"
        yield from self._switch.told()
        yield from self._windows.told(time.time())
        yield from self._targets.told(time.monotonic())

    def budgets(self) -> Iterator[str]:
        """Of each rollout that has one, how much of it is taken, by all workers. From any thread."""
        return self._windows.budgets(time.time())

    def waiting(self) -> Waiting:
        """From any thread."""
        waiting = "; ".join(filter(None, (each.waiting() for each in self._targets)))
        return {"a limit": waiting} if waiting else {}

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        stopped = {r.name: float(bool(self.stopped(r.name))) for r in self._settings.rollouts}
        yield figures(metrics.WORKER_STOPPED, stopped)
        yield figures(metrics.WORKER_BUDGET, self._windows.shares(time.time()))
        yield from self._targets.figures(time.monotonic())

    def guarded(self, rollout: Rollout, question: Question) -> Guarded:
        return self._targets.of(rollout, question.target)

    async def admit(
        self, guarded: Guarded, question: Question, seat: Seat, *, again: bool = False
    ) -> Admission | Attempt:
        """Waits where waiting helps, its seat left meanwhile; an attempt that failed says why there is no call.

        Who is admitted has its seat. ``again``: it was asked before, and goes before those who were not.
        """
        while not self._ready:  # nobody could go on
            await self._wait(LOOK_S)
        if not (guarded.line or seat.left):
            found = self._now(guarded, question, again=again)
            if isinstance(found, Admission | Attempt):
                return found
        try:
            with self._waits.within(question):
                return await self._in_turn(guarded, question, seat, again=again)
        except StoppedError:
            return self._not_asked(guarded)
        except TimeoutError:
            return self._not_asked(guarded, f"{self._waits.seconds:g} s, half as long as pairing waits")

    async def _in_turn(
        self, guarded: Guarded, question: Question, seat: Seat, *, again: bool
    ) -> Admission | Attempt:
        self._leave(seat)
        if not await guarded.line.first(again=again):
            return self._not_asked(guarded, "until there were more than worker.max_bytes has room for")
        try:
            while True:
                wait = self._wait_of(guarded, again=again)
                if not wait:
                    await seat.again()
                    found = self._now(guarded, question, again=again)
                    if isinstance(found, Admission | Attempt):
                        return found
                    wait = found
                self._leave(seat)
                await self._wait(min(wait, LOOK_S))
        finally:
            guarded.line.go()

    def _wait_of(self, guarded: Guarded, *, again: bool) -> float:
        """Seconds to the next look, where a stop, a budget and a breaker have no say; 0 where it may go on."""
        if self.stopped(guarded.rollout.name):
            return 0.0
        wait = guarded.pace.wait(time.monotonic())
        if wait > 0:
            guarded.waits_for = "its provider's limit"
        elif not again and guarded.pausing >= self._settings.worker.concurrency:
            guarded.waits_for, wait = "others that are tried again", LOOK_S
        return wait

    def _now(self, guarded: Guarded, question: Question, *, again: bool) -> Admission | Attempt | float:
        """A call may be made, or never, or in so many seconds one looks again."""
        name = guarded.rollout.name
        if self.stopped(name):
            return self._not_asked(guarded)
        if wait := self._wait_of(guarded, again=again):
            return wait
        now, admission = time.monotonic(), FREE
        if guarded.limits:
            most = most_of(question, guarded.rollout.budget, guarded.price)
            unix = time.time()
            answer: Reservation | Exhausted | Later = Later()
            with self._lines.lock:
                if self._lines.whole:
                    answer = self._purse.reserve(name, guarded.epoch, guarded.limits, most, unix)
            if isinstance(answer, Exhausted):
                self._windows.refused(answer)
                return Attempt(failure=Failure.OVER_BUDGET, message=f"the budget: {answer.why}")
            if isinstance(answer, Later):
                self._writer.budgets(answer.entries, unix)
                guarded.waits_for = BUDGET
                return LOOK_S
            admission = Admission(answer, most)
        tries = not guarded.breaker.closed()
        if not guarded.breaker.passes(now):
            self._settle(admission, NOTHING)
            return Attempt(
                failure=Failure.CIRCUIT_OPEN,
                message="it did not answer for a while: it is asked now and then",
            )
        guarded.pace.made(now)
        return Admission(admission.reservation, admission.most, tries=True) if tries else admission

    def _not_asked(self, guarded: Guarded, waited: str = "") -> Attempt:
        """It was stopped, or has waited as long as it may."""
        if why := self.stopped(guarded.rollout.name):
            return Attempt(failure=Failure.STOPPED, message=f"calls are {why}")
        failure = Failure.OVER_BUDGET if guarded.waits_for == BUDGET else Failure.THROTTLED
        return Attempt(failure=failure, message=f"it waited for {guarded.waits_for} {waited}")

    def _leave(self, seat: Seat) -> None:
        """Where more wait than there is room for, another one must go; it keeps its seat where nobody could use it."""
        if seat.left:
            return
        if seat.crowded:
            longest = max(self._targets, key=lambda each: len(each.line))
            if len(self._settings.rollouts) == 1 or not longest.line.send_away():
                return
        seat.leave()

    async def pause(self, guarded: Guarded, seat: Seat, seconds: float) -> None:
        """Between two attempts: so long, or until the rollout's calls are stopped. Where its target takes no calls
        anyway, the line is where it waits."""
        if guarded.pace.wait(time.monotonic()) > 0:
            return
        if guarded.pausing < self._settings.worker.concurrency:  # who fails is not asked the more for it
            self._leave(seat)
        left = seat.left
        guarded.pausing += left
        guarded.calm = False
        ends = self._loop.time() + seconds
        try:
            while (wait := ends - self._loop.time()) > 0 and not self.stopped(guarded.rollout.name):
                await self._wait(wait)
        finally:
            guarded.pausing -= left

    def after(
        self,
        guarded: Guarded,
        admission: Admission,
        question: Question,
        attempt: Attempt,
        reply: aiohttp.ClientResponse | None,
        received: int,
        in_flight: int,
    ) -> None:
        """What became of a call that was admitted. ``received``: bytes of the answer's body."""
        now = time.monotonic()
        if attempt.failure is Failure.STOPPED:
            guarded.breaker.stopped(tried=admission.tries)
        else:
            dead = attempt.failure in DEAD or attempt.status >= 500
            guarded.breaker.told(dead, now, tried=admission.tries)
        if reply is not None:
            guarded.pace.learn(reply.headers, in_flight, now, time.time())
        if attempt.failure is Failure.THROTTLED:
            guarded.pace.refused(attempt.retry_after, now)
        guarded.settle(now)
        if admission.reservation is not None:
            self._settle(admission, spent_by(question, attempt, admission.most, guarded.price, received))

    def lost(self, guarded: Guarded, admission: Admission) -> None:
        """A call that was admitted, and of which nobody will know the end: it counts with all that it may cost."""
        guarded.breaker.stopped(tried=admission.tries)
        self._settle(admission, admission.most)

    def _settle(self, admission: Admission, actual: Amount) -> None:
        if admission.reservation is None:
            return
        with self._lines.lock:
            self._purse.settle(admission.reservation, actual)
        if self._waiters and not self._waking:  # all of them look again: not with each call of hundreds
            self._waking = True
            self._loop.call_later(WAKE_S, self._wake)

    def _wake(self) -> None:
        self._waking = False
        self._changed.set()

    def _lost(self, entry: Entry) -> None:
        with self._lines.lock:
            self._purse.lost(entry)

    def _stopped(self) -> None:
        self.open = self._ready and not self._switch.any()
        self._changed.set()
        self._waits.stop(lambda question: bool(self.stopped(question.response.rollout)))
        self._abort()

    def _tell(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to hear it
            self._loop.call_soon_threadsafe(function)

    async def _wait(self, seconds: float) -> None:
        """Until something has changed, or so long."""
        self._changed.clear()
        self._waiters += 1
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            self._waiters -= 1

    async def _watch(self) -> None:
        self._report_at = time.monotonic() + REPORT_S
        while True:
            try:
                await self._look()
            except Exception:  # whatever it is, a stop must be seen after it too
                log.exception("stops and budgets could not be looked after; tried again")
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        """The file first: no call may be made before it was looked for."""
        if await self._switch.look():
            self._stopped()
        if not self._ready and all(each.ready.is_set() for each in self._followers):
            self._ready = True
            self._stopped()
        self._writer.poll()
        if time.monotonic() >= self._report_at:
            self._report_at = time.monotonic() + REPORT_S
            now = time.time()
            with self._lines.lock:
                over = self._lines.forget(now)
                lines = self._purse.report(now)
            self._writer.budgets(lines, now)
            self._writer.forget(over)
