"""Slack, incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. Pure.

Whatever comes from outside is shown as it is: ``&``, ``<`` and ``>`` are escaped, which takes their meaning from
mentions and links, it stands in plain text or in a block of code, which knows no other markup, and ``verbatim`` keeps
Slack from finding names and addresses in it.
"""

import urllib.parse
from collections.abc import Iterable
from typing import Any

from shadowlane.rollout.alerts.text import facts, links
from shadowlane.rollout.state import Action, Alert

MAX_HEADER = 150
MAX_SECTION = 3000
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_FENCE = "```"


def message(alert: Alert) -> dict[str, Any]:
    """The body of one message."""
    title = f"{_title(alert)}: {alert.summary}"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(title, MAX_HEADER)},
        {"type": "context", "elements": [_plain(_context(alert), MAX_SECTION)]},
    ]
    said = facts(alert)
    if len(escaped(title, MAX_SECTION)) > MAX_HEADER:
        said = {"In full": (alert.summary,)} | said
    blocks += [_section(question, lines) for question, lines in said.items()]
    if to := links(alert):
        shown = "\n".join(f"<{_address(link)}>" for link in to)
        if len(shown) <= MAX_SECTION:
            blocks.append({"type": "section", "text": _marked(shown)})
    # What a notification shows, and a client that knows no blocks.
    return {
        "text": escaped(title, MAX_SECTION),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def escaped(text: str, limit: int) -> str:
    """The text with its three special characters as entities, cut between two of them at ``limit``."""
    whole = "".join(_ENTITIES.get(character, character) for character in text)
    if len(whole) <= limit:
        return whole
    kept, room = [], limit - 1
    for character in text:
        shown = _ENTITIES.get(character, character)
        if (room := room - len(shown)) < 0:
            break
        kept.append(shown)
    return "".join(kept) + "…"


def _title(alert: Alert) -> str:
    return {
        Action.TRIGGER: alert.severity.capitalize(),
        Action.RESOLVE: "Resolved",
        Action.NOTE: "Note",
    }[alert.action]


def _context(alert: Alert) -> str:
    return f"rollout {alert.rollout}, stage {alert.stage}, epoch {alert.epoch}, alert {alert.alert_id}"


def _section(question: str, lines: Iterable[str]) -> dict[str, Any]:
    code = "\n".join(lines).replace("`", "'")  # or it could end the block of code
    room = MAX_SECTION - len(question) - 2 * len(_FENCE) - 5
    text = f"*{question}*\n{_FENCE}\n{escaped(code, room)}\n{_FENCE}"
    return {"type": "section", "text": _marked(text)}


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "emoji": False, "text": escaped(text, limit)}


def _marked(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "verbatim": True, "text": text}


def _address(link: str) -> str:
    """A link whose own text can't end it or give it another name."""
    return urllib.parse.quote(link, safe=":/?#[]@!$&'()*+,;=%-._~").replace("&", "&amp;")
