"""A replay: reads, waits until each request is due, sends it, and notes up to where Kafka has them."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shadowlane.errors import CodecError, ConfigError
from shadowlane.producers.logs.reading import Call, Item, Refused
from shadowlane.producers.logs.records import records
from shadowlane.producers.replay.forwarder import POLL_S, Forwarder
from shadowlane.producers.replay.pace import Pace
from shadowlane.producers.replay.progress import Progress, remove, save
from shadowlane.schemas.events import MirroredRequest

SAVE_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Options:
    """``service`` and ``route`` are of calls that name none. ``now``: each request has the time at which it is due,
    counted from the first start. ``repeat``: all of it so many times, with ids of its own each time."""

    service: str
    route: str
    now: bool = False
    repeat: int = 1


@dataclass(slots=True)
class Told:
    """How far it is. ``at`` is the last request's own time; ``lag_s``: sent so long after it was due."""

    sent: int = 0
    before: int = 0  # of an earlier run
    repeated: int = 0  # had the id of one before
    refused: int = 0
    sampled_out: int = 0
    at: int | None = None
    lag_s: float = 0.0
    places: Counter[tuple[str, str]] = field(default_factory=Counter)  # (service, route) of what was sent


class Replay:
    """Args:
    read: begins to read the logs; each time from the first line on, in the same order.
    forwarder: not closed here.
    progress: where an earlier run came to, or the beginning.
    state: where to write that; None: nowhere.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[Item]],
        forwarder: Forwarder,
        pace: Pace,
        options: Options,
        progress: Progress,
        state: Path | None,
    ) -> None:
        self.told = Told()
        self._read = read
        self._forwarder = forwarder
        self._pace = pace
        self._options = options
        self._progress = progress
        self._resumed_at = progress.acknowledged
        self._state = state
        self._saved_at = time.monotonic()
        self._began: float | None = None  # when a request that is due at 0 would have been sent
        self._seen: set[bytes] = set()
        self._position = 0
        self._mark = b""

    def run(self) -> Iterator[Refused | None]:
        """Sends everything. After each line gives what was refused, or None.

        Raises:
            ConfigError: the files are not what they were, or can't be read.
            BrokerError: Kafka can't be reached, or did not take everything.
        """
        self.save()
        for repetition in range(self._options.repeat):
            for item in self._read():
                if isinstance(item, Refused):
                    self.told.refused += 1
                    yield item
                else:
                    yield self._take(item, repetition)
            self._pace.again()
        if self._position < self._resumed_at:
            raise self._changed()
        self.told.before = self._resumed_at

    def flush(self, timeout_s: float) -> bool:
        """Wait until Kafka has all that was sent, and its ledger; False if that takes longer."""
        deadline = time.monotonic() + timeout_s
        while not self._forwarder.settled():
            if time.monotonic() > deadline:
                self.save()
                return False
            self._forwarder.poll(POLL_S, time.monotonic())
        self.save()
        return True

    def save(self) -> None:
        """Note up to where Kafka has it. While an earlier run's part is read again, that stands."""
        forwarder = self._forwarder
        if forwarder.acknowledged >= self._progress.acknowledged:
            self._progress.acknowledged = forwarder.acknowledged
            self._progress.mark = forwarder.mark.hex()
        if self._state:
            save(self._state, self._progress)

    def forget(self) -> None:
        """Everything was sent: the file has nothing more to say."""
        if self._state:
            remove(self._state)

    def _take(self, call: Call, repetition: int) -> Refused | None:
        entry, options = call.entry, self._options
        due = self._pace.due(entry.ts)
        timed = entry.ts is not None and not options.now
        ts = self._progress.started + (int(due * 1000) if options.now else 0)
        request, response = records(
            call,
            ts=ts if options.now or entry.ts is None else entry.ts,
            service=options.service,
            route=options.route,
            repetition=repetition,
        )
        name = bytes.fromhex(request.request_id)
        if name in self._seen:
            self.told.repeated += 1
            return None
        self._seen.add(name)
        self._mark = hashlib.blake2b(self._mark + name, digest_size=16).digest()
        self._position += 1
        instance = self._progress.instance + (f".{repetition}" if repetition else "")
        instance += "" if timed else f".{self._progress.started}"
        if self._position <= self._resumed_at:
            self._forwarder.recount(request, response, instance, self._mark)
            if self._position == self._resumed_at and self._mark.hex() != self._progress.mark:
                raise self._changed()
            return None
        self._await(due)
        try:
            sent = self._forwarder.send(request, response, instance, self._mark, time.monotonic())
        except CodecError as exc:
            self.told.refused += 1
            return Refused(call.source, call.number, str(exc))
        if sent:
            self._count(request, entry.ts)
        else:
            self.told.sampled_out += 1
        return None

    def _count(self, request: MirroredRequest, at: int | None) -> None:
        self.told.sent += 1
        self.told.at = at if at is not None else self.told.at
        self.told.places[request.service, request.route] += 1
        now = time.monotonic()
        if now - self._saved_at >= SAVE_EVERY_S:
            self._keep(now)

    def _keep(self, now: float) -> None:
        self._saved_at = now
        self.save()
        self._forwarder.say()

    def _await(self, due: float) -> None:
        """Until it is due; what was due before the first that this run sends is not waited for again."""
        now = time.monotonic()
        if self._began is None:
            self._began = now - due
        while (left := self._began + due - now) > 0:
            self._forwarder.poll(min(left, POLL_S), now)
            now = time.monotonic()
            if now - self._saved_at >= SAVE_EVERY_S:
                self._keep(now)
        self.told.lag_s = -left if self._pace.waits else 0.0

    def _changed(self) -> ConfigError:
        return ConfigError(
            f"{self._state}: the first {self._resumed_at:,} requests of these files are not those that were sent; "
            "give the same files in the same order, or remove this file to begin anew"
        )
