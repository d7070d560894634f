"""The shadow worker's main loop: hands requests to the arm that did not serve them, and responses to Kafka."""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVarTuple
from uuid import uuid4

from shadowlane import metrics
from shadowlane.errors import BrokerError, CodecError, PoisonError
from shadowlane.processors.arms import check_arm
from shadowlane.processors.dead_letters.limit import PoisonLimit
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.produce import Done, EnvelopeProducer, RecordTooLargeError
from shadowlane.processors.watch import Board, Family, Seen, Waiting, watching
from shadowlane.processors.watch.figures import figure
from shadowlane.processors.watch.logs import about
from shadowlane.processors.watch.writing import producer_figures, producer_waiting
from shadowlane.processors.worker.ahead import Ahead, Asking, Ending, Made
from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.gate import Gate
from shadowlane.processors.worker.places import Places
from shadowlane.processors.worker.progress import Progress
from shadowlane.processors.worker.reader import Limits, Reader, Work
from shadowlane.processors.worker.smaller import without_bulk
from shadowlane.processors.worker.target import Plan
from shadowlane.processors.worker.twice import Twice
from shadowlane.schemas.codec import dead_letter, decode, encode, salvage_request_id
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Arm, MirroredRequest, Response
from shadowlane.schemas.topics import partition_of

log = logging.getLogger("shadowlane.worker")

# Read and not finished: enough that calls never wait for reading, while responses wait for Kafka's word.
SPARE_RECORDS = 2000
FLUSH_S = 10.0
READER_S = 90.0  # how long the reader may be busy: a commit at a rebalance waits for Kafka

Ts = TypeVarTuple("Ts")


def run(settings: Settings) -> None:
    """Runs a shadow worker until SIGTERM or SIGINT. Blocks.

    A stop finishes the calls in flight, for up to ``worker.drain_s``, and gives back the rest. Any number
    of workers may run: they share the partitions.

    Raises:
        ConfigError: an arm can't be asked as configured (its key is missing, …).
        BrokerError: Kafka can't be reached at the start, or does not take what has to be written. What is
            not finished is not committed, so a restart goes on from there.
        PoisonError: too many requests can't be read. What is in flight is finished first.
    """
    worker = ShadowWorker(settings)
    partitions = ensure_topics(settings.kafka)  # until Kafka answers, a signal ends the wait
    _collect_less()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_until_signal(worker, settings, partitions))


