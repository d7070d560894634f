"""SIGKILL of the controller after each thing that it does to the world: state, log and alerts come out the same.

A candidate is promoted from shadow to canary, regresses there, is rolled back, and its incident ends. That makes twenty
inserts, messages to routers and calls of webhooks; the controller is killed once after each, and another one
goes on. What it leaves behind must be what an undisturbed one leaves behind.
"""

import json
import multiprocessing
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shadowlane.rollout.log import Log
from shadowlane.schemas.config import ClickHouse, Rollout
from tests.databases import migrated
from tests.rollout import crashing
from tests.rollout.making import HOUR, NOW, rollout
from tests.rollout.stored import ClockedStore, put
from tests.services import ClickHouseAddress

MINUTE = 60_000
STARTED, PROMOTED, ROLLED_BACK, QUIET = NOW, NOW + 2 * HOUR, NOW + 3 * HOUR, NOW + 4 * HOUR
TIMES = [STARTED, PROMOTED, ROLLED_BACK, QUIET]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["shadowlane.rollout.alerts", "shadowlane.rollout.controller"])


class OnCall(ThreadingHTTPServer):
    """Takes PagerDuty's events."""

    daemon_threads = True

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, OnCall)
        server.events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(202)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"status": "success"}')

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def on_call() -> Iterator[OnCall]:
    server = OnCall()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def walk(address: ClickHouseAddress, on_call: OnCall, folder: Path, kill_after: int) -> dict[str, Any]:
    with migrated(address) as clickhouse:
        return walked(clickhouse, on_call, folder, kill_after)


def walked(clickhouse: ClickHouse, on_call: OnCall, folder: Path, kill_after: int) -> dict[str, Any]:
    """Everything that anybody can see of one rollout's life, and how often the controller was killed in it."""
    configured = rollout(traffic_cycle_hours=0)
    store = ClockedStore(clickhouse)
    put(store, configured, STARTED + MINUTE, 1200, name="good")
    put(store, configured, PROMOTED + MINUTE, 300, failed=60, served_arm="candidate", name="bad")
    content = {
        "clickhouse": clickhouse.model_dump() | {"password": clickhouse.password.get_secret_value()},
        "controller": {"close_after_s": 0, "lease_s": 1e-6, "blind_after_s": 0},
        "rollouts": [configured.model_dump()],
        "alerts": [
            {
                "name": "pager",
                "kind": "pagerduty",
                "url": f"http://127.0.0.1:{on_call.server_port}/v2/enqueue",
                "key_env": "TEST_ROUTING_KEY",
                "min_severity": "warning",
            }
        ],
    }
    folder.mkdir()
    on_call.events.clear()
    killed = 0
    while not (folder / "done").exists():
        process = CONTEXT.Process(
            target=crashing.run, args=(content, folder, TIMES, 0 if killed else kill_after)
        )
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
    history = Log(store).history(configured.name)
    told = [json.loads(line) for line in (folder / "routers").read_bytes().splitlines()]
    return {
        "killed": killed,
        "log": [replace(entry, entry_id="") for entry in history],
        "shares": list(dict.fromkeys((state["seq"], state["traffic_pct"]) for state in told)),
        "evidence": rows(store, configured, "evidence_log FINAL", "slice, decides, claim, until"),
        "folds": rows(store, configured, "fold_log FINAL", "since, until"),
        "incidents": list(dict.fromkeys((e["event_action"], e["dedup_key"]) for e in on_call.events)),
        "repeated": Counter(Counter((e["event_action"], e["dedup_key"]) for e in on_call.events).values()),
        "did": int((folder / "done").read_text()),
    }


def rows(store: ClockedStore, configured: Rollout, table: str, order: str) -> list[dict[str, Any]]:
    query = f"SELECT * FROM {table} WHERE rollout = {{rollout:String}} ORDER BY {order}"
    return store.rows(query, {"rollout": configured.name})


@pytest.mark.slow
def test_killed_after_every_step(
    clickhouse: ClickHouseAddress, on_call: OnCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_ROUTING_KEY", "R" * 32)
    undisturbed = walk(clickhouse, on_call, tmp_path / "undisturbed", 0)
    steps = undisturbed.pop("did")
    assert [entry.event for entry in undisturbed["log"]] == ["started", "promoted", "rolled_back", "resolved"]
    assert [share for _, share in undisturbed["shares"]] == [0, 5, 0, 0]
    assert [action for action, _ in undisturbed["incidents"]] == ["trigger", "resolve"]
    assert steps >= 20
    repeats = 0
    for step in range(1, steps + 1):
        life = walk(clickhouse, on_call, tmp_path / f"killed-{step}", step)
        assert life.pop("killed") == 1
        life.pop("did")
        repeats += life.pop("repeated")[2]
        assert plain(life) == plain(undisturbed), f"killed after step {step} of {steps}"
    # What was sent and not yet written down is sent again, under the key by which the receiver knows it.
    assert repeats == 2


def plain(life: dict[str, Any]) -> Any:
    """As JSON has it, without what counts processes."""
    kept = {name: value for name, value in life.items() if name not in ("killed", "repeated")}
    return json.loads(json.dumps(kept, default=str))
