"""Secrets that are planted everywhere and come out nowhere; payloads that nothing obeys, wherever they stand."""

import base64
import json
import os
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import Producer

from benchmarks.system import SHADOWLANE, System
from shadowlane.producers import Mirror
from tests.e2e.starting import Start
from tests.reading import messages
from tests.services import free_ports

pytestmark = pytest.mark.e2e
REQUESTS = 6

SECRETS = {
    "the password of ClickHouse": "clickS3cretPassword",
    "the password of Kafka": "saslS3cretPassword",
    "the candidate's key": "sk-candidateS3cretKey0123456789",
    "a header of the candidate's": "headerS3cretOfCandidate",
    "the address of a webhook": "hookS3cretPathInUrl",
    "the key of a webhook": "whsec_" + base64.b64encode(b"hookS3cretSigningKey-of-24-bytes").decode(),
    "a key in a request": "sk-proj-requestS3cretKey0123456789abcdef",
    "a bearer in a request": "requestS3cretBearerToken0123456789",
    "a password in a request": "requestS3cretPassword",
    "a key in an answer": "sk-proj-answerS3cretKey0123456789abcdef",
    "a mail address in an attribute": "ada.s3cret@example.com",
}

SQL = "x'); DROP TABLE pair_log; --"
HTML = "<script>alert('hostile')</script>"
ESCAPE = "\x1b]0;hostile\x07\x1b[2J\x1b[31mred"
MARKUP = "[bold red]hostile[/bold red] [/nothing] [link=file:///etc/passwd]x[/link]"
FORMATS = "%s%s%n %(name)s {0} {settings.clickhouse} ${jndi:ldap://hostile}"
TENANTS = (SQL, HTML, ESCAPE, MARKUP, FORMATS)


