"""The outbox: sends what the log of decisions has for on-call, and writes down what became of it.

An alert is sent, then the attempt is written. A crash in between sends it again, under the same alert id and
incident, by which PagerDuty, Alertmanager and receivers of webhooks know it; Slack shows it twice.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from shadowlane.errors import StoreError
from shadowlane.rollout.alerts.alertmanager import REPEAT_MS
from shadowlane.rollout.alerts.channel import Channel
from shadowlane.rollout.alerts.plan import Due, Plan, plan, recipients
from shadowlane.rollout.alerts.send import Answer, Outcome, Request
from shadowlane.rollout.alerts.stored import Attempt, read, with_attempts
from shadowlane.rollout.state import Alert
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Settings

log = logging.getLogger("shadowlane.alerts")

PATIENCE_S = 0.5
MAX_HOLD_S = 3600.0
Insert = Callable[[str, bytes, str], None]
"""Puts JSON lines into a table under a token. Raises StoreError."""
Post = Callable[[Request, float], Answer]
"""Sends a request and waits at most so many seconds: :func:`shadowlane.rollout.alerts.send.post`. Never raises."""


@dataclass(frozen=True, slots=True)
class Report:
    """Since the report before: attempts by outcome. ``waiting`` counts what is not settled yet, by alert and channel;
    ``next_due`` is when the next attempt is due that has to wait (Unix ms), None where none has."""

    sent: int
    failed: int
    refused: int
    waiting: int
    next_due: int | None


class Outbox:
    """Has one thread for each channel, so that one that hangs delays no other, and no poll of the controller.

    :meth:`step` is for one thread alone. ``store_rows``, ``store_insert`` and ``clock`` (Unix ms) are called from
    the channels' threads too.
    """

    def __init__(
        self,
        store_rows: Rows,
        store_insert: Insert,
        settings: Settings,
        post: Post,
        clock: Callable[[], int],
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``patience_s`` is how long a step waits for what it has begun to send.

        Raises:
            ConfigError: a channel's secret is not in the environment, or can't be used.
        """
        self._rows, self._insert, self._settings = store_rows, store_insert, settings
        self._post, self._clock, self._patience_s = post, clock, patience_s
        self._channels = {configured.name: Channel.of(configured) for configured in settings.alerts}
        self._threads = ThreadPoolExecutor(max(1, len(self._channels)), thread_name_prefix="alerts")
        self._running: dict[str, Future[None]] = {}
        self._repeated: dict[str, int] = {}
        self._lock = threading.Lock()  # over what the threads write:
        self._held: dict[str, int] = {}
        self._unwritten: list[Attempt] = []
        self._outcomes: Counter[str] = Counter()

    def step(self, now: int) -> Report:
        """Begins to send what is due at ``now``, in Unix ms of the clock that the log goes by.

        Blocks for two queries and ``patience_s``; what takes longer goes on behind it, and is in a later report.

        Raises:
            StoreError: the store can't be read; nothing was begun.
        """
        # Before the query: of a channel that ends its work behind it, the query has not seen all attempts.
        idle = [name for name in self._channels if name not in self._running or self._running[name].done()]
        self._write_what_is_left()
        alerts, known = read(self._rows, now)
        with self._lock:
            known, held = with_attempts(known, self._unwritten), dict(self._held)
        planned = plan(alerts, known, lambda rollout: recipients(self._settings, rollout), now, held)
        for name in idle:
            work = [due for due in planned.due if due.channel == name]
            repeat = self._to_repeat(name, planned, now, held)
            if work or repeat:
                serving = self._threads.submit(self._serve, self._channels[name], work, repeat)
                serving.add_done_callback(_say_fault)
                self._running[name] = serving
        wait(self._running.values(), timeout=self._patience_s)
        with self._lock:
            outcomes, self._outcomes = self._outcomes, Counter()
        settled = outcomes["sent"] + outcomes["refused"]
        return Report(
            outcomes["sent"],
            outcomes["failed"],
            outcomes["refused"],
            max(0, planned.waiting - settled),
            planned.next_at,
        )

    def close(self) -> None:
        """Waits for what is being sent: as long as the slowest channel's ``timeout_s``. Begins nothing more."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._write_what_is_left()

    def _to_repeat(self, name: str, planned: Plan, now: int, held: dict[str, int]) -> list[Alert]:
        """The open incidents of rollouts that are still configured, where and when the channel wants them again."""
        if self._channels[name].kind != "alertmanager" or held.get(name, 0) > now:
            return []
        configured = {rollout.name for rollout in self._settings.rollouts}
        opened = [alert for alert in planned.opened.get(name, []) if alert.rollout in configured]
        if not opened or now - self._repeated.get(name, 0) < REPEAT_MS:
            return []
        self._repeated[name] = now
        return opened

    def _serve(self, channel: Channel, work: Sequence[Due], repeat: Sequence[Alert]) -> None:
        """In the channel's thread. After a failure the rest waits for the next step: the channel may be down."""
        for due in work:
            if due.drop:
                self._note(due, Outcome("refused", 0, due.drop), "gave_up")
                continue
            outcome = self._attempt(channel, partial(channel.request, due.alert, due.began))
            self._note(due, outcome, outcome.outcome)
            if outcome.outcome == "failed":
                return
        if repeat:
            outcome = self._attempt(channel, partial(channel.repetition, repeat))
            if outcome.outcome != "sent":
                log.warning(
                    "channel %s: what is open could not be sent again (status %d): %s",
                    channel.name,
                    outcome.status,
                    outcome.message,
                )

    def _attempt(self, channel: Channel, request: Callable[[int], Request]) -> Outcome:
        try:
            outcome = channel.outcome(self._post(request(self._clock()), channel.timeout_s))
        except Exception as exc:
            # Nothing that goes wrong with an alert may end the controller, which rolls back without it.
            log.exception("channel %s: a fault of shadowlane's own", channel.name)
            return Outcome("failed", 0, f"a fault of shadowlane's own: {type(exc).__name__}")
        if outcome.wait_s is not None:
            with self._lock:
                self._held[channel.name] = self._clock() + round(min(outcome.wait_s, MAX_HOLD_S) * 1000)
        return outcome

    def _note(self, due: Due, outcome: Outcome, named: str) -> None:
        """Writes an attempt down, and says what did not go well."""
        attempt = Attempt(
            due.alert.alert_id,
            due.channel,
            due.attempt,
            self._clock(),
            named,
            outcome.status,
            outcome.message,
        )
        said = (due.alert.alert_id, due.channel, due.attempt, outcome.status, outcome.message)
        if named == "failed":
            log.warning("alert %s to %s failed (attempt %d, status %d), and is tried again: %s", *said)
        elif named != "sent":
            level = logging.ERROR if outcome.status or due.attempt > 1 else logging.WARNING
            log.log(level, "alert %s to %s was not sent (attempt %d, status %d): %s", *said)
        with self._lock:
            self._unwritten.append(attempt)
            if named != "gave_up":
                self._outcomes[named] += 1
        self._write_what_is_left()

    def _write_what_is_left(self) -> None:
        """Writes attempts; those that the store does not take stay, and count in the plan all the same."""
        with self._lock:
            unwritten = list(self._unwritten)
        for attempt in unwritten:
            try:
                self._insert("alert_log", attempt.line, attempt.token)
            except StoreError as exc:
                log.warning("attempt %s is not in the store yet: %s", attempt.token, exc)
                return
            with self._lock:
                if attempt in self._unwritten:
                    self._unwritten.remove(attempt)


def _say_fault(serving: Future[None]) -> None:
    """A fault in a channel's thread would be lost: nobody asks for its result."""
    if not serving.cancelled() and (fault := serving.exception()):
        log.error("a channel's thread ended with a fault of shadowlane's own", exc_info=fault)
