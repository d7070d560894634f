"""Where the two halves of what a gateway copies meet, and go on to Kafka; what stays alone is booked, by reason."""

import time
from collections.abc import Iterable, Iterator

from shadowlane import metrics
from shadowlane.errors import CodecError
from shadowlane.processors.ingest.gateway import Asked, ServedCall, joined, place_of
from shadowlane.processors.ingest.join import Became, Ended, Join
from shadowlane.processors.ingest.outbox import Outbox
from shadowlane.processors.ingest.ready import ready
from shadowlane.processors.watch import Family, figure
from shadowlane.producers.ledger import Drop
from shadowlane.producers.outflow import Outflow
from shadowlane.schemas.config import Ingest

OVERHEAD_BYTES = 2048  # of the objects that hold a half


class Meeting:
    """For the event loop's thread. Nobody waits for Kafka here: what it does not take is booked as dropped."""

    def __init__(self, ingest: Ingest, outbox: Outbox, outflow: Outflow) -> None:
        self._ingest = ingest
        self._outbox = outbox
        self._outflow = outflow
        self._join: Join[Asked, ServedCall] = Join(
            ingest.join_wait_s, ingest.join_max_bytes, ingest.remembered
        )
        self._joined = self._repeated = 0

    def asked(self, asked: Asked) -> Became:
        """A request came."""
        size = len(asked.body) + OVERHEAD_BYTES
        return self._came(*self._join.asked(asked.request_id, asked, size, time.monotonic()))

    def served(self, call: ServedCall, size: int) -> Became:
        """What was served came, of ``size`` bytes."""
        return self._came(*self._join.served(call.request_id, call, size + OVERHEAD_BYTES, time.monotonic()))

    def expire(self) -> None:
        """To be called each second."""
        self._end(self._join.expire(time.monotonic()))

    def close(self) -> None:
        """What waits is dropped."""
        self._end(self._join.close(Drop.SHUTDOWN))

    def figures(self) -> Iterator[Family]:
        """From any thread."""
        yield figure(metrics.INGEST_JOINED, self._joined)
        yield figure(metrics.INGEST_LATE, self._repeated)
        yield figure(metrics.INGEST_WAITING, self._join.waiting)
        yield figure(metrics.INGEST_WAITING_BYTES, self._join.bytes)

    def _came(self, became: Became, ended: list[Ended[Asked, ServedCall]]) -> Became:
        self._joined += became is Became.JOINED
        self._repeated += became is Became.REPEATED
        self._end(ended)
        return became

    def _end(self, ended: Iterable[Ended[Asked, ServedCall]]) -> None:
        for each in ended:
            if each.asked is not None and each.served is not None:
                self._send(each.asked, each.served)
            else:
                self._drop(each.asked, each.served, each.reason)

    def _send(self, asked: Asked, served: ServedCall) -> None:
        if self._outbox.queued_bytes > self._ingest.max_held_bytes:
            self._drop(asked, served, Drop.BUFFER_FULL)
            return
        try:
            both = ready(self._outflow, *joined(asked, served, self._ingest, _now_ms()))
        except CodecError:
            self._drop(asked, served, Drop.TOO_LARGE)
            return
        self._outbox.put(both)

    def _drop(self, asked: Asked | None, served: ServedCall | None, reason: str) -> None:
        half = asked or served
        assert half is not None
        service, route = place_of(asked, served, self._ingest)
        ts = half.ts if half.ts is not None else _now_ms()
        self._outbox.drop((ts, service, self._outflow.route(route)), half.request_id, reason)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
