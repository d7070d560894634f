"""One node of Kafka: its Java process, from the first start to the end."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from shadowlane.embedded.kafka.java import find_java
from shadowlane.embedded.kafka.settings import HEAP_MB, Layout
from shadowlane.errors import BrokerError

_LOGGING = Path(__file__).parent / "log4j2.properties"
# Looked up before any fork: the child of a program with threads may call, and not import.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


class Node:
    """``number`` counts from 1. All methods are for one thread at a time."""

    def __init__(self, layout: Layout, number: int, classpath: Sequence[Path], lock: int) -> None:
        self.number = number
        self._layout = layout
        self._classpath = os.pathsep.join(map(str, classpath))
        self._lock = lock  # the descriptor of the data's lock, which a node holds as long as it lives
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """Of the last start: None while it runs, and before the first."""
        return self._process.poll() if self._process else None

    def format(self, cluster_id: str) -> None:
        """Make its directory ready, once. Raises BrokerError if Kafka refuses."""
        properties = self._layout.properties_file(self.number)
        properties.write_text(self._layout.properties(self.number), encoding="utf-8")
        if (self._layout.records(self.number) / "meta.properties").exists():
            return
        log = self._layout.log(self.number)
        command = [
            *self._java(64, log),
            # One in 64 ids begins with "-", and would be read as an option if it stood by itself.
            *("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", str(properties)),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BrokerError(
                f"Kafka can't use {self._layout.records(self.number)}: {done.stderr.strip() or done.stdout.strip()}"
            )

    def start(self) -> None:
        """Start it, without waiting until it answers."""
        log = self._layout.log(self.number)
        self._log_start = len(_text(log))
        with log.with_suffix(".err").open("wb") as errors:
            self._process = subprocess.Popen(
                [*self._java(HEAP_MB, log), "kafka.Kafka", str(self._layout.properties_file(self.number))],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(self._lock,),
                start_new_session=True,  # Ctrl-C in a terminal is for the program that owns the cluster
                preexec_fn=_die_with_parent,
            )

    def wait_until_ready(self, deadline: float) -> None:
        """Return once it takes part: it answers, and is in what it says of the cluster.

        ``deadline`` is on the monotonic clock. Raises BrokerError if it ends or is late.
        """
        address = self._layout.address(self.number)
        # No word from librdkafka about the attempts that come before it listens.
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 100})
        while True:
            try:
                if self.number in admin.list_topics(timeout=0.5).brokers:
                    return
                time.sleep(0.05)
            except KafkaException:
                pass
            if self.pid is None:
                raise BrokerError(
                    f"Kafka's node {self.number} did not start (exit code {self.exit_code}): {self.last_words()}"
                )
            if time.monotonic() > deadline:
                log = self._layout.log(self.number)
                raise BrokerError(f"Kafka's node {self.number} does not answer at {address}: see {log}")

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM): it hands its partitions on and closes its files."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            # One that was stopped by SIGSTOP would not hear of it.
            self._process.send_signal(signal.SIGCONT)

    def wait(self, deadline: float) -> None:
        """Return once it has ended; at the deadline it is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def last_words(self, lines: int = 3) -> str:
        """What it complained of last since its start, on stderr or in its log; without Java's stack."""
        log = self._layout.log(self.number)
        said = _text(log.with_suffix(".err")) or _text(log)[self._log_start :]
        told = [line for line in said.splitlines() if line.strip() and not line.startswith("\tat ")]
        return "\n".join([line for line in told if " INFO " not in line][-lines:]) or "without a word"

    def _java(self, heap_mb: int, log: Path) -> list[str]:
        return [
            find_java(),
            *(f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"),
            "-XX:TieredStopAtLevel=1",  # a third less CPU at the start, and one machine's traffic needs no more
            *("-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true", "-Dlog4j2.disableJmx=true"),
            f"-Dlog4j2.configurationFile={_LOGGING}",
            f"-Dshadowlane.log={log}",
            *("-cp", self._classpath),
        ]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _die_with_parent() -> None:
    """In the child, before exec: if the owner is killed, its nodes go too.

    By SIGKILL: nodes that stop in order wait for one another, and nobody would be left to end the wait.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
