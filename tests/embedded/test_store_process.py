"""The embedded store as a process: its directory, its end, and what outlives a kill -9."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError

from tests.services import free_port, running

MODULE = "shadowlane.embedded.store"
BLOCK_ROWS = 500


@contextmanager
def store(data: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    with running(MODULE, "--data", str(data), "--port", str(port)) as process:
        yield process, port


def connect(port: int) -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, autogenerate_session_id=False, dedicated_pool=True
    )


def start(data: Path, port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", MODULE, "--data", str(data), "--port", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_directory_has_one_store(tmp_path: Path) -> None:
    with store(tmp_path) as (process, port):
        second = start(tmp_path, free_port())
        assert second.returncode == 1
        assert second.stderr == (
            f"store: the data in {tmp_path} is in use by process {process.pid}: "
            "stop that store, use it over HTTP, or choose another place\n"
        )
        with connect(port) as client:
            assert client.command("SELECT 1") == 1


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with store(tmp_path / "a") as (_, port):
        second = start(tmp_path / "b", port)
    assert second.returncode == 1
    assert second.stderr.startswith(f"store: the store can't listen on 127.0.0.1:{port} (")
    assert second.stderr.count("\n") == 1


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = start(tmp_path / "file" / "data", free_port())
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"store: the store can't use the directory {tmp_path}/file/data")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_keeps_its_data(tmp_path: Path, how: signal.Signals) -> None:
    with store(tmp_path) as (process, port):
        with connect(port) as client:
            client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
            client.insert("t", [[1], [2]], column_names=["a"])
        process.send_signal(how)
        assert process.wait(timeout=60) == 0
    with store(tmp_path) as (_, port), connect(port) as client:
        assert client.command("SELECT sum(a) FROM t") == 3


def test_a_stop_does_not_wait_for_idle_connections(tmp_path: Path) -> None:
    with store(tmp_path) as (process, port):
        idle = http.client.HTTPConnection("127.0.0.1", port)
        idle.request("GET", "/ping")
        assert idle.getresponse().read() == b"Ok.\n"
        process.terminate()
        assert process.wait(timeout=60) == 0
        idle.close()


def test_a_stop_ends_a_query_that_would_go_on(tmp_path: Path) -> None:
    with store(tmp_path) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/", b"SELECT sum(cityHash64(number)) FROM numbers(1000000000000)")
        with connect(port) as client:
            # This question names the function too.
            while client.query("FROM system.processes WHERE query LIKE '%cityHash%'").row_count < 2:
                pass
        process.terminate()
        assert b"QUERY_WAS_CANCELLED" in connection.getresponse().read()
        connection.close()
        assert process.wait(timeout=60) == 0


def test_every_acknowledged_block_outlives_kill_9_and_counts_once(tmp_path: Path) -> None:
    """Blocks are inserted until the store is killed; after a restart all that may be lost come again."""
    with store(tmp_path) as (process, port):
        with connect(port) as client:
            client.command(
                "CREATE TABLE t (writer UInt64, block UInt64, line UInt64, text String) ENGINE = MergeTree"
                " ORDER BY (writer, block, line) SETTINGS non_replicated_deduplication_window = 10000"
            )
        enough = threading.Barrier(3, timeout=60)

        def write(writer: int) -> tuple[int, int]:
            """Return the writer, and how many of its blocks were acknowledged: all but the last one sent."""
            block = 0
            with connect(port) as client:
                while True:
                    try:
                        send(client, writer, block)
                    except OperationalError:
                        return writer, block
                    block += 1
                    if block == 15:
                        enough.wait()

        with ThreadPoolExecutor(2) as threads:
            writers = [threads.submit(write, writer) for writer in range(2)]
            enough.wait()
            os.kill(process.pid, signal.SIGKILL)
            acknowledged = dict(writer.result() for writer in writers)
        assert process.wait(timeout=60) == -signal.SIGKILL

    with store(tmp_path) as (_, port), connect(port) as client:
        for writer, blocks in acknowledged.items():
            whole = "SELECT block FROM t WHERE writer = {w:UInt8} GROUP BY block HAVING count() = {n:UInt64}"
            kept = client.query(whole, parameters={"w": writer, "n": BLOCK_ROWS}).result_rows
            assert {block for (block,) in kept} >= set(range(blocks))
            # The one that was under way may be there or not: sent again, it is there once.
            send(client, writer, blocks)
            send(client, writer, 0)
        counts = client.query(
            "SELECT writer, count(), uniqExact(block, line) FROM t GROUP BY writer ORDER BY writer"
        ).result_rows
        assert counts == [
            (writer, (blocks + 1) * BLOCK_ROWS, (blocks + 1) * BLOCK_ROWS)
            for writer, blocks in sorted(acknowledged.items())
        ]


def send(client: Client, writer: int, block: int) -> None:
    lines = (
        b'{"writer": %d, "block": %d, "line": %d, "text": "%s"}\n' % (writer, block, line, b"x" * 200)
        for line in range(BLOCK_ROWS)
    )
    token = {"insert_deduplication_token": f"{writer}:{block}"}
    client.raw_insert("t", insert_block=b"".join(lines), fmt="JSONEachRow", settings=token)


def test_an_insert_is_answered_when_it_is_stored(tmp_path: Path) -> None:
    with store(tmp_path) as (_, port), connect(port) as client:
        assert client.command("SELECT toString(getSetting('async_insert'))") in ("0", 0, "false")


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://example.com"}, {"Host": "example.com"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_web_pages_are_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    with store(tmp_path) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/?query=SELECT+1", headers=headers)
        response = connection.getresponse()
        assert response.status == 403
        assert b"ACCESS_DENIED" in response.read()
        connection.close()
