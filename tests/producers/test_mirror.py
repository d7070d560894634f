"""The mirror against Kafka, and against every way in which Kafka is not there: the service notices nothing."""

import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shadowlane.errors import ConfigError
from shadowlane.producers import Mirror
from shadowlane.producers.capture import Capture, RouteRule
from shadowlane.schemas.topics import Topics, partition_of
from tests.producers.support import FakeMirror, balanced, read_all, shouted, topics_on
from tests.services import KafkaAddress, free_port


def serve(mirror: Mirror, calls: int, size: int = 10) -> None:
    @mirror.observe(route="add")
    def add(n: int, text: str) -> int:
        return n + 1

    for n in range(calls):
        assert add(n, "x" * size) == n + 1


def test_everything_reaches_kafka_and_the_ledger_says_so(kafka: KafkaAddress) -> None:
    with topics_on(kafka.bootstrap_servers, f"t{uuid.uuid4().hex[:8]}", partitions=3) as topics:
        mirror = Mirror("shop", kafka=kafka.bootstrap_servers, topic_prefix=topics.prefix, sample=0.5)
        serve(mirror, 500)
        assert mirror.flush(30), mirror.stats()
        stats = mirror.stats()
        mirror.close()
        sent = read_all(kafka.bootstrap_servers, topics, lambda s: s.rows["mirrored"] == stats["mirrored"])
    assert balanced(stats)
    assert stats["eligible"] == 500
    assert 150 < stats["mirrored"] < 350
    assert sent.rows == {k: stats[k] for k in ("eligible", "sampled_out", "mirrored")}
    for half in (sent.requests, sent.served):
        assert len(half) == len({r.request_id for r in half}) == stats["mirrored"]
    for topic, partition, value in sent.messages:
        if topic != Topics().ledger:
            ids = [json.loads(line)["request_id"] for line in value.split(b"\n")]
            assert {partition_of(i, 3) for i in ids} == {partition}


def test_kafka_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    mirror = Mirror(
        "shop", kafka=f"127.0.0.1:{free_port()}", buffer_bytes=100_000, delivery_timeout=60, exit_timeout=0.1
    )
    with caplog.at_level(logging.WARNING, "shadowlane.mirror"):
        serve(mirror, 200, size=1000)
        assert not mirror.flush(0.2)
        stats = mirror.stats()
        assert balanced(stats)
        assert stats["dropped"]["buffer_full"] == 200 - stats["buffered"] > 0
        assert stats["buffered_bytes"] <= 100_000
        mirror.close()
    stats = mirror.stats()
    assert balanced(stats)
    assert stats["buffered"] == stats["buffered_bytes"] == stats["mirrored"] == 0
    assert stats["dropped"]["shutdown"] > 0
    assert any("before Kafka had acknowledged" in r.getMessage() for r in caplog.records)
    serve(mirror, 3)  # after the end
    assert mirror.stats()["dropped"]["shutdown"] == stats["dropped"]["shutdown"] + 3


def test_topics_that_are_missing(kafka: KafkaAddress, caplog: pytest.LogCaptureFixture) -> None:
    mirror = Mirror("shop", kafka=kafka.bootstrap_servers, topic_prefix="nowhere", delivery_timeout=0.3)
    serve(mirror, 5)
    assert mirror.flush(30)
    assert mirror.stats()["dropped"] == {"unreachable": 5}
    assert mirror.stats()["problems"]["topics"] > 0
    assert "nowhere.requests" in mirror.stats()["last_problem"]
    messages = [r.getMessage() for r in caplog.records if "has no topic" in r.getMessage()]
    assert len(messages) == 1  # however often it was met
    mirror.close()


def test_a_kafka_client_that_refuses_its_options() -> None:
    mirror = Mirror("shop", kafka="127.0.0.1:1", client={"no.such.option": "1"})
    serve(mirror, 5)
    assert mirror.flush(30)
    serve(mirror, 5)
    stats = mirror.stats()
    assert stats["dropped"] == {"misconfigured": 10}
    assert "no.such.option" in stats["last_problem"]
    assert balanced(stats)


def test_no_address_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    mirror = Mirror("shop")
    serve(mirror, 5)
    assert mirror.stats()["dropped"] == {"no_kafka": 5}
    assert mirror.flush(1)


