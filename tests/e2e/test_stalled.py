"""Pairing that really stands still, in three ways: it ends itself, is started again, and no pair is missing."""

import contextlib
import http.client
import json
import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.system import System
from shadowlane.metrics import ALL
from tests.e2e.candidate import answer
from tests.e2e.starting import Start
from tests.services import free_ports, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
REQUESTS = 60
STALLS = """
import asyncio, pathlib, sys, time
if "pairing" in sys.orig_argv:
    from shadowlane.processors.app import Shell
    from shadowlane.processors.pairing.service import Pairing
    starts = pathlib.Path({starts!r})
    number = len(list(starts.iterdir()))
    (starts / str(number)).touch()

    def blocks_the_loop(self, *arguments, **more):
        time.sleep(3600)

    async def reads_nothing(self, side, stream, read=Shell.read):
        if side == "served":
            await asyncio.sleep(3600)
        await read(self, side, stream)

    def acknowledges_nothing(self, side, partition, offset, value, acknowledge, take=Pairing.take, **more):
        return take(self, side, partition, offset, value, lambda: None, **more)

    if number == 0:
        Pairing.take = blocks_the_loop
    elif number == 1:
        Shell.read = reads_nothing
    elif number == 2:
        Pairing.take = acknowledges_nothing
"""
SAID = (  # by start
    "its event loop does not turn",
    "responses.served is taken, though offset",
    "is not committed beyond",
)


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def sample(port: int, name: str) -> float:
    families = text_string_to_metric_families(ask(port, "/metrics")[1])
    return sum(s.value for family in families for s in family.samples if s.name == name)


def await_paired(system: System, port: int) -> None:
    """Until the fourth start has paired everything."""
    deadline = time.monotonic() + 200
    while True:
        system.alive()
        with contextlib.suppress(OSError):  # between an end and a new start
            ends = (system.folder / "up.log").read_text(encoding="utf-8").count("ended with exit code")
            if ends == len(SAID) and sample(port, "shadowlane_pairing_pairs_total") == REQUESTS:
                return
        assert time.monotonic() < deadline, f"pairing was not started again: {system.logs()}"
        time.sleep(0.1)


def test_whatever_stands_still_is_started_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    starts.mkdir()
    # Python runs this module of that name at its start, wherever it finds it.
    (tmp_path / "sitecustomize.py").write_text(STALLS.format(starts=str(starts)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    candidate, worker, pairing, sink, controller = free_ports(5)
    settings = {
        "monitoring": {
            "worker_port": worker,
            "pairing_port": pairing,
            "sink_port": sink,
            "controller_port": controller,
            "stalled_after_s": 3,
            "lag_every_s": 0.5,
        },
        "logs": {"format": "json"},
        "kafka": {"session_timeout_s": 2},
        "pairing": {"wait_s": 60},
        "sink": {"max_wait_s": 0.3},
        "controller": {"poll_s": 1},
        "rollouts": [
            {
                "name": "r",
                "candidate": {"model": "desk-2", "base_url": f"http://127.0.0.1:{candidate}/v1"},
                "scorers": [{"name": "answered", "quality_weight": 1}],
                "stages": [{"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0}],
            }
        ],
    }
    lines = [
        {
            "request": {"model": "desk-1", "messages": [{"role": "user", "content": f"question {n}"}]},
            "response": {"output": answer(f"question {n}"), "latency_ms": 80},
        }
        for n in range(REQUESTS)
    ]
    requests = tmp_path / "requests.jsonl"
    requests.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with (
        running("tests.e2e.candidate", "--port", str(candidate)),
        start(tmp_path / "system", settings) as system,
    ):
        system.run("replay", str(requests))
        await_paired(system, pairing)
        report = system.settle(REQUESTS, "r")
        assert report["ledger"]["scored"] == report["ledger"]["eligible"] == REQUESTS
        assert sample(worker, "shadowlane_worker_answers_total") == REQUESTS
        assert sample(worker, "shadowlane_worker_latency_seconds_count") == REQUESTS
        assert sample(sink, "shadowlane_sink_rows_total") >= REQUESTS
        assert sample(controller, "shadowlane_controller_last_successful_poll_timestamp_seconds") > 0
        assert all(
            ask(port, path)[0] == 200
            for path in ("/healthz", "/readyz")
            for port in (worker, pairing, sink, controller)
        )
        exposed = {
            line.split()[2]
            for port in (worker, pairing, sink, controller)
            for line in ask(port, "/metrics")[1].splitlines()
            if line.startswith("# TYPE shadowlane_")
        }
        assert exposed == {m.name for m in ALL if not re.match("shadowlane_(mirror|flags|ingest)_", m.name)}
        log = (tmp_path / "system" / "data" / "logs" / "pairing.log").read_text(encoding="utf-8")
    assert "in blocks_the_loop" in log  # what it was doing
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    stalls = [line["message"] for line in told if line["level"] == "critical"]
    assert all(any(said in stall for stall in stalls) for said in SAID), stalls
    assert all(any(said in stall for said in SAID) for stall in stalls), stalls
    up = (tmp_path / "system" / "up.log").read_text(encoding="utf-8")
    assert " ".join(up.split()).count("pairing ended with exit code 8; starting it again") == len(SAID)
