"""Asks a component of this machine how it is: for ``shadowlane status`` and ``shadowlane up``."""

import http.client
from hashlib import blake2b
from typing import Any

import orjson

from shadowlane.schemas.config import Settings

ANSWER_S = 1.0


def deployment(settings: Settings) -> str:
    """Tells this deployment's components from another one's, whose ports may be the same."""
    kafka, store = settings.kafka, settings.clickhouse
    names = (kafka.bootstrap_servers, kafka.topic_prefix, store.host, str(store.port), store.database)
    return blake2b("\n".join(names).encode(), digest_size=6).hexdigest()


def ask_health(settings: Settings, component: str) -> dict[str, Any] | None:
    """What its ``/healthz`` says; None where none of this deployment answers at its port within a second."""
    monitoring = settings.monitoring
    host, port = monitoring.host, monitoring.port_of(component)
    if not port:
        return None
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (what is asked, not what is listened on)
    connection = http.client.HTTPConnection(anywhere.get(host, host), port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/healthz")
        health = orjson.loads(connection.getresponse().read(65536))
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
        return None
    finally:
        connection.close()
    mine = {"component": component, "deployment": deployment(settings)}
    return health if isinstance(health, dict) and mine.items() <= health.items() else None
