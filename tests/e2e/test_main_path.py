"""The whole system through its own commands: replay in, report out, with kills in between."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.system import SHADOWLANE, System
from shadowlane.processors.store import connect
from shadowlane.schemas.config import ClickHouse
from tests.e2e.candidate import answer
from tests.e2e.starting import Start
from tests.services import free_ports, running

pytestmark = pytest.mark.e2e
REQUESTS = 1200


def rollout(name: str, port: int, path: str = "/v1") -> dict[str, Any]:
    return {
        "name": name,
        "match": {"service": name},
        "stable": {"model": "desk-1"},
        "candidate": {"model": "desk-2", "base_url": f"http://127.0.0.1:{port}{path}"},
        "scorers": [
            {"name": "answered", "quality_weight": 1},
            {"name": "json_fields", "quality_weight": 1},
            {"name": "exact"},
            {"name": "cost"},
        ],
        "stages": [{"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0}],
    }


@pytest.fixture(scope="module")
def system(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    (port,) = free_ports(1)
    settings = {
        "pairing": {"wait_s": 20},
        "sink": {"max_wait_s": 0.3},
        "prices": {"desk-1": {"input": 10, "output": 30}, "desk-2": {"input": 1, "output": 3}},
        "rollouts": [rollout("calm", port), rollout("stormy", port), rollout("faulty", port, "/faulty/v1")],
    }
    with running("tests.e2e.candidate", "--port", str(port)), start(folder, settings) as system:
        yield system


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("requests") / "requests.jsonl"
    with path.open("w", encoding="utf-8") as out:
        for number in range(REQUESTS):
            prompt = f"Where is my order, please? It is number {number}"
            line = {
                "request": {"model": "desk-1", "messages": [{"role": "user", "content": prompt}]},
                "response": {
                    "output": answer(prompt),
                    "input_tokens": 9,
                    "output_tokens": 12,
                    "latency_ms": 80,
                },
                "route": "/chat/completions",
                "attributes": {"language": "en"},
            }
            out.write(json.dumps(line) + "\n")
    return path


def what_counts(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what the clock and the rollout's name make of it.

    To 1e-9, as decisions on it are: ClickHouse adds up a mean in the order in which the rows lie.
    """
    metrics = {
        name: {
            key: round(metric[key], 9) if isinstance(metric[key], float) else metric[key]
            for key in ("unit", "pairs", "stable", "candidate", "difference")
        }
        for name, metric in report["metrics"].items()
    }
    return {
        "verdict": report["verdict"],
        "pairs": report["pairs"],
        "metrics": metrics,
        "ledger": report["ledger"],
    }


def test_a_kill_of_each_component_changes_nothing(system: System, requests: Path) -> None:
    system.run("replay", str(requests), "--service", "calm")
    calm = system.settle(REQUESTS, "calm")
    assert calm["verdict"] == "promote", calm["reason"]
    assert calm["ledger"]["scored"] == calm["ledger"]["eligible"] == calm["pairs"] == REQUESTS
    assert calm["ledger"]["adds_up"]
    assert calm["metrics"]["exact"]["candidate"] == 1

    arguments = [
        "replay",
        str(requests),
        "--service",
        "stormy",
        "--rate",
        "60",
        "--config",
        str(system.config),
    ]
    with subprocess.Popen(
        [*SHADOWLANE, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as replay:
        for number, component in enumerate(("worker", "pairing", "sink", "controller")):
            seen = (number + 1) * REQUESTS // 6
            await_scored_or_mirrored(system, seen)
            pid = system.component_pid(component)
            assert pid, f"{component} is not running"
            os.kill(pid, signal.SIGKILL)
        assert replay.wait() == 0, replay.stderr and replay.stderr.read()
    stormy = system.settle(REQUESTS, "stormy", timeout=180)
    assert what_counts(stormy) == what_counts(calm)
    audit = json.loads(system.run("audit", "--json"))
    assert audit["gaps"] == []
    assert audit["open"]["lost"] == 0
    log = (system.folder / "up.log").read_text()
    for component in ("worker", "pairing", "sink", "controller"):
        assert f"{component} ended with exit code -9; starting it again" in log


def await_scored_or_mirrored(system: System, count: int) -> None:
    """Until so many of the stormy requests were sent: what counts is that the kill comes in the middle."""
    while sent_to(system, "stormy") < count:
        system.alive()
        time.sleep(0.2)


def sent_to(system: System, service: str) -> int:
    client = connect(ClickHouse.model_validate(system.settings["clickhouse"]))
    try:
        query = "SELECT sum(requests) FROM ledger WHERE row = 'eligible' AND service = {service:String}"
        rows = client.query(query, parameters={"service": service}).result_rows
        return int(rows[0][0] or 0) if rows else 0
    finally:
        client.close()


def test_a_candidate_that_fails_is_rolled_back_on_the_error_rate(system: System, requests: Path) -> None:
    system.run("replay", str(requests), "--service", "faulty")
    report = system.settle(REQUESTS, "faulty")
    assert report["verdict"] == "roll_back"
    assert "error" in report["roll_back"]["causes"][0]["claim"]
    assert report["failures"] == {"http": REQUESTS // 10}
    assert report["ledger"]["scored"] == REQUESTS
    assert report["metrics"]["cost"]["candidate"] < report["metrics"]["cost"]["stable"]

    worst = json.loads(system.run("pairs", "faulty", "--worst", "5", "--json"))
    assert len(worst) == 5
    assert {pair["candidate_error"] for pair in worst} == {"http"}
    coded = subprocess.run(
        [*SHADOWLANE, "report", "faulty", "--exit-code", "--config", str(system.config)], capture_output=True
    )
    assert coded.returncode == 12


def test_a_report_for_a_person_has_what_the_document_has(system: System) -> None:
    shown = system.run("report", "faulty")
    assert "ROLL BACK" in shown
    assert "the ledger adds up" in shown
    assert f"{REQUESTS:,}" in shown
    assert "http" in system.run("pairs", "faulty", "--worst", "1")


def test_status_says_that_all_is_up(system: System) -> None:
    status = json.loads(system.run("status", "--wait", "30", "--json"))
    assert status["up"]
    assert [part["name"] for part in status["parts"]] == [
        "broker", "store", "worker", "pairing", "sink", "controller",
    ]  # fmt: skip


def test_a_second_system_on_the_same_ports_is_told_so(system: System, tmp_path: Path) -> None:
    done = subprocess.run(
        [*SHADOWLANE, "up", "--config", str(system.config), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "is taken" in done.stderr


def test_a_line_that_cant_be_read_is_refused_by_number(system: System, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    good = {"request": {"messages": [{"role": "user", "content": "hello"}], "model": "m"}, "response": "hi"}
    path.write_text("\n".join([json.dumps(good), "{", json.dumps({"request": {}}), json.dumps(good)]))
    done = subprocess.run(
        [*SHADOWLANE, "replay", str(path), "--service", "elsewhere", "--config", str(system.config)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "line 2: not JSON" in done.stderr
    assert "line 3: response" in done.stderr
    assert "2 sent, 2 refused" in done.stderr + done.stdout
