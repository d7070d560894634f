"""A pairing process that really hangs: it says so, ends itself, is started again, and no pair is missing."""

import http.client
import json
import re
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.system import System, free_ports, running
from shadowlane.metrics import ALL
from tests.e2e.candidate import answer
from tests.services import running as running_module

pytestmark = pytest.mark.e2e
REQUESTS = 60
HANGS_ONCE = """
import pathlib, sys, time
if "pairing" in sys.orig_argv:
    from shadowlane.processors.pairing.service import Pairing
    take = Pairing.take

    def hangs_once(self, *arguments):
        marker = pathlib.Path({marker!r})
        if not marker.exists():
            marker.touch()
            time.sleep(3600)
        return take(self, *arguments)

    Pairing.take = hangs_once
"""


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


def await_new_start(system: System, pid: int | None) -> None:
    deadline = time.monotonic() + 120
    while system.component_pid("pairing") in (pid, None):
        system.alive()
        assert time.monotonic() < deadline, f"pairing was not started again: {system.logs()}"
        time.sleep(0.1)


def test_a_loop_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python runs this module of that name at its start, wherever it finds it.
    (tmp_path / "sitecustomize.py").write_text(HANGS_ONCE.format(marker=str(tmp_path / "hung")))
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
        running_module("tests.e2e.candidate", "--port", str(candidate)),
        running(tmp_path / "system", settings) as system,
    ):
        pid = system.component_pid("pairing")
        system.run("replay", str(requests))
        await_new_start(system, pid)
        report = system.settle(REQUESTS, "r")
        assert report["ledger"]["scored"] == report["ledger"]["eligible"] == REQUESTS
        assert sample(pairing, "shadowlane_pairing_pairs_total") == REQUESTS
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
        assert exposed == {m.name for m in ALL if not re.match("shadowlane_(mirror|flags)_", m.name)}
        log = (tmp_path / "system" / "data" / "logs" / "pairing.log").read_text(encoding="utf-8")
    assert "in hangs_once" in log  # where it hung
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (stall,) = [line for line in told if line["level"] == "critical"]
    assert "its event loop does not turn" in stall["message"]
    assert stall["component"] == "pairing"
    up = (tmp_path / "system" / "up.log").read_text(encoding="utf-8")
    assert "pairing ended with exit code 8; starting it again" in " ".join(up.split())
