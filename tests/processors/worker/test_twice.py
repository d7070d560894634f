"""The stable version asked again: what is asked in which order, and that the candidate's answer never suffers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shadowlane.errors import BrokerError, ConfigError
from shadowlane.processors.produce import Done, RecordTooLargeError
from shadowlane.processors.samples import NoiseSample
from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.places import Places
from shadowlane.processors.worker.progress import Progress
from shadowlane.processors.worker.question import Attempt, Question
from shadowlane.processors.worker.target import Plan
from shadowlane.processors.worker.twice import Twice
from shadowlane.schemas.answers import Answer
from shadowlane.schemas.codec import decode
from shadowlane.schemas.config import Rollout, Worker
from shadowlane.schemas.events import Arm, Failure, MirroredRequest, Response
from tests.processors.worker.fake_candidate import FakeCandidate
from tests.processors.worker.scene import Scene, ids_of_partition, request
from tests.services import KafkaAddress

WORKER = Worker(timeout_s=30, max_attempts=1)


def rollout(stable: str = "http://stable", candidate: str = "http://candidate", **more: Any) -> Rollout:
    values: dict[str, Any] = {"name": "r", "match": {"service": "s"}, "noise": {"rate": 1}}
    values |= {"stable": {"model": "old", "base_url": stable, "api_key_env": "STABLE_KEY"}}
    values |= {"candidate": {"model": "new", "base_url": candidate}}
    return Rollout.model_validate(values | more)


def answered(output: str, tool_calls: Any = None) -> Attempt:
    answer = Answer()
    answer.output, answer.tool_calls = output, tool_calls or []
    return Attempt(answer=answer)


class Asked:
    """Both versions and Kafka, as the worker sees them; ``steps`` is what happened, in order."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.steps, self.written = plan, list[str](), list[Response]()
        self.kafka: Callable[[Response], Exception | None] = lambda response: None
        self.stable = answered("again")
        self.progress = Progress()

    async def ask(self, question: Question, _rollout: Rollout) -> Callable[[], Response]:
        self.steps.append(question.target.arm)
        attempt = self.stable if question.target.arm is Arm.STABLE else answered("new")
        return lambda: question.answered(question.refused or attempt, 1)

    def put(self, request_id: str, line: bytes, done: Done) -> None:
        response = decode(Response, line)
        assert response.request_id == request_id
        self.steps.append("kafka")
        self.written.append(response)
        done(self.kafka(response))

    def respond(self, asked: MirroredRequest) -> Response | None:
        assert self.plan.noise
        asking = Twice(self.ask, self.put, self.progress, Places(1, self.progress)).asking(
            asked, self.plan, self.plan.noise
        )

        async def run() -> Response | None:
            return None if asking is None else (await asking())()

        return asyncio.run(run())


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setenv("STABLE_KEY", "sk-stable")
    return Asked(Plan.of(rollout(), WORKER))


def test_both_are_asked_in_an_order_that_the_request_settles(both: Asked) -> None:
    orders = set()
    for name in "abcdefgh":
        both.steps.clear()
        response = both.respond(request(name))
        assert response is not None
        assert (response.arm, response.role, response.output) == ("candidate", "shadow", "new")
        assert both.steps[2:] == ["kafka"]  # the baseline is there before the record may be finished
        first = both.steps[0]
        orders.add(first)
        both.respond(request(name))
        assert both.steps[3] == first  # read again after a crash, it is the same order
    assert orders == {"stable", "candidate"}
    (baseline, *_) = both.written
    assert (baseline.arm, baseline.role, baseline.output) == ("stable", "baseline", "again")
    assert (baseline.rollout, baseline.epoch, baseline.model) == ("r", both.plan.epoch, "old")
    assert baseline.fingerprint == baseline.served_fingerprint != ""
    assert (both.progress.baselines, both.progress.answered) == (16, 0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, ""),
        (
            {"arm": "candidate", "model": "new"},
            None,
        ),  # the candidate served: the stable version is its shadow
        ({"model": "third", "body": {"model": "third"}}, "other_model"),
        ({"body": None}, "no_content"),
    ],
)
def test_only_what_the_stable_version_served_is_asked_again(
    both: Asked, changes: dict[str, Any], error: str | None
) -> None:
    response = both.respond(request("a", **changes))
    if error is None:
        assert response is None
        assert both.steps == []
    else:
        assert response is not None
        assert [one.error for one in both.written] == [response.error] == [error]


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.THROTTLED])
def test_a_second_answer_that_fails_is_counted_and_the_first_goes_on(both: Asked, failure: Failure) -> None:
    both.stable = Attempt(failure=failure, message="sk-stable is slow")
    response = both.respond(request("a"))
    assert response is not None
    assert (response.output, response.error) == ("new", "")
    assert [(one.error, one.error_message) for one in both.written] == [(failure, "[secret] is slow")]
    assert (both.progress.baselines, both.progress.baseline_failures) == (0, {failure: 1})


