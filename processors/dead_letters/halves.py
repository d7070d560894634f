"""The other half of a replayed letter's pair, made again from the store.

Where one half became a dead letter, the other one waited for it in vain and went out as unpaired. A replay
long afterwards brings the one half back, and needs the other one beside it, or it would wait in vain itself.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from shadowlane.processors.pairing.records import KEPT_TEXT
from shadowlane.schemas.events import Arm, Response, Role

# Of the rollouts and epochs that pairing still takes. By the table's key, which begins with these three.
UNPAIRED = """
SELECT
    request_id, toUnixTimestamp64Milli(ts) AS at_ms, toUnixTimestamp64Milli(completed_at) AS completed_ms,
    * EXCEPT (request_id, ts, completed_at)
FROM unpaired
WHERE (rollout, epoch, pair_id) IN {keys:Array(Tuple(String, String, String))}
"""

_SAME = (
    "output",
    "finish_reason",
    "error",
    "error_message",
    "status",
    "latency_ms",
    "ttft_ms",
    "model",
    "served_model",
)
_COUNTS = ("input_tokens", "output_tokens")


def half_of(row: Mapping[str, Any]) -> Response | None:
    """The half that a row of :data:`UNPAIRED` was made of.

    None where its text was cut, since Kafka took no pair of that size: its scores would be those of the cut.
    """
    served_arm = Arm(row["served_arm"])
    shadow_arm = Arm.CANDIDATE if served_arm is Arm.STABLE else Arm.STABLE
    side, arm = {
        "no_shadow_response": (Role.SERVED, served_arm),
        "no_served_response": (Role.SHADOW, shadow_arm),
    }.get(row["reason"], (None, None))
    if side is None or arm is None or len(row[f"{arm}_output"]) == KEPT_TEXT:
        return None
    values: dict[str, Any] = {name: row[f"{arm}_{name}"] for name in (*_SAME, *_COUNTS)}
    values["output_bytes"], values["request_bytes"] = row[f"{arm}_bytes"] or 0, row["request_bytes"] or 0
    values["latency_ms"] = values["latency_ms"] or 0.0
    values |= {name: row[name] for name in ("request_id", "service", "route", "key", "stage", "traceparent")}
    values |= {
        "ts": row["at_ms"],
        "completed_at": row["completed_ms"],
        "attributes": dict(row["attributes"]),
        "tool_calls": _json(row[f"{arm}_tool_calls"]),
        "role": side,
        "arm": arm,
    }
    if side is Role.SHADOW:
        values |= {
            "rollout": row["rollout"],
            "epoch": row["epoch"],
            "request": _json(row["request"]),
            "fingerprint": row[f"{arm}_fingerprint"],
            "served_fingerprint": row[f"{served_arm}_fingerprint"],
            "attempts": row["candidate_attempts"] if arm is Arm.CANDIDATE else 1,
        }
    return Response(**values)


def wanted_of(topic_side: Role | None) -> Role | None:
    """Which half a replayed record needs beside it: by the side of its topic, None for a request."""
    return Role.SHADOW if topic_side is Role.SERVED else Role.SERVED


def _json(text: str) -> Any:
    """A JSON value that the store keeps as its text: spliced in as it is. A bare text is itself."""
    if not text:
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return orjson.Fragment(text)
