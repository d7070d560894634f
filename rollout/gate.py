"""The gate before a stage: a webhook that must say yes before more traffic.

It is asked at each poll, as a Standard Webhook (signed where a secret is given), under one id for each promotion, so
that it may remember its answer. Yes is status 200 with ``{"approved": true}``. Anything else is no, for now.
"""

import os
import time
from dataclasses import asdict

import orjson

from shadowlane.errors import ConfigError
from shadowlane.rollout.alerts.send import Request, post
from shadowlane.rollout.alerts.signing import signed
from shadowlane.rollout.state import Entry
from shadowlane.schemas.config import Confirm


def ask(gate: Confirm, entry: Entry, stage: str) -> tuple[bool, str]:
    """(approved, what it said). Blocks for ``gate.timeout_s`` at most; never raises."""
    state = entry.state
    body = orjson.dumps(
        {
            "type": "shadowlane.rollout.confirm",
            "rollout": state.rollout,
            "epoch": state.epoch,
            "stage": stage,
            "from_stage": state.stage,
            "from_traffic_pct": state.traffic_pct,
            "stable": asdict(state.stable),
            "candidate": asdict(state.candidate),
            "actor": entry.actor,
            "reason": entry.reason,
            "evidence": entry.evidence,
        },
        option=orjson.OPT_UTC_Z,
    )
    try:
        headers = _signature(gate, f"{state.rollout}:{state.epoch}:{stage}", body)
    except ConfigError as exc:
        return False, str(exc)
    answer = post(Request(gate.url, body, headers), gate.timeout_s)
    if answer.status != 200:
        return False, f"status {answer.status}" if answer.status else answer.body
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return False, '200, but no JSON: yes is {"approved": true}'
    approved = isinstance(said, dict) and said.get("approved") is True
    reason = str(said.get("reason", ""))[:200] if isinstance(said, dict) else ""
    return approved, reason or ("yes" if approved else '200, but not {"approved": true}')


def _signature(gate: Confirm, message_id: str, body: bytes) -> dict[str, str]:
    if not gate.secret_env:
        return {}
    secret = os.environ.get(gate.secret_env, "")
    if not secret:
        raise ConfigError(f"confirm.secret_env names {gate.secret_env}, which is not set: export it")
    return signed(secret, message_id, int(time.time()), body)
