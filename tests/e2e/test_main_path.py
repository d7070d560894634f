"""The whole system through its own commands: replay in, report out, with kills in between."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from benchmarks.system import SHADOWLANE, System
from examples.agent import agent
from shadowlane.processors.samples import NoiseSample
from shadowlane.processors.store import connect
from shadowlane.producers import Mirror
from shadowlane.schemas.config import ClickHouse, Kafka, Rollout
from tests.e2e import agents, hidden
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


def with_noise(rollout: dict[str, Any]) -> dict[str, Any]:
    """A fifth of the requests is asked of the stable version again, which the candidate's server plays too."""
    stable = rollout["stable"] | {"base_url": rollout["candidate"]["base_url"]}
    return rollout | {"stable": stable, "noise": {"rate": 0.2}}


@pytest.fixture(scope="module")
def system(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    port, agents_port = free_ports(2)
    settings = {
        "pairing": {"wait_s": 20},
        "sink": {"max_wait_s": 0.3},
        "prices": {"desk-1": {"input": 10, "output": 30}, "desk-2": {"input": 1, "output": 3}},
        "rollouts": [
            *(
                rollout("calm", port),
                with_noise(rollout("stormy", port)),
                rollout("faulty", port, "/faulty/v1"),
                rollout("hidden", port),
            ),
            {
                "name": "agents",
                "match": {"service": "agents"},
                "stable": {"model": "agent-1"},
                "candidate": {"model": "agent-2", "base_url": f"http://127.0.0.1:{agents_port}/shadow/v1"},
                "scorers": [{"name": "answered", "quality_weight": 1}, {"name": "tool_calls"}],
                "sessions": {"by": "session.id", "minutes": 1},
                "stages": [{"name": "shadow", "duration_hours": 0, "traffic_cycle_hours": 0}],
            },
        ],
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
    assert what_counts(stormy) == what_counts(calm)  # and no noise pair is counted as another
    noise = await_noise(system)
    assert noise["scored"] > REQUESTS // 8
    assert (noise["abstained"], noise["unpaired"]) == ({}, {})
    assert (noise["scores"]["exact"]["again"], noise["scores"]["exact"]["difference"]) == (1, 0)
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


def await_noise(system: System) -> dict[str, Any]:
    """The report's, once every request that is to be asked again has its noise pair."""
    sample = NoiseSample(Rollout.model_validate(with_noise(rollout("stormy", 1))))
    client = connect(ClickHouse.model_validate(system.settings["clickhouse"]))
    ids = client.query("SELECT request_id, key FROM pairs WHERE rollout = 'stormy'").result_rows
    client.close()
    wanted = sum(sample.takes(name, key, "", "desk-1") for name, key in ids)
    deadline = time.monotonic() + 60
    while True:
        noise: dict[str, Any] = system.report("stormy")["noise"]
        if noise["scored"] == noise["requests"] == wanted:
            return noise
        assert time.monotonic() < deadline, (wanted, noise)
        time.sleep(0.5)


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


def test_what_is_mirrored_hashed_is_compared_and_read_by_nobody(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHADOWLANE_TOKEN_KEY", "a key of sixteen letters")
    mirror = Mirror(service="hidden", kafka=system.kafka, content="hashed")
    with hidden.model() as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        with openai.OpenAI(base_url=address, api_key="k") as plain:
            client = mirror.wrap(plain)
            for question, answered in hidden.ASKED:
                done = client.chat.completions.create(
                    model="desk-1", messages=[{"role": "user", "content": question}]
                )
                assert done.choices[0].message.content == answered
        assert mirror.flush(30)
        stats = mirror.stats()
        mirror.close()
        assert server.asked == len(hidden.ASKED)  # and no shadow
    report = system.settle(len(hidden.ASKED), "hidden")
    assert stats["without_content"] == {"hashed": len(hidden.ASKED)}
    assert report["ledger"]["abstained"] == len(hidden.ASKED)
    assert report["ledger"]["adds_up"]
    assert (report["verdict"], report["pairs"]) == ("hold", 0)

    kept = hidden.on_kafka(Kafka.model_validate(system.settings["kafka"]))
    store = connect(ClickHouse.model_validate(system.settings["clickhouse"]))
    pairs = list(store.query("SELECT * FROM abstained WHERE rollout = 'hidden' ORDER BY ts").named_results())
    page = (Path(__file__).parents[2] / "docs" / "redaction.md").read_text(encoding="utf-8")
    documented = re.findall(r"^```sql\n(.*?)^```", page, flags=re.M | re.S)
    unsteady = list(store.query(documented[0]).named_results())  # the first one is of hashed content
    store.close()
    for word in hidden.SECRET:
        assert word.encode() not in kept
        assert word not in str(pairs)
    said = ("reason", "candidate_error", "candidate_error_message", "candidate_attempts")
    assert {tuple(each[name] for name in said) for each in pairs} == {
        ("no_content", "no_content", "mirrored without its content: hashed", 0)
    }
    assert {(each["stable_model"], each["stable_output_tokens"]) for each in pairs} == {("desk-1", 5)}
    requests = [each["request"] for each in pairs]
    assert requests[0] == requests[1] != requests[2] == requests[3]
    assert json.loads(requests[0]).keys() == {"messages", "model"}
    outputs = [each["stable_output"] for each in pairs]
    assert outputs[0] != outputs[1] != outputs[2] == outputs[3]
    assert [(each["answers"], each["asked"]) for each in unsteady] == [(2, 2)]
    assert unsteady[0]["request"] == requests[0]


STEPS = """
SELECT session, step, outcome, reason, agreement, diverged, first_divergence, after_divergence, request_id
FROM steps_of(by = '', rollout = 'agents', epoch = '') ORDER BY session, step
"""
ASKED_WITH = """
SELECT DISTINCT
    stable_prompt = candidate_prompt AND stable_prompt != '' AS same_prompt,
    stable_tools = candidate_tools AND stable_tools != '' AS same_tools,
    stable_model, candidate_model, stable_served_model, candidate_served_model, left_out
FROM pair_log FINAL WHERE rollout = 'agents' AND outcome = 'scored'
"""


def test_an_agent_is_shadowed_step_by_step_and_no_tool_runs(system: System) -> None:
    """Each step is asked with its recorded context, whatever the candidate said before it."""
    port = int(system.settings["rollouts"][-1]["candidate"]["base_url"].split(":")[2].split("/")[0])
    mirror, trap = Mirror(service="agents", kafka=system.kafka), agents.Trap(agent.TOOLS)
    with agents.models(port) as server, trap.production():
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k") as plain:
            client = mirror.wrap(plain)
            for number in range(agents.CONVERSATIONS):
                turns, steps = agents.script(number)
                said = agent.converse(mirror, client, f"c{number:02}", turns, trap.tools)
                assert said == [step for step in steps if isinstance(step, str)]
            assert trap.runs == agents.runs_of_production()
            with mirror.context(session="searching"):  # a tool that the provider would run
                messages: Any = [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "Conversation 99: …"},
                ]
                client.chat.completions.create(
                    model="agent-1", messages=messages, web_search_options={"search_context_size": "low"}
                )
        trap.in_production = False  # from here on only shadows are asked
        assert mirror.flush(30)
        mirror.close()
        wanted = {
            (number, step)
            for number in range(agents.CONVERSATIONS)
            for step in range(1, len(agents.script(number)[1]) + 1)
        }
        report = system.settle(len(wanted) + 1, "agents")
    assert (trap.trapped, server.trapped, trap.runs) == ([], [], agents.runs_of_production())
    assert (report["ledger"]["scored"], report["ledger"]["abstained"]) == (len(wanted), 1)
    assert report["ledger"]["adds_up"]
    ends = {number: len(agents.script(number)[1]) for number in agents.DIVERGES}
    after = sum(ends[number] - step for number, (step, _) in agents.DIVERGES.items())
    assert report["sessions"] == {
        "sessions": 21,  # with the one of which nobody was asked
        "another_way": len(agents.DIVERGES),
        "compared": len(wanted),
        "diverged": len(agents.DIVERGES),
        "compared_after": after,
        "diverged_after": 0,
    }
    for number, step in wanted:  # each once, in its recorded context, marked
        assert server.context("candidate", number, step) == server.context("stable", number, step)
        assert server.saw["candidate", number, step][1] == "1"
        assert server.saw["stable", number, step][1] is None
        assert server.calls["candidate", number, step] == 1

    store = connect(ClickHouse(**system.settings["clickhouse"]))
    rows = list(store.query(STEPS).named_results())
    asked_with = list(store.query(ASKED_WITH).named_results())
    page = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
    documented = [
        list(store.query(query.replace("to-gpt-4o", "agents")).named_results())
        for query in re.findall(r"^```sql\n(.*?)^```", page, flags=re.M | re.S)
    ]
    store.close()
    ((overview,), diverged, contexts) = documented
    assert (overview["sessions"], overview["the_same_to_the_end"]) == (21, 21 - len(agents.DIVERGES))
    assert (overview["steps"], overview["diverged"]) == (len(wanted) + 1, len(agents.DIVERGES))
    assert {int(row["session"][1:]): row["step"] for row in diverged} == {
        number: step for number, (step, _) in agents.DIVERGES.items()
    }
    assert sum(row["steps"] for row in contexts) == len(wanted)
    assert {(int(row["session"][1:]), row["step"]) for row in rows if row["outcome"] == "scored"} == wanted
    for row in rows:
        if row["session"] == "searching":
            assert (row["outcome"], row["reason"]) == ("abstained", "side_effect")
            continue
        diverges = agents.DIVERGES.get(int(row["session"][1:]), (0, ""))[0]
        assert row["first_divergence"] == diverges
        assert row["diverged"] == (row["step"] == diverges)
        assert row["after_divergence"] == (0 < diverges < row["step"])
        assert (row["agreement"] is None or row["agreement"] == 1) != row["diverged"]
    (same,) = asked_with
    assert same["same_prompt"]
    assert same["same_tools"]
    assert (same["stable_model"], same["candidate_model"], same["left_out"]) == ("agent-1", "agent-2", [])
    assert (same["stable_served_model"], same["candidate_served_model"]) == (
        "agent-1-2026-11-01",
        "agent-2-2026-11-01",
    )
