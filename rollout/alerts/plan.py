"""What is to be sent now, from what was written and what became of it so far. Pure.

Each incident is followed on each channel by itself, in the order in which its alerts were written: the first one that
is not settled holds up those behind it, so that no resolve overtakes its trigger. An alert is settled on a channel
once it was sent, refused, or given up.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from shadowlane.rollout.state import Action, Alert
from shadowlane.schemas.config import AlertChannel, Settings

BASE_MS, MAX_BACKOFF_MS = 5_000, 15 * 60_000
GIVE_UP_MS = 24 * 3_600_000
"""How long after its first attempt an alert is given up."""
LATE_MS = 2 * 3_600_000
"""A channel that has tried nothing of an incident for so long, while others have, was not there then."""
_RANK = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Tries:
    """The attempts for one alert on one channel. ``outcome`` is that of the last, or sent if any was. Unix ms."""

    attempts: int
    outcome: str
    first_at: int
    last_at: int

    @property
    def settled(self) -> bool:
        return self.outcome != "failed"


@dataclass(frozen=True, slots=True)
class Due:
    """To be sent now as attempt number ``attempt``; with ``drop`` not to be sent at all, for that reason.

    ``began`` is the trigger of its incident on this channel, or the alert itself.
    """

    alert: Alert
    channel: str
    attempt: int
    began: Alert
    drop: str = ""


@dataclass(slots=True)
class Plan:
    """``opened``: by channel, the triggers of the incidents that it was told of and that are not over.

    ``waiting`` counts alerts by channel that are not settled, those due included; ``next_at`` is when the next of
    those that are not due will be (Unix ms).
    """

    due: list[Due] = field(default_factory=list)
    opened: dict[str, list[Alert]] = field(default_factory=dict)
    waiting: int = 0
    next_at: int | None = None


Known = Mapping[tuple[str, str], Tries]
"""The tries by alert id and channel."""


def plan(
    alerts: Iterable[Alert],
    known: Known,
    recipients: Callable[[str], Sequence[AlertChannel]],
    now: int,
    held: Mapping[str, int],
) -> Plan:
    """What to do at ``now`` (Unix ms).

    ``alerts`` are in the order in which they were written. ``recipients`` gives the channels of a rollout by name,
    ``held`` until when a channel asked to be left alone. What is only to be written down
    comes first, then triggers, then the rest, older ones first.
    """
    found = Plan()
    chains = sorted(alerts, key=_chain)  # stable: within a chain the order stays
    tried_on = _channels_tried(known)
    for (rollout, _), group in groupby(chains, key=_chain):
        chain = list(group)
        for channel in recipients(rollout):
            if not _came_later(chain, channel.name, tried_on, now):
                _follow(chain, channel, known, now, held.get(channel.name, 0), found)
    found.due.sort(key=lambda due: (not due.drop, due.alert.action is not Action.TRIGGER, due.alert.at))
    return found


def recipients(settings: Settings, rollout: str) -> list[AlertChannel]:
    """The channels that are told of a rollout; all, where it says nothing or is no longer configured."""
    configured = next((r for r in settings.rollouts if r.name == rollout), None)
    names = configured.alerts if configured else None
    return [channel for channel in settings.alerts if names is None or channel.name in names]


def retry_at(alert_id: str, channel: str, tries: Tries) -> int:
    """When the next attempt is due (Unix ms): doubled each time, with half of it jitter.

    The jitter is drawn from the attempt's name, so that every process comes to the same time.
    """
    whole = min(MAX_BACKOFF_MS, BASE_MS << min(tries.attempts - 1, 20))
    digest = hashlib.sha256(f"{alert_id}:{channel}:{tries.attempts}".encode(errors="replace")).digest()
    draw = int.from_bytes(digest[:4], "big") / 2**32
    return tries.last_at + round(whole * (0.5 + 0.5 * draw))


def _chain(alert: Alert) -> tuple[str, str]:
    return alert.rollout, alert.incident


def _takes(channel: AlertChannel, alert: Alert) -> bool:
    if alert.action is Action.NOTE and channel.kind == "alertmanager":
        return False
    return _RANK[alert.severity] >= _RANK[channel.min_severity]


def _channels_tried(known: Known) -> dict[str, set[str]]:
    tried: dict[str, set[str]] = {}
    for alert_id, channel in known:
        tried.setdefault(alert_id, set()).add(channel)
    return tried


def _came_later(chain: Sequence[Alert], channel: str, tried_on: Mapping[str, set[str]], now: int) -> bool:
    """Whether an incident that is over was told to others before this channel was configured.

    Without this a channel that is added would hear of all that is past.
    """
    channels = set().union(*(tried_on.get(alert.alert_id, set()) for alert in chain))
    over = chain[-1].action is not Action.TRIGGER
    return over and bool(channels) and channel not in channels and now - chain[-1].at > LATE_MS


def _follow(
    chain: Sequence[Alert], channel: AlertChannel, known: Known, now: int, held_until: int, found: Plan
) -> None:
    opened: Alert | None = None
    perhaps: Alert | None = None  # settled as not sent after several attempts: one of them may have arrived
    ignored = False  # the incident that is open now is below this channel's severity
    for place, alert in enumerate(chain):
        resolves, triggers = alert.action is Action.RESOLVE, alert.action is Action.TRIGGER
        if not resolves and not _takes(channel, alert):
            ignored = ignored or (triggers and opened is None)
            continue
        if resolves and opened is None and ignored:
            ignored = False
            continue
        tries = known.get((alert.alert_id, channel.name))
        if tries is None or not tries.settled:
            drop = _dropped(alert, opened, perhaps, tries, now)
            if not drop:
                found.waiting += sum(a.action is Action.RESOLVE or _takes(channel, a) for a in chain[place:])
                at = max(held_until, retry_at(alert.alert_id, channel.name, tries) if tries else 0)
                if at > now:
                    found.next_at = at if found.next_at is None else min(found.next_at, at)
                else:
                    began = (opened or perhaps) if resolves else None
                    found.due.append(Due(alert, channel.name, _next(tries), began or alert))
                return
            found.due.append(Due(alert, channel.name, _next(tries), alert, drop))
        if resolves:
            opened, perhaps, ignored = None, None, False
        elif triggers and tries is not None and tries.outcome == "sent":
            opened = opened or alert
        elif triggers and tries is not None and tries.attempts > 1:
            perhaps = perhaps or alert
    if opened:
        found.opened.setdefault(channel.name, []).append(opened)


def _dropped(alert: Alert, opened: Alert | None, perhaps: Alert | None, tries: Tries | None, now: int) -> str:
    """Why an alert is not sent (any more), ``""`` where it is."""
    if alert.action is Action.RESOLVE and opened is None and perhaps is None:
        return "not sent: its trigger never was"
    if alert.action is Action.TRIGGER and opened is not None:
        return "not sent: its incident is open already"
    if tries and now - tries.first_at >= GIVE_UP_MS:
        return f"given up {GIVE_UP_MS // 3_600_000} hours after the first attempt"
    return ""


def _next(tries: Tries | None) -> int:
    return tries.attempts + 1 if tries else 1