class Candidate(BaseHTTPRequestHandler):
    """Fails, and repeats all that it was sent, headers included; or answers with the payloads."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        if "fail" in body:
            sent = f"{self.headers.as_string()} {ESCAPE} {MARKUP} {FORMATS}"
            self._send(400, {"error": {"message": sent, "type": HTML}})
        else:
            message = {"role": "assistant", "content": " ".join(TENANTS)}
            self._send(200, {"model": MARKUP, "choices": [{"message": message, "finish_reason": ESCAPE}]})

    def _send(self, status: int, document: object) -> None:
        payload = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def system(start_servers_too: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("hostile")
    candidate = ThreadingHTTPServer(("127.0.0.1", 0), Candidate)
    threading.Thread(target=candidate.serve_forever, daemon=True).start()
    (closed, *ports) = free_ports(5)
    os.environ |= {
        "CANDIDATE_KEY": SECRETS["the candidate's key"],
        "HOOK_URL": f"http://127.0.0.1:{closed}/{SECRETS['the address of a webhook']}?token=x",
        "HOOK_KEY": SECRETS["the key of a webhook"],
    }
    settings: dict[str, Any] = {
        "kafka": {
            "client": {
                "sasl.username": "shadowlane",
                "sasl.password": SECRETS["the password of Kafka"],
            }
        },
        "clickhouse": {"password": SECRETS["the password of ClickHouse"]},
        "sink": {"max_wait_s": 0.2},
        "controller": {"poll_s": 1, "bucket_s": 1, "close_after_s": 1},
        "monitoring": dict(
            zip((f"{name}_port" for name in ("worker", "pairing", "sink", "controller")), ports, strict=True)
        ),
        "alerts": [{"name": "hook", "kind": "webhook", "url_env": "HOOK_URL", "key_env": "HOOK_KEY"}],
        "rollouts": [
            {
                "name": "hostile",
                "match": {"service": "hostile"},
                "stable": {"model": "stable"},
                "candidate": {
                    "model": "m",
                    "base_url": f"http://127.0.0.1:{candidate.server_port}/v1",
                    "api_key_env": "CANDIDATE_KEY",
                    "headers": {"x-secret": SECRETS["a header of the candidate's"]},
                },
                "slices": ["tenant"],
                "stages": [{"name": "shadow", "duration_hours": 0, "min_pairs": 5, "traffic_cycle_hours": 0}],
                "auto_rollback": {"trigger": "error_rate > 1%"},
            }
        ],
    }
    try:
        with start_servers_too(folder, settings) as system:
            _send(system)
            system.settle(REQUESTS * len(TENANTS), "hostile")
            _break(system)
            yield system
    finally:
        candidate.shutdown()


def _send(system: System) -> None:
    """Requests with secrets and payloads in all their parts; and records that are none."""
    from openai import OpenAI

    mirror = Mirror(service="hostile", kafka=system.kafka)

    class Stable(Candidate):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            said = f"{SECRETS['a key in an answer']} {' '.join(TENANTS)}"
            message = {"role": "assistant", "content": said}
            self._send(200, {"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="stable") as plain:
        client = mirror.wrap(plain)
        for number in range(REQUESTS):
            for tenant in TENANTS:
                said = (
                    f"{'fail' if number % 2 else ''} {SECRETS['a key in a request']} "
                    f"Authorization: Bearer {SECRETS['a bearer in a request']} {tenant}"
                )
                attributes = {"tenant": tenant, "mail": SECRETS["a mail address in an attribute"]}
                with mirror.context(key=f"{tenant}{number}", attributes=attributes):
                    client.chat.completions.create(
                        model="stable",
                        messages=[{"role": "user", "content": said}],
                        extra_body={"password": SECRETS["a password in a request"]},
                    )
    assert mirror.flush(30)
    mirror.close()
    server.shutdown()
    producer = Producer({"bootstrap.servers": system.kafka})
    for poison in (ESCAPE, MARKUP, FORMATS, SQL, HTML, '{"request_id": "' + "a" * 40):
        producer.produce("shadowlane.requests", poison.encode(), partition=0)
        producer.produce("shadowlane.pairs", poison.encode(), partition=0)
    assert producer.flush(30) == 0


def _break(system: System) -> None:
    """The store dies and comes back: what the components say of that, with its address, is in their logs."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(system.process.pid)], capture_output=True, text=True
    ).stdout
    (store,) = [int(line.split()[0]) for line in listed.splitlines() if "embedded store" in line]
    os.kill(store, signal.SIGKILL)
    system.run("status", "--wait", "30")
    for component in ("sink", "pairing"):
        pid = system.component_pid(component)
        assert pid
        os.kill(pid, signal.SIGTERM)
    system.run("status", "--wait", "30")
    # A command whose server is away or whose password is refused says so as well.
    away = {"SHADOWLANE_CLICKHOUSE__PORT": "1", "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    refused = [_said(system, command, **away) for command in (["status"], ["report"], ["store", "migrate"])]
    (system.folder / "refused.log").write_text("\n".join(refused))
    (system.folder / "alerts.log").write_text(_said(system, ["alerts", "test", "hook"]))


COMMANDS = (
    ("status",),
    ("report", "hostile"),
    ("report", "hostile", "--json"),
    ("pairs", "hostile", "--worst", "20"),
    ("pairs", "hostile", "--worst", "20", "--json"),
    ("rollout", "status", "hostile"),
    ("rollout", "history", "hostile"),
    ("audit", "hostile"),
    ("config", "check"),
)


@pytest.fixture(scope="module")
def shown(system: System) -> dict[str, str]:
    """What every command shows, by its name."""
    return {" ".join(command): _said(system, command) for command in COMMANDS}


def _said(system: System, command: Sequence[str], **environment: str) -> str:
    """All that a command says, on both streams."""
    done = subprocess.run(
        [*SHADOWLANE, *command, "--config", str(system.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=system.environment | environment,
    )
    return done.stdout


@pytest.fixture(scope="module")
def everywhere(system: System, shown: dict[str, str]) -> dict[str, str]:
    """All that the system has said and kept, by where it stands."""
    found = {f"the command {name}": text for name, text in shown.items()}
    data = system.folder / "data"
    for path in [*system.folder.glob("*.log"), *data.glob("logs/*.log"), *data.glob("kafka/logs/*.log")]:
        found[path.name] = path.read_text(errors="replace")
    for name, port in system.settings["monitoring"].items():
        for page in ("metrics", "healthz", "readyz"):
            found[f"{page} of {name}"] = _page(f"http://127.0.0.1:{port}/{page}")
    client = clickhouse_connect.get_client(port=system.settings["clickhouse"]["port"], database="shadowlane")
    for (table,) in client.query(TABLES).result_rows:
        found[f"the table {table}"] = client.command(f"SELECT * FROM {table} FORMAT JSONEachRow") or ""  # type: ignore[assignment]
    client.close()
    found |= _topics(system.kafka)
    return {place: str(text) for place, text in found.items()}


TABLES = "SELECT name FROM system.tables WHERE database = 'shadowlane' AND engine LIKE '%MergeTree'"


def _page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as exc:
        return exc.read().decode()


def _topics(kafka: str) -> dict[str, str]:
    there = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics
    return {
        f"the topic {topic}": "\n".join(
            (message.value() or b"").decode(errors="replace") for message in messages(kafka, topic)
        )
        for topic in there
        if topic.startswith("shadowlane.")
    }


@pytest.mark.parametrize("what", SECRETS)
def test_no_secret_comes_out(everywhere: dict[str, str], what: str) -> None:
    secret = SECRETS[what]
    forms = {
        secret,
        urllib.parse.quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode().rstrip("="),
    }
    if secret.startswith("whsec_"):
        forms |= {secret.removeprefix("whsec_"), base64.b64decode(secret.removeprefix("whsec_")).decode()}
    assert [place for place, text in everywhere.items() if any(form in text for form in forms)] == []


def test_there_was_something_to_find_it_in(everywhere: dict[str, str]) -> None:
    for place in (
        "worker.log",
        "sink.log",
        "refused.log",
        "alerts.log",
        "the table pair_log",
        "metrics of worker_port",
    ):
        assert everywhere[place], place
    assert "[secret]" in everywhere["the table pair_log"]
    assert "hostile" in everywhere["the topic shadowlane.dead-letters"]


def test_the_payloads_changed_nothing(system: System) -> None:
    report = system.report("hostile")
    assert report["ledger"]["scored"] == REQUESTS * len(TENANTS)
    assert report["ledger"]["adds_up"]
    assert report["ledger"]["unreadable"] == 12
    tenants = {one["slice"].partition("=")[2] for one in report["slices"]}
    assert tenants == set(TENANTS)


@pytest.mark.parametrize("name", [" ".join(command) for command in COMMANDS])
def test_every_command_shows_payloads_as_text(shown: dict[str, str], name: str) -> None:
    text = shown[name]
    assert text
    assert "Traceback" not in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x9b]", text), "what a terminal obeys"


@pytest.mark.parametrize(
    "command", [("report", "hostile"), ("pairs", "hostile", "--worst", "20"), ("status",)]
)
def test_a_terminal_is_not_spoken_to_by_a_payload(system: System, command: tuple[str, ...]) -> None:
    """As on a terminal, colours and all: our own escapes are there, and none of a payload's."""
    said = _said(system, command, FORCE_COLOR="1", TERM="xterm-256color", COLUMNS="200")
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert "\x07" not in said


def test_markup_is_shown_as_it_is(system: System) -> None:
    assert "[bold red]hostile[/bold red] [/nothing]" in _said(system, ("report", "hostile"), COLUMNS="300")


def test_no_line_of_a_log_is_forged(everywhere: dict[str, str]) -> None:
    for place in ("worker.log", "pairing.log", "sink.log", "controller.log", "up.log"):
        assert "\x1b" not in everywhere[place], place


def test_all_listens_on_loopback_alone(system: System) -> None:
    family = {system.process.pid, *_children(system.process.pid)}
    inodes = {
        os.readlink(fd)[8:-1]
        for pid in family
        for fd in Path(f"/proc/{pid}/fd").glob("*")
        if fd.is_symlink() and os.readlink(fd).startswith("socket:[")
    }
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1])
    assert len(listening) >= 6, "broker, store, and four components"
    assert [address for address in listening if not address.startswith("0100007F:")] == []


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    found = [int(line) for line in listed.split()]
    return found + [each for child in found for each in _children(child)]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS": "0.0.0.0:9092"}, "serves 127.0.0.1:PORT alone"),
        ({"SHADOWLANE_CLICKHOUSE__HOST": "192.0.2.1"}, "serves 127.0.0.1 alone"),
    ],
)
def test_a_server_of_ours_is_for_this_machine_alone(
    system: System, tmp_path: Path, settings: dict[str, str], told: str
) -> None:
    done = subprocess.run(
        [*SHADOWLANE, "up", "--config", str(system.config), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        env=system.environment | settings,
    )
    assert done.returncode == 2
    assert told in done.stderr
