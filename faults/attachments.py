"""Services in processes of their own, which fork and are told to end in the middle of their traffic."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from faults.case import Case, Check, PromiseBrokenError
from faults.traffic import arrivals, question, wait_until
from tests.services import free_ports


class Service:
    """A service's processes, and clients that ask it. What it answered is counted here, outside of it."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.count = case.count
        self.answered = 0
        self._lock = threading.Lock()
        self.folder = case.stack.system.folder / case.name
        self.folder.mkdir()
        (self.port,) = free_ports(1)
        self._thread = threading.Thread(target=self._run, daemon=True)

    argv: tuple[str, ...] = ()

    @property
    def sent(self) -> int:
        return self.answered

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")

    def start(self) -> None:
        environment = os.environ | {
            "MODEL_URL": self.case.stack.model("stable"),
            "QUEUE_FOLDER": str(self.folder),
            "SHADOWLANE_SERVICE": self.case.name,
            "SHADOWLANE_KAFKA__BOOTSTRAP_SERVERS": self.case.stack.broker.address,
            "SHADOWLANE_MIRROR__EXIT_TIMEOUT": "5",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        with (self.folder / "service.log").open("wb") as log:
            self.process = subprocess.Popen(
                [part.format(port=self.port) for part in self.argv],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )
        wait_until(self.ready, f"{self.argv[2]} serves", 40)
        self._thread.start()

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.argv[2]} ended: {self.log[-1000:]}")
        return self.answers(0) is not None

    def await_sent(self, share: float, timeout: float = 120.0) -> None:
        wait_until(lambda: self.sent >= share * self.count, f"{share:.0%} answered", timeout, every=0.01)

    def wait(self) -> None:
        self._thread.join()

    def finish(self) -> None:
        self.wait()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)

    def answers(self, number: int) -> str | None:
        """One request to it; None where it did not answer."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/", question(number).encode())
        try:
            with urllib.request.urlopen(asked, timeout=20) as reply:
                text = str(reply.read().decode())
        except (OSError, urllib.error.URLError):
            return None
        with self._lock:
            self.answered += 1
        return text

    def _run(self) -> None:
        started = time.monotonic()
        with ThreadPoolExecutor(4) as callers:
            for number, moment in enumerate(arrivals(self.count, self.case.seconds)):
                time.sleep(max(0.0, started + moment - time.monotonic()))
                callers.submit(self.answers, number)


class Gunicorn(Service):
    argv = (
        sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "2", "--bind", "127.0.0.1:{port}",
        "faults.service.wsgi:app",
    )  # fmt: skip


class Uvicorn(Service):
    argv = (
        sys.executable, "-m", "uvicorn", "--workers", "2", "--port", "{port}", "--log-level", "warning",
        "faults.service.asgi:app",
    )  # fmt: skip


class Celery(Service):
    """Tasks instead of requests: what was answered is what has a result."""

    argv = (
        sys.executable, "-m", "celery", "-A", "faults.service.tasks", "worker", "--pool", "prefork",
        "--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING",
    )  # fmt: skip

    def start(self) -> None:
        for name in ("queue", "control", "results"):
            (self.folder / name).mkdir()
        super().start()

    def ready(self) -> bool:
        # A filesystem for a queue: what is put there before the workers run is there when they do.
        return self.process.poll() is None

    @property
    def sent(self) -> int:
        return sum(1 for _ in (self.folder / "results").glob("celery-task-meta-*"))

    def finish(self) -> None:
        self.wait()
        if self.process.poll() is None:
            wait_until(lambda: self.sent >= self.count, "all tasks are done", 60)
        super().finish()

    def _run(self) -> None:
        os.environ |= {"MODEL_URL": "http://127.0.0.1:1", "QUEUE_FOLDER": str(self.folder)}
        from celery import Celery as App

        app = App("sender", broker="filesystem://")
        app.conf.broker_transport_options = {
            "data_folder_in": str(self.folder / "queue"),
            "data_folder_out": str(self.folder / "queue"),
            "control_folder": str(self.folder / "control"),
        }
        started = time.monotonic()
        for number, moment in enumerate(arrivals(self.count, self.case.seconds)):
            time.sleep(max(0.0, started + moment - time.monotonic()))
            app.send_task("faults.service.tasks.answer", args=(question(number),))


def terminated(case: Case) -> None:
    """SIGTERM to the whole service in the middle of its traffic: what it holds then is to be flushed."""
    case.traffic.await_sent(0.6)
    service = case.traffic
    assert isinstance(service, Service)
    service.process.send_signal(signal.SIGTERM)
    case.evidence["code"] = service.process.wait(40)


def every_answer_is_there(minimum: float) -> Check:
    """The ledger holds what the service answered, in as many processes as answered, and drops nothing."""

    def check(case: Case, report: dict[str, Any]) -> str:
        ledger, service = report["ledger"], case.traffic
        if service.sent < minimum * case.count:
            raise PromiseBrokenError(f"only {service.sent} answered: nothing is shown")
        case.exact(report)
        if ledger["scored"] != service.sent:
            raise PromiseBrokenError(f"{service.sent} answered, the ledger: {ledger}")
        mirrors = case.stack.query(
            "SELECT uniqExact(instance) FROM ledger_log WHERE service = {service:String}", service=case.name
        )[0][0]
        return f"{service.sent} answered by {mirrors} processes, {ledger['scored']} scored, none dropped"

    return check
