"""Pairing and scoring as a Faust app: the topology on one screen.

::

    responses.served ──▶ agent ──┐
                                 ├──▶ Pairing (join, score) ──▶ pairs, dead-letters
    responses.shadow ──▶ agent ──┘         │
            ▲                              │ a resolved envelope is acknowledged,
            └────── committed offset ◀─────┘ in the order of its partition's offsets

No table, no changelog: the log is the state (docs/decisions/0003-the-log-is-the-state.md). Faust commits what
is acknowledged; it would acknowledge and skip an event whose agent raised, so nothing may escape from an
agent: what does stops the process.
"""

import asyncio
import gc
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from functools import partial
from typing import Any

import faust
from faust.types import TP

from shadowlane import metrics
from shadowlane.errors import BrokerError, PoisonError
from shadowlane.evaluators.scorers import ScorerSet
from shadowlane.processors.faust_edge import (
    Backpressure,
    check_assignment,
    check_compiled,
    faust_options,
    fetch_promptly,
    hand_on_at_once,
)
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.pairing.service import Pairing
from shadowlane.processors.pairing.standing import readings
from shadowlane.processors.produce import EnvelopeProducer
from shadowlane.processors.watch import Board, Family, Seen, Waiting, figure, watching
from shadowlane.processors.watch.writing import producer_figures, producer_waiting
from shadowlane.schemas.config import Settings
from shadowlane.schemas.events import Role
from shadowlane.schemas.replayed import is_replayed

log = logging.getLogger("shadowlane.pairing")

EXPIRE_EVERY_S = 0.5
QUEUED_BYTES = 64 * 2**20  # what may wait for Kafka's acknowledgement before reading pauses
JOIN_S = 120.0  # how long it may take to join the group; Faust itself would wait for ever, and read nothing
STOP_S = 5.0  # how long a clean stop waits for it


def run(settings: Settings) -> None:
    """Pairs until SIGTERM or SIGINT. Blocks.

    Raises:
        BrokerError: no broker within 30 seconds, topics that can't pair, or a record that can't be written.
        ConfigError: a scorer that is not known, or that refuses its options.
        PoisonError: too many responses can't be read. What is in flight is finished first.
        SystemExit: Faust crashed (code 1).
    """
    scorers = {r.name: ScorerSet.from_rollout(r, settings.prices) for r in settings.rollouts}
    partitions = ensure_topics(settings.kafka)
    check_compiled()
    use_uvloop()
    for name in ("faust", "mode", "aiokafka"):  # some forty lines for a start and a stop
        logging.getLogger(name).setLevel(logging.WARNING)
    # Halves that wait are many objects that stay: by default a fifth of the time goes into looking through
    # them for cycles again and again, and they have none.
    gc.set_threshold(200_000, 20, 20)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    producer = EnvelopeProducer(
        settings.kafka,
        settings.envelope,
        "shadowlane-pairing",
        tell=lambda waiting, error: shell.pairing.told(waiting, error),
    )
    flush_s = 0.0
    with tempfile.TemporaryDirectory(prefix="shadowlane-pairing-") as directory:
        try:
            shell = Shell(settings, scorers, producer, partitions, loop, directory)
            log.info("pairing starts: %d rollouts, wait %g s", len(scorers), settings.pairing.wait_s)
            worker = faust.Worker(
                shell.app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True
            )
            worker.spinner = None  # it writes control characters, whatever quiet says
            try:
                with watching(settings, shell.board, shell.seen):
                    worker.execute_from_commandline()
            except SystemExit as exit_:
                if isinstance(shell.failure, PoisonError):
                    flush_s = STOP_S  # the letters so far are there to be looked at
                if shell.failure is not None:
                    raise shell.failure from exit_
                if exit_.code:
                    raise
            finally:
                progress = shell.pairing.progress()
                log.info("pairing stopped: %s", " ".join(f"{name}={n}" for name, n in progress.items()))
        finally:
            producer.close(flush_s)


def use_uvloop() -> None:
    """The faster event loop where there is one, for Faust's threads too. As ``-L uvloop``, which needs argv."""
    try:
        import uvloop
    except ImportError:  # not on Windows
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


