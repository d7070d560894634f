"""A TCP proxy that misbehaves on demand: it cuts, holds, delays and slows what passes."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

Watch = Callable[[bytes], int | None]
"""Looks at bytes on their way to the server: None lets them pass; a number is how many still pass, and then
the connection stands still until :meth:`Proxy.heal`, and closes."""

CHUNK = 65536


class Proxy:
    """Forwards 127.0.0.1:``port`` to 127.0.0.1:``target``. Its settings may be changed from any thread."""

    def __init__(self, target: int, port: int) -> None:
        self.target = target
        self.port = port
        self.delay_s = 0.0  # before each chunk, each way
        self.bytes_per_s = 0.0  # of each connection and way; 0 is no limit
        self.to_server: Watch | None = None
        self.to_client: Watch | None = None
        self.passed = 0  # bytes
        self.caught = threading.Event()  # a watch has stopped a connection
        self._refusing = False
        self._open, self._stuck = asyncio.Event(), asyncio.Event()  # bound to the thread's loop at first use
        self._open.set()
        self._connections: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Closes every connection, and takes no new one until :meth:`heal`."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._close_all)

    def hold(self) -> None:
        """Lets nothing pass, and closes nothing: what a firewall that forgot the connection does."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def heal(self) -> None:
        """As if nothing had been. Connections that a watch has stopped are closed."""
        self.delay_s = self.bytes_per_s = 0.0
        self.to_server = self.to_client = None
        self._refusing = False
        self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        self._open.set()
        self._stuck.set()
        self._stuck = asyncio.Event()
        self.caught.clear()

    def _close_all(self) -> None:
        for task in self._connections:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            back, server = await asyncio.open_connection("127.0.0.1", self.target)
            pumps = {
                asyncio.create_task(self._pump(reader, server, up=True)),
                asyncio.create_task(self._pump(back, writer, up=False)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            for each in (writer, server):
                if each is not None:
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._open.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.bytes_per_s:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                watch = self.to_server if up else self.to_client
                passes = watch(data) if watch else None
                if passes is not None:
                    stuck = self._stuck
                    writer.write(data[:passes])
                    await writer.drain()
                    self.caught.set()
                    await stuck.wait()
                    return
                self.passed += len(data)
                writer.write(data)
                await writer.drain()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        ready.set()
        await self._stop.wait()
        server.close()
        self._close_all()

    @contextlib.contextmanager
    def running(self) -> Iterator["Proxy"]:
        """In a thread of its own, within the block."""
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True, name="proxy")
        thread.start()
        if not ready.wait(10):
            raise RuntimeError(f"the proxy on port {self.port} did not start")
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)
