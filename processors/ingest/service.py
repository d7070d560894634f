"""``shadowlane run ingest``: the endpoint, its way to Kafka, and what watches both."""

import asyncio
import logging
import signal
from collections.abc import Iterator

from aiohttp import web

from shadowlane import metrics
from shadowlane.errors import ConfigError
from shadowlane.processors import bearer
from shadowlane.processors.ingest.endpoint import Endpoint
from shadowlane.processors.ingest.openapi import EXCHANGES
from shadowlane.processors.ingest.outbox import LEDGER_EVERY_S, Outbox
from shadowlane.processors.ingest.spans import SpanReader
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.outflow import outflow_of
from shadowlane.processors.watch import Board, Family, Waiting, figures, watching
from shadowlane.schemas.config import Settings

log = logging.getLogger("shadowlane.ingest")

FLUSH_S = 10.0
ANSWER_S = 2.0  # what is being answered as the stop comes has so long


def run(settings: Settings) -> None:
    """Takes requests until SIGTERM or SIGINT. Blocks. Any number of these may run, each for itself.

    A stop answers what is under way, and sends what Kafka does not have yet, for up to ten seconds.

    Raises:
        ConfigError: the token is missing, or host and port can't be listened on.
        BrokerError: Kafka can't be reached at the start, or the way to it has died.
    """
    token = bearer.token_of("ingest", settings.ingest.host, settings.ingest.token_env)
    partitions = ensure_topics(settings.kafka)
    asyncio.run(_until_signal(settings, token, partitions))


async def _until_signal(settings: Settings, token: str, partitions: dict[str, int]) -> None:
    service = IngestService(settings, token, partitions)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, service.stop)
    service.board.loop("event loop").turn_with(asyncio.get_running_loop())
    with watching(settings, service.board):
        await service.run()


class IngestService:
    """Use within one event loop, once."""

    def __init__(self, settings: Settings, token: str, partitions: dict[str, int]) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        outflow = outflow_of(settings)
        self._outbox = Outbox(settings, outflow, partitions)
        self._endpoint = Endpoint(settings.ingest, token, self._outbox, outflow, self._fail)
        self._spans = (
            SpanReader(settings, self._outbox, outflow, self._fail) if settings.ingest.otel_topic else None
        )
        self.board = Board("ingest", unready=self._unready, figures=self._figures, waiting=self._waits_for)

    def stop(self) -> None:
        """Asks for a clean stop. In the event loop's thread."""
        self._stop.set()

    async def run(self) -> None:
        """Until :meth:`stop`, or until nothing can be written any more: then it raises why."""
        ingest = self._settings.ingest
        # Bodies are unpacked by us, within our own bound.
        runner = web.AppRunner(
            self._endpoint.application(), access_log=None, shutdown_timeout=ANSWER_S, auto_decompress=False
        )
        await runner.setup()
        keeping = asyncio.create_task(self._keep_books())
        try:
            try:
                await web.TCPSite(runner, ingest.host, ingest.port).start()
            except OSError as exc:
                raise ConfigError(
                    f"ingest can't listen on {ingest.host}:{ingest.port} ({exc.strerror}): free the port, or set "
                    "ingest.port"
                ) from exc
            if self._spans:
                self._spans.start()
            log.info("ingest started: http://%s:%d%s", ingest.host, ingest.port, EXCHANGES)
            await self._stop.wait()
        finally:
            keeping.cancel()
            if self._spans:
                await asyncio.to_thread(self._spans.close)
            await runner.cleanup()
            self._endpoint.meeting.close()
            await self._outbox.close(FLUSH_S if self._failure is None else 0.0)
        if self._failure is not None:
            raise self._failure

    async def _keep_books(self) -> None:
        while True:
            await asyncio.sleep(LEDGER_EVERY_S)
            try:
                self._endpoint.meeting.expire()
                self._outbox.keep_books()
            except Exception as exc:
                self._fail(exc)
                return

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stop.set()

    def _unready(self) -> list[str]:
        return ["Kafka did not take what it sent last"] if self._outbox.failing else []

    def _figures(self) -> Iterator[Family]:
        yield from self._endpoint.figures()
        if self._spans:
            yield figures(metrics.INGEST_SPANS, self._spans.counts.copy())
        yield from self._outbox.figures()

    def _waits_for(self) -> Waiting:
        return self._outbox.waiting()