class Shell:
    """What stands between Faust and :class:`Pairing`. ``failure`` is why the process has to stop, if so."""

    def __init__(
        self,
        settings: Settings,
        scorers: dict[str, ScorerSet],
        producer: EnvelopeProducer,
        partitions: dict[str, int],
        loop: asyncio.AbstractEventLoop,
        directory: str,
    ) -> None:
        topics = settings.kafka.topics
        self.failure: BaseException | None = None
        self.assigned_partitions: set[int] | None = None  # None: not a member of the group
        self.board = Board(
            "pairing", unready=self.unready, figures=self.figures, doing=self.doing, waiting=self.waiting
        )
        self.board.loop("event loop").turn_with(loop)
        self.producer = producer
        self.loop = loop
        self.woken = False
        self.written = asyncio.Event()
        self.pairing = Pairing(
            settings,
            scorers,
            producer,
            partitions,
            monotonic=time.monotonic,
            wall=lambda: time.time_ns() // 1_000_000,
            wake=self.wake,
        )
        self.app: Any = faust.App(**faust_options(settings, directory), loop=loop)
        app = self.app
        fetch_promptly(app)
        hand_on_at_once(app)
        self.backpressure = Backpressure(app, {Role.SERVED: topics.served, Role.SHADOW: topics.shadow})

        async def served(stream: Any) -> None:
            await self.guard(self.read(Role.SERVED, stream))

        async def shadow(stream: Any) -> None:
            await self.guard(self.read(Role.SHADOW, stream))

        async def expiry() -> None:
            await self.guard(self.expire())

        for name, agent in ((topics.served, served), (topics.shadow, shadow)):
            topic = app.topic(name, key_serializer="raw", value_serializer="raw")
            app.agent(topic, concurrency=1)(agent)
        app.task(expiry)
        app.on_partitions_revoked.connect(self.revoked)
        app.on_partitions_assigned.connect(self.assigned)
        app.on_before_shutdown.connect(self.stopping)
        self.joining = loop.call_later(JOIN_S, self.never_joined)

    async def read(self, side: Role, stream: Any) -> None:
        events: AsyncIterator[Any] = stream.noack().events()
        async for event in events:
            message = event.message
            self.pairing.take(
                side,
                message.partition,
                message.offset,
                message.value,
                partial(message.ack, self.app.consumer),
                stamp=int(1000 * (message.timestamp or 0.0)),
                again=is_replayed(message.headers),
            )
            event.value = message.value = None  # only the acknowledgement waits now; its bytes need not
            if self.pairing.full((side, message.partition)):
                self.backpressure.pause((side, message.partition))
            self.resume()
            await self.room()
        if not self.app.should_stop:
            raise BrokerError(f"Faust ended the stream of {side} responses: start pairing again")

    async def expire(self) -> None:
        while not self.app.should_stop:
            more = self.pairing.expire()
            self.resume()
            await self.room()
            await asyncio.sleep(0 if more else EXPIRE_EVERY_S)

    async def room(self) -> None:
        """Waits while too much waits for Kafka. It comes to an end: delivered, or given up and the process stops."""
        while self.producer.queued_bytes > QUEUED_BYTES:
            self.written.clear()
            await self.written.wait()

    def resume(self) -> None:
        for source in list(self.backpressure.paused):
            if not self.pairing.full(source):
                self.backpressure.resume(source)

    def wake(self) -> None:
        """On the producer's thread: one call into the loop for however many records an envelope had."""
        if not self.woken and not self.loop.is_closed():
            self.woken = True
            self.loop.call_soon_threadsafe(self.settle)

    def settle(self) -> None:
        self.woken = False  # before the notes are read: one that comes now wakes again
        try:
            self.pairing.settle()
            self.resume()
        except Exception as exc:
            self.fail(exc)
        self.written.set()

    def unready(self) -> list[str]:
        return [] if self.assigned_partitions is not None else ["it has not joined its consumer group"]

    def doing(self) -> str:
        standing, paused = self.pairing.standing(), len(self.backpressure.paused)
        oldest = f", the oldest for {standing.oldest_s:.0f} s" if standing.oldest_s is not None else ""
        full = f"; {paused} partitions are not read" if paused else ""
        return f"{standing.waiting:,} halves wait{oldest}{full}"

    def waiting(self) -> Waiting:
        found = dict(producer_waiting(self.producer))
        if self.assigned_partitions is None:
            found["its consumer group"] = "Kafka has given it no partitions yet"
        if paused := len(self.backpressure.paused):
            size = f"{self.pairing.standing().waiting_bytes / 2**20:,.0f} MiB"
            found["the other halves"] = f"as much waits as may ({size}), {paused} partitions are not read"
        return found

    def figures(self) -> Iterator[Family]:
        yield from self.pairing.figures()
        yield figure(metrics.PAIRING_PAUSED, len(self.backpressure.paused))
        yield from producer_figures(self.producer)

    def seen(self) -> Seen:
        """For the watchdog, on its thread."""
        standing = self.pairing.standing()
        return Seen(
            readings=readings(
                standing,
                self.backpressure.topics,
                sorted(self.assigned_partitions or ()),
                set(self.backpressure.paused),
            ),
            work=standing.made,
            held=self.producer.queued_bytes > QUEUED_BYTES,
            overdue=standing.due if (standing.overdue_s or 0.0) > 0 else None,
            assigned=bool(self.assigned_partitions),
        )

    async def revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        self.assigned_partitions = None
        self.backpressure.resume_all()
        self.pairing.drop({tp.partition for tp in revoked})

    def never_joined(self) -> None:
        self.fail(
            BrokerError(
                f"Kafka has not let pairing join its consumer group within {JOIN_S:g} s; the log above may say why "
                "(a kafka.session_timeout_s outside the broker's group.min.session.timeout.ms, for one)"
            )
        )

    async def assigned(self, _app: Any, assigned: set[TP], **_: Any) -> None:
        self.joining.cancel()
        try:
            check_assignment(self.backpressure.topics, assigned)
            self.pairing.assign({tp.partition for tp in assigned})
            self.assigned_partitions = {tp.partition for tp in assigned}
        except BrokerError as exc:
            self.fail(exc)

    async def stopping(self, _app: Any, **_: Any) -> None:
        """What is written but not acknowledged yet would be read again: a moment spares that."""
        await self.loop.run_in_executor(None, self.producer.flush, STOP_S)
        self.settle()

    async def guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as exc:
            self.fail(exc)

    def fail(self, exc: Exception) -> None:
        if self.failure is None:
            self.failure = exc
            log.critical("pairing stops: %s", exc, exc_info=exc)
            self.crash = asyncio.ensure_future(self.app.crash(exc), loop=self.loop)
