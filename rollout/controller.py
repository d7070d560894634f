"""The controller: at each poll it folds the evidence, decides, writes the decision, tells the routers, then on-call.

::

    lease ─▶ for each rollout:  head of the log ─▶ begin ─▶ fold closed buckets ─▶ verdict ─▶ machine ─▶ entry
                                                                                                          │
                     alerts ◀─ outbox ◀─ (the same row)  ◀── rollout_log, compare and swap ◀──────────────┘
                                                                      └─▶ shadowlane.rollouts ─▶ routers

Whatever it is in the middle of when it dies, the next poll of any controller goes on from the log: an entry is there as
a whole or not at all; the routers' topic and the alerts are made from it, again where need be.
"""

import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shadowlane.errors import BrokerError, ConfigError, ShadowlaneError, StoreError
from shadowlane.evaluators.gates.evidence import Evidence
from shadowlane.evaluators.gates.fold import Fold
from shadowlane.evaluators.gates.scope import milliseconds
from shadowlane.evaluators.gates.units import digest, digest_sql
from shadowlane.evaluators.gates.verdict import Decision, Verdict
from shadowlane.processors.store import refusal
from shadowlane.processors.watch import Board, watching
from shadowlane.rollout.alerts import Report
from shadowlane.rollout.evidence import Keeper, Stage
from shadowlane.rollout.gate import Ask, Gates
from shadowlane.rollout.incidents import REGRESSION, Told, cause_of
from shadowlane.rollout.lease import Lease
from shadowlane.rollout.log import Log, LostError
from shadowlane.rollout.machine import (
    begin,
    is_watched,
    on_models,
    on_quiet,
    on_removal,
    on_silence,
    on_verdict,
)
from shadowlane.rollout.models import Models
from shadowlane.rollout.progress import Progress
from shadowlane.rollout.state import Entry, State
from shadowlane.rollout.store import Store
from shadowlane.schemas.config import Rollout, Settings
from shadowlane.schemas.events import RolloutState

log = logging.getLogger("shadowlane.controller")

REPUBLISH_MS = 30_000
"""How often all states are published again: a broker that begins anew has lost them."""
LEASE = "controller"
POLL_S = 300.0
"""How long a poll may take before it counts as hung."""
MOST_BUCKETS_BEFORE = 30 * 24 * 60
"""How far back a first poll looks for pairs: one that a wrong clock put into 1970 would keep it busy for hours."""

# Slices go by their digests: a value is as long as whoever sent the request liked, a query's parameters are not.
_SERVED = f"""
WITH mapUpdate(attributes, map('service', service, 'route', route)) AS all
SELECT max(stored_at) AS at FROM pair_log
WHERE rollout = {{rollout:String}} AND epoch = {{epoch:String}} AND served_arm = 'candidate'
    AND stored_at >= {{since:Int64}}
    AND (empty({{slices:Array(String)}}) OR arrayExists(
        (name, value) -> has({{slices:Array(String)}}, {digest_sql("concat(name, '=', toValidUTF8(value))")}),
        mapKeys(all), mapValues(all)
    ))
"""  # noqa: S608 — a constant
# Of each mirror's cell the largest count is the last one.
_MIRRORED = """
SELECT sum(largest) AS requests
FROM (
    SELECT max(count) AS largest FROM ledger_log
    WHERE row = 'mirrored' AND minute >= {since:Int64}
        AND {service:String} IN ('', service) AND {route:String} IN ('', route)
    GROUP BY service, route, minute, reason, instance
)
"""
_FIRST = """
SELECT min(stored_at) AS at FROM pair_log WHERE rollout = {rollout:String} AND epoch = {epoch:String}
"""
_ONSET = f"""
SELECT max(until) AS at FROM evidence_log
WHERE rollout = {{rollout:String}} AND epoch = {{epoch:String}} AND since = {{since:Int64}}
    AND decides = 'roll_back' AND {digest_sql("slice")} = {{slice:String}} AND claim = {{claim:String}} AND log_e <= 0
"""  # noqa: S608 — a constant


