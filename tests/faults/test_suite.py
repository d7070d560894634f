"""The fault suite itself, in short: one fault for real, and the tools that the others stand on."""

import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from faults.case import what_counts
from faults.page import BEGIN, END, rewritten
from faults.proxy import Proxy
from faults.scenes import SCENES
from faults.soak import Memory
from faults.traffic import arrivals
from faults.watched import resident_mb
from tests.services import free_ports


@pytest.mark.e2e
@pytest.mark.slow
def test_pairing_killed_twice_keeps_its_promise(tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    done = subprocess.run(
        [sys.executable, "-m", "faults", "--broker", "embedded", "--only", "pairing-killed-twice",
         "--json", str(seen)],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = orjson.loads(seen.read_bytes())
    assert row["kept"]
    assert row["seen"].startswith("240 of 240 scored")


def test_each_fault_has_a_name_of_its_own_and_a_promise() -> None:
    faults = [fault for scene in SCENES for fault in scene.faults]
    assert len({fault.name for fault in faults}) == len(faults)
    assert all(fault.promise and fault.brokers for fault in faults)


def test_arrivals_come_in_bursts_and_fill_the_time() -> None:
    moments = arrivals(500, 10.0)
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert moments[0] == 0
    assert moments[-1] == pytest.approx(10.0)
    assert min(gaps) >= 0
    assert max(gaps) > 5 * sum(gaps) / len(gaps)


@pytest.fixture
def echo() -> int:
    """A server that sends back what it gets, in upper case."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data.upper())

    threading.Thread(target=serve, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


def test_a_proxy_passes_cuts_and_heals(echo: int) -> None:
    with Proxy(echo, free_ports(1)[0]).running() as proxy:
        connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        connection.sendall(b"one")
        assert connection.recv(10) == b"ONE"
        proxy.cut()
        assert _ended(connection)
        proxy.heal()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as again:
            again.sendall(b"two")
            assert again.recv(10) == b"TWO"


def test_a_proxy_swallows_an_answer(echo: int) -> None:
    with Proxy(echo, free_ports(1)[0]).running() as proxy:
        proxy.to_client = lambda data: 0 if data == b"COMMIT" else None
        connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        connection.sendall(b"begin")
        assert connection.recv(10) == b"BEGIN"
        connection.sendall(b"commit")
        assert proxy.caught.wait(10)
        proxy.heal()
        assert _ended(connection)


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(10) == b""
    except ConnectionError:
        return True


def test_what_counts_leaves_out_the_clock() -> None:
    metric = {
        "unit": "score",
        "pairs": 2,
        "stable": 0.1 + 0.2,
        "candidate": None,
        "difference": None,
        "e": 1.0,
    }
    report = {
        "verdict": "hold",
        "pairs": 2,
        "failures": {},
        "ledger": {},
        "metrics": {"exact": metric},
        "at": 5,
    }
    seen = what_counts(report)
    assert seen["metrics"]["exact"]["stable"] == 0.3
    assert "at" not in seen
    assert "e" not in seen["metrics"]["exact"]


def test_memory_that_grows_is_told_from_one_that_was_killed_meanwhile() -> None:
    memory = Memory()
    for at in range(0, 1000, 5):
        memory.samples["grows"].append((at, 100 + at / 5))
        memory.samples["killed"].append((at, 60.0 if 500 < at < 560 else 100.0 + at % 7))
    assert memory.flat("killed", 1000)[2]
    first, second, flat = memory.flat("grows", 1000)
    assert not flat
    assert first < second


def test_the_memory_of_this_process_is_known_and_of_none_is_not() -> None:
    assert (resident_mb(os.getpid()) or 0) > 10
    assert resident_mb(2**22 + 1) is None


def test_the_page_keeps_the_rows_that_were_not_tried() -> None:
    faults = [("one", "kept", ("embedded", "kafka")), ("two", "told", ("kafka",))]
    page = rewritten(f"before\n{BEGIN}\n{END}\nafter\n", faults, {("one", "kafka"): "all of it | yes\nall"})
    assert "| one | kept |  | all of it / yes all |\n| two | told | – |  |" in page
    page = rewritten(page, faults, {("one", "embedded"): "too", ("two", "kafka"): "seen"})
    assert "| one | kept | too | all of it / yes all |\n| two | told | – | seen |" in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")


def test_the_page_has_every_fault() -> None:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
    missing = [f.name for scene in SCENES for f in scene.faults if f"| {f.name} |" not in page]
    assert missing == [], "`python -m faults --only NAME --docs docs/faults.md` writes its row"