def test_one_too_large_for_kafka_goes_without_its_bulk(both: Asked) -> None:
    both.kafka = lambda response: RecordTooLargeError("large") if response.output else None
    assert both.respond(request("a")) is not None
    assert [one.output for one in both.written] == ["again", "again", ""]
    assert both.written[-1].error == "bad_response"


def test_where_kafka_takes_none_the_record_is_not_finished(both: Asked) -> None:
    both.kafka = lambda response: BrokerError("gone")
    with pytest.raises(BrokerError, match="gone"):
        both.respond(request("a"))


def test_an_answer_that_can_not_be_written_is_a_failure_of_its_own(both: Asked) -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    both.stable = answered("again", deep)
    assert both.respond(request("a")) is not None
    assert [(one.error, one.output) for one in both.written] == [("bad_response", "")]


def test_without_a_key_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STABLE_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"rollout 'r': stable\.api_key_env names STABLE_KEY"):
        Plan.of(rollout(), WORKER)


def test_a_stable_version_of_any_model_is_asked_the_one_that_served(candidate: FakeCandidate) -> None:
    plan = Plan.of(
        rollout(stable=candidate.base_url).model_copy(update={"stable": stable(candidate)}), WORKER
    )
    assert plan.noise

    async def run() -> None:
        caller = Caller(WORKER)
        assert plan.noise
        ending = await caller.ask(Question.again(request("a"), plan, plan.noise.target), plan.rollout)
        response = ending()
        assert (response.error, response.output, response.model) == ("", "fine", "old")
        await caller.close()

    asyncio.run(run())
    assert candidate.bodies["ok"]["model"] == "old"


def stable(server: FakeCandidate) -> Any:
    return rollout().stable.model_copy(update={"model": "", "base_url": server.base_url, "api_key_env": ""})


def test_off_is_off() -> None:
    assert NoiseSample.of(rollout(noise={"rate": 0})) is None


def test_killed_between_the_two_calls_both_are_asked_again(
    tmp_path: Path, kafka: KafkaAddress, candidate: FakeCandidate
) -> None:
    candidate.release()  # it answers at once, and the stable version only once it is released
    with FakeCandidate().running() as stable_server:
        wanted = rollout(stable_server.base_url, candidate.base_url).model_dump(mode="json")
        wanted["stable"]["api_key_env"] = ""
        scene = Scene(tmp_path, kafka, f"twice-{uuid4().hex[:8]}", "", rollouts=[wanted])
        try:
            ids = ids_of_partition(0, 6)
            scene.write(*(request(name, "held") for name in ids))
            worker = scene.start()
            stable_server.wait_for_calls(6)
            worker.kill()
            worker.wait()
            assert set(scene.committed().values()) == {-1001}
            assert not scene.responses
            stable_server.release()
            worker = scene.start()
            scene.read_until(lambda: sum(map(len, scene.responses.values())) == 12)
            assert scene.terminate(worker) == 0
        finally:
            scene.close()
    roles = [sorted(one.role for one in scene.responses[name]) for name in ids]
    assert roles == [["baseline", "shadow"]] * 6
    assert stable_server.calls["held"] == 12
    assert scene.committed()[0] > 0
    assert "baselines=6" in scene.log.read_text()
