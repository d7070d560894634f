"""The gate before a stage: a webhook that must say yes before more traffic.

It is asked at each poll, as a Standard Webhook (signed where a secret is given), under one id for each promotion, so
that it may remember its answer. Yes is status 200 with ``{"approved": true}``. Anything else is no, for now.
"""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import orjson

from shadowlane.errors import ConfigError
from shadowlane.evaluators.gates.verdict import Verdict
from shadowlane.rollout.alerts.send import Request, post
from shadowlane.rollout.alerts.signing import signed
from shadowlane.rollout.incidents import evidence_of
from shadowlane.rollout.machine import CONTROLLER, gate_before
from shadowlane.rollout.state import Entry, State
from shadowlane.schemas.config import Confirm, Rollout

log = logging.getLogger("shadowlane.controller")

AT_ONCE = 8
Ask = Callable[[Confirm, Entry, str], tuple[bool, str]]
"""Asks a webhook whether a stage may begin: (approved, what it said). Blocks for its time limit; never raises."""


class Gates:
    """The gates of all rollouts, each asked in a thread of its own: a slow one holds up nobody. For one thread."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="gate")
        self._asked: dict[tuple[str, str, str], Future[tuple[bool, str]]] = {}

    def said_yes(self, rollout: Rollout, state: State, verdict: Verdict) -> bool:
        """Whether the gate before the next stage has said yes; begins to ask it again where it has not. Never blocks.

        ``verdict`` is what it is shown.
        """
        gate = gate_before(rollout, state)
        if gate is None or gate.confirm is None or state.asked != gate.name:
            return False
        key = (state.rollout, state.epoch, gate.name)
        answer = self._asked.get(key)
        if answer is not None and answer.done():
            del self._asked[key]
            approved, said = answer.result()
            if approved:
                return True
            log.info("%s: stage %s is not confirmed yet: %s", state.rollout, gate.name, said)
        if key not in self._asked:
            shown = evidence_of(verdict)
            entry = Entry("", "confirmation_asked", CONTROLLER, verdict.reason, state, shown)
            self._asked[key] = self._threads.submit(self._ask, gate.confirm, entry, gate.name)
        return False

    def forget(self, rollout: Rollout) -> None:
        """A yes is to what was shown then. What has to be shown again is asked again."""
        self._asked = {key: answer for key, answer in self._asked.items() if key[0] != rollout.name}

    def close(self) -> None:
        """Asks nobody any more, and waits for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
