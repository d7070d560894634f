"""The tickets are data that a verdict rests on: they are what they say, and redaction takes nothing a model needs."""

from collections import Counter
from typing import Any

import pytest

from examples.support_desk import models
from shadowlane.producers.redaction import redact_text
from tests.examples.questions import TICKETS, question

ANSWER: dict[str, set[Any]] = {
    "category": {"refund", "delivery", "defect", "account", "invoice", "fraud", "praise", "question"},
    "priority": {"urgent", "high", "normal", "low"},
    "needs_human": {True, False},
}


def test_there_are_a_few_hundred_and_no_two_are_alike() -> None:
    assert 280 <= len(TICKETS) <= 350
    assert len({ticket["text"] for ticket in TICKETS.values()}) == len(TICKETS)
    assert len({ticket["answer"]["reply"] for ticket in TICKETS.values()}) > 0.97 * len(TICKETS)
    orders = Counter(t["answer"]["order_id"] for t in TICKETS.values() if t["answer"]["order_id"])
    assert max(orders.values()) == 1


def test_every_ticket_has_the_fields_that_the_service_and_the_models_read() -> None:
    for number, ticket in TICKETS.items():
        assert set(ticket) == {"id", "language", "channel", "customer", "text", "answer"}, number
        assert set(ticket["answer"]) == {*ANSWER, "order_id", "reply"}, number
        assert all(ticket["answer"][field] in values for field, values in ANSWER.items()), number
        assert ticket["language"] in models.OPENINGS, number
        assert ticket["channel"] in {"email", "chat", "form", "phone"}, number
        assert ticket["text"].strip() == ticket["text"] != "", number


def test_the_right_answers_follow_the_rules_of_the_prompt() -> None:
    for number, ticket in TICKETS.items():
        answer = ticket["answer"]
        assert answer["needs_human"] == (answer["priority"] in {"urgent", "high"}), number
        if answer["category"] == "praise" or answer["category"] == "question":
            assert answer["priority"] == "low", number
        if answer["category"] == "fraud":
            assert answer["priority"] == "urgent", number


def test_the_order_is_the_one_that_the_ticket_names() -> None:
    for number, ticket in TICKETS.items():
        order = ticket["answer"]["order_id"]
        named = models.ORDER.findall(ticket["text"])
        assert (order or "") in {"", *(f"HH-{digits}" for digits in named)} or order[3:] in ticket["text"], (
            number
        )
        assert order is not None or not named, number


def test_they_are_as_mixed_as_a_real_desk() -> None:
    languages = Counter(ticket["language"] for ticket in TICKETS.values())
    assert len(languages) >= 8
    assert languages["en"] < len(TICKETS) / 2
    for field, values in ANSWER.items():
        assert {ticket["answer"][field] for ticket in TICKETS.values()} == values
    lengths = sorted(len(ticket["text"]) for ticket in TICKETS.values())
    assert lengths[len(lengths) // 10] < 60
    assert lengths[-len(lengths) // 10] > 200


def test_there_is_personal_data_for_the_mirror_to_redact() -> None:
    redacted = " ".join(redact_text(ticket["text"]) for ticket in TICKETS.values())
    for kind, at_least in (("[email]", 9), ("[card]", 5), ("[phone]", 4), ("[iban]", 2)):
        assert redacted.count(kind) >= at_least, kind


@pytest.mark.parametrize("model", models.MODELS)
def test_redaction_changes_no_decision(model: str) -> None:
    """The stable model reads the ticket as it came, the candidate reads it redacted."""
    player = models.MODELS[model]
    for ticket in TICKETS.values():
        asked = question(ticket)
        assert models.decide(player, redact_text(asked), TICKETS) == models.decide(player, asked, TICKETS)