class ShadowWorker:
    """One worker: its calls, its reader and its producer. Use within one event loop, once."""

    def __init__(self, settings: Settings) -> None:
        """Checks both arms of every rollout.

        Raises:
            ConfigError: one can't be asked as configured.
        """
        self.progress = Progress()
        self._settings = settings
        self._topics = settings.kafka.topics
        self._plans = {r.name: Plan.of(r, settings.worker) for r in settings.rollouts}
        self._ahead = Ahead(self._made_of)
        self._running: set[asyncio.Task[None]] = set()
        self._places = Places(settings.worker.concurrency, self.progress, self._start_calls)
        self._endings: list[tuple[Work, str, Ending]] = []  # of calls that are over
        self._outgoing: list[tuple[int, bytes, Done]] = []
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._limit = PoisonLimit(settings.dead_letters, "worker")
        self._closed = False  # from here on a failure to write is only work given back
        self._started = False  # from here on there are the producer and the reader
        self.board = Board(
            "worker",
            unready=self._unready,
            figures=self._figures,
            doing=self._doing,
            notes=self._notes,
            waiting=self._waits_for,
        )

    def stop(self) -> None:
        """Asks for a clean stop. In the event loop's thread."""
        self._stop.set()

    def _unready(self) -> list[str]:
        if not self._started or not self._reader.joined.is_set():
            return ["it has not joined its consumer group"]
        return []

    def _doing(self) -> str:
        calls, waiting = self.progress.in_flight, len(self._ahead)
        said = (
            f"{calls} of {self._settings.worker.concurrency} calls in flight, {waiting} requests wait for one"
        )
        return "; ".join((said, *self._gate.budgets())) if self._started else said

    def _notes(self) -> list[str]:
        return [*self._gate.told(), *self._caller.rejections.told()] if self._started else []

    def _waits_for(self) -> Waiting:
        if not self._started:
            return {}
        found = dict(producer_waiting(self._producer))
        if not self._reader.joined.is_set():
            found["its consumer group"] = "Kafka has given it no partitions yet"
        if self._ahead and not self._places.free:
            calls, waiting = self._settings.worker.concurrency, len(self._ahead)
            found["answers"] = f"all {calls} calls are under way, {waiting:,} requests wait for one"
        if (waiting := self._caller.room.waiting) > 0:
            expected = self._caller.room.expected / 2**10
            found["room"] = (
                f"{waiting:,} calls wait for memory (worker.max_bytes; an answer has up to {expected:,.0f} KiB)"
            )
        found.update(self._gate.waiting())
        return found

    def seen(self) -> Seen:
        """For the watchdog, on its thread."""
        return Seen(assigned=self._reader.partitions > 0 if self._started else None)

    def _figures(self) -> Iterator[Family]:
        yield from self.progress.figures()
        if self._started:
            yield from producer_figures(self._producer)
            yield from self._gate.figures()
            yield from self._caller.rejections.figures()
            yield figure(metrics.WORKER_HELD, self._caller.room.held)
            yield figure(metrics.WORKER_WAIT_FOR_ROOM, self._caller.room.waiting)

    async def run(self, partitions: dict[str, int]) -> None:
        """Until :meth:`stop`, or until it can't go on: then it raises why (see :func:`run`).

        ``partitions`` is each topic's number of them.
        """
        self._loop = asyncio.get_running_loop()
        self._partitions = partitions
        kafka = self._settings.kafka
        group = f"{kafka.topic_prefix}-worker"
        log.info(
            "worker started: group %s, rollouts %s, %d calls at once",
            group,
            ", ".join(self._plans) or "none",
            self._settings.worker.concurrency,
        )
        for plan in self._plans.values():
            if plan.rollout.shifts_traffic and (unable := plan.targets[Arm.STABLE].unable):
                log.warning(
                    "rollout %s: %s, so what the candidate serves makes no pairs", plan.rollout.name, unable
                )
        self._producer = EnvelopeProducer(kafka, self._settings.envelope, "shadowlane-worker")
        max_bytes = self._settings.worker.max_bytes
        self._reader = Reader(
            kafka,
            group,
            Limits(2 * self._settings.worker.concurrency + SPARE_RECORDS, max_bytes // 8),
            hand=lambda works: self._call_soon(self._take, works),
            failed=lambda error: self._call_soon(self._fail, error),
            held=lambda: self._producer.queued_bytes > max_bytes // 4,
            aside=lambda: len(self._places.without),
            turning=self.board.loop("reader", READER_S),
        )
        self._gate = Gate(self._settings, f"worker-{uuid4().hex}", self._abort)
        self._caller = Caller(
            self._settings.worker,
            self._count_attempt,
            self._gate,
            lambda: self._producer.queued_bytes,
            self._places,
        )
        self._gate.start()
        self._started = True
        self._twice = Twice(self._caller.ask, self._put, self.progress, self._places)
        try:
            self._reader.start()
            await self._stop.wait()
            await self._drain()
        finally:
            await self._close()
        if self._failure is not None:
            raise self._failure

    async def _drain(self) -> None:
        self._reader.stop_reading()
        self.progress.given_back += self._ahead.clear()
        self._places.close()
        if self._can_write and self._running:
            log.info("worker stopping: %d calls in flight", self.progress.in_flight)
            await asyncio.wait(self._running, timeout=self._settings.worker.drain_s)

    async def _close(self) -> None:
        self._stop.set()
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._caller.close()
        await self._gate.close()
        self._end()
        self._write()
        remaining = await asyncio.to_thread(self._producer.close, FLUSH_S if self._can_write else 0.0)
        if remaining:
            log.warning("%d records were not written before the stop; they will be made again", remaining)
        await asyncio.to_thread(self._reader.close)
        log.info("worker stopped: %s", self.progress)

    @property
    def _can_write(self) -> bool:
        """Whether what is in flight can still be finished."""
        return self._failure is None or isinstance(self._failure, PoisonError)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and not self._closed:
            self._failure = error
        self._stop.set()

    def _call_soon(self, function: Callable[[*Ts], object], *arguments: *Ts) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to hear it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _take(self, works: list[Work]) -> None:
        if self._stop.is_set():
            self.progress.given_back += len(works)
            return
        self._ahead.add(works)
        self._start_calls()

    def _start_calls(self) -> None:
        if not self._stop.is_set():
            for _ in range(min(self._places.free, len(self._ahead))):
                task = self._loop.create_task(self._work())
                self._places.take()
                self._running.add(task)
                task.add_done_callback(self._ended)

    async def _work(self) -> None:
        """One record after the other, until none waits: a task for each costs more.

        Raises only where nothing can be written any more.
        """
        places = self._places
        while not self._stop.is_set() and (made := self._ahead.next()) is not None:
            asking = self._begun(made)
            if asking is None:
                continue
            try:
                # No name for what comes: the task would keep it, body and all, until its next call is over.
                self._over(made, await asking())
            except BrokerError:
                raise
            except Exception as exc:
                self._unable(made.work, exc)
            finally:
                if not places.without or places.seated():
                    self.progress.in_flight -= 1
            if places.without and not places.keeps():
                break
            await asyncio.sleep(0)  # so that all that is sent in this turn is sent after all that is read

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            self.progress.given_back += 1
        elif (error := task.exception()) is not None:
            self._fail(error)
        self._places.ended(task)

    def _abort(self) -> None:
        self._caller.abort(self._gate.stopped)

    def _count_attempt(self) -> None:
        self.progress.attempts += 1

    def _begun(self, made: Made) -> Asking | None:
        """How to ask; None where that is the end of it."""
        work, progress = made.work, self.progress
        if not work.ticket.owned:
            progress.given_back += 1
            return None
        progress.records += 1
        about(made.request_id)
        if made.error is not None:
            self._unable(work, made.error)
        elif made.asking is None:
            progress.not_shadowed += 1
            self._reader.finished(work.ticket)
        else:
            progress.in_flight += 1
            if progress.in_flight > progress.most_in_flight:
                progress.most_in_flight = progress.in_flight
        return made.asking

    def _over(self, made: Made, ending: Ending) -> None:
        if not self._endings:
            self._loop.call_soon(self._end)
        self._endings.append((made.work, made.request_id, ending))

    def _end(self) -> None:
        """Reads the answers of this turn of the loop, one after the other: so they share the processor's caches."""
        endings, self._endings = self._endings, []
        for work, request_id, ending in endings:
            try:
                response = ending()
                line = encode(response)
            except Exception as exc:
                about(request_id)
                self._unable(work, exc)
            else:
                self.progress.responded(response)
                self._send(work, request_id, line)

    def _unable(self, work: Work, error: Exception) -> None:
        if isinstance(error, CodecError):
            self._bury(work, str(error))
        else:
            log.error("a request could not be handled; it goes to the dead letters", exc_info=error)
            self._bury(work, f"{type(error).__name__}: {error}")

    def _made_of(self, work: Work) -> Made:
        """How to carry out what a record asks for.

        Raises:
            CodecError: it can't be read, or its arm is none.
        """
        request = decode(MirroredRequest, work.line)
        check_arm(request)
        rollout = self._settings.rollout_for(request.service, request.route, request.attributes)
        if rollout is None:
            return Made(work, request.request_id)
        plan = self._plans[rollout.name]
        both = plan.noise and self._twice.asking(request, plan, plan.noise)
        return Made(work, request.request_id, both or self._caller.asking(request, plan))

    def _send(self, work: Work, request_id: str, line: bytes) -> None:
        """Hands over the response that ends a record."""
        self._put(request_id, line, partial(self._written, work, line))

    def _put(self, request_id: str, line: bytes, done: Done) -> None:
        """Hands a response to the producer, together with the others that are finished in this turn of the loop."""
        if not self._outgoing:
            self._loop.call_soon(self._write)
        partition = partition_of(request_id, self._partitions[self._topics.shadow])
        self._outgoing.append((partition, line, done))

    def _write(self) -> None:
        records, self._outgoing = self._outgoing, []
        try:
            self._producer.send_many(self._topics.shadow, records)
        except BrokerError as exc:
            self._fail(exc)

    def _bury(self, work: Work, reason: str) -> None:
        topic = self._topics.dead_letters
        count = self._partitions[topic]
        request_id = salvage_request_id(work.line)
        letter = dead_letter(
            work.line,
            reason,
            component="worker",
            topic=self._topics.requests,
            partition=work.partition,
            offset=work.ticket.offset,
            number=work.number,
            ts=int(time.time() * 1000),
        )
        if not self._limit.admit(letter, work.stamp):
            self.progress.given_back += 1
            assert self._limit.error is not None
            self._fail(self._limit.error)
            return
        self.progress.dead_letters += 1
        partition = partition_of(request_id, count) if request_id else work.partition % count
        self._producer.send(topic, partition, encode(letter), partial(self._written, work, None))

    def _written(self, work: Work, line: bytes | None, error: Exception | None) -> None:
        """In the producer's thread: Kafka has the record, or does not take it. ``line``: a response's."""
        if error is None:
            self._reader.finished(work.ticket)
        elif isinstance(error, RecordTooLargeError) and line is not None:
            self._call_soon(self._send_smaller, work, line, error)
        else:
            self._call_soon(self._fail, error)

    def _send_smaller(self, work: Work, line: bytes, error: BrokerError) -> None:
        smaller = without_bulk(decode(Response, line))
        if smaller is None:
            self._fail(error)
        else:
            self._send(work, smaller.request_id, encode(smaller))


def _collect_less() -> None:
    """The modules that are there stay: looking through all of them again and again was a third of the CPU. A thousand
    calls are some 60,000 objects, which come and go: no reason to look for others."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _until_signal(worker: ShadowWorker, settings: Settings, partitions: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    worker.board.loop("event loop").turn_with(loop)
    with watching(settings, worker.board, worker.seen):
        await worker.run(partitions)
