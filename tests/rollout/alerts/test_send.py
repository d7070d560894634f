"""The sending itself: what a network can do, and what must never come out."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shadowlane.errors import ConfigError
from shadowlane.rollout.alerts import send, trial
from shadowlane.rollout.alerts.channel import Channel
from shadowlane.rollout.alerts.send import Answer, Request
from shadowlane.rollout.state import Action
from shadowlane.schemas.config import AlertChannel, Settings
from tests.rollout.alerts.alerting import alert
from tests.rollout.alerts.conftest import Server
from tests.rollout.alerts.receivers import ROUTING_KEY, SLACK_PATH, TOKEN, WHSEC

SECRETS = (ROUTING_KEY, SLACK_PATH, TOKEN, WHSEC, "s3cretT0ken")
HOOK = Channel("hook", "webhook", 10, "https://example.com/hook", WHSEC)


def now_ms() -> int:
    return int(time.time() * 1000)


def listening(serve: Callable[[socket.socket], None]) -> int:
    """A port at which one connection is served by a thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

    threading.Thread(target=run, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def test_a_server_that_hangs_costs_its_time_and_no_more(server: Server) -> None:
    server.hanging.add("/hook")
    answer = send.post(Request(f"{server.url}/hook", b"{}"), 0.2)
    assert answer == Answer(0, "no answer within 0.2 s")


def test_a_server_that_answers_by_drops_does_not_hold_it_up() -> None:
    stop = threading.Event()

    def dribble(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.02):
            connection.sendall(b"x-a: b\r\n")

    port = listening(dribble)
    answer = send.post(Request(f"http://127.0.0.1:{port}/", b"{}"), 0.3)
    stop.set()
    assert answer.status == 0


def test_an_answer_counts_although_its_body_never_ends() -> None:
    stop = threading.Event()

    def endless(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\n")
        stop.wait(30)

    port = listening(endless)
    answer = send.post(Request(f"http://127.0.0.1:{port}/", b"{}"), 0.3)
    stop.set()
    assert answer.status == 202


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = send.post(Request(f"http://127.0.0.1:{port}/", b"{}"), 5)
    assert answer.status == 0
    assert "127.0.0.1" in answer.body


def test_a_redirect_is_not_followed_and_not_tried_again(server: Server) -> None:
    server.scripted.append((307, {"location": f"{server.url}/elsewhere"}, ""))
    answer = send.post(Request(f"{server.url}/hook", b"{}"), 5)
    assert [path for path, _, _ in server.received] == ["/hook"]
    assert HOOK.outcome(answer).outcome == "refused"


def test_who_shows_no_certificate_to_trust_gets_nothing(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                got.append(secured.recv(10))
        except OSError:
            pass

    answer = send.post(Request(f"https://127.0.0.1:{listening(serve)}/", b"{}"), 10)
    assert answer.status == 0
    assert "certificate" in answer.body.lower()
    assert not any(got)


@pytest.mark.parametrize(
    ("kind", "status", "outcome"),
    [
        ("pagerduty", 202, "sent"),
        ("pagerduty", 200, "refused"),  # not how PagerDuty accepts: a proxy, a page to log in
        ("pagerduty", 400, "refused"),
        ("alertmanager", 200, "sent"),
        ("slack", 200, "sent"),
        ("slack", 404, "refused"),
        ("webhook", 204, "sent"),
        ("webhook", 410, "refused"),
        ("webhook", 302, "refused"),
        ("webhook", 0, "failed"),
        ("webhook", 408, "failed"),
        ("slack", 429, "failed"),
        ("alertmanager", 500, "failed"),
        ("pagerduty", 503, "failed"),
    ],
)
def test_what_an_answer_means(kind: Any, status: int, outcome: str) -> None:
    channel = Channel("x", kind, 10, "https://example.com/hook", WHSEC)
    found = channel.outcome(Answer(status, "what it said"))
    assert (found.outcome, found.status) == (outcome, status)
    assert found.outcome == "sent" or "what it said" in found.message


def test_retry_after_is_read(server: Server) -> None:
    server.scripted.append((429, {"retry-after": "7"}, ""))
    answer = send.post(Request(f"{server.url}/hook", b"{}"), 5)
    assert HOOK.outcome(answer).wait_s == 7


def test_every_channel_is_tried_with_a_trigger_and_a_resolve(server: Server, settings: Settings) -> None:
    now = now_ms()
    outcomes = trial.test_alert(settings, None, now)
    assert [(name, outcome.outcome) for name, outcome in outcomes] == [
        ("pages", "sent"),
        ("metrics", "sent"),
        ("chat", "sent"),
        ("hook", "sent"),
    ]
    assert list(server.receivers.incidents.values()) == [["page", "over"]]
    assert server.receivers.active
    assert not server.receivers.firing(now)
    assert [m["text"].split(":")[0] for m in server.receivers.messages] == ["Critical", "Resolved"]
    assert [e["type"] for e in server.receivers.events.values()] == [
        "shadowlane.rollout.triggered",
        "shadowlane.rollout.resolved",
    ]


def test_one_channel_is_tried_by_name_and_an_unknown_one_is_named(server: Server, settings: Settings) -> None:
    assert [name for name, _ in trial.test_alert(settings, "chat", now_ms())] == ["chat"]
    with pytest.raises(ConfigError, match=r"no alert channel 'nobody' .*there: pages, metrics, chat, hook"):
        trial.test_alert(settings, "nobody", now_ms())


def test_a_trial_says_what_failed_and_what_to_do(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGERDUTY_KEY", "too-short-a-key")
    monkeypatch.delenv("HOOK_SECRET")
    outcomes = dict(trial.test_alert(settings, None, now_ms()))
    assert outcomes["pages"].message.startswith("the trigger was not sent: check the routing key")
    assert "length of routing_key" in outcomes["pages"].message
    assert outcomes["hook"].message == (
        "alert channel 'hook': key_env names HOOK_SECRET, which is not set: export it"
    )
    assert outcomes["chat"].outcome == "sent"


def test_no_secret_comes_back_out(server: Server, settings: Settings) -> None:
    """The server repeats all that it was sent, secrets included."""
    server.echoing = True
    outcomes = trial.test_alert(settings, None, now_ms())
    assert len(server.received) == len(outcomes) == 4
    for _, outcome in outcomes:
        assert outcome.status == 500
        assert not [secret for secret in SECRETS if secret in repr(outcome)]
    for configured in settings.alerts:
        channel = Channel.of(configured)
        told = alert(1, Action.TRIGGER, now_ms())
        request = channel.request(told, told, now_ms())
        assert not [s for s in SECRETS if s in f"{channel!r} {request!r}"]


def test_an_address_that_does_not_exist_says_nothing_of_its_path() -> None:
    url = f"http://nobody.invalid{SLACK_PATH}"
    channel = Channel("chat", "slack", 10, url, "")
    outcome = channel.outcome(send.post(Request(url, b"{}"), 10))
    assert outcome.outcome == "failed"
    assert "s3cret" not in outcome.message


@pytest.mark.parametrize(
    ("configured", "says"),
    [
        ({"kind": "slack"}, "needs url, or url_env"),
        ({"kind": "pagerduty"}, "needs key_env"),
        ({"kind": "webhook", "url": "https://x.example/"}, "needs key_env"),
        (
            {"kind": "webhook", "url": "https://x.example/", "key_env": "WEAK"},
            "key_env names WEAK; .*24 random",
        ),
        ({"kind": "slack", "url_env": "MISSING"}, "url_env names MISSING, which is not set"),
        ({"kind": "slack", "url_env": "WEAK"}, "what WEAK holds is no url"),
        ({"kind": "slack", "url": "https://x.example/", "url_env": "WEAK"}, "take one out"),
        ({"kind": "slack", "url": "https://x.example/", "key_env": "WEAK"}, "take key_env out"),
        ({"kind": "slack", "url": "http://hooks.slack.com/services/x"}, "has to begin with https://"),
        ({"kind": "pagerduty", "url": "http://x.example", "key_env": "WEAK"}, "has to begin with https://"),
        ({"kind": "pagerduty", "key_env": "CONTROL"}, "printable ASCII"),
    ],
)
def test_a_channel_that_can_not_work_is_refused_at_once(
    configured: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEAK", "hunter2-hunter2")
    monkeypatch.setenv("CONTROL", "a\nb")
    with pytest.raises(ConfigError, match=says) as caught:
        Channel.of(AlertChannel.model_validate({"name": "x", **configured}))
    assert "hunter2" not in str(caught.value)
    assert "alert channel 'x'" in str(caught.value)


@pytest.mark.parametrize(
    "secret", ["queryS3cret", "p@ssW0rd/99", WHSEC.removeprefix("whsec_"), "pathS3cret", "p%40ssW0rd%2F99"]
)
@pytest.mark.parametrize("kind", ["webhook", "alertmanager"])
def test_a_part_of_a_secret_address_is_not_repeated(kind: Any, secret: str) -> None:
    url = "https://operator:p%40ssW0rd%2F99@example.com/am/pathS3cret?token=queryS3cret&team=a"
    found = Channel("ours", kind, 10, url, WHSEC).outcome(Answer(400, f"no such thing: {secret}!"))
    assert "no such thing: …!" in found.message
