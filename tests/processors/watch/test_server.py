"""The three pages."""

import http.client
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shadowlane import metrics
from shadowlane.processors.health import ask_health
from shadowlane.processors.watch import Board, Family, figures, watching
from shadowlane.processors.watch.board import Loop
from shadowlane.schemas.config import Settings
from tests.services import free_port

HOSTILE = 'a"}\n# HELP forged\x1b[2J\\'


class Component:
    """One that a test makes hang, or not ready."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.board = Board(
            "flags", unready=lambda: list(self.reasons), figures=self.figures, doing=lambda: "idles"
        )
        self.loop: Loop = self.board.loop("event loop", within_s=60.0)

    def figures(self) -> Iterator[Family]:
        yield figures(metrics.WORKER_FAILURES, {"timeout": 3, HOSTILE: 1})


def get(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("Content-Type", "")
    finally:
        connection.close()


@pytest.fixture
def component() -> Component:
    return Component()


@pytest.fixture
def port(component: Component) -> Iterator[int]:
    settings = Settings.model_validate({"monitoring": {"flags_port": free_port(), "stalled_after_s": 0}})
    with watching(settings, component.board) as port:
        yield port


def test_metrics_are_in_prometheus_format_whatever_the_labels(port: int) -> None:
    status, text, content_type = get(port, "/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["shadowlane_worker_failures"].samples
    assert {s.labels["reason"]: s.value for s in samples} == {"timeout": 3, HOSTILE: 1}
    assert "\x1b[2J" in text  # Prometheus takes any UTF-8; what can't be is a line of its own
    assert "forged" not in families
    (build,) = families["shadowlane_build_info"].samples
    assert build.labels["component"] == "flags"
    assert "process_start_time_seconds" in families


def test_healthy_while_its_loop_turns(component: Component, port: int) -> None:
    status, text, _ = get(port, "/healthz")
    assert status == 200
    assert json.loads(text)["alive"] is True
    component.loop.at = time.monotonic() - 61
    status, text, _ = get(port, "/healthz")
    assert status == 503
    assert json.loads(text)["hung"] == ["event loop"]
    status, text, _ = get(port, "/readyz")
    assert status == 503
    component.loop.turn()
    assert get(port, "/healthz")[0] == 200


def test_ready_where_there_is_no_reason_against_it(component: Component, port: int) -> None:
    assert get(port, "/readyz")[0] == 200
    component.reasons = ["it has not joined its consumer group"]
    status, text, _ = get(port, "/readyz")
    assert status == 503
    assert json.loads(text)["reasons"] == ["it has not joined its consumer group"]
    assert "shadowlane_ready 0.0" in get(port, "/metrics")[1]


def test_it_tells_nothing_else(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("/", "/metrics/../etc/passwd", "/%1b[2J", "/healthz?x=" + "y" * 1000):
        status, text, _ = get(port, path)
        assert status == (200 if path.startswith("/healthz") else 404)
        assert "passwd" not in text
    assert get(port, "/metrics", "POST")[0] == 501
    assert get(port, "/metrics", "HEAD")[:2] == (200, "")
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_stops_nothing(
    component: Component, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.model_validate({"monitoring": {"flags_port": port, "stalled_after_s": 0}})
    with caplog.at_level(logging.WARNING), watching(settings, Component().board) as none:
        assert none == 0
    assert f"127.0.0.1:{port}" in caplog.text
    assert "monitoring.flags_port" in caplog.text
    assert get(port, "/healthz")[0] == 200  # the first one's


def test_no_port_no_pages(component: Component) -> None:
    settings = Settings.model_validate({"monitoring": {"flags_port": 0}})
    before = threading.active_count()
    with watching(settings, component.board) as port:
        assert port == 0
    assert threading.active_count() == before  # nothing goes on after it


def test_many_may_ask_at_once_and_one_who_says_nothing_holds_up_none(port: int) -> None:
    silent = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(20)]
    try:
        for each in silent:
            each.connect()
        assert get(port, "/healthz")[0] == 200
    finally:
        for each in silent:
            each.close()


def test_only_this_deployment_s_component_is_asked(component: Component, port: int) -> None:
    def settings(prefix: str) -> Settings:
        return Settings.model_validate(
            {"monitoring": {"flags_port": port}, "kafka": {"topic_prefix": prefix}}
        )

    health = ask_health(settings("shadowlane"), "flags")
    assert health is not None
    assert health["doing"] == "idles"
    assert ask_health(settings("another"), "flags") is None
    assert ask_health(Settings.model_validate({"monitoring": {"worker_port": port}}), "worker") is None
    assert ask_health(Settings.model_validate({"monitoring": {"flags_port": 0}}), "flags") is None
    assert ask_health(Settings.model_validate({"monitoring": {"flags_port": free_port()}}), "flags") is None


def test_what_the_supervisor_says_is_counted(component: Component, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate({"monitoring": {"flags_port": free_port(), "stalled_after_s": 0}})
    for said, counted in (("3", 3), ("3\n# forged", 0), ("", 0)):
        monkeypatch.setenv("SHADOWLANE_STALLED_STARTS", said)
        with watching(settings, component.board) as port:
            assert f"\nshadowlane_watchdog_restarts_total {counted:.1f}\n" in get(port, "/metrics")[1]


def test_what_is_waited_for_is_told_since_when(component: Component, port: int) -> None:
    assert json.loads(get(port, "/healthz")[1])["waits"] == []
    now = time.monotonic()
    component.board.waits.look({"the store": "it does not answer"}, now - 7)
    component.board.waiting = lambda: {"the store": "it does not answer"}
    component.board.waits.look(component.board.waiting(), now)
    (wait,) = json.loads(get(port, "/healthz")[1])["waits"]
    assert (wait["what"], wait["why"]) == ("the store", "it does not answer")
    assert wait["seconds"] >= 7
    assert 'shadowlane_waiting_seconds{for="the store"}' in get(port, "/metrics")[1]
