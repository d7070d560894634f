"""Alerts: what the controller wrote is sent to PagerDuty, Alertmanager, Slack and webhooks. docs/alerts.md.

The log of decisions is the outbox: an alert stands in the row of its decision. :class:`Outbox` sends what stands there
and keeps what became of it in ``alert_log``; :func:`test_alert` tries a channel.
"""

from shadowlane.rollout.alerts.outbox import Outbox, Report
from shadowlane.rollout.alerts.send import Answer, Outcome, Request, post
from shadowlane.rollout.alerts.signing import signed
from shadowlane.rollout.alerts.trial import test_alert

__all__ = ["Answer", "Outbox", "Outcome", "Report", "Request", "post", "signed", "test_alert"]