def test_a_wrong_environment_is_told_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHADOWLANE_CAPTURE__SAMPLE", "lots")
    mirror = Mirror("shop", kafka="127.0.0.1:1")
    serve(mirror, 5)
    assert mirror.stats()["dropped"] == {"misconfigured": 5}
    assert "SHADOWLANE_CAPTURE__SAMPLE is 'lots'" in caplog.text


def test_a_variable_that_nobody_reads_is_told_and_nothing_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHADOWLANE_MIRROR__CONTENT", "metadata")  # CAPTURE__CONTENT was meant
    mirror = Mirror("shop", kafka="127.0.0.1:1")
    serve(mirror, 5)
    assert mirror.stats()["dropped"] == {"misconfigured": 5}
    assert "SHADOWLANE_MIRROR__CONTENT is set" in mirror.stats()["last_problem"]


def test_kafka_that_takes_only_one_half(fake: FakeMirror) -> None:
    fake.link.fate = lambda topic: "timed out" if topic == Topics().served else ""
    serve(fake.mirror, 10)
    assert fake.mirror.flush(20)
    assert fake.mirror.stats()["mirrored"] == 10  # the pipeline has them, and will say what became of them
    fake.link.fate = lambda topic: "timed out" if topic != Topics().ledger else ""
    serve(fake.mirror, 10)
    assert fake.mirror.flush(20)
    assert fake.mirror.stats()["dropped"] == {"delivery_failed": 10}
    assert balanced(fake.mirror.stats())


def test_content_switched_off() -> None:
    fake = FakeMirror(content="metadata")
    serve(fake.mirror, 1, size=77)
    request, served = fake.one()
    assert (request.body, request.without_content) == (None, "metadata")
    assert (served.output, served.error, served.error_message) == ("", "no_content", "metadata")
    assert b"xxx" not in b"".join(value for _, _, value in fake.link.acknowledged)


def test_a_redactor_that_raises_lets_nothing_out() -> None:
    def redact(data: bytes) -> bytes:
        raise ValueError("no")

    fake = FakeMirror(redact=redact)
    with fake.mirror.context(key="bob@example.com", attributes={"mail": "bob@example.com"}):
        serve(fake.mirror, 3)
    sent = fake.sent()
    everything = b"".join(value for _, _, value in fake.link.acknowledged)
    assert b"xxx" not in everything
    assert b"bob@" not in everything
    assert b'"add"' not in everything
    assert all(r.body is None and r.key == "" and not r.attributes for r in sent.requests)
    assert fake.mirror.stats()["without_content"] == {"redactor_failed": 3}


def test_what_is_mirrored_is_redacted(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="r")
    def reply(to: str) -> dict[str, str]:
        if to == "fail":
            raise ValueError("no eve@example.com")
        return {"sent": to, "password": "x"}

    with fake.mirror.context(key="eve@example.com", attributes={"mail": "eve@example.com", "tenant": "acme"}):
        reply("eve@example.com")
        with pytest.raises(ValueError, match="eve"):
            reply("fail")
    sent = fake.sent()
    assert b"eve" not in b"".join(value for _, _, value in fake.link.acknowledged)
    assert sent.requests[0].body == {"to": "[email]"}
    assert sent.requests[0].attributes == {"mail": "[email]", "tenant": "acme"}
    assert sent.served[0].output == '{"sent":"[email]","password":"[secret]"}'
    assert sent.served[1].error_message == "ValueError: no [email]"
    assert len({r.key for r in sent.requests}) == 1


def test_sampling_sticks_to_the_key() -> None:
    fake = FakeMirror(sample=0.3)
    for user in range(200):
        with fake.mirror.context(key=f"user-{user}"):
            serve(fake.mirror, 2)
    sent = fake.sent()
    assert set(Counter(r.key for r in sent.requests).values()) == {2}
    assert sent.rows["eligible"] == 400 == sent.rows["mirrored"] + sent.rows["sampled_out"]
    assert 20 < sent.rows["mirrored"] / 2 < 110


@pytest.mark.parametrize("size", [10, 30_000, 300_000])
def test_an_answer_handed_in_whole_is_what_it_is_in_pieces(size: int) -> None:
    found = []
    for whole in (True, False):
        fake = FakeMirror()
        exchange = fake.mirror.begin("r", "json")
        assert exchange is not None
        exchange.request(b'{"a": 1}')
        if whole:
            exchange.end(200, b"x" * size, "text/plain")
            exchange.end(500, b"again")
        else:
            exchange.respond(200, "text/plain")
            exchange.chunk(b"x" * size)
        exchange.finish()
        request, served = fake.one()
        found.append((request.body, served.output, served.status, served.error, served.error_message))
    assert found[0] == found[1]
    assert len(found[0][1]) == (size if size < 300_000 else 0)


