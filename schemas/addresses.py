"""What Kafka's addresses tell of the broker behind them. Pure."""

import ipaddress

MOST = 5
"""Requests under way at once: the most with which an idempotent producer keeps its order."""


def in_flight(bootstrap_servers: str) -> int:
    """How many requests a producer may have under way at once.

    One, on this machine alone: the broker there may be the embedded one, which sometimes takes a new producer's later
    request before its first one, and then says of the first that it has it already: acknowledged, and lost. On
    loopback a request takes a millisecond, so nothing waits for another; over a network that would cost.
    """
    return 1 if all(map(_on_loopback, bootstrap_servers.split(","))) else MOST


def _on_loopback(address: str) -> bool:
    host = address.strip().rpartition("://")[2].rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
