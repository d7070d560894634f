"""ClickHouse for one machine: chDB, the same engine, behind ClickHouse's HTTP interface on loopback.

One process owns the data directory; clickhouse-connect, curl and Grafana talk to it as to a
ClickHouse server. See docs/embedded.md for its promises and limits.
"""

from shadowlane.embedded.store.server import DEFAULT_PORT, serve

__all__ = ["DEFAULT_PORT", "serve"]
