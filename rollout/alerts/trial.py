"""The test of a channel: an incident that begins and is over at once, as real ones are told."""

import uuid
from dataclasses import replace

from shadowlane.errors import ConfigError
from shadowlane.rollout.alerts.channel import Channel
from shadowlane.rollout.alerts.send import Outcome, post
from shadowlane.rollout.state import Action, Alert
from shadowlane.schemas.config import AlertChannel, Settings


def test_alert(settings: Settings, channel_name: str | None, now: int) -> list[tuple[str, Outcome]]:
    """Sends a trigger and its resolve to a channel, to all without a name; gives each channel's outcome.

    The trigger is critical, since that is what must get through: it pages. ``now`` is in Unix ms. Nothing is written
    to the store, nothing tried again. A channel whose secret is missing is refused, and the others are tested.

    Raises:
        ConfigError: there is no such channel, or none at all.
    """
    names = ", ".join(channel.name for channel in settings.alerts) or "none"
    chosen = [channel for channel in settings.alerts if channel_name in (None, channel.name)]
    if not chosen:
        raise ConfigError(f"no alert channel {channel_name or ''!r} in the configuration (there: {names})")
    return [(configured.name, _tried(configured, now)) for configured in chosen]


def _tried(configured: AlertChannel, now: int) -> Outcome:
    try:
        channel = Channel.of(configured)
    except ConfigError as exc:
        return Outcome("refused", 0, str(exc))
    trigger = _trigger(configured.name, now)
    resolve = replace(
        trigger,
        alert_id=f"{trigger.alert_id}:1",
        action=Action.RESOLVE,
        severity="info",
        summary=f"test of the alert channel {configured.name} is over",
        done="nothing was to be done",
    )
    for alert in (trigger, resolve):
        outcome = channel.outcome(post(channel.request(alert, trigger, now), channel.timeout_s))
        if outcome.outcome != "sent":
            return replace(outcome, message=f"the {alert.action.value} was not sent: {outcome.message}")
    return replace(outcome, message="a trigger and its resolve were sent: look whether both arrived")


def _trigger(channel: str, now: int) -> Alert:
    incident = f"shadowlane/test/{channel}/{uuid.uuid4().hex[:12]}"
    return Alert(
        alert_id=incident.replace("/", ":"),
        incident=incident,
        action=Action.TRIGGER,
        severity="critical",
        cause="test",
        rollout="test",
        epoch="",
        stage="",
        at=now,
        summary=f"test of the alert channel {channel}: nothing is wrong",
        what=("nothing: somebody ran `shadowlane alerts test`",),
        since=now,
        sure="entirely",
        done="nothing was to be done",
        look=("shadowlane alerts test",),
    )
