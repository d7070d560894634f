"""Whether a call may be made now: nobody stopped it, its budget has enough, its provider lets itself be asked, and its
target answers. What may not is a response that says why, and the pair abstains.

Nothing here is looked at before the topics of stops and budgets were read to their end: until then no call is made.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import aiohttp

from shadowlane import metrics
from shadowlane.processors.budget.amounts import NOTHING, Amount
from shadowlane.processors.budget.book import Entry, Window
from shadowlane.processors.budget.log import Lines, Stops, Writer, follow_budgets, follow_stops
from shadowlane.processors.budget.purse import Exhausted, Later, Purse, Reservation
from shadowlane.processors.watch.figures import Family, figures
from shadowlane.processors.worker.breaker import Breaker, BreakerSettings
from shadowlane.processors.worker.costs import limits_of, most_of, spent_by
from shadowlane.processors.worker.pace import Pace
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.schemas.config import Price, Rollout, Settings
from shadowlane.schemas.events import Failure

log = logging.getLogger("shadowlane.worker")

LOOK_S = 0.2  # how often the file is looked for, and who waits looks again
WAKE_S = 0.02  # how soon they do once a call has settled what it cost
CLOSE_S = 2.0  # how long an end waits for Kafka
SEEN_EVERY = 50  # calls
REPORT_S = 60.0  # how often what was spent is said
DEAD = frozenset({Failure.TIMEOUT, Failure.CONNECTION})


class Guarded:
    """What is known of one target: of an arm of a rollout."""

    def __init__(self, rollout: Rollout, arm: str, model: str, prices: Mapping[str, Price]) -> None:
        self.rollout = rollout
        self.arm = arm
        self.epoch = rollout.epoch
        self.price = prices.get(model)
        self.limits = limits_of(rollout)
        self.pace = Pace()
        self.breaker = Breaker(BreakerSettings())
        self.calm = not self.limits
        """Whether there is nothing to be looked at before a call: nearly always, and it costs nothing then."""
        self._unseen = 0

    def looks(self, attempt: Attempt) -> bool:
        """Whether what became of a call is looked at: of calls that go well, while all is calm, one in so many, for
        the headers that its provider may send."""
        self._unseen -= 1
        if self.calm and attempt.failure is None and self._unseen > 0:
            return False
        self._unseen = SEEN_EVERY
        return True

    def settle(self, now: float) -> None:
        """What was looked at has changed."""
        self.calm = not self.limits and self.pace.calm(now) and self.breaker.calm


class Admission:
    """A call that may be made, and what was reserved for it."""

    __slots__ = ("most", "reservation", "tries")

    def __init__(self, reservation: Reservation | None, most: Amount, *, tries: bool = False) -> None:
        self.reservation = reservation
        self.most = most
        self.tries = tries  # whether its target, which does not answer, does again


FREE = Admission(None, NOTHING)


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
        self._waiters = 0
        self._waking = False
        self._stops = Stops(lambda: self._tell(self._stopped))
        self._lines = Lines(lambda: self._tell(self._changed.set))
        self._purse = Purse(worker, self._lines.book)
        kafka = settings.kafka
        self._writer = Writer(kafka, self._lost)
        self._followers = [follow_stops(kafka, self._stops)]
        if any(limits_of(rollout) for rollout in settings.rollouts):
            self._followers.append(follow_budgets(kafka, self._lines))
        self._guarded: dict[int, Guarded] = {}  # by id() of the target, which lives as long as the worker
        self._file = Path(settings.worker.stop_file) if settings.worker.stop_file else None
        self._file_says: str | None = None
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

    def stopped(self, rollout: str) -> str:
        """Who stops this rollout's calls, and why; ``""`` where nobody does."""
        if self._file_says is not None:
            return f"stopped by the file {self._file}" + (f": {self._file_says}" if self._file_says else "")
        stop = self._stops.of(rollout)
        if stop is None:
            return ""
        return f"stopped by {stop.by or 'somebody'}" + (f": {stop.why}" if stop.why else "")

    def told(self) -> Iterator[str]:
        """What is not as usual, for people."""
        if not self._ready:
            yield "no call is made before the stops and the budgets are read"
        for rollout in self._settings.rollouts:
            if why := self.stopped(rollout.name):
                yield f"calls of rollout {rollout.name} are {why}"
        for guarded in list(self._guarded.values()):
            whose = f"the {guarded.arm} version of rollout {guarded.rollout.name}"
            if not guarded.breaker.closed():
                yield f"{whose} does not answer, and is asked now and then"
            if (wait := guarded.pace.wait(time.monotonic())) > 0:
                yield f"{whose} takes no calls for {wait:.0f} s"

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        now, guarded = time.monotonic(), list(self._guarded.values())
        stopped = {r.name: float(bool(self.stopped(r.name))) for r in self._settings.rollouts}
        yield figures(metrics.WORKER_STOPPED, stopped)
        yield figures(metrics.WORKER_BUDGET, self._taken(time.time()))
        yield figures(
            metrics.WORKER_CIRCUIT, {(g.rollout.name, g.arm): float(not g.breaker.closed()) for g in guarded}
        )
        yield figures(metrics.WORKER_PACED, {(g.rollout.name, g.arm): g.pace.wait(now) for g in guarded})

    def _taken(self, now: float) -> dict[tuple[str, str], float]:
        found = {}
        with self._lines.lock:
            for rollout in self._settings.rollouts:
                for span, limits in limits_of(rollout).items():
                    window = Window.at(rollout.name, rollout.epoch, span, now)
                    found[rollout.name, str(span)] = limits.share(self._lines.book.taken(window))
        return found

    def guarded(self, rollout: Rollout, question: Question) -> Guarded:
        found = self._guarded.get(id(question.target))
        if found is None:
            target = question.target
            # The stable version, asked again for noise, is the one that is asked where the candidate serves.
            known = (
                g for g in self._guarded.values() if (g.rollout.name, g.arm) == (rollout.name, target.arm)
            )
            found = next(known, None) or Guarded(
                rollout, target.arm.value, target.version.model, self._settings.prices
            )
            self._guarded[id(target)] = found
        return found

    async def admit(self, guarded: Guarded, question: Question) -> Admission | Attempt:
        """Waits where waiting helps; an attempt that failed says why there is no call."""
        name = guarded.rollout.name
        while True:
            if not self._ready:
                await self._wait(LOOK_S)
                continue
            if why := self.stopped(name):
                return Attempt(failure=Failure.STOPPED, message=f"calls are {why}")
            now = time.monotonic()
            if (wait := guarded.pace.wait(now)) > 0:
                await self._wait(min(wait, LOOK_S))
                continue
            admission = FREE
            if guarded.limits:
                most = most_of(question, guarded.rollout.budget, guarded.price)
                unix = time.time()
                answer: Reservation | Exhausted | Later = Later()
                with self._lines.lock:
                    if self._lines.whole:
                        answer = self._purse.reserve(name, guarded.epoch, guarded.limits, most, unix)
                if isinstance(answer, Exhausted):
                    return Attempt(failure=Failure.OVER_BUDGET, message=f"the budget: {answer.why}")
                if isinstance(answer, Later):
                    self._writer.budgets(answer.entries, unix)
                    await self._wait(LOOK_S)
                    continue
                admission = Admission(answer, most)
            tries = not guarded.breaker.closed()
            if not guarded.breaker.passes(now):
                self._settle(admission, NOTHING)
                return Attempt(
                    failure=Failure.CIRCUIT_OPEN,
                    message="it did not answer for a while: it is asked now and then",
                )
            guarded.pace.made(now)
            if tries:
                admission = Admission(admission.reservation, admission.most, tries=True)
            return admission

    async def pause(self, rollout: str, seconds: float) -> None:
        """Between two attempts: so long, or until the rollout's calls are stopped."""
        ends = self._loop.time() + seconds
        while (left := ends - self._loop.time()) > 0 and not self.stopped(rollout):
            await self._wait(left)

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
        self.open = self._ready and self._file_says is None and not self._stops.all()
        self._changed.set()
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
        says = await asyncio.to_thread(said_in, self._file) if self._file else None
        if says != self._file_says:
            self._file_says = says
            what = "is gone: calls go on" if says is None else "is there: calls are stopped"
            log.warning("the file %s %s", self._file, what)
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


def said_in(file: Path | None) -> str | None:
    """The first line of a file that stops all calls by being there; None where it is not."""
    try:
        with open(file or "", encoding="utf-8", errors="replace") as opened:
            return " ".join(opened.readline(500).split())
    except FileNotFoundError:
        return None
    except OSError:
        return "it can't be read"  # it is there
