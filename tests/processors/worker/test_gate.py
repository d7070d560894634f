"""Stops, budgets and breakers on real workers: what they hold back, how fast, and what they have spent."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from typer.testing import CliRunner

from shadowlane.cli.app import app
from shadowlane.processors.budget.log import Lines, follow_budgets, write_stop
from shadowlane.processors.worker.switch import Said, said_in
from shadowlane.schemas.config import Kafka
from shadowlane.schemas.events import Stop
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.processors.worker.scene import Scene, request
from tests.services import KafkaAddress, free_port

Stage = Callable[..., Scene]


@pytest.fixture
def stage(
    tmp_path: Path, kafka: KafkaAddress, candidate: FakeCandidate, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    scenes = []

    def build(**sections: Any) -> Scene:
        prefix = f"{request.function.__name__.replace('_', '-')[:60]}-{uuid4().hex[:8]}"
        scenes.append(Scene(tmp_path, kafka, prefix, candidate.base_url, **sections))
        return scenes[-1]

    yield build
    for scene in scenes:
        scene.close()


def stop(kafka: Kafka, *, stopped: bool, rollout: str = "") -> None:
    said = Stop(ts=int(time.time() * 1000), rollout=rollout, stopped=stopped, by="ann", why="bills")
    write_stop(kafka, said, 30)


def said_by_status(scene: Scene) -> tuple[str, list[str]]:
    """What `shadowlane status` says of the one worker that runs: what goes on, and what is not as usual."""
    done = CliRunner().invoke(app, ["status", "worker", "--json", "--config", str(scene.file)])
    (part,) = orjson.loads(done.stdout)["parts"]
    return part["doing"], [line for line in part["told"] if not line.startswith("waits for")]


def errors(scene: Scene) -> dict[str, str]:
    return {name: responses[0].error for name, responses in scene.responses.items()}


@pytest.mark.parametrize("way", ["command", "file"])
def test_a_stop_ends_what_is_under_way_and_no_call_follows(
    stage: Stage, candidate: FakeCandidate, tmp_path: Path, way: str
) -> None:
    file = tmp_path / "stop"
    scene = stage(
        worker={"concurrency": 5, "stop_file": str(file), "retry_base_s": 600, "retry_max_s": 600},
        monitoring={"worker_port": free_port()},
    )
    scene.write(*(request(f"held{n}", "held") for n in range(4)), request("to be asked again", "broken"))
    worker = scene.start()
    candidate.wait_for_calls(5)
    while not said_by_status(scene)[1]:
        pass
    doing, (note,) = said_by_status(scene)
    assert doing == "4 of 5 calls in flight, 0 requests wait for one"
    assert note == "requests that wait to ask the candidate version of rollout r again: 1"
    if way == "file":
        file.write_text("too dear\n")
    else:
        stop(scene.kafka, stopped=True)
    scene.read_until(lambda: len(scene.responses) == 5)  # though the candidate holds them still
    candidate.wait_until_idle()
    why = {"file": f"the file {file}: too dear", "command": "ann: bills"}[way]
    doing, (note,) = said_by_status(scene)
    assert doing == "0 of 5 calls in flight, 0 requests wait for one"
    assert note.startswith(f"calls of all rollouts are stopped by {why}, since 2")
    assert note.endswith(
        {"file": "; they go on once it is gone", "command": "; they go on by: shadowlane calls start"}[way]
    )
    scene.write(*(request(f"later{n}") for n in range(5)))
    scene.read_until(lambda: len(scene.responses) == 10)
    assert set(errors(scene).values()) == {"stopped"}
    assert scene.responses["later0"][0].error_message == f"calls are stopped by {why}"
    assert said_by_status(scene) == (doing, [note])
    assert candidate.calls.total() == 5
    if way == "file":
        file.unlink()
    else:
        stop(scene.kafka, stopped=False)
    for number in range(1000):  # until it is heard
        name = f"again{number}"
        scene.write(request(name))
        scene.read_until(partial(scene.responses.__contains__, name))
        if not errors(scene)[name]:
            break
    assert scene.terminate(worker) == 0


def test_a_stop_of_one_rollout_leaves_the_others_alone(stage: Stage, candidate: FakeCandidate) -> None:
    rollouts = [
        {
            "name": name,
            "match": {"service": name},
            "stable": {"model": "old", "base_url": candidate.base_url},
            "candidate": {"base_url": candidate.base_url, "model": "new"},
            "noise": {"rate": rate},
        }
        for name, rate in (("s", 0), ("t", 1))
    ]
    scene = stage(rollouts=rollouts)
    stop(scene.kafka, stopped=True, rollout="t")
    scene.start()
    scene.write(
        request("a"), request("b", service="t")
    )  # a worker that starts knows of the stop before its first call
    scene.read_until(lambda: sum(map(len, scene.responses.values())) == 3)
    assert errors(scene) == {"a": "", "b": "stopped"}
    assert [(one.role, one.error) for one in scene.responses["b"]] == [
        ("baseline", "stopped"),
        ("shadow", "stopped"),
    ]
    assert candidate.calls.total() == 1


def test_four_workers_and_kills_do_not_spend_a_cent_more_than_the_budget(
    stage: Stage, candidate: FakeCandidate
) -> None:
    rollout = {
        "name": "r",
        "match": {"service": "s"},
        "stable": {"model": "old"},
        "candidate": {"base_url": candidate.base_url, "model": "new"},
        "budget": {"rollout": {"dollars": 0.3}, "max_output_tokens": 5},
    }
    # Each answer says that it took three tokens: 0.3 cents, of 0.5 that are reserved.
    prices = {"new": {"input": 0, "output": 1000}}
    scene = stage(rollouts=[rollout], prices=prices, worker={"concurrency": 3}, partitions=4)
    scene.write(*(request(f"q{number}", "slow") for number in range(250)), one_by_one=True)
    workers = [scene.start() for _ in range(4)]
    for calls, worker in ((20, workers[0]), (40, workers[1])):
        candidate.wait_for_calls(calls)
        worker.kill()
        scene.start()
    scene.read_until(lambda: len(scene.responses) == 250)
    assert set(errors(scene).values()) == {"", "over_budget"}
    # What the killed ones had taken is gone with them, and the rest of each may be too little for one more call.
    assert 50 <= candidate.calls.total() <= 100
    told = {r[0].error_message for r in scene.responses.values() if r[0].error == "over_budget"}
    assert told == {"the budget: the rollout is used up"}


def test_what_was_spent_is_told_and_what_was_not_given_back(stage: Stage, candidate: FakeCandidate) -> None:
    rollout = {
        "name": "r",
        "match": {"service": "s"},
        "stable": {"model": "old"},
        "candidate": {"base_url": candidate.base_url, "model": "new"},
        "budget": {"day": {"tokens": 10_000, "calls": 1000}},
    }
    scene = stage(rollouts=[rollout])
    scene.write(*(request(f"q{number}") for number in range(30)))
    worker = scene.start()
    scene.read_until(lambda: len(scene.responses) == 30)
    assert scene.terminate(worker) == 0
    heard = threading.Event()
    lines = Lines(heard.set)
    follows = follow_budgets(scene.kafka, lines)
    follows.start()
    try:
        assert follows.ready.wait(30)
        (window,) = lines.book.windows()
        assert lines.book.spent(window)[1:3] == (300, 30)  # ten tokens each, as the answers say
        assert lines.book.taken(window)[1:3] == (300, 30)
    finally:
        follows.stop(10)


def test_status_says_that_a_budget_is_used_up_and_when_it_renews(
    stage: Stage, candidate: FakeCandidate
) -> None:
    rollout = {
        "name": "r",
        "match": {"service": "s"},
        "stable": {"model": "old"},
        "candidate": {"base_url": candidate.base_url, "model": "new"},
        "budget": {"day": {"calls": 3}, "rollout": {"calls": 100}},
    }
    scene = stage(rollouts=[rollout], monitoring={"worker_port": free_port()})
    scene.write(*(request(f"q{number}") for number in range(6)))
    scene.start()
    scene.read_until(lambda: len(scene.responses) == 6)
    doing, notes = said_by_status(scene)
    assert "budget of rollout r: today (UTC) 3 of 3 calls; this epoch" in doing
    assert len(notes) == 1
    assert re.fullmatch(
        r"the budget of rollout r refuses calls: the day is used up \(today \(UTC\) 3 of 3 calls\); "
        r"it renews at 00:00 UTC, in \d+ (h|min|s).*",
        notes[0],
    )


def test_calls_that_were_refused_for_a_parameter_count_and_status_tells_of_it(
    stage: Stage, candidate: FakeCandidate
) -> None:
    rollout = {
        "name": "r",
        "match": {"service": "s"},
        "stable": {"model": "old"},
        "candidate": {
            "base_url": candidate.base_url,
            "model": "new",
            "rejected_parameters": "leave_out",
        },
        "budget": {"day": {"calls": 1000}},
    }
    scene = stage(rollouts=[rollout], monitoring={"worker_port": free_port()})
    asked = {
        "model": "old",
        "messages": [{"role": "user", "content": "picky"}],
        "temperature": 0.2,
        "top_p": 0.9,
    }
    scene.write(*(request(f"q{number}", body=asked) for number in range(40)))
    worker = scene.start()
    scene.read_until(lambda: len(scene.responses) == 40)
    found = [responses[0] for responses in scene.responses.values()]
    assert {(r.error, r.output, *r.left_out) for r in found} == {("", "fine", "temperature", "top_p")}
    made = candidate.calls.total()
    assert made == sum(r.attempts for r in found)
    assert 42 <= made < 60  # eight at once: each of the first is refused once, one of them twice
    without = "the candidate version of rollout r does not take temperature, top_p, and is asked without"
    doing, notes = said_by_status(scene)
    assert notes == [without]
    assert re.search(r"; budget of rollout r: today \(UTC\) \d+ of 1,000 calls$", doing)
    assert scene.terminate(worker) == 0
    assert scene.log.read_text().count("does not take temperature") == 1
    lines = Lines(lambda: None)
    follows = follow_budgets(scene.kafka, lines)
    follows.start()
    try:
        assert follows.ready.wait(30)
        (window,) = lines.book.windows()
        assert lines.book.spent(window)[2] == made
    finally:
        follows.stop(10)


def test_a_candidate_that_does_not_answer_is_left_alone(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage(worker={"concurrency": 8, "max_attempts": 1}, monitoring={"worker_port": free_port()})
    scene.write(*(request(f"q{number}", "broken") for number in range(120)))
    scene.start()
    scene.read_until(lambda: len(scene.responses) == 120)
    _, (note,) = said_by_status(scene)
    assert re.match(r"the candidate version of rollout r has not answered for \d+ s: it is tried", note)
    found = list(errors(scene).values())
    assert set(found) == {"http", "circuit_open"}
    assert 50 <= candidate.calls.total() < 70


def test_what_a_stop_file_says(tmp_path: Path) -> None:
    assert said_in(tmp_path / "none") is None
    (tmp_path / "empty").touch()
    os.utime(tmp_path / "empty", (1, 1_700_000_000.5))
    assert said_in(tmp_path / "empty") == Said("", 1_700_000_000.5)
    (tmp_path / "two").write_bytes(b"  too \x1b[31m dear \xff\nmore")
    assert said_in(tmp_path / "two") == Said("too \x1b[31m dear �", (tmp_path / "two").stat().st_mtime)
    assert said_in(tmp_path) == Said("it can't be read", tmp_path.stat().st_mtime)
    assert said_in(tmp_path / "two" / "below") == Said("it can't be read", 0)


def test_the_switch_by_its_commands(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage()

    def calls(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["calls", *arguments, "--config", str(scene.file)])
        assert done.exit_code == 0, done.output
        return done.output

    assert calls("list") == "nothing is stopped\n"
    assert calls("stop", "r", "--why", "too dear", "--by", "ann") == (
        "calls of rollout r are stopped, in each worker within a second\n"
    )
    scene.write(request("a"))
    worker = scene.start()
    scene.read_until(lambda: len(scene.responses) == 1)
    assert scene.responses["a"][0].error_message == "calls are stopped by ann: too dear"
    assert "too dear" in calls("list")
    calls("stop")
    assert "calls of all rollouts are stopped still" in calls("start", "r")
    assert calls("start") == "calls of all rollouts go on, in each worker within a second\n"
    assert calls("list") == "nothing is stopped\n"
    assert scene.terminate(worker) == 0
    unknown = CliRunner().invoke(app, ["calls", "stop", "x", "--config", str(scene.file)])
    assert unknown.exit_code
