"""Callables in processes of their own: whatever they do, the worker goes on, and the pair says what it was."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydantic
import pytest

from shadowlane.processors.worker.caller import Caller
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.config import Candidate, Rollout, Worker
from shadowlane.schemas.events import MirroredRequest, Response
from tests.processors.worker.serving import asked, responded

HERE = "tests.processors.callables_to_call"


def says(text: str) -> MirroredRequest:
    return asked({"model": "old", "messages": [{"role": "user", "content": text}], "stream": True})


class Asking:
    """One caller, and what it answers."""

    def __init__(self, function: str = "answer", timeout_s: float = 60, **settings: Any) -> None:
        python = {"callable": f"{HERE}:{function}", "allow_code_execution": True} | settings
        document = {"name": "r", "candidate": {"kind": "python", "python": python, "timeout_s": timeout_s}}
        self.worker = Worker(max_attempts=3, retry_base_s=0.01)
        self.plan = Plan.of(Rollout.model_validate(document), self.worker)
        self._runner = asyncio.Runner()
        self._caller: Caller | None = None

    def __call__(self, *requests: MirroredRequest | str) -> list[Response]:
        """All at once."""
        return self._runner.run(self._ask([says(r) if isinstance(r, str) else r for r in requests]))

    async def _ask(self, requests: list[MirroredRequest]) -> list[Response]:
        self._caller = self._caller or Caller(self.worker)
        return await asyncio.gather(*(responded(self._caller, each, self.plan) for each in requests))

    def stopped(self, requests: list[str], begun: Callable[[], bool]) -> list[Response]:
        """The same; once it has ``begun``, calls are stopped."""

        async def ask() -> list[Response]:
            asking = asyncio.create_task(self._ask([says(text) for text in requests]))
            while True:
                await asyncio.sleep(0)  # as far as it goes without waiting
                if begun():
                    break
            assert self._caller is not None
            self._caller.abort(lambda rollout: f"{rollout} is stopped")
            return await asking

        return self._runner.run(ask())

    def close(self) -> None:
        async def end() -> None:
            if self._caller is not None:
                await self._caller.close()

        with self._runner:
            self._runner.run(end())


@contextmanager
def asking(function: str = "answer", **more: Any) -> Iterator[Asking]:
    ask = Asking(function, **more)
    try:
        yield ask
    finally:
        ask.close()


def test_what_a_callable_gives_is_the_answer() -> None:
    with asking() as ask:
        for text in ("plain", "completion"):
            [response] = ask(text)
            assert (response.error, response.error_message) == ("", "")
            assert (response.output, response.finish_reason) == ("fine", "stop")
            assert response.latency_ms > 0
        [response] = ask("plain")
        assert response.tool_calls == [{"name": "look_up", "arguments": '{"id":7}'}]
        assert response.input_tokens == 3
        [response] = ask("print")
        assert (response.error, response.output) == ("", "printed")
        [first], [second] = ask("count"), ask("count")
        pid, number = first.output.split()
        assert second.output == f"{pid} {int(number) + 1}"  # the same process
        [response] = ask("other")
        assert (response.error, response.error_message) == (
            "bad_response",
            "the answer is no chat completion",
        )


def test_the_arguments_of_an_observed_function_come_by_name() -> None:
    with asking("classify") as ask:
        call = MirroredRequest(
            request_id="a",
            ts=1,
            service="s",
            route="/r",
            protocol="call",
            body={"text": "refund", "limit": 2},
        )
        [response] = ask(call)
        assert (response.output, response.error) == ('{"label":"re"}', "")


def test_requests_are_translated_where_the_callable_says_what_it_takes() -> None:
    with asking(api="openai") as ask:
        body = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "model"}]}
        [response] = ask(asked(body, "anthropic.messages"))
        assert (response.output, response.error) == ("claude", "")


@pytest.mark.parametrize(
    ("text", "error", "said", "survives"),
    [
        ("raise", "exception", "ValueError: no such thing (callables_to_call.py:", True),
        ("exit", "exception", "SystemExit: 3", True),
        ("die", "exception", "it ended its process (exit code 7)", False),
        ("kill", "exception", "it took its process with it (SIGKILL)", False),
        ("object", "exception", "the callable gave what is no JSON: object", True),
        ("large", "exception", "an answer of more than 8388608 bytes", True),
    ],
)
def test_what_it_does_to_itself_is_the_pairs_error(text: str, error: str, said: str, survives: bool) -> None:
    with asking() as ask:
        [before] = ask("count")
        [response] = ask(text)
        assert (response.error, said in response.error_message, response.attempts) == (error, True, 1), (
            response
        )
        [after] = ask("count")
        assert (after.output.split()[0] == before.output.split()[0]) is survives


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
def test_one_that_takes_too_much_memory_is_started_again() -> None:
    with asking(memory_mb=512) as ask:
        [before] = ask("count")
        [response] = ask("memory")
        assert (response.error, response.error_message.split(":")[0]) == ("exception", "MemoryError")
        [after] = ask("count")
        assert after.output.split()[0] != before.output.split()[0]


@pytest.mark.parametrize("text", ["hang", "lock"])
def test_one_that_does_not_come_back_is_ended(text: str) -> None:
    with asking(timeout_s=1) as ask:
        [before] = ask("count")
        [response] = ask(text)
        assert (response.error, response.error_message) == ("timeout", "no answer within 1 s")
        assert response.latency_ms == 1000
        [after] = ask("count")
        assert after.output.split()[0] != before.output.split()[0]


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    with asking(timeout_s=2) as ask:
        [response] = ask(f"leave {tmp_path / 'pid'}")
        assert response.error == "timeout"
        wait_for_end(int((tmp_path / "pid").read_text()))


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("function", "text"), [("answer", "leave"), ("answer_async", "deaf")])
def test_a_stop_ends_what_runs_with_all_that_it_started(function: str, text: str, tmp_path: Path) -> None:
    with asking(function) as ask:
        pid = tmp_path / "pid"
        responses = ask.stopped([f"{text} {pid}", "wait"], lambda: pid.is_file() and pid.read_text() != "")
        assert {(each.error, each.attempts) for each in responses} == {("stopped", 1)}
        wait_for_end(int(pid.read_text()))
        [after] = ask("model" if function == "answer" else "pid")  # in a process that is new
        assert after.error == ""


def test_a_stop_ends_one_that_is_being_started() -> None:
    with asking() as ask:
        turns = iter((False, True))  # of the loop: after the second one both are under way
        [first, second] = ask.stopped(["count", "count"], lambda: next(turns))
        assert first.error == second.error == "stopped"
        assert ask("count")[0].output.endswith(" 1")


def test_calls_share_the_processes_that_there_are() -> None:
    with asking(processes=2) as ask:
        pids = {response.output.split()[0] for response in ask(*["count"] * 20)}
        assert len(pids) == 2
        assert os.getpid() not in map(int, pids)


def test_a_coroutine_function_runs_many_calls_in_one_process() -> None:
    with asking("answer_async") as ask:
        assert {response.output for response in ask(*["meet 50"] * 50)} == {"met"}


def test_a_coroutine_that_is_late_is_cancelled_and_the_others_go_on() -> None:
    with asking("answer_async", timeout_s=1) as ask:
        [before] = ask("pid")
        late, *others = ask("wait", *["meet 3"] * 3)
        assert late.error == "timeout"
        assert {response.output for response in others} == {"met"}
        assert ask("pid")[0].output == before.output


def test_a_coroutine_that_blocks_is_ended_and_the_others_are_asked_again() -> None:
    with asking("answer_async", timeout_s=1) as ask:
        ask("pid")
        [response] = ask("block")
        assert response.error == "timeout"
        assert ask("pid")[0].error == ""


def test_one_that_can_not_be_started_says_why() -> None:
    for function, said in (("nowhere", "has no attribute 'nowhere'"), ("calls", "is no callable")):
        with asking(function) as ask:
            first, second = ask("count", "count")
            assert first.error == second.error == "exception"
            assert said in first.error_message
            assert said in second.error_message


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (None, "kind 'python' needs python:"),
        ({"callable": "m:f"}, "say allow_code_execution: true"),
        ({"callable": "m.f", "allow_code_execution": True}, "should match pattern"),
        ({"callable": "m:f", "allow_code_execution": True, "processes": 0}, "greater than or equal to 1"),
    ],
)
def test_it_runs_only_where_that_is_said(python: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        Candidate(kind="python", python=python)
