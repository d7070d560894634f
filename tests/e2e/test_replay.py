"""Logs onto the running system: killed in the middle and begun again; and recorded models' answers as two services log
them."""

import gzip
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.system import SHADOWLANE, System
from shadowlane.processors.store import connect
from shadowlane.schemas.config import ClickHouse
from tests.conftest import NO_RECORDINGS
from tests.e2e.candidate import answer
from tests.e2e.starting import Start
from tests.services import free_ports, running

pytestmark = pytest.mark.e2e
REQUESTS = 1000
PROMPTS = 150
STABLE = "gpt4_1106_preview"
SERVICES = ("interrupted", "litellm", "langfuse")


def rollout(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "match": {"service": name},
        "stable": {"model": STABLE},
        "candidate": {"model": "next", "base_url": f"http://127.0.0.1:{port}/v1"},
        "scorers": [{"name": "answered", "quality_weight": 1}, {"name": "exact"}],
        "stages": [{"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0}],
    }


@pytest.fixture(scope="module")
def system(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    (port,) = free_ports(1)
    settings = {
        "pairing": {"wait_s": 20},
        "sink": {"max_wait_s": 0.3},
        "rollouts": [rollout(name, port) for name in SERVICES],
    }
    with (
        running("tests.e2e.candidate", "--port", str(port)),
        start(tmp_path_factory.mktemp("system"), settings) as system,
    ):
        yield system


def minutes_from_now() -> int:
    """The beginning of a minute after the rollouts began: what was before them the audit does not weigh."""
    return (int(time.time()) // 60 + 2) * 60_000


def test_a_replay_that_is_killed_goes_on_and_the_audit_adds_up(system: System, tmp_path: Path) -> None:
    path, state, begun = tmp_path / "log.jsonl", tmp_path / "state.json", minutes_from_now()
    with path.open("w") as out:
        for number in range(REQUESTS):
            prompt = f"Where is my order, please? It is number {number}"
            body = {"model": STABLE, "messages": [{"role": "user", "content": prompt}]}
            line = {"request": body, "response": answer(prompt), "ts": begun + number * 200}
            out.write(json.dumps(line) + "\n")
    command = ["replay", str(path), "--service", "interrupted", "--state", str(state)]
    for _ in range(2):
        before = acknowledged(state)
        arguments = [*SHADOWLANE, *command, "--rate", "300", "--config", str(system.config)]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as replay:
            while acknowledged(state) <= before:
                assert replay.poll() is None
                time.sleep(0.02)
            os.kill(replay.pid, signal.SIGKILL)
        assert before < acknowledged(state) < REQUESTS
    system.run(*command)
    assert acknowledged(state) == REQUESTS
    system.run(*command)  # there is nothing more to send

    ledger = system.settle(REQUESTS, "interrupted")["ledger"]
    assert ledger["eligible"] == ledger["scored"] == REQUESTS
    assert ledger["adds_up"]
    audit = json.loads(system.run("audit", "--json"))
    assert audit["gaps"] == []
    assert audit["open"]["lost"] == 0
    assert audit["ledger"]["mirrored"] >= REQUESTS


def acknowledged(state: Path) -> int:
    return int(json.loads(state.read_bytes())["acknowledged"]) if state.exists() else 0


# Recorded answers, as LiteLLM and Langfuse would have logged the calls.


def litellm_line(number: int, prompt: str, output: str, at: float) -> dict[str, Any]:
    message = {"role": "assistant", "content": output, "tool_calls": None, "function_call": None}
    return {
        "id": f"chatcmpl-{number}",
        "trace_id": f"trace-{number}",
        "session_id": "",
        "call_type": "acompletion",
        "stream": False,
        "status": "success",
        "startTime": at,
        "endTime": at + 1.5,
        "completionStartTime": at + 1.5,
        "prompt_tokens": len(prompt) // 4,
        "completion_tokens": len(output) // 4,
        "model": STABLE,
        "model_group": "smart",
        "model_parameters": {"temperature": 0.7},
        "messages": [{"role": "user", "content": prompt}],
        "response": {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "model": STABLE,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        },
        "request_tags": [],
        "end_user": None,
        "error_information": None,
        "metadata": {},
    }


def langfuse_line(number: int, prompt: str, output: str, at: float) -> dict[str, Any]:
    return {
        "id": f"obs-{number}",
        "trace_id": f"trace-{number}",
        "type": "GENERATION",
        "name": "answer",
        "start_time": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S.%f}",
        "end_time": f"{datetime.fromtimestamp(at + 1.5, UTC):%Y-%m-%d %H:%M:%S.%f}",
        "completion_start_time": None,
        "provided_model_name": STABLE,
        "model_parameters": '{"temperature":0.7}',
        "input": json.dumps([{"role": "user", "content": prompt}]),
        "output": json.dumps({"role": "assistant", "content": output}),
        "usage_details": {"input": len(prompt) // 4, "output": len(output) // 4},
        "level": "DEFAULT",
        "session_id": f"session-{number % 7}",
    }


@pytest.fixture(scope="module")
def recorded() -> list[tuple[str, str]]:
    """(prompt, the stable model's answer)."""
    given = os.environ.get("SHADOWLANE_RECORDED_MODELS")
    if not given:
        pytest.skip(NO_RECORDINGS)
    with gzip.open(Path(given) / "prompts.jsonl.gz", "rt", encoding="utf-8") as lines:
        prompts = {row["id"]: row["prompt"] for row in map(json.loads, lines)}
    with gzip.open(Path(given) / "models" / f"{STABLE}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [(prompts[row["id"]], row["output"]) for row in map(json.loads, lines)][:PROMPTS]


@pytest.mark.parametrize(("service", "build"), [("litellm", litellm_line), ("langfuse", langfuse_line)])
def test_recorded_answers_in_the_logs_of_other_tools(
    system: System, recorded: list[tuple[str, str]], tmp_path: Path, service: str, build: Any
) -> None:
    begun = minutes_from_now() / 1000
    calls = [build(number, *call, begun + number / 10) for number, call in enumerate(recorded)]
    for part, name in ((calls[::2], "even.jsonl.gz"), (calls[1::2], "odd.jsonl.gz")):
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(call) + "\n" for call in part)
    system.run("replay", str(tmp_path), "--service", service, "--speed", "20")
    ledger = system.settle(PROMPTS, service)["ledger"]
    assert ledger["eligible"] == ledger["scored"] == PROMPTS
    assert json.loads(system.run("audit", "--json"))["gaps"] == []

    client = connect(ClickHouse.model_validate(system.settings["clickhouse"]))
    try:
        rows = client.query(
            "SELECT stable_output, stable_latency_ms, stable_input_tokens, toUnixTimestamp64Milli(ts) "
            "FROM pairs WHERE service = {service:String} ORDER BY ts",
            parameters={"service": service},
        ).result_rows
    finally:
        client.close()
    for number, ((prompt, output), row) in enumerate(zip(recorded, rows, strict=True)):
        assert row[1:] == (1500.0, len(prompt) // 4, round(begun * 1000) + number * 100)
        assert len(row[0]) > 0
        assert row[0] == output or "[" in row[0], "but for what was redacted it is the recorded answer"