def test_many_threads_lose_nothing(fake: FakeMirror) -> None:
    threads = [threading.Thread(target=serve, args=(fake.mirror, 300)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = fake.sent()
    assert len({r.request_id for r in sent.requests}) == len(sent.served) == 2400
    assert sent.rows == {"eligible": 2400, "mirrored": 2400}
    assert fake.mirror.stats()["buffered_bytes"] == 0


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("service", 5), ("service", ""), ("kafka", ["a:1"]), ("sample", 1.5), ("sample", "0.5"),
        ("sample", float("nan")), ("redact", "yes"), ("redact", "no.such:thing"), ("content", "some"),
        ("per_second", 0), ("redact_timeout", 0), ("allow", "*@x"), ("deny", [""]), ("routes", {"/": {"x": 1}}),
        ("routes", {"/": {"sample": 2}}), ("content", True), ("buffer_bytes", 0), ("buffer_bytes", True),
        ("client", "x"), ("enabled", "yes"), ("exit_timeout", -1),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_told_at_once(argument: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"Mirror\({argument}=…\)"):
        Mirror(**{argument: value})


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SHADOWLANE_SERVICE": "shop",
        "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS": "k:9092",
        "SHADOWLANE_KAFKA__TOPIC_PREFIX": "p",
        "SHADOWLANE_KAFKA__CLIENT": '{"security.protocol": "SSL"}',
        "SHADOWLANE_MIRROR__ENABLED": "no",
        "SHADOWLANE_CAPTURE__SAMPLE": "0.25",
        "SHADOWLANE_MIRROR__BUFFER_BYTES": "1000",
        "SHADOWLANE_CAPTURE__CONTENT": "metadata",
        "SHADOWLANE_CAPTURE__ALLOW": '["*@example.com"]',
        "SHADOWLANE_CAPTURE__ROUTES": '{"/admin*": {"sample": 0}}',
        "SHADOWLANE_CAPTURE__REDACT": "tests.producers.support:shouted",
    }.items():
        monkeypatch.setenv(name, value)
    found = Mirror(sample=0.75).settings
    assert (found.service, found.kafka, found.topic_prefix) == ("shop", "k:9092", "p")
    assert (found.enabled, found.buffer_bytes) == (False, 1000)
    assert found.capture == Capture(
        sample=0.75,
        content="metadata",
        redact=shouted,
        allow=("*@example.com",),
        routes={"/admin*": RouteRule(sample=0)},
    )
    assert found.client == {"security.protocol": "SSL"}


CHILD = """
import os, sys, json
from shadowlane import Mirror
from shadowlane.producers import ids
mirror = Mirror("shop", kafka=sys.argv[1], topic_prefix=sys.argv[2], exit_timeout=float(sys.argv[4]))
@mirror.observe(route="work")
def work(who, n):
    return n
how = sys.argv[3]
"""


def run_child(
    kafka: KafkaAddress, topics: Topics, how: str, code: str, exit_timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD + code, kafka.bootstrap_servers, topics.prefix, how, str(exit_timeout)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},
    )


FORK = """
for n in range(20): work("parent before", n)
if how == "connected": assert mirror.flush(30)
children = []
for c in range(3):
    pid = os.fork()
    if pid == 0:
        for n in range(20): work(f"child {c}", n)
        assert mirror.stats()["eligible"] == 20, mirror.stats()
        ok = mirror.flush(30)
        os._exit(0 if ok and mirror.stats()["mirrored"] == 20 else 1)
    children.append(pid)
for n in range(20): work("parent after", n)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
assert mirror.flush(30)
assert mirror.stats()["mirrored"] == 40, mirror.stats()
"""
MULTIPROCESSING = """
import multiprocessing
def target(c):
    for n in range(20): work(f"child {c}", n)
if __name__ == "__main__":
    for n in range(20): work("parent before", n)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=target, args=(c,)) for c in range(3)]
    [p.start() for p in processes]
    for n in range(20): work("parent after", n)
    [p.join() for p in processes]
"""


