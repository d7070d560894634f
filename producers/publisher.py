"""The mirror's way to Kafka for records that exist already: a replay, an import. It waits instead of dropping."""

import time
from collections.abc import Mapping
from typing import Any

from shadowlane.errors import BrokerError, CodecError
from shadowlane.producers.buffer import OVERHEAD_BYTES
from shadowlane.producers.capture import Capture
from shadowlane.producers.ledger import Drop
from shadowlane.producers.link import KafkaLink
from shadowlane.producers.log import Log
from shadowlane.producers.outflow import Outflow
from shadowlane.producers.pipeline import Pipeline
from shadowlane.producers.worker import RECORD_MAX_BYTES
from shadowlane.schemas.codec import encode
from shadowlane.schemas.events import MirroredRequest, Response
from shadowlane.schemas.topics import Topics

MIB = 1024 * 1024
_CAPTURE = Capture()


class Publisher:
    """Sends pairs of (request, served response) as the mirror would have: redacted, in twin envelopes, booked
    in the ledger under the request's own minute, service and route.

    Args:
        kafka: Kafka's addresses.
        capture: what of a record goes out; it samples nothing. token_key: of its tokens.
        buffer_bytes: how much may wait for Kafka's acknowledgement before :meth:`send` waits.
        delivery_timeout: seconds for which Kafka may be away before what waits is dropped, and counted.
        client: more options for librdkafka.

    Raises:
        BrokerError: Kafka can't be reached, or its topics are missing or of different sizes.
        ConfigError: the Kafka client refuses its options.
    """

    def __init__(
        self,
        kafka: str,
        *,
        topic_prefix: str = "shadowlane",
        capture: Capture = _CAPTURE,
        token_key: bytes = b"",
        buffer_bytes: int = 16 * MIB,
        delivery_timeout: float = 300.0,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        topics = Topics(topic_prefix)
        self._log = Log()
        self._outflow = Outflow(capture, token_key)
        link = KafkaLink(
            kafka,
            topics,
            buffer_bytes=buffer_bytes,
            delivery_timeout_s=delivery_timeout,
            options=client or {},
            log=self._log.client,
        )
        found = link.partitions()
        if not found.get(topics.requests) or found.get(topics.requests) != found.get(topics.served):
            raise BrokerError(
                f"{topics.requests} has {found.get(topics.requests, 0)} partitions and {topics.served} has "
                f"{found.get(topics.served, 0)}: create both, with the same number"
            )
        self._pipeline: Pipeline[_Ready] = Pipeline(
            lambda: link,
            lambda item, _: item.lines,
            topics,
            self._log,
            buffer_bytes=buffer_bytes,
            hold_s=delivery_timeout,
        )

    def send(self, request: MirroredRequest, response: Response) -> None:
        """Queue one request and its response; waits while the buffer is full. Leaves both as they are.

        Raises:
            CodecError: the records have no JSON form, or are too large for Kafka; the request is booked as dropped.
            BrokerError: the publisher is closed.
        """
        try:
            request, response, why = self._outflow.let_out(request, response)
            lines = encode(request), encode(response)
        except CodecError:
            self._refuse(request, Drop.ENCODE_FAILED)
            raise
        if max(map(len, lines)) > RECORD_MAX_BYTES:
            self._refuse(request, Drop.TOO_LARGE)
            raise CodecError(f"request {request.request_id} is over {RECORD_MAX_BYTES} bytes")
        cost = min(OVERHEAD_BYTES + sum(map(len, lines)), self._pipeline.buffer.limit_bytes)
        while not self._pipeline.buffer.reserve_waiting(cost, timeout=1.0):
            pass  # an acknowledgement, or a drop after delivery_timeout, makes room
        item = _Ready(request.request_id, request.ts, request.service, request.route, cost, lines)
        if not self._pipeline.put(item):
            raise BrokerError(f"the publisher is closed ({self._pipeline.buffer.closed_reason})")
        if why:
            self._pipeline.buffer.without_content[why] += 1

    def flush(self, timeout: float = 60.0) -> bool:
        """Wait until everything sent is acknowledged or dropped; False if that takes over ``timeout`` s."""
        return self._pipeline.flush(timeout)

    def stats(self) -> dict[str, Any]:
        """As ``Mirror.stats``."""
        return self._pipeline.stats()

    def close(self, timeout: float = 60.0) -> None:
        """Flush, and end; what Kafka has not acknowledged in time is dropped, and counted."""
        self._pipeline.close(timeout)

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _refuse(self, request: MirroredRequest, reason: Drop) -> None:
        self._pipeline.refuse(request.ts, request.service, request.route, reason)


class _Ready:
    """A request in the buffer, encoded already."""

    __slots__ = ("cost", "lines", "queued_at", "request_id", "route", "service", "ts")

    def __init__(
        self, request_id: str, ts: int, service: str, route: str, cost: int, lines: tuple[bytes, bytes]
    ) -> None:
        self.request_id = request_id
        self.ts = ts
        self.service = service
        self.route = route
        self.cost = cost
        self.lines = lines
        self.queued_at = time.perf_counter()

    def charge(self) -> int:
        """As ``Queued.charge``: all of it is reserved before."""
        return 0
