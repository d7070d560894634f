"""The endpoint on a port of its own, in a thread; before Kafka, or a producer that is none."""

import asyncio
import gzip
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shadowlane.processors.ingest.service import IngestService
from shadowlane.processors.kafka import ensure_topics
from shadowlane.processors.produce import Done
from shadowlane.schemas.config import Capture, Settings
from shadowlane.schemas.topics import Topics
from tests.producers.support import Sent
from tests.services import free_port

TOKEN = "s3cret"
Answer = tuple[int, dict[str, str], Any]


class FakeProducer:
    """Tells of each record what ``fate`` says of its topic, at once; where that is None, at the end."""

    fate: Callable[[str], Exception | str | None] = staticmethod(lambda topic: "")

    def __init__(self, _kafka: object, _envelope: object, _client: str, tell: Any) -> None:
        self._tell = tell
        self.sent: list[tuple[str, int, bytes]] = []
        self.waiting: list[Done] = []
        self.arrived = threading.Event()
        self.queued_bytes = self.written = self.failed = 0
        self.oldest_s = 0.0
        FAKES.append(self)

    def send(self, topic: str, partition: int, line: bytes, done: Done) -> None:
        fate = self.fate(topic)
        if fate is None:
            self.waiting.append(done)
            self.arrived.set()
            return
        if fate == "":
            self.sent.append((topic, partition, line))
        self._tell([done], fate if isinstance(fate, Exception) else None)

    def flush(self, timeout: float) -> int:
        return len(self.waiting)

    def close(self, timeout: float) -> int:
        return self.flush(timeout)


FAKES: list[FakeProducer] = []


_CAPTURE = Capture()


class Running:
    """An endpoint that runs."""

    def __init__(self, settings: Settings, token: str, partitions: dict[str, int]) -> None:
        self.port = settings.ingest.port
        self.service: IngestService
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._settings, self._token, self._partitions = settings, token, partitions
        self._thread = threading.Thread(target=self._run)

    def post(
        self,
        path: str,
        body: Any,
        *,
        kind: str = "application/json",
        packed: bool = False,
        **headers: Any,  # texts
    ) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"Content-Type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
        if packed:
            data, told["Content-Encoding"] = gzip.compress(data), "gzip"
        return self._ask(urllib.request.Request(self.url(path), data, told))

    def get(self, path: str) -> Answer:
        return self._ask(urllib.request.Request(self.url(path)))

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def figures(self) -> dict[str, float]:
        """The samples of its metrics, by name and labels' values."""
        return {
            ".".join([sample.name.removeprefix("shadowlane_ingest_"), *sample.labels.values()]): sample.value
            for family in self.service.board.figures()
            for sample in family.samples
        }

    def _ask(self, request: urllib.request.Request) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as exc:
            with exc:
                text = exc.read()
            is_json = exc.headers.get_content_type() == "application/json"
            return exc.code, dict(exc.headers), json.loads(text) if is_json else text.decode()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30)
        while True:
            try:
                self.get("/health")
                return
            except urllib.error.URLError:
                assert self._thread.is_alive()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.service.stop)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.service = IngestService(self._settings, self._token, self._partitions)
        self._started.set()
        await self.service.run()


def settings_of(
    kafka: str = "", prefix: str = "shadowlane", capture: Capture = _CAPTURE, **ingest: Any
) -> Settings:
    return Settings.model_validate(
        {
            "capture": capture,
            "kafka": {"bootstrap_servers": kafka, "topic_prefix": prefix},
            "ingest": {"port": free_port(), **ingest},
            "envelope": {"linger_ms": 1},
        }
    )


@contextmanager
def on_kafka(kafka: str, prefix: str, token: str = "", **ingest: Any) -> Iterator[Running]:
    settings = settings_of(kafka, prefix, **ingest)
    running = Running(settings, token, ensure_topics(settings.kafka))
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def on_a_fake(
    monkeypatch: pytest.MonkeyPatch,
    fate: Callable[[str], Exception | str | None] = lambda topic: "",
    token: str = "",
    **ingest: Any,
) -> Iterator[tuple[Running, FakeProducer]]:
    monkeypatch.setattr("shadowlane.processors.ingest.outbox.EnvelopeProducer", FakeProducer)
    monkeypatch.setattr("shadowlane.processors.ingest.outbox.producer_figures", lambda _: ())
    monkeypatch.setattr(FakeProducer, "fate", staticmethod(fate))
    running = Running(settings_of(**ingest), token, dict.fromkeys(Topics().all, 4))
    running.start()
    try:
        yield running, FAKES[-1]
    finally:
        running.stop()
        FAKES.pop()


def sent(fake: FakeProducer) -> Sent:
    """What a fake's Kafka has. The whole ledger only once the endpoint has stopped."""
    return Sent(list(fake.sent))