class Publisher(Protocol):
    """Tells routers. Blocks until Kafka has it; raises BrokerError."""

    def publish(self, states: list[RolloutState]) -> None: ...


class Outbox(Protocol):
    """Sends what the log says is to be told. Never blocks for long; raises StoreError alone."""

    def step(self, now: int) -> Report | None: ...


@dataclass(slots=True)
class Poll:
    """What one poll did. ``failed`` is what it could not do, by rollout; ``kafka_away``: the routers were not told."""

    leads: bool = False
    decisions: list[Entry] = field(default_factory=list)
    published: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    kafka_away: bool = False
    states: list[State] = field(default_factory=list)


class Controller:
    """One controller. Any number may run: one leads, and two at once do no harm.

    Args:
        settings: of the deployment.
        store: where everything is.
        publisher: to the routers.
        outbox: to on-call.
        gate: asks the webhooks before stages.
        holder: this controller's name in the lease.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        publisher: Publisher,
        outbox: Outbox,
        gate: Ask,
        holder: str,
    ) -> None:
        self.progress = Progress()
        self._settings = settings
        self._store = store
        self._log = Log(store)
        self._keeper = Keeper(store, settings.controller)
        self._publisher = publisher
        self._outbox = outbox
        self._gates = Gates(gate)
        self._models = Models(store.rows)
        self._lease = Lease(store, LEASE, holder, settings.controller.lease_s)
        self._published: dict[str, int] = {}
        self._published_at = 0

    def poll(self) -> Poll:
        """One look at everything.

        Raises:
            StoreError: the store can't be read; nothing is lost, and the next poll goes on. Of what goes wrong with
                one rollout alone, ``failed`` tells.
        """
        poll = Poll()
        now = self._store.now()
        if not self._lease.hold(now):
            return poll
        poll.leads = True
        heads = self._log.heads()
        for state in self._removed(heads):
            with self._apart(state.rollout, heads, poll):
                entry = on_removal(state, now)
                if entry is not None:
                    heads[state.rollout] = self._write(entry, now, poll)
                heads[state.rollout] = self._quiet(heads[state.rollout], now, poll)
        for rollout in self._settings.rollouts:
            with self._apart(rollout.name, heads, poll):
                heads[rollout.name] = self._decide(rollout, heads.get(rollout.name), now, poll)
        self._publish(list(heads.values()), now, poll, again=now - self._published_at >= REPUBLISH_MS)
        poll.states = list(heads.values())
        report = self._outbox.step(now)
        if report is not None:
            self.progress.told(report)
        return poll

    def close(self) -> None:
        """Lets another lead at once."""
        self._gates.close()
        self._lease.release(self._store.now())

    @contextmanager
    def _apart(self, name: str, heads: dict[str, State], poll: Poll) -> Iterator[None]:
        """What goes wrong with one rollout within holds up no other, and no alert."""
        try:
            yield
        except LostError as exc:
            heads[name] = exc.winner.state
            log.info("%s: %s", name, exc)
        except (ConfigError, StoreError) as exc:
            poll.failed[name] = str(exc)
            log.error("%s: %s", name, exc)
        except Exception as exc:
            # Whatever it is: to end here would leave all the others without a guard.
            poll.failed[name] = f"a fault of shadowlane's own: {type(exc).__name__}"
            log.exception("%s: a fault of shadowlane's own", name)

    def _decide(self, rollout: Rollout, state: State | None, now: int, poll: Poll) -> State:
        """All that there is to decide on one rollout now; each decision is written, then published."""
        until = self._keeper.closed_until(now)
        since = milliseconds(until) if state else self._first_bucket(rollout, until)
        entry = begin(rollout, state, now, since)
        if entry is not None:
            state = self._write(entry, now, poll)
        assert state is not None  # `begin` starts what has no state
        if state.phase.guarded:
            stage = Stage.of(rollout, state, self._settings.controller)
            fold = self._keeper.advance(stage, until)
            verdict = stage.verdict(fold, now)
            told = Told(self._settings.controller.link, self._onset(state, verdict))
            entry = on_verdict(rollout, state, verdict, told, now, milliseconds(fold.until))
            if entry is not None:
                state = self._write(entry, now, poll)
            if verdict.verdict is Decision.PROMOTE and self._gates.said_yes(rollout, state, verdict):
                entry = on_verdict(
                    rollout, state, verdict, told, now, milliseconds(fold.until), confirmed=True
                )
                if entry is not None:
                    state = self._write(entry, now, poll)
            elif verdict.verdict is not Decision.PROMOTE:
                self._gates.forget(rollout)
            state = self._silence(rollout, state, fold, now, poll)
            entry = on_models(state, told, self._models.look(rollout.name, state.served, now), now)
            if entry is not None:
                state = self._write(entry, now, poll)
        return self._quiet(state, now, poll)

    def _silence(self, rollout: Rollout, state: State, fold: Fold, now: int, poll: Poll) -> State:
        """Tells on-call where pairs have stopped coming, and when they come again."""
        sessions = rollout.sessions.minutes * 60_000 if rollout.sessions else 0
        patience = self._settings.controller.blind_after_s * 1000
        patience = patience + sessions if patience else 0
        last = milliseconds(fold.last) if fold.last else None
        since, mirrored = max(last or 0, state.entered), 0
        if patience and now - since >= patience and is_watched(rollout, state):
            mirrored = self._mirrored(rollout, since)
        told = Told(self._settings.controller.link)
        entry = on_silence(rollout, state, told, now, last, mirrored, patience)
        return state if entry is None else self._write(entry, now, poll)

    def _mirrored(self, rollout: Rollout, since: int) -> int:
        match = rollout.match
        parameters = {"service": match.service or "", "route": match.route or "", "since": since}
        return int(self._store.rows(_MIRRORED, parameters)[0]["requests"])

    def _quiet(self, state: State, now: int, poll: Poll) -> State:
        """Ends the incident of a candidate that serves nobody any more, be it still configured or not."""
        if not any(cause_of(incident) == REGRESSION for incident in state.open):
            return state
        entry = on_quiet(state, now, self._served(state))
        return state if entry is None else self._write(entry, now, poll)

    def _removed(self, heads: Mapping[str, State]) -> list[State]:
        configured = {rollout.name for rollout in self._settings.rollouts}
        return [state for name, state in heads.items() if name not in configured]

    def _first_bucket(self, rollout: Rollout, until: datetime) -> int:
        """Pairs may have come in before any controller ran: they are of this epoch, and count, unless too old."""
        size, end = self._settings.controller.bucket_s * 1000, milliseconds(until)
        rows = self._store.rows(_FIRST, {"rollout": rollout.name, "epoch": rollout.epoch})
        first = int(rows[0]["at"]) or end
        return min(max(first - first % size, end - MOST_BUCKETS_BEFORE * size), end)

    def _write(self, entry: Entry, now: int, poll: Poll) -> State:
        written = self._log.append(entry)
        state = written.state
        log.info(
            "%s: %s by %s: %s (%s, stage %s, %g%%)",
            state.rollout, written.event, written.actor, written.reason, state.phase, state.stage, state.traffic_pct,
        )  # fmt: skip
        poll.decisions.append(written)
        self._publish([state], now, poll)
        return state

    def _publish(self, states: list[State], now: int, poll: Poll, *, again: bool = False) -> None:
        """States that the routers may not have, or all ``again``. What Kafka does not take is due at the next poll."""
        due = [s for s in states if again or self._published.get(s.rollout, 0) < s.seq]
        if not due or poll.kafka_away:  # waiting for Kafka once is enough: on-call is told after it
            return
        try:
            self._publisher.publish([state.for_routers for state in due])
        except BrokerError as exc:
            log.error("routers were not told, and keep what they have: %s", exc)
            poll.kafka_away = True
            for state in due:
                poll.failed[state.rollout] = str(exc)
            return
        self._published |= {state.rollout: state.seq for state in due}
        poll.published += len(due)
        if again:
            self._published_at = now

    def _served(self, state: State) -> int | None:
        """When the candidate last served one whom it should not."""
        rows = self._store.rows(
            _SERVED,
            {
                "rollout": state.rollout,
                "epoch": state.epoch,
                "since": state.at,
                "slices": [] if state.phase.out else [digest(name) for name in state.excluded],
            },
        )
        return int(rows[0]["at"]) or None

    def _onset(self, state: State, verdict: Verdict) -> int | None:
        """When the evidence of what regressed began to rise for good; None where it is not known."""
        if verdict.roll_back is None or state.alarm:
            return None
        leading: Evidence = verdict.roll_back.leading[0]
        rows = self._store.rows(
            _ONSET,
            {
                "rollout": state.rollout,
                "epoch": state.epoch,
                "since": state.since,
                "slice": digest(leading.slice),
                "claim": leading.claim,
            },
        )
        return int(rows[0]["at"]) or state.since


def run(settings: Settings) -> None:
    """Polls until SIGTERM or SIGINT. Blocks. What fails is said, and tried again at the next poll.

    Raises:
        StoreError, BrokerError: the store or Kafka can't be reached at the start.
        ConfigError: an alert channel can't be used as configured.
    """
    from shadowlane.processors.kafka import ensure_topics
    from shadowlane.processors.store import connect, migrate
    from shadowlane.rollout.alerts import Outbox as Alerts
    from shadowlane.rollout.alerts import post
    from shadowlane.rollout.gate import ask
    from shadowlane.rollout.publish import StatePublisher
    from shadowlane.rollout.store import ClickHouseStore

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    client = connect(settings.clickhouse)
    migrate(client, settings.clickhouse.database)
    store = ClickHouseStore(settings.clickhouse, client)
    ensure_topics(settings.kafka)
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    publisher = StatePublisher(settings.kafka)
    outbox = Alerts(store.rows, store.insert, settings, post, store.now)
    controller = Controller(settings, store, publisher, outbox, ask, holder)
    log.info(
        "controller started: %s, %d rollouts, every %g s",
        holder,
        len(settings.rollouts),
        settings.controller.poll_s,
    )
    progress = controller.progress
    board = Board(
        "controller",
        unready=progress.unready,
        figures=progress.figures,
        doing=progress.doing,
        waiting=progress.waiting,
    )
    # To be told of, and not to be ended by the watchdog: a first poll may have weeks of pairs to fold.
    turning = board.loop("poll loop", max(POLL_S, 3 * settings.controller.poll_s), ends=False)
    try:
        with watching(settings, board):
            while not stop.is_set():
                turning.turn()
                _poll(controller)
                stop.wait(settings.controller.poll_s)
    finally:
        outbox.close()
        publisher.close()
        try:
            controller.close()
        except ShadowlaneError as exc:
            log.warning("the lease runs out by itself: %s", exc)
    log.info("controller stopped")


def _poll(controller: Controller) -> None:
    """One poll; what of it fails is said, counted, and left to the next one."""
    progress = controller.progress
    led = progress.leads
    try:
        poll = controller.poll()
    except StoreError as exc:
        progress.could_not_poll(refusal(exc))
        log.error("no decision now, and none is lost: %s", exc)
        return
    progress.polled(leads=poll.leads, failed=bool(poll.failed), decisions=poll.decisions, states=poll.states)
    if poll.leads != led:
        log.info("this controller leads" if poll.leads else "another controller leads; standing by")
