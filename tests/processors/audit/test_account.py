"""A pipeline that keeps its promises is never accused, however far each component is; one that breaks one, always."""

import itertools
from dataclasses import dataclass, fields

import pytest

from shadowlane.processors.audit.account import (
    Judgement,
    Kind,
    Owed,
    Place,
    Record,
    Request,
    Row,
    Step,
    Where,
    judge,
)

TAKEN = Owed("r", answer=True, row=True)
FREE = Owed("", answer=False, row=False)


@dataclass(frozen=True)
class Journey:
    """How far one request has come in a sound system: each step only after the one before it."""

    asked: bool  # Kafka has the request; one of the mirror's two messages may be missing
    served: bool
    answered: bool  # the worker's answer is in Kafka
    asked_committed: bool
    paired: bool  # the pair is in Kafka, of both halves or, after its time, of one
    halves_committed: bool
    stored: bool
    pair_committed: bool
    buried: bool  # the worker could not read it: a dead letter in place of its answer
    letter_stored: bool
    letter_committed: bool


def sound(journey: Journey) -> bool:
    """Whether it can be: what a step needs has happened before it."""
    j = journey
    needs = (
        (j.answered, j.asked),
        (j.buried, j.asked and not j.answered),
        (j.asked_committed, j.answered or j.buried),
        (j.paired, j.served or j.answered),
        (j.halves_committed, j.paired),
        (j.stored, j.paired),
        (j.pair_committed, j.stored),
        (j.letter_stored, j.buried),
        (j.letter_committed, j.letter_stored),
    )
    return (j.asked or j.served) and all(before for step, before in needs if step)


JOURNEYS = [
    journey
    for steps in itertools.product((False, True), repeat=len(fields(Journey)))
    if sound(journey := Journey(*steps))
]


def journeys(must: tuple[str, ...] = (), never: tuple[str, ...] = ()) -> list[Journey]:
    """All there can be. ``must`` and ``never``: what has happened and what has not."""
    chosen = [
        journey
        for journey in JOURNEYS
        if all(getattr(journey, name) for name in must) and not any(getattr(journey, name) for name in never)
    ]
    assert chosen
    return chosen


ANSWERED = ("asked", "answered", "asked_committed")


def record(kind: Kind, *, past: bool) -> Record:
    return Record(Place(str(kind), 0, 7, 0, 1), past)


def seen(journey: Journey, *, owed: Owed = TAKEN, without: frozenset[str] = frozenset()) -> Request:
    """What the audit sees of it; ``without`` these traces."""
    request = Request(1000, "shop", "/", owed)
    if journey.asked:
        request.note(Kind.REQUEST, record(Kind.REQUEST, past=journey.asked_committed))
    if journey.served:
        request.note(Kind.SERVED, record(Kind.SERVED, past=journey.halves_committed))
    if journey.answered and "answer" not in without:
        request.note(Kind.SHADOW, record(Kind.SHADOW, past=journey.halves_committed))
    if journey.paired and not journey.stored and "pair" not in without:
        request.note(Kind.PAIR, record(Kind.PAIR, past=journey.pair_committed))
        request.answered |= journey.answered and "answer" not in without
    if journey.stored and "row" not in without:
        request.row = Row.SETTLED if journey.answered and journey.served else Row.UNANSWERED
    if journey.buried and "letter" not in without:
        request.lettered = journey.letter_stored
        request.letter_past = None if journey.letter_stored else journey.letter_committed
    return request


def steps(judgement: Judgement) -> set[Step]:
    return {loss.step for loss in judgement.losses}


def test_a_sound_system_has_lost_nothing() -> None:
    for journey in journeys():
        found = judge(seen(journey))
        assert found.losses == ()
        assert found.where is not Where.LOST
        if journey.stored or journey.letter_stored:
            assert found.where is Where.STORED
        elif journey.paired or journey.buried:
            assert found.where is Where.SINK
        else:
            assert found.where in (Where.PAIRING, Where.WORKER)


def test_an_answer_without_a_trace_is_the_workers() -> None:
    for journey in journeys(must=ANSWERED):
        request = seen(journey, without=frozenset({"answer", "row", "pair"}))
        if journey.stored:
            request.row = Row.UNANSWERED  # what pairing then makes of the half that is there
        assert Step.WORKER in steps(judge(request))


def test_a_pair_without_a_trace_is_pairings() -> None:
    for journey in journeys(must=("served", "paired", "halves_committed"), never=("buried",)):
        found = judge(seen(journey, without=frozenset({"pair", "row"})))
        assert steps(found) == {Step.PAIRING}
        assert found.where is Where.LOST


def test_a_row_without_a_trace_is_lost_and_said_of_the_pair_alone() -> None:
    for journey in journeys(must=("served", "paired", "stored", "pair_committed"), never=("buried",)):
        request = seen(journey, without=frozenset({"row"}))
        request.note(Kind.PAIR, record(Kind.PAIR, past=True))
        request.answered = journey.answered
        assert judge(request) == Judgement(Where.LOST)


def test_a_dead_letter_without_a_trace_is_the_workers() -> None:
    for journey in journeys(must=("asked", "buried", "asked_committed"), never=("answered", "paired")):
        assert steps(judge(seen(journey, without=frozenset({"letter"})))) == {Step.WORKER}


def test_nobody_is_accused_of_what_was_not_owed() -> None:
    for journey in journeys():
        traces = ["answer", "pair", "row", "letter"]
        for without in itertools.chain.from_iterable(itertools.combinations(traces, n) for n in range(5)):
            assert judge(seen(journey, owed=FREE, without=frozenset(without))).losses == ()


def test_an_answer_that_kafka_may_have_removed_proves_nothing() -> None:
    for journey in journeys(must=ANSWERED):
        request = seen(journey, without=frozenset({"answer"}))
        assert Step.WORKER not in steps(judge(request, answers_since=request.ts + 1))


def test_a_request_of_which_nothing_is_left_is_unproved_and_not_free() -> None:
    request = Request(1000, "shop", "/", TAKEN)
    request.note(Kind.REQUEST, record(Kind.REQUEST, past=True))
    assert judge(request, answers_since=1001) == Judgement(Where.UNPROVED, unproved=True)
    assert judge(request, answers_since=1000).where is Where.LOST


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_of_a_record_that_was_sent_again_the_one_that_is_still_to_be_read_counts(
    order: tuple[bool, bool],
) -> None:
    request = Request(1000, "shop", "/", TAKEN)
    for past in order:
        request.note(Kind.SERVED, record(Kind.SERVED, past=past))
    assert judge(request) == Judgement(Where.PAIRING)