def test_threads_that_fork_at_once_leave_no_lock_behind(fake: FakeMirror) -> None:
    mirror = fake.mirror
    begun, over = threading.Event(), threading.Event()

    def fork_slowly() -> None:
        mirror._before_fork()
        begun.set()
        over.wait(20)
        mirror._after_fork_in_parent()

    thread = threading.Thread(target=fork_slowly)
    thread.start()
    assert begun.wait(20)
    mirror._before_fork()  # does not get it
    over.set()
    thread.join()
    mirror._after_fork_in_parent()
    serve(mirror, 1)
    assert mirror.flush(5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(
    ("how", "code"), [("connected", FORK), ("buffered", FORK), ("multiprocessing", MULTIPROCESSING)]
)
def test_a_fork_sends_its_own_and_the_parent_its_own(kafka: KafkaAddress, how: str, code: str) -> None:
    with topics_on(kafka.bootstrap_servers, f"t{uuid.uuid4().hex[:8]}") as topics:
        done = run_child(kafka, topics, how, code)
        assert done.returncode == 0, done.stderr
        sent = read_all(kafka.bootstrap_servers, topics, lambda s: s.rows["mirrored"] == 100)
    whose = Counter(r.body["who"] for r in sent.requests)
    assert whose == {
        "parent before": 20, "parent after": 20, "child 0": 20, "child 1": 20, "child 2": 20
    }  # fmt: skip
    assert len({r.request_id for r in sent.requests}) == 100
    assert sent.rows == {"eligible": 100, "mirrored": 100}
    assert len({key[0] for key in sent.cells}) == 4  # instances


def test_the_end_of_the_process_flushes(kafka: KafkaAddress) -> None:
    with topics_on(kafka.bootstrap_servers, f"t{uuid.uuid4().hex[:8]}") as topics:
        done = run_child(kafka, topics, "exit", "for n in range(50): work('it', n)")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        sent = read_all(kafka.bootstrap_servers, topics, lambda s: s.rows["mirrored"] == 50)
    assert len(sent.requests) == len(sent.served) == 50
    assert sent.rows == {"eligible": 50, "mirrored": 50}


def test_the_end_of_the_process_does_not_wait_for_a_kafka_that_is_away() -> None:
    nowhere = KafkaAddress(f"127.0.0.1:{free_port()}", "nowhere")
    done = run_child(nowhere, Topics("x"), "exit", "for n in range(50): work('it', n)", exit_timeout=0.2)
    assert done.returncode == 0
    assert "before Kafka had acknowledged 50 requests" in done.stderr


def test_the_service_says_who_served_where_a_router_of_its_own_decides(fake: FakeMirror) -> None:
    @fake.mirror.observe(route="r")
    def work(text: str) -> str:
        return text

    with fake.mirror.context(arm="candidate", stage="canary", key="k"):
        work("inside")
        with fake.mirror.context(attributes={"a": "b"}):
            work("inner")
        with fake.mirror.context(arm="stable"):
            work("another")
    work("outside")
    with pytest.raises(ConfigError, match="stable, candidate"):
        fake.mirror.context(arm="new")
    sent = fake.sent()
    said = {r.body["text"]: (r.arm, r.stage, r.key) for r in sent.requests}
    assert said == {
        "inside": ("candidate", "canary", "k"),
        "inner": ("candidate", "canary", "k"),
        "another": ("stable", "", "k"),
        "outside": ("", "", ""),
    }
    arms = {r.request_id: (r.arm, r.key) for r in sent.requests}
    assert {r.request_id: (r.arm, r.key) for r in sent.served} == arms


def test_the_key_is_redacted_in_both_records(fake: FakeMirror) -> None:
    with fake.mirror.context(key="bob@example.com", arm="stable"):
        serve(fake.mirror, 1)
    request, response = fake.one()
    assert request.key == response.key
    assert "@" not in request.key
    assert (request.arm, response.arm) == ("stable", "stable")


def test_attaching_imports_no_http_library_and_no_server_side() -> None:
    code = (
        "import sys, shadowlane; shadowlane.Mirror('s', kafka='x:1').observe(route='r')(print);"
        "print(sorted(m for m in ('openai','httpx','httpx2','starlette','faust','aiohttp','chdb','yaml',"
        "'clickhouse_connect','pydantic_settings') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
