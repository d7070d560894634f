"""A channel, ready to be used: an alert in, a request out; an answer in, what it means out. Pure but for ``of``."""

import os
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from shadowlane.errors import ConfigError
from shadowlane.processors.worker.retry import retried
from shadowlane.rollout.alerts import alertmanager, pagerduty, slack, webhook
from shadowlane.rollout.alerts.send import Answer, Outcome, Request
from shadowlane.rollout.alerts.signing import secret_bytes, signed
from shadowlane.rollout.alerts.text import bounded, cut
from shadowlane.rollout.state import Alert
from shadowlane.schemas.config import AlertChannel

MAX_MESSAGE = 500
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# 2xx that is not the service's own yes comes from something else at that address: a proxy, a page to log in.
_ACCEPTED = {"pagerduty": (202,), "alertmanager": (200,), "slack": (200,), "webhook": range(200, 300)}
_WHAT_TO_DO = {
    "pagerduty": "check the routing key (of an Events API v2 integration) in the variable that key_env names",
    "alertmanager": "check url, and the token in the variable that key_env names if it wants one",
    "slack": "the webhook may have been revoked or its channel archived: make a new one and put its url in place",
    "webhook": "check url, and that the receiver has the same secret",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """``url`` and ``key`` hold secrets."""

    name: str
    kind: Literal["pagerduty", "alertmanager", "slack", "webhook"]
    timeout_s: float
    url: str = field(repr=False)
    key: str = field(repr=False)

    @classmethod
    def of(cls, configured: AlertChannel) -> "Channel":
        """Reads what is secret from the environment.

        Raises:
            ConfigError: something is missing there or in the configuration, or can't be used.
        """
        where = f"alert channel {configured.name!r}"
        url, key = _url(configured, where), _variable(configured.key_env, "key_env", where)
        if configured.kind in ("pagerduty", "webhook") and not key:
            raise ConfigError(f"{where} needs key_env: {_WHAT_TO_DO[configured.kind]}")
        if configured.kind == "slack" and key:
            raise ConfigError(f"{where}: Slack's webhooks have no key but their url; take key_env out")
        if configured.kind == "webhook":
            try:
                secret_bytes(key)
            except ConfigError as exc:
                raise ConfigError(f"{where}: key_env names {configured.key_env}; {exc}") from exc
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{where}: what {configured.key_env} holds is no key: printable ASCII alone")
        return cls(configured.name, configured.kind, configured.timeout_s, url, key)

    def request(self, alert: Alert, began: Alert, now: int) -> Request:
        """The request that tells of an alert. ``began`` is its incident's trigger, ``now`` in Unix ms."""
        alert, began = bounded(alert), bounded(began)
        match self.kind:
            case "pagerduty":
                return Request(pagerduty.address(self.url, alert), _json(pagerduty.event(alert, self.key)))
            case "alertmanager":
                return self._to_alertmanager([alertmanager.posted(began, alert, now)])
            case "slack":
                return Request(self.url, _json(slack.message(alert)))
            case "webhook":
                body = _json(webhook.message(alert))
                return Request(self.url, body, signed(self.key, alert.alert_id, now // 1000, body))

    def repetition(self, opened: Sequence[Alert], now: int) -> Request:
        """Says again to Alertmanager what is open. ``opened`` are the triggers."""
        return self._to_alertmanager([alertmanager.firing(bounded(began), now) for began in opened])

    def outcome(self, answer: Answer) -> Outcome:
        """What an answer means for the alert. Its message says what to do, and holds no secret."""
        if answer.status in _ACCEPTED[self.kind]:
            return Outcome("sent", answer.status)
        said = cut(self._without_secrets(answer.body), MAX_MESSAGE)
        if answer.status == 0:
            return Outcome("failed", 0, said)
        if retried(answer.status):
            return Outcome("failed", answer.status, said, answer.wait_s)
        if 300 <= answer.status < 400:
            what = "it sends on to another address: put that one in place"
        elif answer.status < 300:
            what = f"that is not how {self.kind} accepts: is something else at that address?"
        else:
            what = _WHAT_TO_DO[self.kind]
        return Outcome("refused", answer.status, f"{what} (it said: {said or 'nothing'})")

    def _to_alertmanager(self, alerts: list[dict[str, Any]]) -> Request:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return Request(alertmanager.address(self.url), _json(alerts), headers)

    def _without_secrets(self, text: str) -> str:
        parts = urllib.parse.urlsplit(self.url)
        secrets = {self.key, self.key.removeprefix("whsec_"), self.url, parts.query}
        secrets |= {parts.username or "", parts.password or "", *re.split("[&=]", parts.query)}
        if self.kind != "pagerduty":
            secrets |= {parts.path, *parts.path.split("/")}
        secrets |= {urllib.parse.unquote_plus(secret) for secret in secrets}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= 8:
                text = text.replace(secret, "…")
        return text


def _url(configured: AlertChannel, where: str) -> str:
    if configured.url and configured.url_env:
        raise ConfigError(f"{where} has url and url_env: take one out")
    url = configured.url or _variable(configured.url_env, "url_env", where)
    if not url and configured.kind != "pagerduty":
        raise ConfigError(f"{where} needs url, or url_env with the name of the variable that holds it")
    if url and not re.fullmatch(r"https?://[^\s]+", url):
        raise ConfigError(f"{where}: what {configured.url_env} holds is no url: https://…")
    secret = configured.kind in ("pagerduty", "slack")
    if secret and url.startswith("http://") and urllib.parse.urlsplit(url).hostname not in _LOOPBACK:
        raise ConfigError(f"{where} would send a secret in the clear: its url has to begin with https://")
    return url


def _variable(name: str, field_name: str, where: str) -> str:
    """What an environment variable holds, ``""`` where none is named."""
    if not name:
        return ""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"{where}: {field_name} names {name}, which is not set: export it")
    return value


def _json(document: Any) -> bytes:
    return orjson.dumps(document)
