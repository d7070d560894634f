"""What the desk asks a model, and what a model says, without a server between them."""

import json
from typing import Any

from examples.support_desk import models
from shadowlane.schemas.events import Response

TICKETS = models.load_tickets()


def question(ticket: dict[str, Any]) -> str:
    """The user's message as service.py writes it."""
    return f"Ticket {ticket['id']}, {ticket['channel']}, {ticket['language']}:\n\n{ticket['text']}"


def decide(model: str, ticket: dict[str, Any]) -> dict[str, Any]:
    return models.decide(models.MODELS[model], question(ticket), TICKETS)


def response(model: str, ticket: dict[str, Any]) -> Response:
    """The answer as the mirror or the worker would record it."""
    return Response(
        request_id=ticket["id"],
        ts=0,
        completed_at=0,
        service="support-desk",
        route="/chat/completions",
        role="shadow",
        model=model,
        output=json.dumps(decide(model, ticket), ensure_ascii=False),
        finish_reason="stop",
        latency_ms=50.0,
    )
