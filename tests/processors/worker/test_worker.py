"""The worker as a process, against a Kafka: nothing is lost, whatever becomes of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shadowlane.processors.worker.smaller import without_bulk
from shadowlane.schemas.events import Response
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.processors.worker.scene import Scene, ids_of_partition, request
from tests.services import KafkaAddress, broker_of_its_own

Stage = Callable[..., Scene]


@pytest.fixture
def stage(
    tmp_path: Path, kafka: KafkaAddress, candidate: FakeCandidate, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    scenes = []

    def build(address: KafkaAddress = kafka, **sections: Any) -> Scene:
        # A broker may outlive the session, so a name of the test alone would find its last run's records.
        prefix = f"{request.function.__name__.replace('_', '-')[:80]}-{uuid4().hex[:8]}"
        scenes.append(Scene(tmp_path, address, prefix, candidate.base_url, **sections))
        return scenes[-1]

    yield build
    for scene in scenes:
        scene.close()


def test_every_record_meets_its_fate(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage()
    scene.write(
        request("answered"),
        request("called", "tools"),
        request("failed", "refused"),
        request("not-ours", service="another"),
        request("other", model="another"),
        request("empty", body=None),
        request("odd", protocol="json"),
        b'{"request_id": "torn", "ts":',
        b'{"request_id": "newer", "schema_version": 99}',
        b"\xff\xfe",
        request("last"),
    )
    worker = scene.start()
    expected = {
        "answered": "",
        "called": "",
        "failed": "http",
        "other": "other_model",
        "empty": "no_content",
        "odd": "unsupported",
        "last": "",
    }
    scene.read_until(lambda: len(scene.responses) == len(expected) and len(scene.dead_letters) == 3)
    assert scene.terminate(worker) == 0
    assert {k: [r.error for r in v] for k, v in scene.responses.items()} == {
        k: [e] for k, e in expected.items()
    }
    assert candidate.calls == {"ok": 2, "tools": 1, "refused": 1}
    letters = {letter.request_id: letter for letter in scene.dead_letters}
    assert set(letters) == {"torn", "newer", ""}
    assert letters["torn"].payload == '{"request_id": "torn", "ts":'
    assert "not JSON" in letters["torn"].reason
    assert "99 is newer" in letters["newer"].reason
    assert letters[""].payload_encoding == "base64"
    assert {letter.component for letter in letters.values()} == {"worker"}
    assert set(scene.committed().values()) == {1}  # one envelope for each partition
    assert "dead_letters=3" in scene.log.read_text()


def test_no_more_calls_at_once_than_allowed(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage(worker={"concurrency": 8})
    scene.write(*(request(f"q{n}", "slow") for n in range(120)))
    scene.start()
    scene.read_until(lambda: len(scene.responses) == 120)
    assert candidate.most_in_flight == 8


def test_killed_in_the_middle_and_started_again(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage()
    scene.write(*(request(f"q{n}", "slow") for n in range(100)), one_by_one=True)
    worker = scene.start()
    scene.read_until(lambda: len(scene.responses) >= 30)
    worker.kill()
    worker.wait()
    assert candidate.calls.total() < 100
    second = scene.start()
    scene.read_until(lambda: len(scene.responses) == 100)
    assert scene.terminate(second) == 0
    assert sum(scene.committed().values()) == 100


def test_a_clean_stop_finishes_what_is_in_flight(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage(worker={"concurrency": 4})
    ids = ids_of_partition(0, 10)
    scene.write(*(request(i, "held") for i in ids), one_by_one=True)
    worker = scene.start()
    candidate.wait_for_calls(4)
    worker.terminate()
    wait_for_line(scene, "worker stopping: 4 calls in flight")
    candidate.release()
    assert worker.wait(60) == 0
    scene.read_until(lambda: len(scene.responses) == 4)
    assert set(scene.responses) == set(ids[:4])
    assert candidate.calls.total() == 4
    assert scene.committed()[0] == 4
    assert "given_back=6" in scene.log.read_text()


def test_offsets_stay_below_what_is_not_finished(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage(worker={"concurrency": 4, "drain_s": 0.1})
    ids = ids_of_partition(0, 12)
    says = ["ok", "ok", "held", *["ok"] * 9]
    scene.write(*(request(i, text) for i, text in zip(ids, says, strict=True)), one_by_one=True)
    worker = scene.start()
    scene.read_until(lambda: len(scene.responses) == 11)
    assert scene.terminate(worker) == 0  # gives back the one that is held
    assert scene.committed()[0] == 2
    candidate.release()
    scene.start()
    scene.read_until(lambda: len(scene.responses) == 12)
    assert all(ids[n] in scene.responses for n in range(12))
    assert len(scene.responses[ids[1]]) == 1  # committed: not asked again
    assert candidate.calls["held"] == 2


def test_what_kafka_has_not_acknowledged_is_not_finished(stage: Stage, candidate: FakeCandidate) -> None:
    scene = stage(envelope={"linger_ms": 600_000})  # answers stay in the worker
    scene.write(request(ids_of_partition(0, 1)[0]))
    scene.write(request(ids_of_partition(1, 1)[0], service="another"))
    worker = scene.start()
    candidate.wait_for_calls(1)
    scene.read_until(lambda: scene.committed()[1] == 1)  # so commits are under way
    assert scene.committed()[0] == -1001
    assert scene.terminate(worker) == 0  # a clean stop flushes
    assert scene.committed()[0] == 1


def test_workers_share_the_partitions_and_lose_nothing(stage: Stage) -> None:
    scene = stage()
    wanted = 60
    scene.write(*(request(f"q{n}", "slow") for n in range(wanted)), one_by_one=True)
    first = scene.start()
    scene.read_until(lambda: len(scene.responses) >= 10)
    second = scene.start()
    wait_for_line(scene, "partitions assigned: [0]\n", "partitions assigned: [1]\n")
    scene.write(*(request(f"r{n}", "slow") for n in range(wanted)), one_by_one=True)
    scene.read_until(lambda: len(scene.responses) == 2 * wanted)
    assert scene.terminate(first) == 0
    scene.write(*(request(f"s{n}", "slow") for n in range(wanted)), one_by_one=True)
    scene.read_until(lambda: len(scene.responses) == 3 * wanted)
    assert scene.terminate(second) == 0
    assert sum(scene.committed().values()) == 3 * wanted


def test_a_response_too_large_for_kafka_is_one_without_its_bulk(stage: Stage) -> None:
    scene = stage(client={"message.max.bytes": 100_000})
    scene.write(request("a", "large"), request("b"))
    worker = scene.start()
    scene.read_until(lambda: len(scene.responses) == 2)
    (response,) = scene.responses["a"]
    assert (response.error, response.output, response.request) == ("bad_response", "", None)
    assert "larger than a message" in response.error_message
    assert scene.terminate(worker) == 0
    assert set(scene.committed().values()) <= {1, -1001}


def test_without_kafka_it_stops_loudly_rather_than_skip(
    stage: Stage, kafka: KafkaAddress, candidate: FakeCandidate, tmp_path: Path
) -> None:
    with broker_of_its_own(kafka, tmp_path / "kafka") as broker:
        scene = stage(broker, client={"message.timeout.ms": 500})
        scene.write(request("a", "held"))
        worker = scene.start()
        candidate.wait_for_calls(1)
    candidate.release()
    assert worker.wait(90) != 0
    assert "BrokerError" in scene.log.read_text()


def test_a_session_timeout_that_kafka_refuses_is_said(stage: Stage, kafka: KafkaAddress) -> None:
    scene = stage(client={"session.timeout.ms": 1000, "heartbeat.interval.ms": 250})
    worker = scene.start()
    if kafka.kind == "embedded":  # which takes any
        scene.write(request("a"))
        scene.read_until(lambda: len(scene.responses) == 1)
        assert scene.terminate(worker) == 0
    else:
        assert worker.wait(60) != 0
        assert "set kafka.session_timeout_s between" in scene.log.read_text()


def test_a_key_that_is_missing_is_said_at_the_start(stage: Stage) -> None:
    scene = stage()
    text = scene.file.read_text().replace('"candidate":{', '"candidate":{"api_key_env":"NOT_SET_ANYWHERE",')
    scene.file.write_text(text)
    assert scene.start().wait(60) != 0
    assert "NOT_SET_ANYWHERE, which is not set" in scene.log.read_text()


def test_bulk_goes_step_by_step() -> None:
    whole = Response(
        request_id="a",
        ts=1,
        completed_at=2,
        service="s",
        route="/r",
        role="shadow",
        output="text",
        request={"x": 1},
        attributes={"a": "b"},
    )
    first = without_bulk(whole)
    assert first is not None
    assert (first.request, first.output, first.error) == (None, "text", "")
    assert first.request_bytes == len(b'{"x":1}')
    second = without_bulk(first)
    assert second is not None
    assert (second.output, second.error) == ("", "bad_response")
    assert (second.request_bytes, second.output_bytes) == (first.request_bytes, len("text"))
    third = without_bulk(second)
    assert third is not None
    assert (third.attributes, third.error) == ({}, "bad_response")
    assert without_bulk(third) is None


def wait_for_line(scene: Scene, *lines: str) -> None:
    """Until the workers' log has them all."""
    scene.read_until(lambda: all(line in scene.log.read_text() for line in lines))
