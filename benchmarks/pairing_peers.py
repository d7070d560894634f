"""What one would write instead of pairing, in the two stream processors for Python that keep state.

    python benchmarks/pairing_peers.py quix|quix_envelopes|bytewax_memory|bytewax BOOTSTRAP PREFIX

It runs in a venv of its own (requirements-peers.txt), knows nothing of shadowlane, and pairs until it is killed. The
time at which the first message was read is printed, in Unix seconds.

Both are written as their documentation shows it: quixstreams as a stateful function over both topics, whose state is
in RocksDB and in a changelog topic; bytewax as ``op.join``, with its recovery store where asked for. Both write one
message a pair, which is their natural form, with librdkafka set as shadowlane sets it.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

PRODUCER = {"acks": "all", "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5}
SIDE = ("model", "output", "tool_calls", "finish_reason", "error", "error_message", "status", "latency_ms")
SIDE += ("ttft_ms", "input_tokens", "output_tokens")


def pair(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """The record that shadowlane writes of two halves, without scores."""
    served, shadow = (one, two) if one["role"] == "served" else (two, one)
    found = {
        "pair_id": f"{served['request_id']}:{shadow['rollout']}:{shadow['epoch']}",
        "request_id": served["request_id"],
        "rollout": shadow["rollout"],
        "epoch": shadow["epoch"],
        "service": served["service"],
        "route": served["route"],
        "ts": served["ts"],
        "completed_at": shadow["completed_at"],
        "outcome": "scored",
        "served_arm": "stable",
        "attributes": served["attributes"],
        "request": shadow["request"],
        "stable_fingerprint": shadow["served_fingerprint"],
        "candidate_fingerprint": shadow["fingerprint"],
    }
    for name in SIDE:
        found[f"stable_{name}"] = served[name]
        found[f"candidate_{name}"] = shadow[name]
    return found


class Clock:
    """Says once when the first message came."""

    def __init__(self) -> None:
        self._told = False

    def start(self) -> None:
        if not self._told:
            self._told = True
            print(time.time(), flush=True)


def quix(bootstrap: str, prefix: str, folder: str, *, envelopes: bool) -> None:
    """A record a message, its key the request's id; or envelopes, whose key is their partition."""
    from quixstreams import Application

    app = Application(
        bootstrap,
        consumer_group=f"{prefix}-quix",
        auto_offset_reset="earliest",
        state_dir=folder,
        loglevel="WARNING",
        producer_extra_config=PRODUCER,
        consumer_extra_config={"fetch.wait.max.ms": 20, "session.timeout.ms": 6000},
    )
    kind = "bytes" if envelopes else "json"
    served, shadow = (
        app.dataframe(
            app.topic(f"{prefix}.responses.{side}", value_deserializer=kind, key_deserializer="str")
        )
        for side in ("served", "shadow")
    )
    clock = Clock()

    def meet(half: dict[str, Any], state: Any) -> dict[str, Any] | None:
        clock.start()
        other = state.get(half["request_id"])
        if other is None:
            state.set(half["request_id"], half)
            return None
        if other["role"] == half["role"]:
            return None
        state.delete(half["request_id"])
        return pair(other, half)

    both = served.concat(shadow)
    if envelopes:
        both = both.apply(lambda value: [orjson.loads(line) for line in value.split(b"\n")], expand=True)
    both = both.apply(meet, stateful=True)
    both = both[both.apply(lambda found: found is not None)]
    both.to_topic(app.topic(f"{prefix}.pairs", value_serializer="json", key_serializer="str"))
    app.run()


def bytewax(bootstrap: str, prefix: str, folder: str, *, recovery: bool) -> None:
    """Envelopes; ``recovery`` keeps the halves that wait, and the offsets, in its SQLite store each 10 seconds."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSinkMessage
    from bytewax.connectors.kafka import operators as kop
    from bytewax.dataflow import Dataflow
    from bytewax.recovery import RecoveryConfig, init_db_dir
    from bytewax.run import cli_main

    clock = Clock()
    flow = Dataflow("pairing")

    def halves(message: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        clock.start()
        for line in message.value.split(b"\n"):
            half = orjson.loads(line)
            yield half["request_id"], half

    def side(name: str) -> Any:
        topics = [f"{prefix}.responses.{name}"]
        read = kop.input(name, flow, brokers=[bootstrap], topics=topics)
        return op.flat_map(f"{name}_halves", read.oks, halves)

    met = op.join("join", side("served"), side("shadow"))

    def message(found: tuple[str, tuple[dict[str, Any], dict[str, Any]]]) -> Any:
        return KafkaSinkMessage(key=found[0].encode(), value=orjson.dumps(pair(*found[1])))

    config = {name: str(value).lower() for name, value in PRODUCER.items()}
    kop.output(
        "out", op.map("pair", met, message), brokers=[bootstrap], topic=f"{prefix}.pairs", add_config=config
    )
    if not recovery:
        cli_main(flow)
        return
    init_db_dir(Path(folder), 4)
    cli_main(flow, recovery_config=RecoveryConfig(folder))


def main() -> None:
    name, bootstrap, prefix = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="pairing-peer-") as folder:
        os.chdir(folder)
        if name.startswith("quix"):
            quix(bootstrap, prefix, folder, envelopes=name == "quix_envelopes")
        else:
            bytewax(bootstrap, prefix, folder, recovery=name == "bytewax")


if __name__ == "__main__":
    main()
