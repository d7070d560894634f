"""ClickHouse's HTTP interface, in front of the engine.

Each request is read whole before anything runs, so an upload that breaks off inserts nothing; each
answer is made whole before it is sent, so a query that fails never answers 200.
"""

import asyncio
import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from shadowlane.embedded.store.encoding import compress, decompress
from shadowlane.embedded.store.engine import Engine, Result, Running
from shadowlane.embedded.store.problem import Problem, refused
from shadowlane.embedded.store.request import Query, read_query
from shadowlane.errors import StoreError

DEFAULT_PORT = 8123
HOST = "127.0.0.1"
LARGEST_BODY = 1 << 30
_LARGEST_HEAD = 1 << 20
# Queries at the same time; more than that wait for their turn.
_WORKERS = 32
_SLICE = 1 << 20
# How long a stop waits for the queries that run, in seconds, before it kills them.
_GRACE = 5.0
_SERVICE: web.AppKey["_Service"] = web.AppKey("service")

_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
    "Parquet": "application/octet-stream",
}


class _Service:
    """Runs queries on threads, and stops those that nobody waits for any more."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="store")
        self._ending: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self, running: Running, work: Callable[[], Any]) -> Any:
        """Do ``work`` on a thread. If the caller is cancelled, the query it runs is told to stop.

        Raises Problem once the store is stopping.
        """
        if self._stopping:
            raise refused(236, "ABORTED", "the store is stopping", 503)
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            task = asyncio.create_task(self._end(running, future))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            raise

    async def _end(self, running: Running, future: asyncio.Future[Any]) -> None:
        # Again and again, since the query may not have reached the engine yet. One that writes is
        # left to its end: the client can't know how far it got, and sends it again under its token.
        while not future.done():
            if running.can_be_killed:
                await asyncio.to_thread(self.engine.kill, running.comment)
            await asyncio.wait({future}, timeout=0.2)
        future.exception()  # looked at, so that asyncio does not complain about it

    async def stop(self) -> None:
        """Wait for the queries that run; kill those that take too long."""
        self._stopping = True
        idle = asyncio.create_task(asyncio.to_thread(self._threads.shutdown))
        while not (await asyncio.wait({idle}, timeout=_GRACE))[0]:
            await asyncio.to_thread(self.engine.kill)
        await asyncio.gather(*self._ending)


async def _ping(request: web.Request) -> web.Response:
    return web.Response(
        text="Ok.\n", headers={"X-ClickHouse-Server-Display-Name": request.app[_SERVICE].engine.host}
    )


async def _query(request: web.Request) -> web.StreamResponse:
    if request.method in ("GET", "HEAD") and not request.query.get("query"):
        return await _ping(request)
    service = request.app[_SERVICE]
    fields = dict(request.query)
    try:
        _refuse_browsers(request)
        if request.content_type == "multipart/form-data":
            body = b""
            fields |= await _form(request)
        else:
            body = await request.read()
        encoding = request.headers.get("Content-Encoding", "")
        if encoding and body:
            body = await asyncio.to_thread(decompress, body, encoding)
        query = read_query(fields, request.headers, body, read_only=request.method != "POST")
        del body
        accepted = request.headers.get("Accept-Encoding", "")
        if fields.get("enable_http_compression", "1") not in ("1", "true"):
            accepted = ""
        running = Running(query.comment)

        def work() -> tuple[Result, bytes, str | None]:
            result = service.engine.execute(query, running)
            return result, *compress(result.body, accepted)

        result, answer, encoding_used = await service.run(running, work)
    except Problem as problem:
        return _problem(problem, fields.get("query_id", ""), service.engine)
    response = web.StreamResponse(headers=_headers(query, result, service.engine))
    response.content_length = len(answer)
    if encoding_used:
        response.headers["Content-Encoding"] = encoding_used
    await response.prepare(request)
    view = memoryview(answer)
    for start in range(0, len(answer), _SLICE):
        await response.write(view[start : start + _SLICE])
    await response.write_eof()
    return response


def _headers(query: Query, result: Result, engine: Engine) -> dict[str, str]:
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "X-ClickHouse-Summary": json.dumps(result.summary, separators=(",", ":")),
        "X-ClickHouse-Query-Id": query.query_id,
        "X-ClickHouse-Timezone": query.settings.get("session_timezone") or engine.timezone,
        "X-ClickHouse-Server-Display-Name": engine.host,
    }
    if result.format:
        headers["X-ClickHouse-Format"] = result.format
        headers["Content-Type"] = _CONTENT_TYPES.get(result.format, headers["Content-Type"])
    return headers


def _problem(problem: Problem, query_id: str, engine: Engine) -> web.Response:
    return web.Response(
        status=problem.status,
        text=f"{problem}\n",
        headers={
            "X-ClickHouse-Exception-Code": str(problem.code),
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Server-Display-Name": engine.host,
        },
    )


def _refuse_browsers(request: web.Request) -> None:
    """Refuse what a web page sends: without a password, any page could otherwise read the store."""
    named = request.url.host in ("127.0.0.1", "localhost", "::1")
    if not named or "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
        raise refused(
            497,
            "ACCESS_DENIED",
            "the embedded store answers programs on this machine, not web pages or other names",
        )


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form, in which a client sends statements and parameters too long for a URL."""
    fields: dict[str, str] = {}
    for name, value in (await request.post()).items():
        if not isinstance(value, str):
            raise refused(
                48, "NOT_IMPLEMENTED", "the embedded store takes no external tables: insert them first"
            )
        fields[name] = value
    return fields


def _application(service: _Service) -> web.Application:
    application = web.Application(client_max_size=LARGEST_BODY)
    application[_SERVICE] = service
    application.router.add_get("/ping", _ping)
    application.router.add_get("/replicas_status", _ping)
    application.router.add_route("GET", "/", _query)
    application.router.add_route("POST", "/", _query)
    return application


async def _serve(engine: Engine, data: Path, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = _Service(engine)
    runner = web.AppRunner(
        _application(service),
        access_log=None,
        # A handler is cancelled when its client goes away, and with it the query.
        handler_cancellation=True,
        auto_decompress=False,
        # For answers that are being sent; the queries are over by then.
        shutdown_timeout=1.0,
        max_line_size=_LARGEST_HEAD,
        max_field_size=_LARGEST_HEAD,
    )
    try:
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, port)
            await site.start()
        except OSError as exc:
            raise StoreError(
                f"the store can't listen on {HOST}:{port} ({exc.strerror}): "
                "stop what uses the port, or choose another one"
            ) from exc
        print(f"store: ready at http://{HOST}:{port}, data in {data}", flush=True)
        await stop.wait()
        await site.stop()
    finally:
        await service.stop()
        await runner.cleanup()
        await asyncio.to_thread(engine.close)


def serve(data: Path, port: int) -> None:
    """Serve the data in ``data`` on 127.0.0.1:``port`` until SIGTERM or SIGINT, then close it cleanly.

    Blocks; to be called on the main thread. Raises StoreError if the directory is in use or can't be
    opened, or if the port is taken.
    """
    asyncio.run(_serve(Engine(data), data, port))
